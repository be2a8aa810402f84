"""What the checks of exercise `rollout` reckon: strategies, states, and the client's lines."""

from __future__ import annotations

from typing import Any

import pytest

from infra.workloads.rollout.test_rollout import Record, guaranteed, parse, state

COMPLETE = {"observedGeneration": 2, "replicas": 4, "updatedReplicas": 4, "availableReplicas": 4}
LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (4, 1, 0, 4),
        (4, 2, 1, 3),
        (4, "25%", "25%", 3),
        # Rounded in favour of those who ask: up for more pods, down for fewer.
        (4, "1%", "24%", 4),
        (4, "100%", "100%", 0),
        (4, 1, 9, 0),
        # Nothing could move: the controller then takes one away after all.
        (4, "0%", "24%", 3),
        (5, 0, 1, 4),
    ],
)
def test_guaranteed(replicas: int, surge: int | str, unavailable: int | str, expected: int) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    assert guaranteed({"replicas": replicas, "strategy": strategy}) == expected


def test_recreate_guarantees_nothing() -> None:
    assert guaranteed({"replicas": 4, "strategy": {"type": "Recreate"}}) == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "complete"),
        ({"updatedReplicas": 3}, ""),
        ({"replicas": 6}, ""),
        ({"availableReplicas": 3, "conditions": [LATE]}, "stalled"),
        # What it says is of the generation before.
        ({"observedGeneration": 1}, ""),
    ],
)
def test_state(change: dict[str, Any], expected: str) -> None:
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 4}}
    assert state({**deployment, "status": {**COMPLETE, **change}}) == expected


def test_the_clients_lines() -> None:
    log = (
        "wget: bad address\n"
        "12:00:01 asked 17 answered 15 lost 2 by 1-x7k2p 2-b9d4f\n"
        "12:00:02 asked 20 answered 15 lost 5 by\n"
    )
    assert parse(log) == [
        Record(17, 15, 2, frozenset({"x7k2p", "b9d4f"})),
        Record(20, 15, 5, frozenset()),
    ]
