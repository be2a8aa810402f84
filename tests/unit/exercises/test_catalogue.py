"""The catalogue finds every exercise of a checkout."""

from __future__ import annotations

import pytest

from lab import errors
from lab.exercises import catalogue
from tests.unit.conftest import ROOT


def test_exercises_have_the_order_of_the_lecture_and_all_parts() -> None:
    found = catalogue.discover(ROOT)
    assert [item.name for item in found][:5] == [
        "pod",
        "replicaset",
        "deployment",
        "service",
        "ingress",
    ]
    for item in found:
        assert item.checks, item.name
        for part in ("program.py", "README.md", "manifests"):
            assert (item.folder / part).exists(), f"{item.name}/{part}"


def test_an_unknown_exercise_gets_a_suggestion() -> None:
    with pytest.raises(errors.NotFoundError, match="did you mean `deployment`") as caught:
        catalogue.find(ROOT, "depolyment")
    assert caught.value.exit_code == 6
