"""Find files, read them up to a limit, decode them, and convert positions in their text."""

from __future__ import annotations

import glob
import os
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lab.errors import ConfigError, NotFoundError

MOST_BYTES = 1_000_000
MOST_LINES = 50_000
STDIN = "-"
ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Failure:
    """Why lint stopped reading a text: a rule's code, the position, a message and the fix."""

    code: str
    index: int
    message: str
    fix: str = ""


def too_much(message: str) -> Failure:
    """The failure of a file that is too large."""
    return Failure("limit", 0, message, "split it into several files")


@dataclass(frozen=True)
class Source:
    """One text. For refused bytes `failure` is set and `text` is empty."""

    name: str
    text: str
    failure: Failure | None = None

    def place(self, index: int) -> tuple[int, int]:
        """Line and column of a character; both count from one."""
        line = bisect_right(self._lines, index) - 1
        return line + 1, index - self._lines[line] + 1

    def line(self, number: int) -> str:
        """A line by its number, without its end of line."""
        return self.text[self.start(number) : self.start(number + 1)].rstrip("\r\n")

    def start(self, number: int) -> int:
        """The index at which a line begins; after the last line the end of the text."""
        return self._lines[number - 1] if number <= len(self._lines) else len(self.text)

    def above(self, number: int) -> int:
        """The number of the nearest non-empty line above a line; 0 if there is none."""
        return next((n for n in range(number - 1, 0, -1) if self.line(n).strip()), 0)

    @cached_property
    def _lines(self) -> list[int]:
        return [0, *(i + 1 for i, letter in enumerate(self.text) if letter == "\n")]


def find(words: Sequence[str]) -> dict[str, bool]:
    """The files of the words: files, folders, patterns, and `-` for standard input.

    Maps each file to whether a word names it; False for a file that was only found in a folder.

    Raises ConfigError for no word at all and NotFoundError for a word without a file.
    """
    if not words:
        raise ConfigError(
            "lint needs a file or a folder", hint="invoke lint FILE, a folder, or - for stdin"
        )
    found: dict[str, bool] = {}
    for word in words:
        names = [word] if word == STDIN or os.path.exists(word) else sorted(glob.glob(word))
        files = {file: file == name for name in names for file in _files(name)}
        if not files:
            what = "has no YAML files" if os.path.isdir(word) else "does not exist"
            raise NotFoundError(f"`{word}` {what}", hint="name files, folders, or - for stdin")
        for file, named in files.items():
            found[file] = named or found.get(file, False)
    return found


def read(name: str) -> Source:
    """The text of a file, or of standard input. Reads no more than the limit.

    Raises NotFoundError if the file cannot be opened.
    """
    try:
        if name == STDIN:
            return decode("<stdin>", sys.stdin.buffer.read(MOST_BYTES + 1))
        with Path(name).open("rb") as file:
            return decode(name, file.read(MOST_BYTES + 1))
    except OSError as error:
        raise NotFoundError(f"`{name}` cannot be read: {error.strerror}") from error


def decode(name: str, raw: bytes) -> Source:
    """Decode bytes from UTF-8, unchanged. Returns a failure for too many bytes or lines."""
    if len(raw) > MOST_BYTES:
        return Source(name, "", too_much(f"the file is larger than {MOST_BYTES:,} bytes"))
    if raw.count(b"\n") > MOST_LINES:
        return Source(name, "", too_much(f"the file has more than {MOST_LINES:,} lines"))
    try:
        return Source(name, raw.decode())
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        where = f"byte {len(before) + 1}"
        message = f"the file is not UTF-8 text: {error.reason} at {where}"
        return Source(name, "", Failure("not-text", 0, message))


def _files(name: str) -> Iterator[str]:
    if name == STDIN or not os.path.isdir(name):
        yield name
        return
    for folder, folders, files in os.walk(name):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for file in sorted(files):
            path = os.path.join(folder, file)
            if file.endswith(ENDINGS) and os.path.isfile(path):
                yield path
