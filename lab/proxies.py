"""Access to the internet: proxies, and a certificate authority besides the system's.

The environment names the proxies (HTTP_PROXY, HTTPS_PROXY, NO_PROXY). The configuration names a
file with the CA. Children of `invoke` get both through their environment, and machines get them
from vagrant/outside.sh. Traffic inside the lab never uses a proxy. Machines also learn which
registry has Docker Hub's images.
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

# Variables that name the trusted authorities for OpenSSL and Go, Python's requests, curl (which
# Vagrant uses), and pip.
TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
# The system's authorities, if Python's built-in path does not exist.
SYSTEM_TRUST = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def exceptions(settings: Settings) -> str:
    """NO_PROXY with everything inside the lab: loopback, machines, pods, Services, names."""
    inside = ["localhost", "127.0.0.1", "::1", HOST_ONLY, settings.pods, settings.services]
    if settings.subnet and not settings.subnet.subnet_of(HOST_ONLY):
        inside.append(settings.subnet)
    inside += [REGISTRY.partition(":")[0], ".svc", ".cluster.local"]
    # A mirror is in the classroom, so its clients need no proxy.
    inside += [
        urlsplit(address).hostname or "" for address in (settings.mirror, settings.registry_mirror)
    ]
    given = [word.strip() for word in settings.proxies.exceptions.split(",")]
    return ",".join(dict.fromkeys(filter(None, (*given, *map(str, inside)))))


def environment(settings: Settings, cache: Path | None = None) -> dict[str, str]:
    """The additional variables for every child; empty without a proxy and a CA.

    Raises ConfigError for a CA file without a certificate.
    """
    found: dict[str, str] = {}
    if settings.proxies.http or settings.proxies.https:
        found |= dict.fromkeys(("NO_PROXY", "no_proxy"), exceptions(settings))
    if settings.ca:
        together = trust(authority(settings), cache or cache_folder())
        found |= dict.fromkeys(TRUST, str(together))
    return found


def authority(settings: Settings) -> str:
    """The certificates in the configured file. Raises ConfigError if it has none."""
    try:
        # Leave out a private key in the same file.
        found = CERTIFICATE.findall(Path(settings.ca).expanduser().read_text())
        text = "".join(f"{certificate}\n" for certificate in found)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (OSError, ValueError) as error:
        problem = Problem("network.ca", f"{settings.ca} has no usable PEM certificates: {error}")
        raise ConfigError("the CA cannot be used", problems=[problem]) from error
    return text


def trust(ca: str, cache: Path) -> Path:
    """A file with the system's authorities and `ca`, because the variables only take one file."""
    places = (ssl.get_default_verify_paths().openssl_cafile, *SYSTEM_TRUST)
    system = next((Path(place).read_text() for place in places if Path(place).is_file()), "")
    text = f"{system.rstrip()}\n{ca.strip()}\n".lstrip()
    path = cache / "trust" / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.pem"
    write_aside(path, text, mode=0o644)
    return path


def proxy_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The names of all variables for proxies that are set, in their spelling."""
    names = [f"{kind}_proxy" for kind in ("http", "https", "no")]
    return [spelt for name in names for spelt in (name, name.upper()) if environ.get(spelt)]
