"""Checks of exercise `rollout`."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from infra.workloads.checks import (
    Cluster,
    Object,
    endpoints_of,
    events_of,
    eventually,
    made_for_a_moment,
    present_replicaset,
    ready,
    ready_pods,
)

WANTED = 4
LINE = re.compile(r"asked (\d+) answered (\d+) lost (\d+) by((?: \S+)*)$")
# A client that asks seldom would not notice what is lost in between.
ENOUGH = 40


@dataclass(frozen=True)
class Record:
    """A line of the client: requests since it began; `by` are the last parts of pods' names."""

    asked: int
    answered: int
    lost: int
    by: frozenset[str]


def parse(log: str) -> list[Record]:
    """The records in what the client printed; other lines are left out."""
    found = []
    for line in log.splitlines():
        if match := LINE.search(line.strip()):
            asked, answered, lost = (int(text) for text in match.groups()[:3])
            found.append(Record(asked, answered, lost, frozenset(map(last_part, match[4].split()))))
    return found


def last_part(name: str) -> str:
    """What tells a pod from the others of its ReplicaSet."""
    return name.rpartition("-")[2]


def guaranteed(spec: Object) -> int:
    """How many pods stay available through a rollout, as the Deployment's controller reckons."""
    replicas: int = spec.get("replicas", 1)
    strategy = spec.get("strategy", {})
    if strategy.get("type") == "Recreate":
        return 0
    rolling = strategy.get("rollingUpdate", {})
    surge = share(rolling.get("maxSurge", "25%"), replicas, math.ceil)
    unavailable = share(rolling.get("maxUnavailable", "25%"), replicas, math.floor)
    # With neither one more nor one fewer nothing would move: then one fewer it is.
    return replicas - min(replicas, unavailable or (0 if surge else 1))


def share(value: int | str, whole: int, rounded: Callable[[float], int]) -> int:
    """A number of pods that is given as such, or as a percentage of all."""
    return value if isinstance(value, int) else rounded(int(value.rstrip("%")) * whole / 100)


def state(deployment: Object) -> str:
    """`complete` or `stalled`; empty for a rollout that is under way."""
    status = deployment["status"]
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return ""
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    if counts == {deployment["spec"]["replicas"]}:
        return "complete"
    late = "ProgressDeadlineExceeded"
    return "stalled" if late in [c.get("reason") for c in status.get("conditions", [])] else ""


def outcome(cluster: Cluster, seconds: float) -> str:
    """The state of the rollout of `web`, once it has one."""
    return eventually(lambda: state(cluster.get("deployment", "web")), seconds) or "under way"


def endpoints(cluster: Cluster) -> dict[str, bool]:
    """The addresses behind the Service `web`, and whether requests are sent there."""
    found = endpoints_of(cluster, "web")
    return {address: bool(one.get("ready", True)) for address, one in found.items()}


def pods_of_web(cluster: Cluster) -> frozenset[str]:
    """The last parts of the names of the ready pods of `web`."""
    pods = ready_pods(cluster, "deployment", "web")
    return frozenset(last_part(pod["metadata"]["name"]) for pod in pods)


def records(cluster: Cluster, lines: int = 5) -> list[Record]:
    """The newest records of the client."""
    return parse(cluster.logs("client", lines=lines))


def happened(cluster: Cluster, uid: str, reason: str) -> bool:
    """Whether there is an event of this reason."""
    return any(event["reason"] == reason for event in events_of(cluster, uid))


def one_more(
    cluster: Cluster, name: str, labelled: bool, command: list[str] | None = None
) -> AbstractContextManager[str]:
    """A further pod like those of `web`, in no ReplicaSet, for as long as the block lasts.

    With `labelled` the Service finds it. `command` is what it runs instead. Raises CannotCheck
    when it cannot be made.
    """
    template: Object = copy.deepcopy(cluster.get("deployment", "web")["spec"]["template"])
    # Should the check be cut off, the pod ends by itself.
    spec: Object = {**template["spec"], "activeDeadlineSeconds": 60}
    for container in spec["containers"]:
        if command:
            container.pop("args", None)
            container["command"] = command
    labels = template["metadata"].get("labels", {}) if labelled else {}
    metadata = {"name": name, "labels": labels}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return made_for_a_moment(cluster, pod)


