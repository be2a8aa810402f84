"""Rules about the text itself: limits, YAML syntax, quotes and invisible characters."""

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
NO_QUOTE = "not a quote for YAML or the shell"
_BLOCK = re.compile(r"[|>][+-]?\d?[ \t]*$", re.MULTILINE)
CONTROLS = {"\x85": "NEXT LINE"}


@rule(
    ERROR,
    "A file that exceeds a limit",
    concept="A manifest is a few pages of text. A file that is much larger, or that grows when its "
    "aliases are expanded, can crash the program that reads it. The API server has limits as well.",
    fix="split the file, or write its values without aliases",
    bad="a: &a [1]\nb: &b [*b]\n",
)
def limit(given: Given) -> Iterator[Found]:
    return _failed(given, "limit")


@rule(
    ERROR,
    "A file that is not text",
    concept="YAML is text in UTF-8. Programs, archives and text in another encoding are not YAML.",
    fix="save the file as UTF-8",
    bad="kind: Pod\x01\n",
)
def not_text(given: Given) -> Iterator[Found]:
    return _failed(given, "not-text")


@rule(
    ERROR,
    "A tag of a programming language",
    concept="Tags such as `!!python/object` tell a parser to create objects of a program, which "
    "can run any command. Kubernetes only accepts plain values.",
    fix="write a plain value",
    bad="kind: !!python/object:os.system {}\n",
    good="kind: Pod\n",
)
def language_tag(given: Given) -> Iterator[Found]:
    return _failed(given, "language-tag")


@rule(
    ERROR,
    "Invalid YAML",
    concept="YAML has a colon and a space between name and value, and a dash before each item of a "
    "list. Text that contains such signs needs quotes. Lint cannot check the fields before you "
    "correct this.",
    fix="check this line and the line above it",
    bad="kind: Pod: mine\n",
    good='kind: "Pod: mine"\n',
)
def syntax(given: Given) -> Iterator[Found]:
    return _failed(given, "syntax")


@rule(
    ERROR,
    "Wrong indentation",
    concept="In YAML, indentation shows the structure. The fields of one object begin in the same "
    "column, and deeper lines are part of the line above.",
    fix="begin the line in the same column as the other fields of its object",
    bad="metadata:\n  name: web\n   labels: {}\n",
    good="metadata:\n  name: web\n  labels: {}\n",
)
def indentation(given: Given) -> Iterator[Found]:
    return _failed(given, "indentation")


@rule(
    ERROR,
    "A tab",
    concept="YAML is indented with spaces. A tab has no fixed width, so the structure would be "
    "ambiguous.",
    fix="use spaces, and configure your editor to insert them for the Tab key",
    bad="metadata:\n\tname: web\n",
    good="metadata:\n  name: web\n",
    repairs=True,
)
def tab(given: Given) -> Iterator[Found]:
    for file in given.files:
        source, failure = file.source, file.tree.failure
        # A tab between words, or in JSON, does no harm.
        if not failure:
            continue
        # In a block of text behind the failure, tabs may belong to the text.
        blocks = bool(_BLOCK.search(source.text))
        lines: dict[int, list[tuple[int, int]]] = {}
        for found in re.finditer("\t+", source.text):
            # Behind the failure, a tab may belong to a text, unless it begins a line.
            if found.start() >= file.seen and source.place(found.start())[1] > 1:
                continue
            if not (file.scalar_at(found.start()) or file.in_comment(found.start())):
                lines.setdefault(source.place(found.start())[0], []).append(found.span())
        for number, there in lines.items():
            line, start = source.line(number), source.start(number)
            body = start + len(line) - len(line.lstrip())
            # A tab at the end of a line has no effect.
            end = start + len(line.rstrip())
            there = [span for span in there if span[0] < end]
            if not there:
                continue
            edits = [Edit(*span, " ") for span in there if span[0] >= body]
            indents = there[0][0] < body
            # The width of mixed spaces and tabs is uncertain.
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
    concept="Slides and word processors turn straight quotes into curly ones. YAML and the shell "
    "only know straight quotes. A curly quote becomes part of the text or of the command.",
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
            # Curly quotes are right in running text. A shell only reads the command.
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
    concept="Text from a slide or a web page can contain characters that look like a space, or "
    "that are invisible. For YAML they are normal letters. So a name or an indentation differs "
    "from what you see.",
    fix="remove it, or write a plain space",
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
        yield from _by_line(file, wrong, "invisible, and not a plain space", "")


