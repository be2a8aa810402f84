"""The kubeconfig of a lab, made from a node's, and reading a kubeconfig."""

from __future__ import annotations

import base64
import re
import ssl
import tempfile
from dataclasses import dataclass
from urllib.parse import urlsplit

import yaml

from lab.config import Lab


def for_host(kubeconfig: str, lab: Lab) -> str:
    """A node's kubeconfig, changed to reach the API server through the host's loopback.

    Context and user get the lab's name, so that they differ from those of other clusters.
    """
    text = re.sub(
        r"server: https://[^\s]+", f"server: https://127.0.0.1:{lab.ports.api}", kubeconfig
    )
    for old in (f"kubernetes-admin@{lab.name}", "kubernetes-admin"):
        text = text.replace(old, f"lab-{lab.name}")
    return text


@dataclass(frozen=True)
class Access:
    """A cluster's address, its CA, and the user's certificate and key (all PEM)."""

    host: str
    port: int
    authority: str
    certificate: str
    key: str


def access(kubeconfig: str) -> Access:
    """The first cluster and user of a kubeconfig with embedded certificates."""
    content = yaml.safe_load(kubeconfig)
    server, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
    address = urlsplit(server["server"])
    parts = (
        server["certificate-authority-data"],
        user["client-certificate-data"],
        user["client-key-data"],
    )
    authority, certificate, key = (base64.b64decode(part).decode() for part in parts)
    return Access(address.hostname or "", address.port or 443, authority, certificate, key)


def context(given: Access) -> ssl.SSLContext:
    """TLS with the user's certificate; Python reads it only from a file."""
    made = ssl.create_default_context(cadata=given.authority)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(given.certificate + given.key)
        file.flush()
        made.load_cert_chain(file.name)
    return made
