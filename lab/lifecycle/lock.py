"""A lock for changes of a lab; the kernel releases it when its holder dies."""

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

# Seconds within which a holder writes its name into the lock.
NAMED = 0.5


@contextmanager
def locked(lab: Settings, task: str, status: Status, timeout: float = 1800) -> Iterator[None]:
    """Hold the lab's lock while the block runs; name the holder when this task has to wait.

    Child processes inherit the lock (see `lab.runner`). So processes that a killed task left
    behind still hold it, and the lock identifies them. They are terminated first, because two
    tasks must not change the same machines. Raises DeadlineExceeded after `timeout` seconds.
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
            # For a moment, the lock of a new holder still has the name of the last one.
            if time.monotonic() - since.setdefault(holder, time.monotonic()) > NAMED:
                end_orphans(path)
            raise ResourceError(f"held by {holder or 'another task'}") from None
        # A lab-destroy removes the file. Then the next task makes a new one, and this lock is void.
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

    A task that was waiting for the lock may already have recreated the folder; then it is kept.
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
    """The file of a lock, created when missing; None when its folder is removed at this moment."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path.open("a+")
    except (FileExistsError, FileNotFoundError):
        return None


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is the file at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def named(path: Path) -> str:
    """The holder's name in a lock; waits for a new holder to write it, and may be empty."""
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
    """Terminate processes that hold a lock whose task is dead."""
    found = re.search(r"process (\d+)", _text(path))
    if not found or Path(f"/proc/{found[1]}").exists():
        return
    runner.terminate(holders(path))


def holders(path: Path) -> list[int]:
    """PIDs of other processes that hold the lock; waiting processes are not included."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            details = link.parents[1] / "fdinfo" / link.name
            if os.readlink(link) == str(path) and "FLOCK" in details.read_text():
                found.add(int(link.parts[2]))
    return sorted(found - {os.getpid()})
