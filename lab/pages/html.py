"""The skeleton of every HTML page that the lab writes."""

from __future__ import annotations

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
