"""The comparison as one page without scripts: findings, three pictures, and the tables.

The colours are variables of the page, so that a picture is readable in light and dark mode.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from html import escape

from lab.homework import markdown
from lab.homework.comparison import BASE, PHASES, RATE, START, Comparison, Phase, values
from lab.homework.markdown import NEAR, TITLES, Table, cell
from lab.homework.spread import Spread
from lab.pages import html

# Pixels: a picture's width, the space for names at its left, and the height of a row.
WIDE, LEFT, ROW = 860, 190, 34
PLOT = WIDE - LEFT - 110
# The height of the plot of curves, and of a line of a legend.
HIGH, LINE = 300, 18
STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1d2733;--dim:#5b6b7b;--line:#d5dbe1;
--soft:#f4f6f8;--bare:#6b7785;--docker:#1f77c9;--singularity:#d9730d;--job:#8a4fc4;
--setup:#1f77c9;--python:#e3a72f;--imports:#3f9a6b;--loading:#a866b8;
--training:#8795a3;--testing:#b9c3cc;--ending:#c0504d}
@media (prefers-color-scheme:dark){:root{--back:#14191f;--text:#e4e9ee;--dim:#9aa7b4;--line:#323c46;
--soft:#1e252d;--bare:#a3afbb;--docker:#5aa5ec;--singularity:#f29a4a;--job:#b58be3;
--setup:#4b97de;--python:#e3b64b;--imports:#58b886;--loading:#c08bcf;
--training:#6f7d8b;--testing:#4c5865;--ending:#d9706c}}
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;
background:var(--back);color:var(--text)}
h1,h2{font-weight:600;line-height:1.25}h2{margin-top:2.2rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
td,th{text-align:left;padding:.35rem .6rem;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{background:var(--soft)}tbody th{font-weight:600}
.note{color:var(--dim);font-size:14px}svg{display:block;max-width:100%;height:auto;margin:1rem 0}
"""
LOOK = (
    "text{font:13px system-ui,sans-serif;fill:var(--text,#1d2733)}"
    ".small{font-size:11px;fill:var(--dim,#5b6b7b)}.end{text-anchor:end}.mid{text-anchor:middle}"
    ".axis{stroke:var(--line,#d5dbe1);fill:none}.band{fill:var(--soft,#eef1f4)}"
)


def page(found: Comparison) -> str:
    """The whole page. It loads no other files."""
    title = f"The same training by {markdown.listed(markdown.titles(found))}"
    seen = "".join(f"<li>{_marked(finding)}</li>" for finding in markdown.findings(found))
    pictures = "".join(
        f"<h2>{escape(heading)}</h2>{draw(found)}<p class=note>{escape(note)}</p>"
        for heading, draw, note in PICTURES
    )
    shown = "".join(map(_table, markdown.tables(found)))
    return html.page(
        title,
        f"<h1>{escape(title)}</h1><p>{_marked(markdown.caption(found))}</p><ul>{seen}</ul>"
        f"{pictures}{shown}<h2>How it was measured</h2><p>{_marked(markdown.method(found))}</p>",
        STYLE,
    )


def _marked(text: str) -> str:
    """Text with Markdown's code and emphasis as HTML."""
    marked = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", marked)


def _table(one: Table) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in one.header)
    body = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{_marked(text)}</td>' for text in rest)}</tr>"
        for first, *rest in one.rows
    )
    note = f"<p class=note>{_marked(one.note)}</p>" if one.note else ""
    return (
        f"<h2>{escape(one.title)}</h2><div class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>{note}"
    )


# The time until the first image.


def starts(found: Comparison) -> str:
    """Bars of the time from the command to the first image, by phase.

    Runs with an empty page cache have their own bars if there are any.
    """
    rows = [
        (f"{TITLES[way]}{', cold' if cold else ''}", _medians(found, way, START, cold))
        for cold in (False, True)
        for way in found.ways
        if found.of(way, cold=cold)
    ]
    return _bars(rows, START)


