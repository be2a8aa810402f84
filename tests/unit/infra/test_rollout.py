"""The pure functions in the checks of exercise `rollout`: strategies, states and records."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from infra.workloads.checks import REVISION, Cluster, Object
from infra.workloads.rollout import test_rollout
from infra.workloads.rollout.test_rollout import (
    Record,
    guaranteed,
    last_rollout_lost_nothing,
    lossless,
    parse,
    state,
)

COMPLETE = {"observedGeneration": 2, "replicas": 4, "updatedReplicas": 4, "availableReplicas": 4}
LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (4, 1, 0, 4),
        (4, 2, 1, 3),
        (4, "25%", "25%", 3),
        # Kubernetes rounds maxSurge up and maxUnavailable down.
        (4, "1%", "24%", 4),
        (4, "100%", "100%", 0),
        (4, 1, 9, 0),
        # Nothing could proceed, so the controller removes one pod.
        (4, "0%", "24%", 3),
        (5, 0, 1, 4),
    ],
)
def test_the_pods_that_a_strategy_guarantees(
    replicas: int, surge: int | str, unavailable: int | str, expected: int
) -> None:
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
        # The status describes the generation before.
        ({"observedGeneration": 1}, ""),
    ],
)
def test_the_state_of_a_rollout(change: dict[str, Any], expected: str) -> None:
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 4}}
    assert state({**deployment, "status": {**COMPLETE, **change}}) == expected


def test_the_clients_lines_are_parsed() -> None:
    log = (
        "wget: bad address\n"
        "12:00:01 asked 17 answered 15 lost 2 by 1-x7k2p 2-b9d4f\n"
        "12:00:02 asked 20 answered 15 lost 5 by\n"
    )
    assert parse(log) == [
        Record(17, 15, 2, frozenset({"x7k2p", "b9d4f"})),
        Record(20, 15, 5, frozenset()),
    ]


OLD, NEW = frozenset({"x7k2p"}), frozenset({"b9d4f"})


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (Record(90, 88, 2, OLD | NEW), True),
        (Record(90, 87, 3, NEW), False),
        (Record(49, 47, 2, NEW), False),
        (Record(90, 88, 2, OLD), False),
        (Record(90, 88, 2, frozenset()), False),
    ],
)
def test_a_lossless_record_has_enough_requests_and_new_pods(after: Record, expected: bool) -> None:
    assert lossless(Record(10, 8, 2, OLD), after, NEW) is expected


class Counted(Cluster):
    """A Deployment with a rollout at 12:00:10, and a client that counts since second `began`.

    `keeper` is the ReplicaSet of the pod that answers.
    """

    def __init__(self, revision: str, began: str, lost: int = 0, keeper: str = "web-7d") -> None:
        super().__init__("rollout")
        self.revision, self.began, self.lost, self.keeper = revision, began, lost, keeper

    def get(self, kind: str, name: str) -> Object:
        if kind == "pod":
            running = {"startedAt": f"2026-11-29T12:00:{self.began}Z"}
            return {
                "status": {"containerStatuses": [{"ready": True, "state": {"running": running}}]}
            }
        return self.item(name, "web" if kind == "replicaset" else "")

    def list(self, kind: str, selector: str = "") -> list[Object]:
        if kind == "replicasets":
            return [self.item("web-7d", "web")]
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        return [{**self.item("web-7d-b9d4f", self.keeper), "status": ready}]

    def item(self, name: str, owner: str = "") -> Object:
        """An object whose UID is its name."""
        owners = [{"uid": owner, "controller": True}] if owner else []
        made = {"name": name, "uid": name, "creationTimestamp": "2026-11-29T12:00:10Z"}
        notes = {REVISION: self.revision}
        return {"metadata": {**made, "annotations": notes, "ownerReferences": owners}}

    def logs(self, pod: str, container: str = "", lines: int = 0, since: str = "") -> str:
        line = "12:00:{} asked {} answered {} lost {} by 1-b9d4f\n"
        newest = [(20 + n, 180 + 18 * n) for n in range(5)]
        # The first record with a loss comes seconds after the start of the rollout.
        told = newest[-lines:] if lines else [(8, 18), (14, 40), *newest]
        assert lines or since == "2026-11-29T12:00:05Z"
        lost = [0 if second == 8 else self.lost for second, _ in told]
        return "".join(
            line.format(second, asked, asked - gone, gone)
            for (second, asked), gone in zip(told, lost, strict=True)
        )


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (Counted("2", "05"), True),
        # The first version, and a client that waited for it.
        (Counted("1", "14"), True),
        # The client restarted, so its record of the rollout is incomplete.
        (Counted("2", "14"), False),
        (Counted("2", "05", lost=1), False),
        # The rollout is stalled or paused, since a pod of the older version answers.
        (Counted("2", "05", keeper="web-6c"), False),
    ],
)
def test_the_last_rollout_lost_nothing_by_its_record(cluster: Counted, expected: bool) -> None:
    assert last_rollout_lost_nothing(cluster, Record(190, 190, 0, NEW)) is expected


def test_the_checks_pod_keeps_only_its_readiness_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failing liveness probe would hide a readiness probe that always succeeds."""
    container = {
        "args": ["serve"],
        "livenessProbe": {"httpGet": {"port": 80}},
        "readinessProbe": {"exec": {"command": ["true"]}},
    }
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    monkeypatch.setattr(Cluster, "get", lambda *_: {"spec": {"template": template}})
    made: list[Object] = []
    monkeypatch.setattr(test_rollout, "made_for_a_moment", lambda _, pod: made.append(pod))
    test_rollout.one_more(Cluster("rollout"), "check-ready", ["sleep", "60"])
    (kept,) = made[0]["spec"]["containers"]
    assert kept == {"readinessProbe": container["readinessProbe"], "command": ["sleep", "60"]}
    assert "livenessProbe" in container


class Judged(Cluster):
    """A pod whose event `Unhealthy` arrives before the status with its address."""

    looks = 0

    def get(self, kind: str, name: str) -> Object:
        self.looks += kind == "pod"
        status = {"podIP": "10.244.1.9"} if self.looks > 5 else {}
        return {"metadata": {"uid": name}, "spec": {"containers": []}, "status": status}


@pytest.mark.parametrize(
    ("endpoints", "right"),
    [({"10.244.1.9": False}, True), ({"10.244.1.9": True}, False), ({}, False)],
)
def test_an_event_may_arrive_before_the_pods_address(
    monkeypatch: pytest.MonkeyPatch, endpoints: dict[str, bool], right: bool
) -> None:
    monkeypatch.setenv("LAB_PATIENCE", "0.05")
    one = {"metadata": {"name": "web-1"}, "status": {"podIP": "10.244.1.2"}}
    known = {"10.244.1.2": True}
    cluster = Judged("rollout")
    monkeypatch.setattr(test_rollout, "ready_pods", lambda *_: [one])
    monkeypatch.setattr(
        test_rollout, "endpoints", lambda _: known | (endpoints if cluster.looks else {})
    )
    monkeypatch.setattr(test_rollout, "one_more", lambda *_: nullcontext("check-ready"))
    monkeypatch.setattr(test_rollout, "happened", lambda *_: True)
    monkeypatch.setattr(test_rollout, "first_probe", lambda _: 1.0)
    wrong = pytest.raises(AssertionError, match="which is not ready, and to send nothing there")
    with nullcontext() if right else wrong:
        test_rollout.test_no_requests_before_it_answers(cluster)
