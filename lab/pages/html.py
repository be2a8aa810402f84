"""The skeleton of every HTML page and every picture that the lab writes."""

from __future__ import annotations

from html import escape

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;
color:#1d2733}
h1,h2{font-weight:600}h2{margin-top:2.5rem;border-top:1px solid #d5dbe1;padding-top:1rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .6rem;vertical-align:top;
border-bottom:1px solid #e6eaee}td.points,th.points{text-align:right;white-space:nowrap}
.passed{color:#2e7d4f}.failed{color:#b3402e}.error{color:#8a6d00}
pre{background:#f4f6f8;padding:.6rem;overflow-x:auto;white-space:pre-wrap;margin:.3rem 0}
svg{display:block;max-width:100%;height:auto;margin:1rem 0}td.mark{width:1rem}
summary{cursor:pointer}
"""


def page(title: str, body: str, style: str = STYLE) -> str:
    """A self-contained page without scripts; `title` is text, `body` is HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def svg(
    width: float, height: float, style: str, body: str, origin: str = "0 0", label: str = ""
) -> str:
    """A picture of this size in pixels; `origin` is its upper left point.

    A screen reader reads the `label`.
    """
    named = f' aria-label="{escape(label)}"' if label else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{origin} {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img"{named}>'
        f"<style>{style}</style>{body}</svg>"
    )
