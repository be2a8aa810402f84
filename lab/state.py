"""Files that the lab must remember: written aside, then renamed, so never half there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_aside(path: Path, text: str, mode: int = 0o600) -> bool:
    """Replace a file's content in one step; False when it had that content already."""
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
    """A path, or the nearest folder above it that is there and may be looked at."""
    try:
        there = path.exists()
    except OSError:
        there = False
    return path if there else existing(path.parent)


def remembered(path: Path, make: Callable[[], str]) -> str:
    """The text of a file, which `make` provides the first time."""
    if not path.exists():
        write_aside(path, make())
    return path.read_text()
