"""libvirt without Vagrant, by virsh: its storage, and machines missing in Vagrant's records."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab import runner
from lab.config import Settings
from lab.host import checkout

# The prefix in the description of every machine of a lab.
ROOT = "lab.root="


def virsh(*words: str, ok: Sequence[int] = (0,)) -> str:
    """The output of virsh on the host's libvirt. `ok` are the expected exit codes.

    Raises CommandError for other codes, and PrerequisiteError when virsh is missing.
    """
    return runner.run(["virsh", "--connect", "qemu:///system", *words], ok=ok, timeout=60).stdout


def description(lab: Settings) -> str:
    """The description of a lab's machine, which names its checkout."""
    return f"{ROOT}{lab.root}"


def remove(lab: Settings) -> bool:
    """Remove the lab's machines with disks, ports and network. Returns whether there were any."""
    ours = [name for name, text in _described(lab).items() if text == description(lab)]
    for name in ours:
        undefine(name)
    runner.terminate(_forwards(lab))
    # The name in the Vagrantfile.
    network = f"lab-{lab.name}"
    if ours and network in virsh("net-list", "--all", "--name").split():
        virsh("net-destroy", network, ok=(0, 1))
        virsh("net-undefine", network)
    return bool(ours)


def refuse_another(lab: Settings) -> None:
    """Raise like checkout.refuse_another, because all users share libvirt's machine names."""
    texts = _described(lab).values()
    roots = [text.removeprefix(ROOT) for text in texts if text.startswith(ROOT)]
    checkout.refuse_another(lab, map(Path, roots))


def _described(lab: Settings) -> dict[str, str]:
    """Machines with names like this lab's -> their descriptions."""
    named = re.compile(rf"{re.escape(lab.name)}-(control-plane|worker)-\d+")
    found = [name for name in virsh("list", "--all", "--name").split() if named.fullmatch(name)]
    return {name: virsh("desc", name).strip() for name in found}


def undefine(machine: str) -> None:
    """Remove a machine, which may be running, and its disks."""
    virsh("destroy", machine, ok=(0, 1))
    kept = ("--managed-save", "--snapshots-metadata", "--nvram", "--remove-all-storage")
    virsh("undefine", machine, *kept)


def _forwards(lab: Settings) -> Iterator[int]:
    """PIDs of the `ssh` processes with which Vagrant forwards ports to a lab's machines."""
    key = f'IdentityFile="{lab.state}/id_ed25519"'
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if {"-L", key} <= set(words):
                yield int(path.parent.name)
