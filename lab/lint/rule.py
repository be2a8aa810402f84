"""What a rule is: everything about a code in one place, and a pure function that finds it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.lint.fix import Edit
from lab.lint.given import Given
from lab.lint.objects import File

ERROR = "error"
WARNING = "warning"
# Of one code in one file: more of one kind help nobody.
MOST_FINDINGS = 50


@dataclass(frozen=True)
class Found:
    """What a rule saw: where, a sentence about it, what to do, and edits that do it.

    Without `fix` the rule's own sentence counts. `edits` are there only where one repair is right.
    """

    file: File
    index: int
    message: str
    fix: str = ""
    edits: tuple[Edit, ...] = ()


Check = Callable[[Given], Iterator[Found]]


@dataclass(frozen=True)
class Rule:
    """A code, what it is about, and how it is found. `bad` has it, `good` has not."""

    code: str
    severity: str
    title: str
    concept: str
    fix: str
    bad: str
    good: str
    repairs: bool
    check: Check


def rule(
    severity: str,
    title: str,
    *,
    concept: str,
    fix: str,
    bad: str = "",
    good: str = "",
    repairs: bool = False,
) -> Callable[[Check], Rule]:
    """Make a rule of a function; its code is the function's name with dashes."""

    def make(check: Check) -> Rule:
        return Rule(
            code=check.__name__.replace("_", "-"),
            severity=severity,
            title=title,
            concept=concept,
            fix=fix,
            bad=textwrap.dedent(bad).lstrip("\n"),
            good=textwrap.dedent(good).lstrip("\n"),
            repairs=repairs,
            check=check,
        )

    return make
