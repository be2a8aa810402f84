"""Groups that let an ordinary user talk to Docker and libvirt.

Whoever joined one since they logged in has it in no process yet: a process gets a group only by
starting anew. So a task is replaced by itself, with the group, by sg(1).
"""

from __future__ import annotations

import getpass
import grp
import os
import shlex
import sys
from pathlib import Path

# Group -> the socket that it opens.
SOCKETS = {
    "docker": Path("/var/run/docker.sock"),
    "libvirt": Path("/var/run/libvirt/libvirt-sock"),
}
# The groups that this process was replaced for, so that it is once at most.
JOINED = "LAB_JOINED"


def take() -> None:
    """Replace this process by one that has every group of SOCKETS that the user is in."""
    for group in SOCKETS:
        if shut(group) and joined_since(group):
            restart(group)


def shut(group: str) -> bool:
    """Whether the socket that a group opens is there, and shut to this process."""
    return SOCKETS[group].exists() and not os.access(SOCKETS[group], os.W_OK)


def joined_since(group: str) -> bool:
    """Whether the user is in a group that this process has not."""
    try:
        found = grp.getgrnam(group)
    except KeyError:
        return False
    return getpass.getuser() in found.gr_mem and found.gr_gid not in (os.getgid(), *os.getgroups())


def restart(group: str) -> None:
    """Replace this process by itself with a group. Does nothing the second time."""
    before = os.environ.get(JOINED, "").split()
    if group in before:
        return
    again = shlex.join([sys.executable, "-m", "invoke", *sys.argv[1:]])
    os.environ[JOINED] = " ".join([*before, group])
    # The lab's lock would be inherited.
    os.closerange(3, 1024)
    os.execvp("sg", ["sg", group, "-c", again])
