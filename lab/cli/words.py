"""Tasks that take several words, as `invoke lint *.yaml` gives them.

Invoke's parser asks a task one and the same question to learn whether it may be given another word
and whether it still lacks one. So an argument of several words lacks exactly as many as were typed,
which is counted before. Such a task is the last of its command line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from invoke import Task
from invoke.exceptions import ParseError
from invoke.parser import Argument, ParserContext

# The type of a task's parameter that takes one word or more.
Words = list[str]


class Several(Argument):
    """A positional argument of `count` words; it has a value when it has all of them."""

    def __init__(self, name: str, count: int) -> None:
        super().__init__(name=name, kind=list, positional=True, help="one or more")
        self.count = count

    @property
    def value(self) -> Any:
        """The words; None while there are more to come."""
        words: list[str] = self._value or []
        return words if len(words) >= self.count else None

    @value.setter
    def value(self, word: str) -> None:
        self._value = [*(self._value or []), word]


class Whole(Argument):
    """An argument that is a whole number; what is none is refused as Invoke refuses other words."""

    def set_value(self, value: Any, cast: bool = True) -> None:
        """Take what was typed. Raises ParseError for anything but a whole number."""
        try:
            super().set_value(value, cast)
        except ValueError:
            raise ParseError(f"--{self.name} wants a whole number, not {value!r}") from None


class WordsTask(Task[Any]):
    """A task; its parameters of type `Words` take what the command line has for them."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """The task's arguments as Invoke's parser wants them."""
        arguments = super().get_arguments(ignore_unknown_help)
        words = count(sys.argv[1:], self.name.replace("_", "-"), arguments)
        kinds = self.body.__annotations__

        def made(one: Argument) -> Argument:
            if kinds.get(str(one.name)) == "Words":
                return Several(str(one.name), words)
            if one.kind is int:
                return Whole(
                    names=one.names, kind=int, default=one.default, attr_name=one.attr_name
                )
            return one

        return [made(one) for one in arguments]


def count(argv: Sequence[str], task: str, arguments: Sequence[Argument]) -> int:
    """How many words a command line has for a task, flags and their values left out; one at least.

    A flag that nobody knows is no word; Invoke takes it for one that is missing.
    """
    context = ParserContext(args=arguments)
    rest = argv[argv.index(task) + 1 :] if task in argv else ()
    words, value = 0, False
    for token in rest:
        if value:
            value = False
        elif token in context.flags:
            value = context.flags[token].takes_value
        elif token == "--":
            break
        elif token == "-" or not token.startswith("-"):
            words += 1
    return max(words, 1)
