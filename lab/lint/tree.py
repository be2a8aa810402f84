"""Parse text into nodes with positions, event by event, to apply limits early.

PyYAML's own composer would expand an alias bomb, drop duplicate keys, and need a stack frame for
each level. This parser never constructs an object for a tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import yaml

from lab.lint.explain import explain
from lab.lint.source import Failure, Source

MOST_DEPTH = 100
MOST_DOCUMENTS = 200
# The most items of one list, and the most fields of one object.
MOST_ITEMS = 1_000
# The most values of a file. An alias counts as all the values that it stands for.
MOST_NODES = 100_000
BOM = "\ufeff"

_CORE = "tag:yaml.org,2002:"
_TAGS = {
    **dict.fromkeys(("!", f"{_CORE}str", f"{_CORE}binary", f"{_CORE}timestamp"), "string"),
    f"{_CORE}int": "integer",
    f"{_CORE}float": "number",
    f"{_CORE}bool": "boolean",
    f"{_CORE}null": "null",
}
_COLLECTIONS = (None, "!", f"{_CORE}map", f"{_CORE}seq")
# The types of plain scalars for Kubernetes, which reads YAML 1.1.
_MEANS = (
    ("null", re.compile(r"|~|null|Null|NULL")),
    (
        "boolean",
        re.compile(
            r"y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF"
        ),
    ),
    ("integer", re.compile(r"[-+]?(0|[1-9][0-9_]*|0o?[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)")),
    ("number", re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.nan")),
)

# The spellings of a true boolean, in lower case.
TRUE = ("true", "yes", "on", "y")


class Scalar(NamedTuple):
    """A single value: its text, its style of quotes (empty without quotes) and its type.

    `start` and `end` are the indices of the first character and after the last one.
    """

    start: int
    end: int
    text: str
    style: str
    kind: str


class Sequence(NamedTuple):
    """A list."""

    start: int
    end: int
    items: tuple[Node, ...]


class Mapping(NamedTuple):
    """Fields in their order, including duplicate ones."""

    start: int
    end: int
    pairs: tuple[tuple[Scalar, Node], ...]


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass
class Tree:
    """The parts of a text: documents, and every scalar and mapping in the order of their ends.

    After a failure, the tree has the parts that were complete before. `read` is the index at which
    the parser stopped.
    """

    documents: list[Node] = field(default_factory=list)
    scalars: list[Scalar] = field(default_factory=list)
    mappings: list[Mapping] = field(default_factory=list)
    failure: Failure | None = None
    read: int = 0


def get(node: Node | None, *path: str) -> Node | None:
    """The node at a path of field names; the last one of a duplicate field; None without one."""
    for name in path:
        if not isinstance(node, Mapping):
            return None
        node = next((value for key, value in reversed(node.pairs) if key.text == name), None)
    return node


def text(node: Node | None, *path: str) -> str:
    """The text of the scalar at a path; empty if there is none."""
    found = get(node, *path)
    return found.text if isinstance(found, Scalar) and found.kind != "null" else ""


def items(node: Node | None, *path: str) -> tuple[Node, ...]:
    """The items of the list at a path; empty if there is no list."""
    found = get(node, *path)
    return found.items if isinstance(found, Sequence) else ()


def strings(node: Node | None, *path: str) -> dict[str, str]:
    """The fields of the mapping at a path whose values are scalars, as text."""
    found = get(node, *path)
    pairs = found.pairs if isinstance(found, Mapping) else ()
    return {key.text: value.text for key, value in pairs if isinstance(value, Scalar)}


def value(node: Node) -> object:
    """A node's content without positions, for comparisons."""
    if isinstance(node, Scalar):
        return (node.kind, node.text)
    if isinstance(node, Sequence):
        return [value(item) for item in node.items]
    return {key.text: value(item) for key, item in node.pairs}


def meaning(scalar: str) -> str:
    """The type of a scalar without quotes: null, boolean, integer, number or string."""
    return next((kind for kind, form in _MEANS if form.fullmatch(scalar)), "string")


def parse(source: Source) -> Tree:
    """Build the tree of a text. If the parser stops before the end, the tree has a `failure`."""
    builder = _Builder(source)
    builder.tree.read = len(source.text)
    if source.failure:
        builder.tree.failure = source.failure
        return builder.tree
    try:
        builder.build()
    except _Refused as refusal:
        builder.tree.failure = refusal.failure
        builder.tree.read = refusal.failure.index
    except yaml.MarkedYAMLError as error:
        # For an unclosed quote or bracket, report the position at which it opens.
        closing = "or '" in str(error.problem) or "end of" in str(error.problem)
        mark = error.context_mark if closing else error.problem_mark
        index = builder.offset + (mark.index if mark else 0)
        builder.tree.read = index
        builder.tree.failure = explain(source, index, str(error.problem))
    except yaml.reader.ReaderError as error:
        found = re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]", source.text)
        message = f"the control character U+{ord(found[0]) if found else 0:04X} is not text"
        index = found.start() if found else error.position
        builder.tree.read = 0
        builder.tree.failure = Failure("not-text", index, message, "remove it")
    return builder.tree


