"""Explain the parser's errors with messages about the line that caused them."""

from __future__ import annotations

import re

from lab.lint.source import Failure, Source


def explain(source: Source, index: int, problem: str) -> Failure:
    """The failure for a parser's error at `index`. The cause is often one line above.

    `problem` is the parser's own message.
    """
    number, _ = source.place(index)
    line = source.line(number)
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return Failure("tab", source.start(number), "a tab indents this line", "")
    if template := re.search(r"\{\{|\{%", source.text[: source.start(number + 1)]):
        message = "the file is a template and not YAML yet"
        fix = "run `helm template` first, and lint its output"
        return Failure("syntax", template.start(), message, fix)
    if "mapping values are not allowed" in problem:
        return _second_colon(source, number, index)
    if "did not find expected" in problem and (
        "key" in problem or "'-'" in problem or "<" in problem
    ):
        return _odd_line(source, number, index)
    for words, message, fix in _SAYINGS:
        if words in problem:
            return Failure("syntax", index, message, fix)
    return Failure("syntax", index, f"this is not YAML: {problem}")


def _second_colon(source: Source, number: int, index: int) -> Failure:
    line = source.line(number)
    above = source.above(number)
    before = source.line(above) if above else ""
    if re.match(r"\s*-[A-Za-z][\w-]*:", before):
        message = f"line {above} has no space after its dash"
        return Failure("syntax", source.start(above), message, "write `- name: value`")
    if re.match(r"\s*(- +)?[^\s:#]+: ", line[: source.place(index)[1] - 1]):
        message = "this line contains a second `: `"
        return Failure("syntax", index, message, "write the value in quotes")
    if re.match(r"\s*(- +)?[\w./-]+:[^\s/]", before):
        message = f"line {above} has no space after its colon"
        return Failure("syntax", source.start(above), message, "write `name: value`")
    if re.match(r"\s*(- +)?[^\s:#]+: +\S", before) and _indent(line) > _indent(before):
        message = f"this line is indented deeper than line {above}, which already has a value"
        return Failure("indentation", source.start(number), message, _levels(source, number))
    return Failure(
        "syntax", source.start(max(above, 1)), "this line has no colon", "write `name: value`"
    )


def _odd_line(source: Source, number: int, index: int) -> Failure:
    levels = _open_levels(source, number)
    line = source.line(number)
    if _indent(line) not in levels and line.strip():
        message = f"this line begins in column {_indent(line) + 1}, unlike every line above"
        return Failure("indentation", source.start(number), message, _levels(source, number))
    message = "this line does not continue the lines above"
    return Failure("syntax", index, message, "check its indentation, its `-` and its brackets")


def _levels(source: Source, number: int) -> str:
    columns = [str(level + 1) for level in sorted(_open_levels(source, number))]
    return f"begin it in column {' or '.join(columns)}, like the other fields of its object"


def _open_levels(source: Source, number: int) -> set[int]:
    """The indentations that a line may have: those of the open objects and lists above it."""
    levels: set[int] = set()
    lowest = 1 << 30
    for above in range(number - 1, 0, -1):
        line = source.line(above)
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line.startswith("---"):
            break
        inner = _indent(line)
        while line[inner : inner + 2] == "- " and inner < lowest:
            after = inner + 1 + _indent(line, inner + 1)
            levels |= {after} if after < lowest else set()
            levels.add(inner)
            inner = after
        if _indent(line) < lowest:
            lowest = _indent(line)
            levels.add(lowest)
        if lowest == 0:
            break
    return levels


def _indent(line: str, begin: int = 0) -> int:
    """The number of spaces from `begin` on. Does not copy the line, which may be long."""
    end = begin
    while line.startswith(" ", end):
        end += 1
    return end - begin


_SAYINGS = (
    ("alphabetic or numeric character", "a value cannot begin with `*` or `&`", "quote the value"),
    ("hexdecimal", "the letter after `\\` needs a hexadecimal number", "use single quotes"),
    ("unexpected end of stream", "the quote that opens here is never closed", "close it"),
    ("',' or ']'", "a `[` is not closed, or a comma is missing", "close it with `]`"),
    ("',' or '}'", "a `{` is not closed, or a comma is missing", "close it with `}`"),
    ("node content", "a value is missing here, or a bracket is not closed", "close it"),
    ("unknown escape", "the letter after `\\` has no meaning", "use single quotes"),
    ("cannot start any token", "a value cannot begin with this character", "quote the value"),
    ("tag handle", "`!` begins a tag that is not defined", "quote the value"),
)
