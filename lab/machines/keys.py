"""SSH keys of the lab's own: no machine accepts another, and none of them opens anything else."""

from __future__ import annotations

import os
from pathlib import Path

from lab import runner
from lab.config import Settings


def make(key: Path) -> None:
    """Make a key pair the first time: the private half at `key`, the public one beside it."""
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
    """Where the public half of a key lies."""
    return Path(f"{key}.pub")


def key_file(lab: Settings) -> Path:
    """The lab's private SSH key; its public half lies beside it."""
    return lab.state / "id_ed25519"
