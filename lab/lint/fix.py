"""Repairs: edits of a text by position, which keep comments and layout."""

from __future__ import annotations

import contextlib
import os
import shutil
from bisect import bisect_right, insort
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lab.errors import ResourceError


class Edit(NamedTuple):
    """Replace the characters from `start` up to, but not including, `end` by `text`."""

    start: int
    end: int
    text: str


def apply(text: str, repairs: Iterable[tuple[Edit, ...]]) -> str:
    """The text after the repairs. Skips a repair that overlaps an earlier one."""
    taken: list[Edit] = []
    for repair in sorted(repairs):
        if not any(_touches(taken, edit) for edit in repair):
            for edit in repair:
                insort(taken, edit)
    parts, end = [], 0
    for edit in taken:
        parts += [text[end : edit.start], edit.text]
        end = edit.end
    return "".join([*parts, text[end:]])


def _touches(taken: list[Edit], edit: Edit) -> bool:
    i = bisect_right(taken, edit)
    before, after = taken[i - 1 : i], taken[i : i + 1]
    return any(other.end > edit.start for other in before) or any(
        other.start < edit.end for other in after
    )


def write(name: str, text: str) -> None:
    """Replace a file in one step. Keeps its permissions, and a link to it.

    Raises ResourceError if the file cannot be replaced.
    """
    path = Path(name).resolve()
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(text.encode())
        shutil.copymode(path, aside)
        os.replace(aside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise ResourceError(
            f"`{name}` cannot be repaired: {error.strerror}",
            hint="make the file and its folder writable",
        ) from error
