"""libvirt past Vagrant, by virsh: its storage, and machines that Vagrant knows no more."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lab import runner
from lab.config import Lab


def virsh(*words: str, ok: Sequence[int] = (0,)) -> str:
    """What virsh prints of the host's libvirt; `ok` are the exit codes that are expected.

    Raises CommandError for others, and PrerequisiteError where there is no virsh.
    """
    return runner.run(["virsh", "--connect", "qemu:///system", *words], ok=ok, timeout=60).stdout


def description(lab: Lab) -> str:
    """What a machine is described by, which tells whose it is."""
    return f"lab.root={lab.root}"


def remove(lab: Lab) -> bool:
    """Remove the machines of this lab that libvirt has, their disks, and their network.

    Whether there were any.
    """
    named = re.compile(rf"{re.escape(lab.name)}-(control-plane|worker)-\d+")
    found = [name for name in virsh("list", "--all", "--name").split() if named.fullmatch(name)]
    ours = [name for name in found if virsh("desc", name).strip() == description(lab)]
    for name in ours:
        # It may run, or not.
        virsh("destroy", name, ok=(0, 1))
        kept = ("--managed-save", "--snapshots-metadata", "--nvram", "--remove-all-storage")
        virsh("undefine", name, *kept)
    # The Vagrantfile calls it so.
    network = f"lab-{lab.name}"
    if ours and network in virsh("net-list", "--all", "--name").split():
        virsh("net-destroy", network, ok=(0, 1))
        virsh("net-undefine", network)
    return bool(ours)
