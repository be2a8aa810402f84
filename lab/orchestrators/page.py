"""The comparison as one page: the table, and a picture of the client's requests."""

from __future__ import annotations

from html import escape

from lab.orchestrators import table
from lab.orchestrators.course import Comparison, Course
from lab.orchestrators.records import BAR
from lab.pages import html

# Pixels: left of the bars, a row, its bars, and the width of all bars.
LEFT, ROW, HIGH, WIDE = 130, 68, 22, 760
EVENTS = {
    "kill": "killed",
    "scale": "1 → 3",
    "update": "v1 → v2",
    "away": "machine gone",
    "back": "back",
}
LOOK = (
    "text{font:12px system-ui,sans-serif;fill:#1d2733}.small{font-size:10px;fill:#5b6b7b}"
    ".good{fill:#7fbf95}.some{fill:#e3b64b}.none{fill:#b3402e}.event{stroke:#1d2733}"
    ".axis{stroke:#d5dbe1}"
)


def page(found: Comparison) -> str:
    """A self-contained page without scripts."""
    heading, lines = table.rows(found)
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in heading)
    body = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in lines
    )
    title = "The same app by five orchestrators"
    return html.page(
        title,
        f"<h1>{title}</h1><table><tr>{cells}</tr>{body}</table>"
        f"<p>{escape(table.caption(found))}</p><h2>The client's requests</h2>{picture(found)}",
    )


def picture(found: Comparison) -> str:
    """The courses below each other, coloured by the answers in every half second."""
    longest = max((len(course.bars) for course in found.courses), default=1) * BAR
    scale = WIDE / max(longest, 1)
    height = ROW * len(found.courses) + 42
    rows = [
        f'<g transform="translate({LEFT} {number * ROW + 20})">{_row(course, scale)}</g>'
        for number, course in enumerate(found.courses)
    ]
    axis = "".join(
        f'<path class="axis" d="M{LEFT + second * scale:.1f} 12V{height - 28}"/>'
        f'<text class="small" x="{LEFT + second * scale:.1f}" y="{height - 16}">{second} s</text>'
        for second in range(0, int(longest) + 1, 20)
    )
    return html.svg(LEFT + WIDE + 20, height, LOOK, f"{axis}{''.join(rows)}{_legend(height)}")


def _row(course: Course, scale: float) -> str:
    parts = [f'<text x="{-LEFT}" y="{HIGH - 6}">{escape(course.orchestrator)}</text>']
    for kind, begin, end in _runs(course):
        parts.append(
            f'<rect class="{kind}" x="{begin * scale:.1f}" '
            f'width="{(end - begin) * scale:.1f}" height="{HIGH}"/>'
        )
    # The end of the last label on each line, so that labels do not overlap.
    ends = [float("-inf")] * 3
    for scene in course.scenes:
        if label := EVENTS.get(scene.name):
            x = scene.at * scale
            line = next((number for number, end in enumerate(ends) if x > end), len(ends) - 1)
            ends[line] = x + 6 * len(label)
            parts.append(
                f'<path class="event" d="M{x:.1f} -4V{HIGH + 4}"/>'
                f'<text class="small" x="{x:.1f}" y="{HIGH + 14 + 11 * line}">{label}</text>'
            )
    return "".join(parts)


def _runs(course: Course) -> list[tuple[str, float, float]]:
    """Runs of equal half seconds: kind, begin and end. Half seconds without requests have none."""
    found: list[tuple[str, float, float]] = []
    for number, (good, bad) in enumerate(course.bars):
        if not good and not bad:
            continue
        # A request takes up to a second, and the client sends no other one meanwhile.
        if found and number * BAR - found[-1][2] <= 1:
            found[-1] = (*found[-1][:2], number * BAR)
        kind = "good" if not bad else "some" if good else "none"
        begin = number * BAR
        if found and found[-1][0] == kind and found[-1][2] == begin:
            found[-1] = (kind, found[-1][1], begin + BAR)
        else:
            found.append((kind, begin, begin + BAR))
    return found


def _legend(height: int) -> str:
    words = {"good": "all answered", "some": "some lost", "none": "no answer"}
    return "".join(
        f'<rect class="{kind}" x="{LEFT + number * 130}" y="{height - 11}" width="10" height="10"/>'
        f'<text class="small" x="{LEFT + 14 + number * 130}" y="{height - 2}">{text}</text>'
        for number, (kind, text) in enumerate(words.items())
    )