def wholes(found: Comparison) -> str:
    """Bars of the time from the command to its end, by phase."""
    rows = [
        (TITLES[way], _medians(found, way, PHASES, False)) for way in found.ways if found.of(way)
    ]
    return _bars(rows, PHASES)


def _medians(
    found: Comparison, way: str, phases: Sequence[Phase], cold: bool
) -> list[tuple[str, float]]:
    runs = found.of(way, cold=cold)
    return [
        (phase.key, Spread(tuple(getattr(run, phase.key) for run in runs)).median)
        for phase in phases
    ]


def _bars(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], phases: Sequence[Phase]) -> str:
    """Stacked bars on an axis of seconds, with a legend of their parts."""
    longest = max((sum(value for _, value in parts) for _, parts in rows), default=0.0)
    ticks = _ticks(0, longest)
    scale = PLOT / max(longest, ticks[-1], 1e-9)
    height = ROW * len(rows)
    drawn = [_grid(ticks, lambda at: LEFT + at * scale, height, " s")]
    for number, (name, parts) in enumerate(rows):
        x, y = float(LEFT), number * ROW
        drawn.append(f'<text class="end" x="{LEFT - 10}" y="{y + 20}">{escape(name)}</text>')
        for key, value in parts:
            title = next(phase.title for phase in phases if phase.key == key)
            drawn.append(
                f'<rect x="{x:.1f}" y="{y + 5}" width="{value * scale:.1f}" height="{ROW - 12}" '
                f'style="fill:var(--{key})"><title>{escape(title)}: {value:.3f} s</title></rect>'
            )
            x += value * scale
        total = cell([sum(value for _, value in parts)], "s")
        drawn.append(f'<text class="small" x="{x + 6:.1f}" y="{y + 20}">{total}</text>')
    legend = _legend([(phase.key, phase.title) for phase in phases], height + 46)
    return _svg("".join([*drawn, legend]), height + 58 + (LINE if len(phases) > 4 else 0))


# Throughput.


def throughput(found: Comparison) -> str:
    """Images per second: a dot for each run, a line for the median, a 5 % band around the base."""
    runs = {way: values(found, RATE, way) for way in found.ways}
    base = Spread(tuple(runs.get(BASE) or next(iter(runs.values())))).median
    every = [value for found_ in runs.values() for value in found_]
    low = min(*every, base * (1 - NEAR * 1.4))
    high = max(*every, base * (1 + NEAR * 1.4))
    scale = PLOT / (high - low or 1)

    def across(value: float) -> float:
        return LEFT + (value - low) * scale

    height = ROW * len(runs)
    band = across(base * (1 - NEAR)), across(base * (1 + NEAR))
    drawn = [
        f'<rect class="band" x="{band[0]:.1f}" y="0" width="{band[1] - band[0]:.1f}" '
        f'height="{height}"/>',
        _grid(_ticks(low, high), across, height, ""),
    ]
    for number, (way, rates) in enumerate(runs.items()):
        middle, spread = number * ROW + ROW / 2, Spread(tuple(rates))
        colour = f"var(--{way})"
        drawn.append(
            f'<text class="end" x="{LEFT - 10}" y="{middle + 4}">{escape(TITLES[way])}</text>'
            f'<path d="M{across(spread.low):.1f} {middle}H{across(spread.high):.1f}" '
            f'style="stroke:{colour};stroke-width:2;opacity:.5"/>'
        )
        drawn += [
            f'<circle cx="{across(rate):.1f}" cy="{middle}" r="4" style="fill:{colour}">'
            f"<title>{rate:.0f}</title></circle>"
            for rate in rates
        ]
        at = across(spread.median)
        drawn.append(
            f'<path d="M{at:.1f} {middle - 11}V{middle + 11}" '
            f'style="stroke:{colour};stroke-width:3"/>'
            f'<text class="small" x="{WIDE - 100}" y="{middle + 4}">{spread.median:.0f}</text>'
        )
    return _svg("".join(drawn), height + 30)


# Losses.