@pytest.mark.points(1)
@pytest.mark.hints(
    "A rollout that is under way, or stuck, leaves pods of two revisions.",
    "`kubectl rollout status` says what it waits for; a pod that does not start says why.",
    "`replicas: 4`, an image that exists, and a readinessProbe that asks where the server listens.",
)
def test_all_updated_and_available(cluster: Cluster) -> None:
    """Four replicas are available, and all of them are of the present version"""
    seen = outcome(cluster, 60)
    replicas = cluster.get("deployment", "web")["spec"]["replicas"]
    assert seen == "complete" and replicas >= WANTED, (
        f"expected {WANTED} replicas, their rollout complete, saw it {seen} with {replicas}\n"
        f"{cluster.look('rollout status deployment/web')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A rollout may go below the number of replicas, or above it.",
    "Two settings say how far; percentages are of the replicas, and rounded.",
    "`maxUnavailable: 0` with a `maxSurge` of at least 1, in a strategy of type RollingUpdate.",
)
def test_never_fewer_than_four(cluster: Cluster) -> None:
    """No rollout leaves fewer than four pods available"""
    spec = cluster.get("deployment", "web")["spec"]
    seen = guaranteed(spec)
    assert seen >= WANTED, (
        f"expected a strategy that keeps {WANTED} of {spec['replicas']} pods available, "
        f"saw one that keeps {seen}: {spec.get('strategy')}\n"
        f"{cluster.look('get deployment web -o yaml')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A container that runs need not be one that answers.",
    "A pod like those of `web` in which nobody listens is started: it must not become ready.",
    "`readinessProbe` with `httpGet: {path: /, port: 80}`, and a Service with a selector only.",
)
def test_no_requests_before_it_answers(cluster: Cluster) -> None:
    """A pod gets requests when it is ready, and one where nobody listens is not"""
    cluster.get("deployment", "web")

    def agree() -> bool:
        pods = {pod["status"]["podIP"] for pod in ready_pods(cluster, "deployment", "web")}
        return bool(pods) and pods == {ip for ip, visited in endpoints(cluster).items() if visited}

    assert eventually(agree, 10), (
        "expected the ready endpoints of the service `web` to be the ready pods of `web`, "
        f"saw {endpoints(cluster)}\n{cluster.look('get endpointslices,pods -o wide')}"
    )
    with one_more(cluster, "check-ready", True, ["sleep", "60"]) as name:
        uid = cluster.get("pod", name)["metadata"]["uid"]

        def judged() -> bool:
            return ready(cluster.get("pod", name)) or happened(cluster, uid, "Unhealthy")

        assert eventually(judged) and not ready(cluster.get("pod", name)), (
            "expected a pod like those of `web`, with `sleep 60` in place of its server, "
            "not to pass its readiness probe, saw that it does, or has none\n"
            f"{cluster.look('describe deployment web')}"
        )
        address = cluster.get("pod", name)["status"]["podIP"]
        seen = eventually(lambda: {a: v for a, v in endpoints(cluster).items() if a == address})
        assert seen == {address: False}, (
            f"expected the service `web` to know the pod at {address}, which is not ready, and to "
            f"send nothing there, saw {seen}\n{cluster.look('get service web -o yaml')}"
        )


def port_of_web(cluster: Cluster) -> int:
    """The port where the pods of `web` listen, as the Service says; it may do so by name."""
    port: int | str = cluster.get("service", "web")["spec"]["ports"][0]["targetPort"]
    containers = cluster.get("deployment", "web")["spec"]["template"]["spec"]["containers"]
    ports: list[dict[str, Any]] = [one for item in containers for one in item.get("ports", [])]
    named: dict[str, int] = {one.get("name", ""): one["containerPort"] for one in ports}
    return port if isinstance(port, int) else named.get(port, 0)


@pytest.mark.points(2)
@pytest.mark.hints(
    "A pod is told to end while others still send requests to it.",
    "Whoever forwards to a pod learns a moment later that it ends; the pod has to wait for them.",
    "A `preStop` that runs `sleep` for 5 seconds, in the container's `lifecycle`.",
)
def test_answers_for_a_while_at_its_end(cluster: Cluster) -> None:
    """A pod that is deleted goes on answering for a moment"""
    port = port_of_web(cluster)
    cluster.get("pod", "client")
    with one_more(cluster, "check-end", False) as name:

        def answering() -> str | None:
            """The address of the pod itself, past the Service, once it answers there."""
            ip = cluster.get("pod", name)["status"].get("podIP")
            found = f"{ip}:{port}"
            return found if ip and ask(cluster, found)[0] == 0 else None

        address = eventually(answering)
        assert address, (
            f"expected a pod like those of `web` to answer at port {port}, saw that it does not\n"
            f"{cluster.look('get pods -o wide')}"
        )
        uid = cluster.get("pod", name)["metadata"]["uid"]
        cluster.delete("pod", name)
        # A busy node may take its time until it begins with that.
        eventually(lambda: happened(cluster, uid, "Killing"), 10)
        code, output = ask(cluster, address, after=1)
        assert code == 0, (
            "expected a pod like those of `web` to answer a second after it was told to end, "
            f"saw {output.strip()[:200]!r}\n{cluster.look('describe deployment web')}"
        )


def ask(cluster: Cluster, address: str, after: int = 0) -> tuple[int, str]:
    """What the client gets from an address, after so many seconds."""
    command = f"sleep {after}; wget -qO- -T 2 http://{address}/"
    return cluster.run_in("client", "sh", "-c", command)


