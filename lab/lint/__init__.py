"""`invoke lint`: mistakes in manifests, each with its place, its concept and its fix.

source    bytes -> text, with limits
tree      text -> nodes that know where they stand, with limits
schema    what the lab's Kubernetes accepts, out of its OpenAPI document
objects, typed, given   objects, pods, and values beside their types
rules     code -> rule; each is a pure function of what is given
fix       edits by position
report    the answer
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

# A repair can bring to light what it hid: a syntax error hides every field.
PASSES = 30
# Of one file: rules compare each with each.
MOST_OBJECTS = 500


def lint(
    settings: Settings,
    words: Sequence[str],
    status: Status,
    *,
    fix: bool = False,
    server: bool = False,
) -> Report:
    """Look at files, folders, patterns or standard input; with `fix`, repair them first.

    Below a folder, files of other programs are left out; one that is named is meant.

    Raises ConfigError for no word, NotFoundError for one that leads nowhere, and, with `server`,
    what practice.running raises without a cluster.
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
    # A value that aliases repeat is one value.
    unique = tuple(dict.fromkeys(found))
    version = known.version if known else ""
    return Report(len(files), unique, tuple(repaired), version, len(read) - len(files))


def look(sources: Iterable[Source], known: Schema | None) -> Given:
    """Texts, parsed."""
    return Given(tuple(map(_file, sources)), known)


def _file(text: Source) -> File:
    """A text, parsed; one of too many objects is refused."""
    file = File(text, tree.parse(text))
    if len(file.objects) <= MOST_OBJECTS:
        return file
    failure = source.too_much(f"the file has more than {MOST_OBJECTS} objects")
    return File(text, tree.Tree(failure=failure))


def findings(given: Given) -> Iterable[Finding]:
    """What every rule finds, up to MOST_FINDINGS for each file."""
    for rule in RULES.values():
        counts: dict[str, int] = {}
        for item in rule.check(given):
            name = item.file.source.name
            counts[name] = counts.get(name, 0) + 1
            if counts[name] <= MOST_FINDINGS:
                yield _finding(rule, item)


def repair(text: Source, known: Schema | None) -> Source:
    """The same text with everything repaired that only one repair is right for.

    A repair that would make a text unreadable is not made.
    """
    for _ in range(PASSES):
        better = _better(look([text], known))
        if better is None:
            break
        text = better
    return text


def _better(given: Given) -> Source | None:
    """The one text after the repairs of the first rule that has any; None when there is none.

    Positions are those of the text that was looked at, so each rule waits for the one before it.
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
    """Whether a repaired text is read at least as far, in lines, as the one that it was made of."""
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