@rule(
    WARNING,
    "A byte order mark",
    concept="Some editors on Windows begin a file with an invisible mark. Kubernetes ignores it. "
    "For other programs it is a part of the first name.",
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
    concept="Windows ends a line with two characters, Linux with one. YAML accepts both, but a "
    "script that you copy from such a manifest does not run.",
    fix="save the file with Unix line ends (LF)",
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
    "A duplicate field",
    concept="A field of an object has one value. If there are two, some programs silently use the "
    "last one. Today's kubectl and API server refuse the manifest or warn.",
    fix="keep one of the two, with the values of both",
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
                message = f"`{key.text}` is in line {lines[0]} and again in line {lines[1]}"
                fix, edits = "", tuple[Edit, ...]()
                if two_objects:
                    fix = "separate two objects by a line `---`; one object has each field once"
                elif tree.value(value) == tree.value(node):
                    fix = "remove one; both have the same value"
                    edits = _without(file, mapping, key, node)
                yield Found(file, key.start, message, fix, edits)


def _failed(given: Given, code: str) -> Iterator[Found]:
    for file in given.files:
        failure = file.tree.failure
        if failure and failure.code == code:
            yield Found(file, failure.index, failure.message, failure.fix)


def _suspects(file: File, pattern: re.Pattern[str]) -> Iterator[tuple[Scalar | None, int]]:
    """Characters that do harm: outside of comments and of quoted text that is not a command."""
    for found in pattern.finditer(file.source.text, 0, file.seen):
        scalar = file.scalar_at(found.start())
        if scalar is None:
            if not file.in_comment(found.start()):
                yield None, found.start()
        elif not scalar.style or file.runs(scalar):
            yield scalar, found.start()


def _by_line(file: File, edits: list[Edit], what: str, fix: str) -> Iterator[Found]:
    """One finding for all edits of a line."""
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
    """Whether a quote is one of the two quotes around a scalar."""
    ends = (scalar.start, scalar.end - 1)
    quotes = DOUBLE + SINGLE + "\"'"
    return index in ends and ends[0] < ends[1] and all(text[end] in quotes for end in ends)


def _is_joiner(text: str, index: int) -> bool:
    """Whether a character rightly joins letters of a script or parts of an emoji."""
    around = text[index - 1 : index] + text[index + 1 : index + 2]
    return text[index] in "\u200c\u200d" and len(around) == 2 and min(around) > "\x7f"


def _belongs(source: Source, number: int) -> bool:
    """Whether two spaces for each tab surely give a line its intended place.

    Below a line that opens an object, the line may be that object's field or the field after it.
    """
    above = source.above(number)
    before = source.line(above) if above else ""
    width, there = (_width(line) for line in (source.line(number), before))
    return width > there if before.rstrip().endswith(":") else width <= there


def _width(line: str) -> int:
    blanks = line[: len(line) - len(line.lstrip())]
    return len(blanks.replace("\t", "  "))


def _straight(quote: str, scalar: Scalar | None) -> str:
    """The straight quote, escaped for the style of the scalar."""
    plain = '"' if quote in DOUBLE else "'"
    style = scalar.style if scalar else ""
    return {('"', '"'): '\\"', ("'", "'"): "''"}.get((style, plain), plain)


def _name(letter: str) -> str:
    name = unicodedata.name(letter, "") or CONTROLS.get(letter, "a control character")
    shown = f"`{letter}` " if letter in DOUBLE + SINGLE else ""
    return f"{shown}U+{ord(letter):04X} ({name.lower()})"


def _without(file: File, mapping: Mapping, key: Scalar, node: Node) -> tuple[Edit, ...]:
    """The edit that removes a field; empty unless the field has its own lines."""
    # Inside braces, the comma would remain.
    if file.source.text[mapping.start] == "{":
        return ()
    start = file.source.start(file.source.place(key.start)[0])
    # The value of an alias is elsewhere in the file.
    if file.source.text[start : key.start].strip() or node.start < key.start:
        return ()
    end = max(file.last(node), key.end)
    after = file.source.start(file.source.place(max(end - 1, key.start))[0] + 1)
    # Keep a comma or a comment on the same lines.
    if file.source.text[end:after].strip() or file.commented(start, after):
        return ()
    return (Edit(start, after, ""),)
