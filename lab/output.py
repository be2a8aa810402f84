"""What the user sees: the story on stderr, the answer on stdout."""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO


def silence_broken() -> bool:
    """Whether somebody has stopped reading this process's output.

    What still is to be written there goes nowhere: Python flushes once more at its end.
    """
    broken = False
    for stream in filter(None, (sys.stdout, sys.stderr)):
        poller = select.poll()
        poller.register(stream.fileno(), 0)
        if poller.poll(0):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            broken = True
    return broken


@dataclass
class Status:
    """Named steps with their duration, on stderr; thread-safe, plain lines when not on a terminal.

    `times` maps each finished step to its seconds: the closing summary is made of it.
    """

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    times: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, text: str) -> None:
        """Print one line of the story."""
        with self._lock:
            self._clear()
            print(text, file=self.stream, flush=True)

    def note(self, text: str) -> None:
        """Show what the running step is at: on a terminal only, replaced by the next note."""
        if not self.stream.isatty():
            return
        with self._lock:
            self._clear()
            print(f"  … {text}"[:110], end="", file=self.stream, flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce `name`, run the block, and print ✓ or ✗ with the seconds it took."""
        start = time.monotonic()
        self.note(name)
        try:
            yield
        except BaseException:
            self.say(f"✗ {name}  {time.monotonic() - start:.1f} s")
            raise
        self.times[name] = time.monotonic() - start
        self.say(f"✓ {name}  {self.times[name]:.1f} s")

    def _clear(self) -> None:
        if self.stream.isatty():
            print("\r\033[K", end="", file=self.stream)


def count(number: int, what: str) -> str:
    """So many of something: `1 machine`, `3 machines`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as kubectl prints them: upper-case header, three spaces between, `-` for empty."""
    cells = [[str(cell) if cell not in (None, "") else "-" for cell in row] for row in rows]
    lines = [[title.upper() for title in header], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def document(value: dict[str, object]) -> str:
    """The one JSON document of a `--json` command; `schema` counts incompatible changes."""
    return json.dumps({"schema": 1, **value}, indent=2, default=str)
