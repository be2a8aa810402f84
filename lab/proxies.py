"""The way outside: proxies, and certificate authorities besides the system's.

Proxies are what the environment says (HTTP_PROXY, HTTPS_PROXY, NO_PROXY); the CA is a file that the
configuration names. Children of `invoke` get both by their environment, machines by
vagrant/outside.sh; what stays inside the lab never goes through a proxy. Machines are told as well
which registry to ask for Docker Hub's images.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from lab.config import HOST_ONLY, REGISTRY, Settings, cache_folder
from lab.errors import ConfigError, Problem
from lab.state import write_aside

# What programs read to find the authorities that they trust: OpenSSL and Go, Python's packages,
# curl and with it Vagrant, pip.
TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
# Where the system's authorities are, after the place that Python was built with.
SYSTEM_TRUST = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def exceptions(settings: Settings) -> str:
    """NO_PROXY with all that is inside the lab: loopback, machines, pods, Services, names."""
    inside = ["localhost", "127.0.0.1", "::1", HOST_ONLY, settings.pods, settings.services]
    if settings.subnet and not settings.subnet.subnet_of(HOST_ONLY):
        inside.append(settings.subnet)
    inside += [REGISTRY.partition(":")[0], ".svc", ".cluster.local"]
    # A mirror is in the room, on this side of a proxy.
    inside += [
        urlsplit(address).hostname or "" for address in (settings.mirror, settings.registry_mirror)
    ]
    given = [word.strip() for word in settings.proxies.exceptions.split(",")]
    return ",".join(dict.fromkeys(filter(None, (*given, *map(str, inside)))))


def environment(settings: Settings, cache: Path | None = None) -> dict[str, str]:
    """What is added to the environment of every child; empty without a proxy and without a CA.

    Raises ConfigError for a file that has no certificate.
    """
    found: dict[str, str] = {}
    if settings.proxies.http or settings.proxies.https:
        found |= dict.fromkeys(("NO_PROXY", "no_proxy"), exceptions(settings))
    if settings.ca:
        together = trust(authority(settings), cache or cache_folder())
        found |= dict.fromkeys(TRUST, str(together))
    return found


def authority(settings: Settings) -> str:
    """The certificates of the configuration's file. Raises ConfigError when it has none."""
    try:
        # A private key that lies in the same file stays where it is.
        found = CERTIFICATE.findall(Path(settings.ca).expanduser().read_text())
        text = "".join(f"{certificate}\n" for certificate in found)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (OSError, ValueError) as error:
        problem = Problem("network.ca", f"{settings.ca} is no file of PEM certificates: {error}")
        raise ConfigError("the CA cannot be used", problems=[problem]) from error
    return text


def trust(ca: str, cache: Path) -> Path:
    """A file with the system's authorities and these: the variables take one file only."""
    places = (ssl.get_default_verify_paths().openssl_cafile, *SYSTEM_TRUST)
    system = next((Path(place).read_text() for place in places if Path(place).is_file()), "")
    text = f"{system.rstrip()}\n{ca.strip()}\n".lstrip()
    path = cache / "trust" / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.pem"
    write_aside(path, text, mode=0o644)
    return path


def proxy_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The names of the variables for proxies that are set, as they are spelt."""
    names = [f"{kind}_proxy" for kind in ("http", "https", "no")]
    return [spelt for name in names for spelt in (name, name.upper()) if environ.get(spelt)]
