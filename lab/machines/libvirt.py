"""libvirt past Vagrant, by virsh: its storage, and machines that Vagrant knows no more."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab import runner
from lab.config import Settings
from lab.host import checkout

# What the description of a machine of a lab's begins with.
ROOT = "lab.root="


def virsh(*words: str, ok: Sequence[int] = (0,)) -> str:
    """What virsh prints of the host's libvirt; `ok` are the exit codes that are expected.

    Raises CommandError for others, and PrerequisiteError where there is no virsh.
    """
    return runner.run(["virsh", "--connect", "qemu:///system", *words], ok=ok, timeout=60).stdout


def description(lab: Settings) -> str:
    """What a machine is described by, which tells whose it is."""
    return f"{ROOT}{lab.root}"


def remove(lab: Settings) -> bool:
    """Remove the machines of this lab that libvirt has, their disks, ports and network.

    Whether there were any.
    """
    ours = [name for name, text in _described(lab).items() if text == description(lab)]
    for name in ours:
        undefine(name)
    runner.terminate(_forwards(lab))
    # The Vagrantfile calls it so.
    network = f"lab-{lab.name}"
    if ours and network in virsh("net-list", "--all", "--name").split():
        virsh("net-destroy", network, ok=(0, 1))
        virsh("net-undefine", network)
    return bool(ours)


def refuse_another(lab: Settings) -> None:
    """Raises as checkout.refuse_another: all users of a host share libvirt's names of machines."""
    texts = _described(lab).values()
    roots = [text.removeprefix(ROOT) for text in texts if text.startswith(ROOT)]
    checkout.refuse_another(lab, map(Path, roots))


def _described(lab: Settings) -> dict[str, str]:
    """The machines that are called as this lab's are -> their descriptions."""
    named = re.compile(rf"{re.escape(lab.name)}-(control-plane|worker)-\d+")
    found = [name for name in virsh("list", "--all", "--name").split() if named.fullmatch(name)]
    return {name: virsh("desc", name).strip() for name in found}


def undefine(machine: str) -> None:
    """Remove a machine and its disks; it may run, or not."""
    virsh("destroy", machine, ok=(0, 1))
    kept = ("--managed-save", "--snapshots-metadata", "--nvram", "--remove-all-storage")
    virsh("undefine", machine, *kept)


def _forwards(lab: Settings) -> Iterator[int]:
    """The processes by which Vagrant forwards ports to the machines of a lab: each is an `ssh`."""
    key = f'IdentityFile="{lab.state}/id_ed25519"'
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if {"-L", key} <= set(words):
                yield int(path.parent.name)
