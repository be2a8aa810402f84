"""Repairs: edits of a text by position, so that comments and layout stay what they are."""

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
    """Characters from `start` up to `end` become `text`."""

    start: int
    end: int
    text: str


def apply(text: str, repairs: Iterable[tuple[Edit, ...]]) -> str:
    """The text with the repairs made; one that overlaps another waits for the next time."""
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
    """Replace a file in one step; its permissions stay, and a link still leads to it.

    Raises ResourceError where it may not be replaced.
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
            f"`{name}` cannot be repaired: {error.strerror}", hint="have it and its folder writable"
        ) from error
