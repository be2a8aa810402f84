"""The exercises go and wrong answers come: last, when nothing goes on beside them any more."""

from __future__ import annotations

import pytest

from tests.e2e.support import KEPT, Invoke, deployed

# `invoke mutants --all` tries everything, for a quarter of an hour; these are two dozen of them.
TRIED = ("pod", "service")
pytestmark = pytest.mark.e2e


def test_exercises_down(invoke: Invoke) -> None:
    invoke("exercise-down", *TRIED)
    invoke.shell("kubectl get namespace pod", code=1)
    assert deployed(invoke) == {"deployment", *KEPT} - {*TRIED}
    invoke("exercise-down", "--all")
    assert not deployed(invoke)


def test_wrong_answers(invoke: Invoke) -> None:
    """Every mutant fails the right check; the manifests, by kubectl, pass all of them."""
    outcomes = invoke.json("mutants", *TRIED)["mutants"]
    assert isinstance(outcomes, list)
    assert not [outcome for outcome in outcomes if outcome["problem"]]
    right = {outcome["exercise"] for outcome in outcomes if not outcome["failed"]}
    assert right == set(TRIED)
    assert len([outcome for outcome in outcomes if outcome["failed"]]) >= 21