class _Refused(Exception):
    def __init__(self, code: str, index: int, message: str, fix: str) -> None:
        self.failure = Failure(code, index, message, fix)


class _Part(NamedTuple):
    """A finished node, the number of its nodes and the number of its levels."""

    node: Node
    size: int
    height: int


@dataclass
class _Open:
    """A collection that the parser has not read to its end."""

    start: int
    anchor: str | None
    mapping: bool
    parts: list[_Part] = field(default_factory=list)


class _Builder:
    def __init__(self, source: Source) -> None:
        self.tree = Tree()
        self.offset = int(source.text.startswith(BOM))
        self._text = source.text[self.offset :]
        self._open: list[_Open] = []
        self._anchors: dict[str, _Part | None] = {}
        self._nodes = 0

    def build(self) -> None:
        for event in yaml.parse(self._text, Loader=yaml.CSafeLoader):
            mark: Any = event.start_mark
            start = mark.index + self.offset
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event, start)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event, start)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(str(event.anchor), start)
            elif isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                if len(self.tree.documents) == MOST_DOCUMENTS:
                    message = f"the file has more than {MOST_DOCUMENTS} documents"
                    raise _Refused("limit", start, message, "split it into several files")

    def _scalar(self, event: Any, start: int) -> None:
        end = event.end_mark.index + self.offset
        style = event.style or ""
        if event.tag is None:
            kind = "string" if style else meaning(event.value)
        else:
            kind = self._known(event.tag, start, _TAGS)
        scalar = Scalar(start, end, event.value, style, kind)
        self.tree.scalars.append(scalar)
        self._add(_Part(scalar, 1, 1), event.anchor, 1, start)

    def _begin(self, event: Any, start: int) -> None:
        if event.tag not in _COLLECTIONS:
            self._known(event.tag, start, _TAGS)
        if len(self._open) == MOST_DEPTH:
            self._too_deep(start)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(_Open(start, event.anchor, isinstance(event, yaml.MappingStartEvent)))

    def _end(self, event: Any) -> None:
        end = event.end_mark.index + self.offset
        done = self._open.pop()
        parts = done.parts
        node: Node
        if done.mapping:
            pairs = list(zip(_keys(parts[::2]), (part.node for part in parts[1::2]), strict=True))
            node = Mapping(done.start, end, tuple(_merged(pairs)))
            self.tree.mappings.append(node)
        else:
            node = Sequence(done.start, end, tuple(part.node for part in parts))
        size = 1 + sum(part.size for part in parts)
        height = 1 + max((part.height for part in parts), default=0)
        self._add(_Part(node, size, height), done.anchor, 1, done.start)

    def _alias(self, name: str, start: int) -> None:
        part = self._anchors.get(name)
        if part is None:
            inside = name in self._anchors
            message = f"`*{name}` " + (
                "stands for a value that contains it" if inside else f"has no `&{name}` above it"
            )
            raise _Refused("limit" if inside else "syntax", start, message, "write the value out")
        if len(self._open) + part.height > MOST_DEPTH:
            self._too_deep(start)
        self._add(part, None, part.size, start)

    def _add(self, part: _Part, anchor: str | None, nodes: int, start: int) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            message = f"the file has more than {MOST_NODES:,} values with its aliases expanded"
            raise _Refused("limit", start, message, "split it, or use fewer aliases")
        if anchor:
            self._anchors[anchor] = part
        if self._open:
            inside = self._open[-1]
            inside.parts.append(part)
            # A field has two parts: its name and its value.
            if len(inside.parts) > MOST_ITEMS * (1 + inside.mapping):
                message = f"a list or an object has more than {MOST_ITEMS:,} parts"
                raise _Refused("limit", start, message, "split it")
        else:
            self.tree.documents.append(part.node)

    def _known(self, tag: str, start: int, known: dict[str, str]) -> str:
        if tag not in known:
            short = tag.replace(_CORE, "!!")
            message = f"`{short}` asks for an object of a programming language"
            raise _Refused("language-tag", start, message, "write plain values only")
        return known[tag]

    def _too_deep(self, start: int) -> None:
        message = f"the file has more than {MOST_DEPTH} levels of nesting"
        raise _Refused("limit", start, message, "use fewer levels")


def _keys(parts: list[_Part]) -> Iterator[Scalar]:
    for part in parts:
        if not isinstance(part.node, Scalar):
            message = "the name of this field is a list or a mapping"
            fix = "render a template such as {{ name }} first, or quote the name"
            raise _Refused("syntax", part.node.start, message, fix)
        yield part.node


def _merged(pairs: list[tuple[Scalar, Node]]) -> list[tuple[Scalar, Node]]:
    """Merge keys: `<<: *other` adds the missing fields."""
    names = {key.text for key, _ in pairs}
    merged: list[tuple[Scalar, Node]] = []
    for key, node in pairs:
        if key.text == "<<" and not key.style:
            others = node.items if isinstance(node, Sequence) else (node,)
            for other in others:
                if isinstance(other, Mapping):
                    merged += [pair for pair in other.pairs if pair[0].text not in names]
                    names |= {name.text for name, _ in other.pairs}
        else:
            merged.append((key, node))
    return merged
