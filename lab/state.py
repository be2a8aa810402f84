"""Files of the lab's state: written aside and renamed, so that they are always complete."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_aside(path: Path, text: str, mode: int = 0o600) -> bool:
    """Replace a file's content in one step. Returns False if the content was the same.

    Creates missing folders. `mode` has the permissions of the new file.
    """
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    aside.touch(mode)
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    return True


def existing(path: Path) -> Path:
    """A path, or the nearest folder above it that exists and that this user may read."""
    try:
        there = path.exists()
    except OSError:
        there = False
    return path if there else existing(path.parent)


def remembered(path: Path, make: Callable[[], str]) -> str:
    """The text of a file. If the file does not exist, writes the text of `make` first."""
    if not path.exists():
        write_aside(path, make())
    return path.read_text()
