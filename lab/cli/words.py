"""Tasks that take several words, as `invoke lint *.yaml` gives them.

Invoke's parser uses one property for both "needs a value" and "accepts another". So an argument of
several words must know its length beforehand: the words are counted before the parser runs. Such a
task is the last one of its command line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, get_type_hints

from invoke import Task
from invoke.exceptions import ParseError
from invoke.parser import Argument, ParserContext

# The flag of a task that stands for every word: with it, a task needs none.
EVERY = "--all"


class Words(list[str]):
    """The type of a task's parameter that takes one word or more."""


class Several(Argument):
    """A positional argument of `count` words; it has a value once it has all of them."""

    def __init__(self, name: str, count: int) -> None:
        super().__init__(name=name, kind=list, positional=True, help="one or more")
        self.count = count

    @property
    def value(self) -> Any:
        """The words; None while some are missing."""
        words: list[str] = self._value or []
        return words if len(words) >= self.count else None

    @value.setter
    def value(self, word: str) -> None:
        self._value = [*(self._value or []), word]


class Whole(Argument):
    """An argument that is a whole number; rejects other values as Invoke rejects unknown words."""

    def set_value(self, value: Any, cast: bool = True) -> None:
        """Set the value. Raises ParseError unless it is a whole number."""
        try:
            super().set_value(value, cast)
        except ValueError:
            raise ParseError(f"--{self.name} wants a whole number, not {value!r}") from None


class WordsTask(Task[Any]):
    """A task whose parameters of type `Words` take all words of the command line."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """The task's arguments as Invoke's parser wants them."""
        arguments = super().get_arguments(ignore_unknown_help)
        words = count(sys.argv[1:], self.name.replace("_", "-"), arguments)
        kinds = get_type_hints(self.body)

        def made(one: Argument) -> Argument:
            if kinds.get(str(one.name)) is Words:
                return Several(str(one.name), words)
            if one.kind is int:
                return Whole(
                    names=one.names, kind=int, default=one.default, attr_name=one.attr_name
                )
            return one

        return [made(one) for one in arguments]


def count(argv: Sequence[str], task: str, arguments: Sequence[Argument]) -> int:
    """The number of words for a task on a command line, without flags and their values.

    At least one, unless EVERY is typed and the task has it. Unknown flags are not counted.
    """
    context = ParserContext(args=arguments)
    rest = argv[argv.index(task) + 1 :] if task in argv else ()
    words, least, value = 0, 1, False
    for token in rest:
        if token == EVERY and EVERY in context.flags:
            least = 0
        if value:
            value = False
        elif token in context.flags:
            value = context.flags[token].takes_value
        elif token == "--":
            break
        elif token == "-" or not token.startswith("-"):
            words += 1
    return max(words, least)