@pytest.mark.points(1)
@pytest.mark.hints(
    "There is a way back as long as there is somewhere to go.",
    "`kubectl rollout history` lists what is kept; old ReplicaSets are what it is kept in.",
    "`revisionHistoryLimit` must not be 0; leave it out, and it is 10.",
)
def test_way_back_is_kept(cluster: Cluster) -> None:
    """The revisions before the present one are kept"""
    limit = cluster.get("deployment", "web")["spec"].get("revisionHistoryLimit", 10)
    assert limit > 0, (
        f"expected `web` to keep older revisions, saw that it keeps {limit}\n"
        f"{cluster.look('rollout history deployment/web')}"
    )
    assert eventually(lambda: present_replicaset(cluster, "web"), 10), (
        "expected a ReplicaSet of the present revision of `web`, saw none\n"
        f"{cluster.look('get replicasets')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "The client tells in its log how its requests went.",
    "`kubectl logs client` has a line a second; ask the service from inside that pod yourself.",
    "The page of each pod is its version, a dash and the end of its name; the service is `web`.",
)
def test_client_keeps_a_record(cluster: Cluster) -> None:
    """The client's requests are answered, by the pods of `web`"""
    client = cluster.get("pod", "client")
    began = eventually(lambda: records(cluster))

    def goes_on() -> bool:
        newest = records(cluster, 1)
        return bool(began and newest and answered(began[-1], newest[-1], pods_of_web(cluster)))

    assert eventually(goes_on, 10), (
        "expected a new line each second, `asked N answered N lost N by ...`, that names pods of "
        f"`web`, saw {cluster.logs('client', lines=1).strip()[-200:]!r}\n"
        f"{cluster.look('logs client --tail=5')}"
    )
    cluster.expect_image(client, "busybox")


def answered(before: Record, after: Record, pods: frozenset[str]) -> bool:
    """Whether requests between two records were answered, the last ones by these pods alone."""
    return after.answered > before.answered and bool(after.by) and after.by <= pods


@pytest.mark.points(3)
@pytest.mark.hints(
    "The other checks look at one half of it each: how a pod begins, and how it ends.",
    "Watch `kubectl logs -f client` during `kubectl rollout restart`: when does `lost` grow?",
    "`maxUnavailable: 0`, a readinessProbe where the server listens, and `preStop` with a pause.",
)
def test_rollout_loses_nothing(cluster: Cluster) -> None:
    """A rollout, made by this check, loses none of the client's requests"""
    seen = outcome(cluster, 10)
    began = eventually(lambda: records(cluster), 10)
    old = present_replicaset(cluster, "web")
    assert seen == "complete" and began and old, (
        "expected a complete rollout and a client that counts before another one is tried, "
        f"saw it {seen}, and {'a' if began else 'no'} count\n"
        f"{cluster.look('rollout status deployment/web')}"
    )
    code, output = cluster.kubectl("rollout", "restart", "deployment/web")
    assert code == 0, (
        f"expected `web` to be rolled out again, saw {output.strip()}\n"
        f"{cluster.look('rollout restart deployment/web')}"
    )
    try:
        seen = outcome(cluster, 90)
        assert seen == "complete", (
            f"expected the rollout to be complete, saw it {seen}\n"
            f"{cluster.look('rollout status deployment/web')}"
        )
        judge(cluster, began[-1])
    finally:
        tidy(cluster, old)


def judge(cluster: Cluster, began: Record) -> None:
    """Fail the check unless new pods answered, and nothing was lost since this record."""
    pods = pods_of_web(cluster)
    done = (records(cluster) or [began])[-1]

    def later() -> list[Record]:
        """Two lines after the rollout, which tell its last second."""
        found = [one for one in records(cluster) if one.asked > done.asked]
        return found if len(found) > 1 else []

    newest = (eventually(later) or records(cluster) or [began])[-1]
    asked, lost = newest.asked - began.asked, newest.lost - began.lost
    assert lost == 0, (
        f"expected none of {asked} requests to be lost, saw {lost}\n"
        f"{cluster.look('logs client --tail=20')}"
    )
    assert asked >= ENOUGH and newest.by & pods, (
        f"expected the client to ask all the time and to name the new pods, saw {asked} requests, "
        f"the last ones answered by {', '.join(sorted(newest.by)) or 'nobody'}\n"
        f"{cluster.look('logs client --tail=20')}"
    )


def tidy(cluster: Cluster, old: Object) -> None:
    """Leave no second revision of the same version, which `rollout undo` would go back to."""
    if state(cluster.get("deployment", "web")) == "complete":
        name = old["metadata"]["name"]
        cluster.delete("replicaset", name)
    else:
        cluster.kubectl("rollout", "undo", "deployment/web")
