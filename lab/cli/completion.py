"""Completion of tasks in a shell: the line of `lab-env`, and the table that completion.sh reads.

A completion that started Python and Invoke would answer after half a second. So tasks and flags are
written to completion.txt beforehand: `python -m lab.cli.completion` makes it from tasks.py. A unit
test compares the two. The shell finds exercises, machines, labs and snapshots by itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from invoke import Task
from invoke.parser import Argument, ParserContext

from lab import config, selftest
from lab.faults.experiment import PARTS
from lab.homework.asked import WAYS
from lab.platforms import UNAMES

SCRIPT = Path(__file__).with_suffix(".sh")
TABLE = Path(__file__).with_suffix(".txt")
HEADING = "# Made by `python -m lab.cli.completion`, and read by completion.sh beside it.\n"

# Where the shell finds the words, see `_lecture_lab_source` in completion.sh. NOTHING offers none.
NOTHING = "-"
FILES = "@files"
EXERCISES = "@exercises"
# By task: what its argument is. `+` is for tasks that take several.
ARGUMENTS: Mapping[str, str] = {
    "bundle-verify": FILES,
    "check": f"{EXERCISES}+",
    "exercise-down": f"{EXERCISES}+",
    "exercise-preview": EXERCISES,
    "exercise-up": f"{EXERCISES}+",
    "experiment": ",".join(PARTS),
    "grade": f"{EXERCISES}+",
    "lab-snapshot": "@snapshots+",
    "lab-ssh": "@machines",
    "lint": f"{FILES}+",
    "mirror-serve": FILES,
    "mnist-run": ",".join(WAYS),
    "mutants": f"{EXERCISES}+",
}
# By flag: what its value is; values of other flags are not completed.
VALUES: Mapping[str, str] = {
    "--app": FILES,
    "--architecture": ",".join(UNAMES),
    "--distribution": ",".join(config.DISTRIBUTIONS),
    "--exercise": EXERCISES,
    "--hint": "1,2,3",
    "--junit": FILES,
    "--lab": "@labs",
    "--mirror": FILES,
    "--only": ",".join(selftest.SUITES),
    "--output": FILES,
    "--program": FILES,
    "--provider": ",".join(config.PROVIDERS),
    "--source": ",".join(config.SOURCES),
    "--workers": "auto,0,1,2,3,4,5",
}


def line(root: Path) -> str:
    """The line that sets completion up in bash and zsh; other shells skip it."""
    read = shlex.join([".", str(SCRIPT), str(root), str(TABLE)])
    return f'[ -z "${{BASH_VERSION-}}${{ZSH_VERSION-}}" ] || {read}'


def table(tasks: Mapping[str, Task[Any]]) -> str:
    """The text of completion.txt for these tasks: a line for each task and for each value.

    `task NAME SOURCE FLAG...` names the source of the task's argument and its flags.
    `value FLAG SOURCE` names the source of a flag's value.
    """
    contexts = {
        name.replace("_", "-"): ParserContext(args=_typed_as_flags(task))
        for name, task in sorted(tasks.items())
    }
    flags = {
        flag
        for context in contexts.values()
        for flag, argument in context.flags.items()
        if argument.takes_value
    }
    lines = [
        " ".join(["task", name, ARGUMENTS.get(name, NOTHING), *_flags(context)])
        for name, context in contexts.items()
    ]
    lines += [f"value {flag} {VALUES.get(flag, NOTHING)}" for flag in sorted(flags)]
    return HEADING + "\n".join(lines) + "\n"


def _flags(context: ParserContext) -> Iterator[str]:
    """The flags of a task that a user types; a flag that is on gets its --no- form."""
    negated = {flag: inverse for inverse, flag in context.inverse_flags.items()}
    for flag in sorted(context.flags):
        yield negated.get(flag, flag)


def _typed_as_flags(task: Task[Any]) -> list[Argument]:
    """The arguments of a task that a user types with their names.

    Invoke calls a list that a flag repeats positional as well.
    """
    return [
        argument
        for argument in task.get_arguments()
        if not argument.positional or str(argument.name) in task.iterable
    ]


if __name__ == "__main__":
    from tasks import namespace

    TABLE.write_text(table(namespace.tasks))
