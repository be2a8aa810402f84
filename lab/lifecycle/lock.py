"""One change of a lab at a time: a lock that dies with its holder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lab import runner, wait
from lab.config import Settings
from lab.errors import DeadlineExceeded, ResourceError
from lab.output import Status

# Seconds after which a holder has written its name into the lock.
NAMED = 0.5


@contextmanager
def locked(lab: Settings, task: str, status: Status, timeout: float = 1800) -> Iterator[None]:
    """Hold the lab's lock while the block runs; say who holds it when that takes a wait.

    Child processes inherit the lock (see `lab.runner`). So what a killed task left running still
    holds it, is known by it, and is ended: two hands must not work on the same machines.
    Raises DeadlineExceeded after `timeout` seconds.
    """
    path = lab.state / "lock"
    since: dict[str, float] = {}

    def take() -> IO[str] | None:
        if (file := _open(path)) is None:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            holder = named(path)
            # For a moment a new holder has the name of the last one, who is gone.
            if time.monotonic() - since.setdefault(holder, time.monotonic()) > NAMED:
                end_orphans(path)
            raise ResourceError(f"held by {holder or 'another task'}") from None
        # A lab-destroy takes the file away: then others find none, and make one of their own.
        if not _is_at(file, path):
            file.close()
            return None
        return file

    def wait_for_it() -> IO[str]:
        return wait.until(take, what=f"the lock of lab `{lab.name}`", timeout=timeout)

    try:
        file = take() or wait_for_it()
    except ResourceError as error:
        status.say(f"waiting for lab `{lab.name}`: {error.message}")
        file = wait_for_it()
    with file:
        os.set_inheritable(file.fileno(), True)
        file.truncate(0)
        file.write(f"{task} (process {os.getpid()})\n")
        file.flush()
        yield


def remove(folder: Path) -> None:
    """Remove the folder of a lab whose lock is held, the lock last.

    Whoever waited for it may have made the folder its own by then, which stays.
    """
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()
    (folder / "lock").unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise


def _open(path: Path) -> IO[str] | None:
    """The file of a lock, made where there is none; None when its folder goes at this moment."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path.open("a+")
    except (FileExistsError, FileNotFoundError):
        return None


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one that is found at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def named(path: Path) -> str:
    """What is written in a lock, if it is there; a new holder writes its name in a moment."""
    with contextlib.suppress(DeadlineExceeded):
        return wait.until(
            lambda: _text(path).strip() or None,
            what="the holder's name",
            timeout=NAMED,
            interval=0.01,
            longest=0.05,
        )
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def end_orphans(path: Path) -> None:
    """End the processes that have a lock open although the task that took it is gone."""
    found = re.search(r"process (\d+)", _text(path))
    if not found or Path(f"/proc/{found[1]}").exists():
        return
    runner.terminate(holders(path))


def holders(path: Path) -> list[int]:
    """The other processes that hold a lock on a file; one that only waits for it is none."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            details = link.parents[1] / "fdinfo" / link.name
            if os.readlink(link) == str(path) and "FLOCK" in details.read_text():
                found.add(int(link.parts[2]))
    return sorted(found - {os.getpid()})
