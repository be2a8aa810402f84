"""A machine that is gone for a while: off the lab's network, and back in any case.

Cutting the network takes from a machine what its death would take from all others, and nothing has
to be started again afterwards; it is the same for virtual machines and containers. The machine
itself undoes it when its time is over, whatever has become of the task that asked for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import LabError
from lab.machines.ssh import Remote

# Seconds after which the machine comes back by itself.
LIMIT = 150


@contextmanager
def away(machine: Remote, script: str, limit: int = LIMIT) -> Iterator[None]:
    """Keep a machine off the network while the block runs; `script` is where its away.sh lies."""
    try:
        machine.run(["sh", script, str(limit)], sudo=True)
        yield
    finally:
        back(machine, script)


def back(machine: Remote, script: str) -> None:
    """Plug a machine in again; one that is there stays as it is."""
    with contextlib.suppress(LabError):
        machine.run(["sh", script, "back"], sudo=True)
