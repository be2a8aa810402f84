"""How machines reach the internet: proxies, a CA, and a registry for Docker Hub's images."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping

from lab.config import Lab
from lab.machines.ssh import Remote
from lab.proxies import authority, exceptions


def for_machines(lab: Lab) -> dict[str, str]:
    """The files below /etc/lab that vagrant/outside.sh reads: name -> text, empty for none."""
    proxies = {"http_proxy": lab.proxies.http, "https_proxy": lab.proxies.https}
    wanted = {name: value for name, value in proxies.items() if value}
    if wanted:
        wanted["no_proxy"] = exceptions(lab)
    both = {spelt: value for name, value in wanted.items() for spelt in (name, name.upper())}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in both.items()]
    return {
        "proxy.env": "".join(lines),
        "ca.crt": authority(lab) if lab.ca else "",
        "registry-mirror": lab.registry_mirror,
    }


def digest(files: Mapping[str, str]) -> str:
    """The digest of these files that a machine keeps, or an empty text if all files are empty."""
    if not any(files.values()):
        return ""
    return hashlib.sha256("\0".join(files.values()).encode()).hexdigest()


def tell(remote: Remote, lab: Lab, known: str) -> None:
    """Configure proxies and CA on a machine, unless `known` is the digest of the same files."""
    files = for_machines(lab)
    if (wanted := digest(files)) == known:
        return
    for name, text in files.items():
        remote.put(text, f"/etc/lab/{name}")
    remote.script(lab.root / "vagrant" / "outside.sh", wanted, timeout=120)
