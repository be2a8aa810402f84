"""A picture of a terminal session: real commands with their real output, as SVG.

`python -m lab.pages.terminal` runs the commands of the README in the checkout and writes
docs/session.svg. It starts a lab, so it takes as long as `invoke lab-up`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from lab import runner
from lab.pages import html
from lab.state import write_aside

FILE = Path("docs/session.svg")
COMMANDS = ("./inv lab-up", "./inv exercise-up pod", "./inv check pod")
# Pixels: the width of a character, the height of a line, and the margin around the text.
WIDTH, HEIGHT, MARGIN = 7.8, 19, 16
COLUMNS = 112
FONT = "13px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
BACKGROUND, TEXT = "#14191f", "#d5dbe1"
LOOK = f"text{{font:{FONT};fill:{TEXT};white-space:pre}}"
# The first character of a line -> the colour of that character.
MARKS = {"$": "#7aa2f7", "✓": "#7bc275", "✗": "#e06c75", "…": "#8b97a3"}


@dataclass(frozen=True)
class Command:
    """A typed command line, and its output on both streams."""

    typed: str
    output: str


def lines(session: Sequence[Command]) -> Iterator[str]:
    """The lines on the screen: each command after a prompt, its output, and an empty line."""
    for number, command in enumerate(session):
        if number:
            yield ""
        yield f"$ {command.typed}"
        yield from (line.rstrip()[:COLUMNS] for line in command.output.rstrip().splitlines())


def svg(session: Sequence[Command]) -> str:
    """The picture of a session."""
    shown = list(lines(session))
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(shown) * HEIGHT + 2 * MARGIN
    rows = [
        f'<text x="{MARGIN}" y="{MARGIN + (number + 0.75) * HEIGHT:g}">{_coloured(line)}</text>'
        for number, line in enumerate(shown)
        if line
    ]
    screen = f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>'
    # Not every renderer knows `white-space`.
    body = "\n".join(["", screen, '<g xml:space="preserve">', *rows, "</g>", ""])
    return html.svg(width, height, LOOK, body, label="A terminal session") + "\n"


def _coloured(line: str) -> str:
    mark, rest = line[:1], line[1:]
    if mark not in MARKS:
        return escape(line)
    return f'<tspan fill="{MARKS[mark]}">{escape(mark)}</tspan>{escape(rest)}'


def record(root: Path) -> list[Command]:
    """Run COMMANDS in a checkout. Raises CommandError if one fails."""
    return [
        Command(typed, runner.run(["sh", "-c", f"{typed} 2>&1"], cwd=root, timeout=3600).stdout)
        for typed in COMMANDS
    ]


if __name__ == "__main__":
    ROOT = Path(__file__).resolve().parents[2]
    write_aside(ROOT / FILE, svg(record(ROOT)), mode=0o644)
