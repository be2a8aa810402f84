"""Checks of exercise `rollout`."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from infra.workloads.checks import (
    REVISION,
    Cluster,
    Object,
    endpoints_of,
    events_of,
    eventually,
    kept_pods,
    made_for_a_moment,
    owned_by,
    ports_of,
    present_replicaset,
    ready,
    ready_pods,
    replicasets_of,
)

WANTED = 4
LINE = re.compile(r"asked (\d+) answered (\d+) lost (\d+) by((?: \S+)*)$")
# A client that asks seldom would not notice what is lost in between.
ENOUGH = 40
# Seconds between two of its records at most: what it waits for an answer, and two more.
LATE = 5


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
    return names(ready_pods(cluster, "deployment", "web"))


def names(pods: list[Object]) -> frozenset[str]:
    """The last parts of the pods' names."""
    return frozenset(last_part(pod["metadata"]["name"]) for pod in pods)


def records(cluster: Cluster, lines: int = 5) -> list[Record]:
    """The newest records of the client."""
    return parse(cluster.logs("client", lines=lines))


def happened(cluster: Cluster, uid: str, reason: str) -> bool:
    """Whether there is an event of this reason."""
    return any(event["reason"] == reason for event in events_of(cluster, uid))


def one_more(cluster: Cluster, name: str, command: list[str]) -> AbstractContextManager[str]:
    """A further pod like those of `web` that runs this command instead, in no ReplicaSet, for as
    long as the block lasts; the Service finds it, and only its readiness is probed. Raises
    CannotCheck when it cannot be made."""
    template: Object = copy.deepcopy(cluster.get("deployment", "web")["spec"]["template"])
    # Should the check be cut off, the pod ends by itself.
    spec: Object = {**template["spec"], "activeDeadlineSeconds": 60}
    for container in spec["containers"]:
        for key in ("args", "livenessProbe"):
            container.pop(key, None)
        container["command"] = command
    metadata = {"name": name, "labels": template["metadata"].get("labels", {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return made_for_a_moment(cluster, pod)


def first_probe(pod: Object) -> float:
    """Seconds within which a pod's readiness probe must have answered, 20 for the most: its wait
    and two of its periods after the start, and as long as the check's pod is there."""
    probes = [container.get("readinessProbe", {}) for container in pod["spec"]["containers"]]
    waits: list[int] = [
        one.get("initialDelaySeconds", 0) + 2 * one.get("periodSeconds", 10) for one in probes
    ]
    return min(max(20, 10 + max(waits)), 55)


@dataclass(frozen=True)
class Ended:
    """A pod of `web` that was told to end: what the client gets from it a second later (exit code,
    and page or complaint), and the client's newest record before."""

    answer: Future[tuple[int, str]]
    before: Record | None


@pytest.fixture(scope="module")
def ended(cluster: Cluster) -> Ended | None:
    """What `end_one` found; once for all checks."""
    return end_one(cluster)


def end_one(cluster: Cluster) -> Ended | None:
    """The smallest rollout there is: one pod goes, and another one comes. None where no pod
    answered."""
    container = cluster.first_container("client")
    found = eventually(lambda: pod_that_answers(cluster, container)) if container else None
    if not found:
        return None
    pod, address = found
    uid = pod["metadata"]["uid"]
    before = records(cluster, 1)
    cluster.delete("pod", pod["metadata"]["name"])
    # A busy node may take its time until it begins with that.
    eventually(lambda: happened(cluster, uid, "Killing"), 10)
    # The pod does not wait: whatever the other checks need, it is asked in time.
    answer = ThreadPoolExecutor().submit(ask, cluster, container, address, after=1)
    return Ended(answer, before[-1] if before else None)


def pod_that_answers(cluster: Cluster, container: str) -> tuple[Object, str] | None:
    """A pod of `web`, one of the present version if there is any, and the address at which it
    answers the client's container itself, past the Service."""
    port = port_of_web(cluster)
    present = present_replicaset(cluster, "web")
    pods = kept_pods(cluster, "deployment", "web")
    pods.sort(key=lambda pod: present is not None and not owned_by(pod, present))
    for pod in pods:
        address = f"{pod['status'].get('podIP')}:{port}"
        if ask(cluster, container, address)[0] == 0:
            return pod, address
    return None


def port_of_web(cluster: Cluster) -> int:
    """The port where the pods of `web` listen, as the Service says; it may do so by name."""
    template = cluster.get("deployment", "web")["spec"]["template"]
    ports = ports_of(cluster.get("service", "web")["spec"], template["spec"]["containers"])
    return ports[0][1] if ports else 0


def ask(cluster: Cluster, container: str, address: str, after: int = 0) -> tuple[int, str]:
    """What the client's container gets from an address after so many seconds: exit code, and page
    or complaint."""
    command = f"sleep {after}; wget -qO- -T 2 http://{address}/"
    return cluster.run_in("client", "sh", "-c", command, container=container)


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
# What `ended` began goes on meanwhile.
@pytest.mark.usefixtures("ended")
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
    with one_more(cluster, "check-ready", ["sleep", "60"]) as name:
        uid = cluster.get("pod", name)["metadata"]["uid"]

        def judged() -> bool:
            return ready(cluster.get("pod", name)) or happened(cluster, uid, "Unhealthy")

        known = eventually(judged, first_probe(cluster.get("pod", name)))
        assert known and not ready(cluster.get("pod", name)), (
            "expected a pod like those of `web`, with `sleep 60` in place of its server, "
            "not to pass its readiness probe, saw that it does, or has none\n"
            f"{cluster.look('describe deployment web')}"
        )

        def listed() -> dict[str, bool]:
            # Kubelet's event may arrive before the status that has the pod's address.
            address = cluster.get("pod", name)["status"].get("podIP")
            return {one: visited for one, visited in endpoints(cluster).items() if one == address}

        seen = eventually(listed) or {}
        assert list(seen.values()) == [False], (
            f"expected the service `web` to know the pod `{name}`, which is not ready, and to send "
            f"nothing there, saw {seen}\n{cluster.look('get service web -o yaml')}"
        )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A pod is told to end while others still send requests to it.",
    "Whoever forwards to a pod learns a moment later that it ends; the pod has to wait for them.",
    "A `preStop` that runs `sleep` for 5 seconds, in the container's `lifecycle`.",
)
def test_answers_for_a_while_at_its_end(cluster: Cluster, ended: Ended | None) -> None:
    """A pod that is deleted goes on answering for a moment"""
    cluster.get("pod", "client")
    assert ended, (
        "expected a pod of `web` to answer the pod `client`, saw none that does\n"
        f"{cluster.look('get pods -o wide')}"
    )
    code, output = ended.answer.result()
    assert code == 0, (
        "expected a pod of `web` to answer a second after it was told to end, "
        f"saw {output.strip()[:200]!r}\n{cluster.look('describe deployment web')}"
    )


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
def test_rollout_loses_nothing(cluster: Cluster, ended: Ended | None) -> None:
    """A rollout loses none of the client's requests"""
    if (
        ended
        and ended.before
        and ended.answer.result()[0] == 0
        and agreements(cluster)
        and last_rollout_lost_nothing(cluster, ended.before)
    ):
        return
    # The record does not tell, or tells of a loss, which may be that of a worse version: measure.
    # So it is where an agreement is missing, for it may be that nothing has been rolled out yet.
    seen = outcome(cluster, 30)
    began = eventually(lambda: records(cluster), 10)
    old = present_replicaset(cluster, "web")
    assert seen == "complete" and began and old, (
        "expected a complete rollout and a client that counts before another one is tried, "
        f"saw it {seen}, and {'a' if began else 'no'} count\n"
        f"{cluster.look('rollout status deployment/web')}"
    )
    earlier = kept_revisions(cluster) - {old["metadata"]["name"]}
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
        tidy(cluster, old, earlier)


def agreements(cluster: Cluster) -> bool:
    """Whether Deployment and Service say what a rollout needs that loses nothing."""
    spec = cluster.get("deployment", "web")["spec"]
    containers = spec["template"]["spec"]["containers"]
    probed = any(one.keys() & {"readinessProbe", "startupProbe"} for one in containers)
    early = cluster.get("service", "web")["spec"].get("publishNotReadyAddresses", False)
    return guaranteed(spec) >= WANTED and probed and not early


def last_rollout_lost_nothing(cluster: Cluster, end: Record) -> bool:
    """Whether the last rollout came to its end, and the client counted from before it until after
    this record, in whose second a pod was told to end, and lost nothing."""
    present = present_replicaset(cluster, "web")
    states = cluster.get("pod", "client")["status"].get("containerStatuses", [])
    started = [one["state"]["running"]["startedAt"] for one in states if one["ready"]]
    if not present or not started:
        return False
    began = present["metadata"]["creationTimestamp"]
    # Nobody can ask before there is a first version.
    first = present["metadata"]["annotations"][REVISION] == "1"
    if not first and max(started) > began:
        return False
    # A rollout that is stalled, or held, loses nothing either.
    name = present["metadata"]["name"]
    if names(kept_pods(cluster, "deployment", "web")) - names(
        kept_pods(cluster, "replicaset", name)
    ):
        return False
    # A record comes late where a request was lost: the one before it is the one to begin with.
    before = datetime.fromisoformat(began) - timedelta(seconds=LATE)
    counted = parse(cluster.logs("client", since=before.strftime("%Y-%m-%dT%H:%M:%SZ")))
    pods = names(ready_pods(cluster, "replicaset", name))
    return bool(counted) and lossless(counted[0], later(cluster, end), pods)


def later(cluster: Cluster, record: Record) -> Record:
    """The newest record, two lines after that one: they tell its last second."""

    def found() -> list[Record]:
        newer = [one for one in records(cluster) if one.asked > record.asked]
        return newer if len(newer) > 1 else []

    return (eventually(found) or records(cluster) or [record])[-1]


def lossless(before: Record, after: Record, pods: frozenset[str]) -> bool:
    """Whether the client asked all the time between two records, and lost nothing; the last ones
    who answered it are these pods."""
    asked = after.asked - before.asked
    return asked >= ENOUGH and after.lost == before.lost and bool(after.by & pods)


def judge(cluster: Cluster, began: Record) -> None:
    """Fail the check unless new pods answered, and nothing was lost since this record."""
    pods = pods_of_web(cluster)
    newest = later(cluster, (records(cluster) or [began])[-1])
    asked, lost = newest.asked - began.asked, newest.lost - began.lost
    assert lossless(began, newest, pods), (
        f"expected at least {ENOUGH} requests and none of them lost, the last ones answered by the "
        f"new pods, saw {lost} of {asked} lost, the last ones answered by "
        f"{', '.join(sorted(newest.by)) or 'nobody'}\n{cluster.look('logs client --tail=20')}"
    )


def kept_revisions(cluster: Cluster) -> set[str]:
    """The names of the ReplicaSets of `web`, old and present."""
    items = replicasets_of(cluster, cluster.get("deployment", "web"))
    return {item["metadata"]["name"] for item in items}


def tidy(cluster: Cluster, old: Object, earlier: set[str]) -> None:
    """Leave no second revision of the same version, which `rollout undo` would go back to.

    It stays where it took the place of the `earlier` ones: there is no other way back then.
    """
    if state(cluster.get("deployment", "web")) == "complete":
        if not earlier or earlier & kept_revisions(cluster):
            cluster.delete("replicaset", old["metadata"]["name"])
    else:
        cluster.kubectl("rollout", "undo", "deployment/web")
