"""The output for the user: progress on stderr, results on stdout."""

from __future__ import annotations

import contextlib
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

from lab.progress import History, Running, line


def silence_broken() -> bool:
    """Whether the reader of this process's output has closed its pipe, e.g. `head`.

    Discards all further output, because Python flushes again at its exit.
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
    """Named steps with their duration on stderr. Thread-safe. Without a terminal, plain lines.

    `times` maps each finished step to its seconds, for the final summary. `history` knows the usual
    duration of steps. Without a terminal, a line names the running steps every `every` seconds.
    """

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    times: dict[str, float] = field(default_factory=dict)
    history: History | None = None
    every: float = 30
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _running: list[Running] = field(default_factory=list)
    _idle: threading.Event = field(default_factory=threading.Event)
    _note: str = ""

    def say(self, text: str) -> None:
        """Print one line."""
        with self._lock:
            self._clear()
            print(text, file=self.stream, flush=True)

    def note(self, text: str) -> None:
        """Show a detail of the running step: on a terminal now, otherwise in the next line."""
        with self._lock:
            self._note = text
            if self.stream.isatty():
                self._clear()
                told = self._progress() if self._running else text
                print(f"  … {told}"[:110], end="", file=self.stream, flush=True)

    @contextmanager
    def step(self, name: str, *, part: bool = False) -> Iterator[None]:
        """Announce the step `name`, run the block, and print ✓ or ✗ with the seconds.

        A `part` belongs to another step. Its line is indented, and the summary leaves it out.
        """
        usual = self.history.usual(name) if self.history else None
        step = Running(name, time.monotonic(), usual)
        with self._lock:
            if not self._running:
                self._idle = threading.Event()
                threading.Thread(target=self._report, args=(self._idle,), daemon=True).start()
            self._running.append(step)
        self.note(name)
        try:
            yield
        except BaseException:
            self._finish(step, "  ✗" if part else "✗")
            raise
        seconds = self._finish(step, " " if part else "✓")
        if not part:
            self.times[name] = seconds
        if self.history:
            # Steps of several threads may finish at once, and keeping one rewrites the whole file.
            with self._lock:
                self.history.add(name, seconds)

    def _finish(self, step: Running, mark: str) -> float:
        seconds = time.monotonic() - step.started
        with self._lock:
            self._running.remove(step)
            self._note = ""
            if not self._running:
                self._idle.set()
            self.say(f"{mark} {step.name}  {seconds:.1f} s")
        return seconds

    def _report(self, idle: threading.Event) -> None:
        """Print the progress of the running steps at intervals, until none runs."""
        terminal = self.stream.isatty()
        while not idle.wait(1 if terminal else self.every):
            # Ignore a closed stream here. The step itself fails when it prints.
            with self._lock, contextlib.suppress(OSError, ValueError):
                if self._running and terminal:
                    self.note(self._note)
                elif self._running:
                    print(f"… {self._progress()}", file=self.stream, flush=True)

    def _progress(self) -> str:
        return line(self._running, time.monotonic(), self._note)

    def _clear(self) -> None:
        if self.stream.isatty():
            print("\r\033[K", end="", file=self.stream)


def count(number: int, what: str) -> str:
    """A number with its noun, e.g. `1 machine` or `3 machines`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in kubectl's style: upper-case header, three spaces between columns, `-` if empty."""
    cells = [[str(cell) if cell not in (None, "") else "-" for cell in row] for row in rows]
    lines = [[title.upper() for title in header], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def document(value: dict[str, object]) -> str:
    """The JSON document of a `--json` command. `schema` counts incompatible changes."""
    return json.dumps({"schema": 1, **value}, indent=2, default=str)
