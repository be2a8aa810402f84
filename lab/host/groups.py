"""Groups with which an ordinary user may use Docker and libvirt.

A user who joins a group after the log-in has it in no process yet. A running process cannot add a
group. So a task replaces itself by sg(1), which starts it again with the group.
"""

from __future__ import annotations

import getpass
import grp
import os
import shlex
import sys
from pathlib import Path

# Group -> the socket that its members may use.
SOCKETS = {
    "docker": Path("/var/run/docker.sock"),
    "libvirt": Path("/var/run/libvirt/libvirt-sock"),
}
# The variable with the groups for which this process has replaced itself. It does so only once for
# each group.
JOINED = "LAB_JOINED"


def take() -> None:
    """Replace this process by one with every group of SOCKETS that the user has joined."""
    for group in SOCKETS:
        if shut(group) and joined_since(group):
            restart(group)


def shut(group: str) -> bool:
    """Whether a group's socket exists, and this process may not use it."""
    return SOCKETS[group].exists() and not os.access(SOCKETS[group], os.W_OK)


def joined_since(group: str) -> bool:
    """Whether the user has joined a group that this process does not have."""
    try:
        found = grp.getgrnam(group)
    except KeyError:
        return False
    return getpass.getuser() in found.gr_mem and found.gr_gid not in (os.getgid(), *os.getgroups())


def restart(group: str) -> None:
    """Replace this process by the same task with a group. The second call does nothing."""
    before = os.environ.get(JOINED, "").split()
    if group in before:
        return
    again = shlex.join([sys.executable, "-m", "invoke", *sys.argv[1:]])
    os.environ[JOINED] = " ".join([*before, group])
    # Otherwise the new process would inherit the lab's lock.
    os.closerange(3, 1024)
    os.execvp("sg", ["sg", group, "-c", again])
