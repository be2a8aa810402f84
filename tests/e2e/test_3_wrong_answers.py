"""The exercises go and wrong answers come: last, when no other lab is there any more."""

from __future__ import annotations

import pytest

from tests.e2e.support import Invoke

# `invoke mutants --all` tries everything, for a quarter of an hour; these are two dozen of them.
TRIED = ("pod", "service")
pytestmark = pytest.mark.e2e


def test_exercise_down(invoke: Invoke) -> None:
    invoke("exercise-down", "pod")
    invoke.shell("kubectl get namespace pod", code=1)


def test_wrong_answers_while_the_exercises_go(invoke: Invoke) -> None:
    """Every mutant fails the right check; the manifests, by kubectl, pass all of them.

    Meanwhile all exercises are taken away, whose pods have their time to end.
    """
    going = invoke.begin("exercise-down", "--all")
    outcomes = invoke.json("mutants", *TRIED)["mutants"]
    assert isinstance(outcomes, list)
    assert not [outcome for outcome in outcomes if outcome["problem"]]
    right = {outcome["exercise"] for outcome in outcomes if not outcome["failed"]}
    assert right == set(TRIED)
    assert len([outcome for outcome in outcomes if outcome["failed"]]) >= 21
    _, story = going.communicate(timeout=120)
    assert going.returncode == 0, story
    assert not any(exercise["resources"] for exercise in invoke.json("lab-status")["exercises"])
