"""Cut a machine off the lab's network for a while.

To the other machines a cut network looks like a crash, and no process has to be restarted
afterwards. Virtual machines and containers behave alike. The machine restores its network itself
after a time limit, even if the task was killed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import LabError
from lab.machines.ssh import Remote

# Seconds after which the machine restores its network itself.
LIMIT = 150


@contextmanager
def away(machine: Remote, script: str, limit: int = LIMIT) -> Iterator[None]:
    """Cut a machine off the network while the block runs.

    `script` is the path of away.sh on the machine, `limit` a time limit in seconds.
    """
    try:
        machine.run(["sh", script, str(limit)], sudo=True)
        yield
    finally:
        back(machine, script)


def back(machine: Remote, script: str) -> None:
    """Restore a machine's network. A connected machine stays unchanged."""
    with contextlib.suppress(LabError):
        machine.run(["sh", script, "back"], sudo=True)
