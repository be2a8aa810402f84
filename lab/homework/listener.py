"""Collect a training's output, and report its lines."""

from __future__ import annotations

import re
from collections.abc import Callable

from lab.output import Status

OnLine = Callable[[str], None]
# A progress line, which the next one replaces.
STEP = re.compile(r"\bimages/s\b.*\bleft$")


class Listener:
    """Collects a program's output, and passes whole lines to `on_line`."""

    def __init__(self, on_line: OnLine | None) -> None:
        self._on_line = on_line
        self._rest = ""
        self.text = ""
        self.bytes = 0

    def hear(self, text: str) -> None:
        """Add a piece of the output."""
        self.text += text
        self.bytes += len(text.encode())
        *lines, self._rest = (self._rest + text).split("\n")
        if self._on_line:
            for line in lines:
                self._on_line(line)


def teller(status: Status) -> OnLine:
    """A function that reports lines. On a terminal, progress lines replace each other."""

    def tell(line: str) -> None:
        shown = seen(line)
        if STEP.search(shown) and status.stream.isatty():
            status.note(shown)
        else:
            status.say(shown)

    return tell


def seen(line: str) -> str:
    """A line as a terminal finally shows it, without the overwritten text."""
    return line.rpartition("\r")[2].removeprefix("\x1b[K")
