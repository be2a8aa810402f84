"""Rules about the text itself: what is refused, what is no YAML, what cannot be seen."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from lab.lint import tree
from lab.lint.fix import Edit
from lab.lint.given import Given
from lab.lint.objects import File
from lab.lint.rule import ERROR, WARNING, Found, rule
from lab.lint.source import Source
from lab.lint.tree import BOM, Mapping, Node, Scalar

DOUBLE = "“”„‟″"
SINGLE = "‘’‚‛′"  # noqa: RUF001
SPACES = "\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
NOTHING = "\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
QUOTE = re.compile(f"[{DOUBLE}{SINGLE}]")
SPACE = re.compile(f"[{SPACES}]")
INVISIBLE = re.compile(f"[{SPACES}{NOTHING}]")
NO_QUOTE = "no quote for YAML or the shell"
_BLOCK = re.compile(r"[|>][+-]?\d?[ \t]*$", re.MULTILINE)
CONTROLS = {"\x85": "NEXT LINE"}


@rule(
    ERROR,
    "The file is refused",
    concept="A manifest is a few pages of text. What is much larger, or grows when its aliases are "
    "written out, can stop the program that reads it; the API server has limits as well.",
    fix="split the file, or write its values out",
    bad="a: &a [1]\nb: &b [*b]\n",
)
def limit(given: Given) -> Iterator[Found]:
    return _failed(given, "limit")


@rule(
    ERROR,
    "The file is not text",
    concept="YAML is text in UTF-8. A program, an archive or text in another encoding is not.",
    fix="save the file as UTF-8",
    bad="kind: Pod\x01\n",
)
def not_text(given: Given) -> Iterator[Found]:
    return _failed(given, "not-text")


@rule(
    ERROR,
    "A tag of a programming language",
    concept="`!!python/object` and the like ask the reader to build objects of a program, which "
    "can run anything. Kubernetes knows plain values only.",
    fix="write a plain value",
    bad="kind: !!python/object:os.system {}\n",
    good="kind: Pod\n",
)
def language_tag(given: Given) -> Iterator[Found]:
    return _failed(given, "language-tag")


@rule(
    ERROR,
    "This is not YAML",
    concept="YAML has few signs: a colon and a space between name and value, a dash before each "
    "item of a list, quotes around what contains such signs. All else in the file waits for this.",
    fix="look at this line and the one above it",
    bad="kind: Pod: mine\n",
    good='kind: "Pod: mine"\n',
)
def syntax(given: Given) -> Iterator[Found]:
    return _failed(given, "syntax")


@rule(
    ERROR,
    "Wrong indentation",
    concept="In YAML the indentation says what belongs to what: fields of one object begin in one "
    "column, and what is deeper is part of the line above.",
    fix="begin the line in the column of the lines that it belongs to",
    bad="metadata:\n  name: web\n   labels: {}\n",
    good="metadata:\n  name: web\n  labels: {}\n",
)
def indentation(given: Given) -> Iterator[Found]:
    return _failed(given, "indentation")


@rule(
    ERROR,
    "A tab",
    concept="YAML is indented with spaces: a tab has no fixed width, so nobody could tell what the "
    "line belongs to.",
    fix="use spaces, and set your editor to write them for the Tab key",
    bad="metadata:\n\tname: web\n",
    good="metadata:\n  name: web\n",
    repairs=True,
)
def tab(given: Given) -> Iterator[Found]:
    for file in given.files:
        source, failure = file.source, file.tree.failure
        # One that stands between words, or in JSON, does no harm.
        if not failure:
            continue
        # In a block of text that nobody has read further tabs may be the text's own.
        blocks = bool(_BLOCK.search(source.text))
        lines: dict[int, list[tuple[int, int]]] = {}
        for found in re.finditer("\t+", source.text):
            # What nobody has read may be text in which a tab is meant, but not at a line's begin.
            if found.start() >= file.seen and source.place(found.start())[1] > 1:
                continue
            if not (file.scalar_at(found.start()) or file.in_comment(found.start())):
                lines.setdefault(source.place(found.start())[0], []).append(found.span())
        for number, there in lines.items():
            line, start = source.line(number), source.start(number)
            body = start + len(line) - len(line.lstrip())
            # After the last word a tab does nothing.
            end = start + len(line.rstrip())
            there = [span for span in there if span[0] < end]
            if not there:
                continue
            edits = [Edit(*span, " ") for span in there if span[0] >= body]
            indents = there[0][0] < body
            # Spaces and tabs mixed have no width that is certain.
            certain = not line[: body - start].strip("\t") and not (blocks and start >= file.seen)
            if indents and certain and _belongs(source, number):
                edits.append(Edit(start, body, "  " * (body - start)))
            message = "a tab indents this line" if indents else "a tab separates words here"
            yield Found(file, there[0][0], message, "", tuple(edits))
        if failure.code == "tab" and source.place(failure.index)[0] not in lines:
            yield Found(file, failure.index, failure.message)


@rule(
    ERROR,
    "A typographic quote",
    concept="Slides and word processors make curly quotes of straight ones. YAML and the shell "
    "know only the straight ones: a curly quote becomes part of the text, or of the command.",
    fix="write straight quotes",
    bad="command: [‘sh’, ‘-c’, ‘sleep 3600’]\n",  # noqa: RUF001
    good="command: ['sh', '-c', 'sleep 3600']\n",
    repairs=True,
)
def typographic_quote(given: Given) -> Iterator[Found]:
    for file in given.files:
        wrong = []
        for scalar, index in _suspects(file, QUOTE):
            quote = file.source.text[index]
            inside = scalar and not scalar.style and not file.runs(scalar)
            # In running text they are right, and a shell reads no text but its command.
            if _is_apostrophe(file.source.text, index):
                continue
            if scalar and inside and not _encloses(file.source.text, scalar, index):
                if index == scalar.start:
                    yield Found(file, index, f"{_name(quote)}: {NO_QUOTE}")
            else:
                wrong.append(Edit(index, index + 1, _straight(quote, scalar)))
        yield from _by_line(file, wrong, NO_QUOTE, "write straight quotes")


@rule(
    ERROR,
    "An invisible character",
    concept="Text that is copied from a slide or a web page can contain characters that look like "
    "a space, or like nothing. For YAML they are letters like any other: the name is not the name "
    "that one reads, and the indentation is not what it seems.",
    fix="take it away, or write a plain space",
    bad="kind:\u00a0Pod\n",
    good="kind: Pod\n",
    repairs=True,
)
def invisible_character(given: Given) -> Iterator[Found]:
    for file in given.files:
        text = file.source.text
        wrong = [
            Edit(index, index + 1, " " if SPACE.match(text[index]) else "")
            for _, index in _suspects(file, INVISIBLE)
            if (index or text[0] != BOM) and not _is_joiner(text, index)
        ]
        yield from _by_line(file, wrong, "not seen, and not what a space is", "")


@rule(
    WARNING,
    "A byte order mark",
    concept="Some editors of Windows begin a file with an invisible mark. Kubernetes reads over "
    "it, other programs take it for a part of the first name.",
    fix="save the file as UTF-8 without a byte order mark",
    bad="\ufeffkind: Pod\n",
    good="kind: Pod\n",
    repairs=True,
)
def byte_order_mark(given: Given) -> Iterator[Found]:
    for file in given.files:
        if file.source.text.startswith(BOM):
            yield Found(file, 0, "the file begins with a byte order mark", "", (Edit(0, 1, ""),))


@rule(
    WARNING,
    "Line ends of Windows",
    concept="Windows ends a line with two characters, Linux with one. YAML takes both, but a "
    "script in a manifest that is copied out of it does not run.",
    fix="save the file with line ends of Unix (LF)",
    bad="kind: Pod\r\n",
    good="kind: Pod\n",
    repairs=True,
)
def carriage_return(given: Given) -> Iterator[Found]:
    for file in given.files:
        lines = [found.start() for found in re.finditer("\r\n", file.source.text)]
        if lines:
            message = f"{len(lines)} line(s) end with a carriage return"
            edits = tuple(Edit(index, index + 1, "") for index in lines)
            yield Found(file, lines[0], message, "", edits)


@rule(
    ERROR,
    "A field stands twice",
    concept="A field of an object has one value. Of two, programs silently took the last one; "
    "today's kubectl and API server refuse the manifest or warn.",
    fix="keep one of the two, with what belongs to both",
    bad="spec:\n  replicas: 3\nspec:\n  replicas: 4\n",
    good="spec:\n  replicas: 3\n",
    repairs=True,
)
def duplicate_key(given: Given) -> Iterator[Found]:
    for file in given.files:
        for mapping in file.tree.mappings:
            names: dict[str, tuple[Scalar, Node]] = {}
            twice = []
            for key, node in mapping.pairs:
                first = names.setdefault(key.text, (key, node))
                if first[0] is not key:
                    twice.append((first, key, node))
            two_objects = any(key.text == "kind" for _, key, _ in twice)
            for (one, value), key, node in twice:
                lines = [file.source.place(each.start)[0] for each in (one, key)]
                message = f"`{key.text}` stands in line {lines[0]} and again in line {lines[1]}"
                fix, edits = "", tuple[Edit, ...]()
                if two_objects:
                    fix = "separate two objects by a line `---`; one object has one of each"
                elif tree.value(value) == tree.value(node):
                    fix = "both say the same: remove one"
                    edits = _without(file, mapping, key, node)
                yield Found(file, key.start, message, fix, edits)


def _failed(given: Given, code: str) -> Iterator[Found]:
    for file in given.files:
        failure = file.tree.failure
        if failure and failure.code == code:
            yield Found(file, failure.index, failure.message, failure.fix)


def _suspects(file: File, pattern: re.Pattern[str]) -> Iterator[tuple[Scalar | None, int]]:
    """Characters where they do harm: not in a comment, nor in quoted text that is no command."""
    for found in pattern.finditer(file.source.text, 0, file.seen):
        scalar = file.scalar_at(found.start())
        if scalar is None:
            if not file.in_comment(found.start()):
                yield None, found.start()
        elif not scalar.style or file.runs(scalar):
            yield scalar, found.start()


def _by_line(file: File, edits: list[Edit], what: str, fix: str) -> Iterator[Found]:
    """One finding for the characters of a line."""
    lines: dict[int, list[Edit]] = {}
    for edit in edits:
        lines.setdefault(file.source.place(edit.start)[0], []).append(edit)
    for there in lines.values():
        letters = dict.fromkeys(file.source.text[edit.start] for edit in there)
        message = f"{' and '.join(map(_name, letters))}: {what}"
        yield Found(file, there[0].start, message, fix, tuple(there))


def _is_apostrophe(text: str, index: int) -> bool:
    around = text[index - 1 : index] + text[index + 1 : index + 2]
    return text[index] in SINGLE and len(around) == 2 and around.isalnum()


def _encloses(text: str, scalar: Scalar, index: int) -> bool:
    """Whether a quote is one of the two between which a scalar stands."""
    ends = (scalar.start, scalar.end - 1)
    quotes = DOUBLE + SINGLE + "\"'"
    return index in ends and ends[0] < ends[1] and all(text[end] in quotes for end in ends)


def _is_joiner(text: str, index: int) -> bool:
    """Whether a character joins letters of a script, or parts of a picture, as it should."""
    around = text[index - 1 : index] + text[index + 1 : index + 2]
    return text[index] in "\u200c\u200d" and len(around) == 2 and min(around) > "\x7f"


def _belongs(source: Source, number: int) -> bool:
    """Whether a line that is indented by tabs belongs, with two spaces for each, where it seems to.

    Below a line that opens an object it may be that object's field or the next one beside it.
    """
    above = source.above(number)
    before = source.line(above) if above else ""
    width, there = (_width(line) for line in (source.line(number), before))
    return width > there if before.rstrip().endswith(":") else width <= there


def _width(line: str) -> int:
    blanks = line[: len(line) - len(line.lstrip())]
    return len(blanks.replace("\t", "  "))


def _straight(quote: str, scalar: Scalar | None) -> str:
    """The straight quote as it is written inside a scalar of this style."""
    plain = '"' if quote in DOUBLE else "'"
    style = scalar.style if scalar else ""
    return {('"', '"'): '\\"', ("'", "'"): "''"}.get((style, plain), plain)


def _name(letter: str) -> str:
    name = unicodedata.name(letter, "") or CONTROLS.get(letter, "a control character")
    shown = f"`{letter}` " if letter in DOUBLE + SINGLE else ""
    return f"{shown}U+{ord(letter):04X} ({name.lower()})"


def _without(file: File, mapping: Mapping, key: Scalar, node: Node) -> tuple[Edit, ...]:
    """The edit that takes a field away, where it has lines of its own."""
    # Between braces, commas would stay.
    if file.source.text[mapping.start] == "{":
        return ()
    start = file.source.start(file.source.place(key.start)[0])
    # An alias stands for a value that is elsewhere.
    if file.source.text[start : key.start].strip() or node.start < key.start:
        return ()
    end = max(file.last(node), key.end)
    after = file.source.start(file.source.place(max(end - 1, key.start))[0] + 1)
    # What is beside it must not go, be it a comma or a comment.
    if file.source.text[end:after].strip() or file.commented(start, after):
        return ()
    return (Edit(start, after, ""),)
