"""The table of tasks and flags that a shell completes, and the line of `lab-env`."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import tasks
from lab.cli import completion
from lab.cli.words import Several

TASKS = {name.replace("_", "-"): task for name, task in tasks.namespace.tasks.items()}
ROWS = [line.split() for line in completion.TABLE.read_text().splitlines()]


def test_the_table_is_what_the_tasks_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m lab.cli.completion` writes it."""
    monkeypatch.setattr("sys.argv", ["invoke"])
    assert completion.TABLE.read_text() == completion.table(tasks.namespace.tasks)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_argument_has_words_to_offer(name: str) -> None:
    """Those of tasks that take several have a `+`."""
    typed = [
        argument
        for argument in TASKS[name].get_arguments()
        if argument.positional and argument.name not in TASKS[name].iterable
    ]
    assert len(typed) == (name in completion.ARGUMENTS)
    for argument in typed:
        several = isinstance(argument, Several)
        assert completion.ARGUMENTS[name].endswith("+") == several


def test_every_value_is_of_a_flag_that_exists() -> None:
    assert set(completion.ARGUMENTS) <= set(TASKS)
    assert set(completion.VALUES) <= {row[1] for row in ROWS if row[0] == "value"}


def test_every_source_is_one_that_the_shell_knows() -> None:
    script = completion.SCRIPT.read_text()
    sources = {row[2].removesuffix("+") for row in ROWS if row[0] in ("task", "value")}
    for source in sources:
        assert not source.startswith("@") or f"\n  {source})" in script


def test_the_line_quotes_its_paths() -> None:
    guard, _, read = completion.line(Path("/a checkout")).partition(" || ")
    assert guard == '[ -z "${BASH_VERSION-}${ZSH_VERSION-}" ]'
    expected = [".", str(completion.SCRIPT), "/a checkout", str(completion.TABLE)]
    assert shlex.split(read) == expected
