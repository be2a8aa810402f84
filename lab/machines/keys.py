"""SSH keys of labs: a machine accepts no other key, and the key opens nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from lab import runner
from lab.config import Settings


def make(key: Path) -> None:
    """Make a key pair if it does not exist: the private key at `key`, the public one beside it."""
    if key.exists():
        return
    key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = key.with_suffix(".new")
    for path in (new, public(new)):
        path.unlink(missing_ok=True)
    runner.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", new])
    os.replace(public(new), public(key))
    os.replace(new, key)


def public(key: Path) -> Path:
    """The path of a public key."""
    return Path(f"{key}.pub")


def key_file(lab: Settings) -> Path:
    """The path of the lab's private SSH key, beside the public one."""
    return lab.state / "id_ed25519"
