"""One change of a lab at a time: a lock that dies with its holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from lab import wait
from lab.config import Lab
from lab.errors import ResourceError
from lab.output import Status


@contextmanager
def locked(lab: Lab, task: str, status: Status, timeout: float = 1800) -> Iterator[None]:
    """Hold the lab's lock while the block runs; say who holds it when that takes a wait.

    Child processes inherit the lock (see `lab.runner`), so that what a killed task left running is
    waited for. Raises DeadlineExceeded after `timeout` seconds.
    """
    lab.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = lab.state / "lock"
    with path.open("a+") as file:
        os.set_inheritable(file.fileno(), True)

        def take() -> bool | None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResourceError(
                    f"held by {path.read_text().strip() or 'another task'}"
                ) from None
            return True

        try:
            take()
        except ResourceError as error:
            status.say(f"waiting for lab `{lab.name}`: {error.message}")
            wait.until(take, what=f"the lock of lab `{lab.name}`", timeout=timeout)
        file.truncate(0)
        file.write(f"{task} (process {os.getpid()})\n")
        file.flush()
        yield