def losses(found: Comparison) -> str:
    """The loss curves of all ways on one axis. Wide lines lie under thin ones, so equal curves
    stay visible."""
    curves = {way: found.curves[way] for way in found.ways if found.curves.get(way)}
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return "<p>The runs have no losses.</p>"
    last, top = max(seen for seen, _ in points), max(loss for _, loss in points)
    upward = _ticks(0, top)
    bottom, highest = HIGH, max(top, upward[-1])

    def across(seen: float) -> float:
        return LEFT + seen * (WIDE - LEFT - 30) / max(last, 1)

    def down(loss: float) -> float:
        return bottom - loss * (HIGH - 10) / max(highest, 1e-9)

    drawn = [
        f'<path class="axis" d="M{LEFT} {down(tick):.1f}H{WIDE - 30}"/>'
        f'<text class="small end" x="{LEFT - 8}" y="{down(tick) + 4:.1f}">{tick:g}</text>'
        for tick in upward
    ]
    drawn += [
        f'<text class="small mid" x="{across(tick):.1f}" y="{bottom + 16}">{_number(tick)}</text>'
        for tick in _ticks(0, last)
        if tick <= last
    ]
    drawn.append(
        f'<text class="small mid" x="{(LEFT + WIDE) / 2}" y="{bottom + 32}">images seen</text>'
        f'<text class="small end" x="{LEFT - 50}" y="{HIGH / 2}">loss</text>'
    )
    for number, (way, curve) in enumerate(curves.items()):
        path = "L".join(f"{across(seen):.1f} {down(loss):.1f}" for seen, loss in curve)
        width = 1.5 + 2.5 * (len(curves) - 1 - number)
        drawn.append(
            f'<path d="M{path}" style="fill:none;stroke:var(--{way});stroke-width:{width};'
            'stroke-linejoin:round"/>'
        )
    legend = _legend([(way, TITLES[way]) for way in curves], bottom + 56)
    return _svg("".join([*drawn, legend]), bottom + 66)


PICTURES: Sequence[tuple[str, Callable[[Comparison], str], str]] = (
    (
        "From the command to the first image",
        starts,
        "Medians of every part. A process' start is known in steps of 10 ms.",
    ),
    (
        "Training, in images per second",
        throughput,
        "A dot is a run, a line the median. The shaded band lies within 5 % of the base. "
        "The axis does not begin at zero.",
    ),
    (
        "Losses",
        losses,
        "Wide lines lie under thin ones. A thin line inside wide ones means that the losses are "
        "the same.",
    ),
    ("From the command to its end", wholes, "Medians of every part."),
)


# Parts of pictures.


def _svg(body: str, height: float) -> str:
    return html.svg(WIDE, height, LOOK, body)


def _grid(
    ticks: Sequence[float], across: Callable[[float], float], height: float, unit: str
) -> str:
    return "".join(
        f'<path class="axis" d="M{across(tick):.1f} 0V{height}"/>'
        f'<text class="small mid" x="{across(tick):.1f}" y="{height + 16}">'
        f"{_number(tick)}{unit}</text>"
        for tick in ticks
    )


def _legend(entries: Sequence[tuple[str, str]], y: float) -> str:
    """Coloured squares with their titles; `y` is the place of the first line, in pixels."""
    x, drawn = float(LEFT), []
    for colour, title in entries:
        width = 34 + 6.4 * len(title)
        if x + width > WIDE:
            x, y = float(LEFT), y + LINE
        drawn.append(
            f'<rect x="{x:.0f}" y="{y - 10:.0f}" width="11" height="11" '
            f'style="fill:var(--{colour})"/>'
            f'<text class="small" x="{x + 16:.0f}" y="{y:.0f}">{escape(title)}</text>'
        )
        x += width
    return "".join(drawn)


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers from `low` to `high`, both in any unit."""
    span = high - low
    if span <= 0:
        return [low]
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (5, 2, 1) if factor == 1 or span / (step * factor) >= 4)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 9) for number in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:g}"
