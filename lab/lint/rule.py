"""The record of a rule: its code, its texts, its examples and the function that checks it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.lint.fix import Edit
from lab.lint.given import Given
from lab.lint.objects import File

ERROR = "error"
WARNING = "warning"
# The most findings of one code in one file. More of the same would not help.
MOST_FINDINGS = 50


@dataclass(frozen=True)
class Found:
    """One result of a rule: the position, a message, the fix, and the edits of the repair.

    An empty `fix` stands for the rule's own. `edits` is empty unless exactly one repair is right.
    """

    file: File
    index: int
    message: str
    fix: str = ""
    edits: tuple[Edit, ...] = ()


Check = Callable[[Given], Iterator[Found]]


@dataclass(frozen=True)
class Rule:
    """A code, its texts and its check. The example `bad` has the mistake, `good` does not."""

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
    """Turn a check into a rule. The code is the function's name with dashes."""

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
