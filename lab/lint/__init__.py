"""`invoke lint`: mistakes in manifests, each with its position, its concept and its fix.

- `source`: bytes -> text, with limits
- `tree`: text -> nodes with positions, with limits
- `schema`: the kinds and fields of the lab's Kubernetes, from its OpenAPI document
- `objects`, `typed`, `given`: objects, pods, and values with their types
- `rules`: code -> rule; each rule is a pure function of the given files
- `fix`: edits by position
- `report`: the findings
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lab.config import Settings
from lab.errors import ConfigError
from lab.lint import fix as fixing
from lab.lint import schema, source, tree
from lab.lint import server as api
from lab.lint.given import Given
from lab.lint.objects import File
from lab.lint.report import Finding, Report
from lab.lint.rule import MOST_FINDINGS, Found, Rule
from lab.lint.rules import RULES
from lab.lint.schema import Schema
from lab.lint.source import STDIN, Source
from lab.output import Status

# A repair can reveal further mistakes: a syntax error hides every field.
PASSES = 30
# The most objects of one file. Some rules compare each object with each other.
MOST_OBJECTS = 500


def lint(
    settings: Settings,
    words: Sequence[str],
    status: Status,
    *,
    fix: bool = False,
    server: bool = False,
) -> Report:
    """Check files, folders, patterns or standard input; with `fix`, repair the files first.

    In a folder, lint leaves out files of other programs. It checks every file that a word names.

    Raises ConfigError for no word, NotFoundError for a word without a file, and, with `server`,
    what opened.running raises without a cluster.
    """
    names = source.find(words)
    if fix and STDIN in names:
        raise ConfigError("standard input cannot be repaired", hint="name a file for --fix")
    read = [(_file(source.read(name)), named) for name, named in names.items()]
    files = [file for file, named in read if named or not file.foreign]
    known = schema.load(settings, status)
    repaired = []
    if fix:
        better = [repair(file.source, known) for file in files]
        for old, new in zip(files, better, strict=True):
            if new.text != old.source.text:
                fixing.write(new.name, new.text)
                repaired.append(new.name)
        files = list(map(_file, better))
    given = Given(tuple(files), known)
    found = list(findings(given))
    if server:
        found += [_finding(RULES["server"], item) for item in api.ask(settings, given)]
    order = {file.source.name: i for i, file in enumerate(files)}
    found.sort(key=lambda item: (order[item.file], item.line, item.column, item.code))
    # Aliases repeat a value, and its findings, at the same position.
    unique = tuple(dict.fromkeys(found))
    version = known.version if known else ""
    return Report(len(files), unique, tuple(repaired), version, len(read) - len(files))


def look(sources: Iterable[Source], known: Schema | None) -> Given:
    """Parse texts. `known` is the schema; None skips the rules that need one."""
    return Given(tuple(map(_file, sources)), known)


def _file(text: Source) -> File:
    """Parse a text. A text with too many objects gets a failure."""
    file = File(text, tree.parse(text))
    if len(file.objects) <= MOST_OBJECTS:
        return file
    failure = source.too_much(f"the file has more than {MOST_OBJECTS} objects")
    return File(text, tree.Tree(failure=failure))


def findings(given: Given) -> Iterable[Finding]:
    """The findings of every rule, at most MOST_FINDINGS of a rule for each file."""
    for rule in RULES.values():
        counts: dict[str, int] = {}
        for item in rule.check(given):
            name = item.file.source.name
            counts[name] = counts.get(name, 0) + 1
            if counts[name] <= MOST_FINDINGS:
                yield _finding(rule, item)


def repair(text: Source, known: Schema | None) -> Source:
    """The text with every mistake repaired that has only one right repair.

    Lint skips a repair that would make a text unreadable.
    """
    for _ in range(PASSES):
        better = _better(look([text], known))
        if better is None:
            break
        text = better
    return text


def _better(given: Given) -> Source | None:
    """The text after the repairs of the first rule that has any; None without repairs.

    A repair changes the positions of the text. So the next rule has to parse the text again.
    """
    (file,) = given.files
    for rule in RULES.values():
        edits = [item.edits for item in rule.check(given) if item.edits] if rule.repairs else []
        if edits:
            new = Source(file.source.name, fixing.apply(file.source.text, edits))
            if _is_no_worse(file, tree.parse(new)):
                return new
    return None


def _is_no_worse(file: File, new: tree.Tree) -> bool:
    """Whether the parser reads at least as many lines of the repaired text as of the old one."""
    if not new.failure or not file.tree.failure:
        return not new.failure
    return new.read >= file.source.start(file.source.place(file.tree.read)[0])


def _finding(rule: Rule, found: Found) -> Finding:
    line, column = found.file.source.place(found.index)
    return Finding(
        file=found.file.source.name,
        line=line,
        column=column,
        severity=rule.severity,
        code=rule.code,
        message=found.message,
        fix=found.fix or rule.fix,
        concept=rule.concept,
        fixable=bool(found.edits),
    )
