"""Several words for one task, through Invoke's own program and parser."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from invoke import Collection, Context, Program

import tasks
from lab.cli.words import Words

Given = dict[str, Any]


def program(seen: Given) -> Program:
    """Invoke with a task of several words, and one of none."""

    def look_at(
        c: Context,
        names: Words,
        lab: str | None = None,
        json_: bool = False,
        some: bool = True,
        all_: bool = False,
    ) -> None:
        """Takes names."""
        seen.update(names=names, lab=lab, json=json_, some=some, every=all_)

    def other(c: Context) -> None:
        seen.update(other=True)

    def count(c: Context, number: int = 3) -> None:
        seen.update(number=number)

    return Program(namespace=Collection(*(tasks.task(one) for one in (look_at, other, count))))


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> Given:
    """What the task was given by a command line."""
    seen: Given = {}
    monkeypatch.setattr(sys, "argv", ["inv", *words])
    program(seen).run(["inv", *words], exit=False)
    return seen


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("look-at a", ["a"]),
        ("look-at a b c", ["a", "b", "c"]),
        ("look-at a.yaml - b.yaml", ["a.yaml", "-", "b.yaml"]),
        ("look-at -", ["-"]),
        ("look-at --all", []),
        ("look-at --all --lab second", []),
        ("look-at a look-at other", ["a", "look-at", "other"]),
        ("look-at a --names b", ["a", "b"]),
    ],
)
def test_words(monkeypatch: pytest.MonkeyPatch, words: str, names: list[str]) -> None:
    assert run(monkeypatch, *words.split())["names"] == names


@pytest.mark.parametrize(
    "words",
    [
        "look-at --lab second --json a b --no-some",
        "look-at a --lab=second b --json --no-some",
        "look-at a --no-some --json b --lab second",
    ],
)
def test_flags_among_them(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    seen = run(monkeypatch, *words.split())
    assert seen.pop("every") is False
    assert seen == {"names": ["a", "b"], "lab": "second", "json": True, "some": False}


def test_a_word_with_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "look-at", "my pod.yaml", "b")["names"] == ["my pod.yaml", "b"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("look-at", "did not receive required positional arguments: 'names'"),
        ("look-at a --al", "No idea what '--al' is!"),
        ("count --number many", "--number wants a whole number, not 'many'"),
    ],
)
def test_what_invoke_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, expected: str
) -> None:
    assert run(monkeypatch, *words.split()) == {}
    assert expected in capsys.readouterr().err


def test_other_tasks_are_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "other") == {"other": True}
    assert run(monkeypatch, "count") == {"number": 3}
    assert run(monkeypatch, "count", "--number", "7") == {"number": 7}
    assert run(monkeypatch, "other", "look-at", "a", "b")["names"] == ["a", "b"]


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "--help", "look-at")
    told = capsys.readouterr().out
    assert "Takes names." in told and "--names" in told
