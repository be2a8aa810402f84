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
# The fewest requests of a measurement. A slower client could miss a loss.
ENOUGH = 40
# The longest time in seconds between two records: the client's timeout, and two more.
LATE = 5


@dataclass(frozen=True)
class Record:
    """A line of the client: requests since its start; `by` are the last parts of pods' names."""

    asked: int
    answered: int
    lost: int
    by: frozenset[str]


def parse(log: str) -> list[Record]:
    """The records in the client's log. Other lines are ignored."""
    found = []
    for line in log.splitlines():
        if match := LINE.search(line.strip()):
            asked, answered, lost = (int(text) for text in match.groups()[:3])
            found.append(Record(asked, answered, lost, frozenset(map(last_part, match[4].split()))))
    return found


def last_part(name: str) -> str:
    """The part of a pod's name that is unique in its ReplicaSet."""
    return name.rpartition("-")[2]


def guaranteed(spec: Object) -> int:
    """How many pods stay available during a rollout, by the Deployment controller's rules."""
    replicas: int = spec.get("replicas", 1)
    strategy = spec.get("strategy", {})
    if strategy.get("type") == "Recreate":
        return 0
    rolling = strategy.get("rollingUpdate", {})
    surge = share(rolling.get("maxSurge", "25%"), replicas, math.ceil)
    unavailable = share(rolling.get("maxUnavailable", "25%"), replicas, math.floor)
    # If both values are 0, the controller uses one unavailable pod, since nothing could proceed.
    return replicas - min(replicas, unavailable or (0 if surge else 1))


def share(value: int | str, whole: int, rounded: Callable[[float], int]) -> int:
    """A number of pods, given as a number or as a percentage of all."""
    return value if isinstance(value, int) else rounded(int(value.rstrip("%")) * whole / 100)


def state(deployment: Object) -> str:
    """`complete` or `stalled`; empty during a rollout."""
    status = deployment["status"]
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return ""
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    if counts == {deployment["spec"]["replicas"]}:
        return "complete"
    late = "ProgressDeadlineExceeded"
    return "stalled" if late in [c.get("reason") for c in status.get("conditions", [])] else ""


def outcome(cluster: Cluster, seconds: float) -> str:
    """The final state of the rollout of `web`, or `in progress` after so many seconds."""
    return eventually(lambda: state(cluster.get("deployment", "web")), seconds) or "in progress"


def endpoints(cluster: Cluster) -> dict[str, bool]:
    """The addresses behind the Service `web`, and whether they receive requests."""
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
    """Whether the object has an event with this reason."""
    return any(event["reason"] == reason for event in events_of(cluster, uid))


def one_more(cluster: Cluster, name: str, command: list[str]) -> AbstractContextManager[str]:
    """Create a pod like those of `web` with another command while the block runs.

    It belongs to no ReplicaSet. The Service finds it, and only its readiness probe remains. Raises
    CannotCheck if the API server rejects it.
    """
    template: Object = copy.deepcopy(cluster.get("deployment", "web")["spec"]["template"])
    # After an interrupted check, the pod stops by itself.
    spec: Object = {**template["spec"], "activeDeadlineSeconds": 60}
    for container in spec["containers"]:
        for key in ("args", "livenessProbe"):
            container.pop(key, None)
        container["command"] = command
    metadata = {"name": name, "labels": template["metadata"].get("labels", {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return made_for_a_moment(cluster, pod)


def first_probe(pod: Object) -> float:
    """Seconds until a pod's readiness probe must have had a result.

    These are its initial delay, two periods and 10 s for the start. The minimum is 20 s, and the
    maximum 55 s, since the check's pod lives for a minute.
    """
    probes = [container.get("readinessProbe", {}) for container in pod["spec"]["containers"]]
    waits: list[int] = [
        one.get("initialDelaySeconds", 0) + 2 * one.get("periodSeconds", 10) for one in probes
    ]
    return min(max(20, 10 + max(waits)), 55)


@dataclass(frozen=True)
class Ended:
    """A deleted pod of `web`.

    `answer` is the client's result from it a second later (exit code, and page or error). `before`
    is the client's newest record before.
    """

    answer: Future[tuple[int, str]]
    before: Record | None


@pytest.fixture(scope="module")
def ended(cluster: Cluster) -> Ended | None:
    """The result of `end_one`, once for all checks."""
    return end_one(cluster)


def end_one(cluster: Cluster) -> Ended | None:
    """Delete one pod, which the Deployment replaces, and request its page.

    None if no pod answered before.
    """
    container = cluster.first_container("client")
    found = eventually(lambda: pod_that_answers(cluster, container)) if container else None
    if not found:
        return None
    pod, address = found
    uid = pod["metadata"]["uid"]
    before = records(cluster, 1)
    cluster.delete("pod", pod["metadata"]["name"])
    # A busy node may take some time until it stops the pod.
    eventually(lambda: happened(cluster, uid, "Killing"), 10)
    # A thread sends the request in time, however long the other checks take.
    answer = ThreadPoolExecutor().submit(ask, cluster, container, address, after=1)
    return Ended(answer, before[-1] if before else None)


def pod_that_answers(cluster: Cluster, container: str) -> tuple[Object, str] | None:
    """A pod of `web`, and its own address at which it answers the client's container.

    Pods of the current revision come first.
    """
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
    """The port where the pods of `web` listen, from the Service's target port or its name."""
    template = cluster.get("deployment", "web")["spec"]["template"]
    ports = ports_of(cluster.get("service", "web")["spec"], template["spec"]["containers"])
    return ports[0][1] if ports else 0


def ask(cluster: Cluster, container: str, address: str, after: int = 0) -> tuple[int, str]:
    """Request an address from the client's container after so many seconds.

    Returns the exit code, and the page or error.
    """
    command = f"sleep {after}; wget -qO- -T 2 http://{address}/"
    return cluster.run_in("client", "sh", "-c", command, container=container)


@pytest.mark.points(1)
@pytest.mark.hints(
    "During a rollout, or if it is stuck, there are pods of two revisions.",
    "`kubectl rollout status` says what it waits for; a pod's events say why it does not start.",
    "`replicas: 4`, an image that exists, and a readinessProbe at the port of the server.",
)
def test_all_updated_and_available(cluster: Cluster) -> None:
    """Four replicas are available, and all of them have the current version"""
    seen = outcome(cluster, 60)
    replicas = cluster.get("deployment", "web")["spec"]["replicas"]
    assert seen == "complete" and replicas >= WANTED, (
        f"expected a complete rollout of {WANTED} replicas, saw it {seen} with {replicas}\n"
        f"{cluster.look('rollout status deployment/web')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "During a rollout, there may be fewer pods than replicas, or more.",
    "Two settings limit the difference; percentages of the replicas are rounded.",
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
    "A running container may not answer yet.",
    "The check starts a pod like those of `web` without a server. It must not become ready.",
    "`readinessProbe` with `httpGet: {path: /, port: 80}`, and a Service with a selector only.",
)
# The pod that `ended` deleted stops meanwhile.
@pytest.mark.usefixtures("ended")
def test_no_requests_before_it_answers(cluster: Cluster) -> None:
    """Only ready pods get requests, and a pod without a server is not ready"""
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
            "expected the readiness probe of `web` to fail for a pod that runs `sleep 60` "
            "instead of the server, saw it succeed, or no probe\n"
            f"{cluster.look('describe deployment web')}"
        )

        def listed() -> dict[str, bool]:
            # The kubelet's event may arrive before the status with the pod's address.
            address = cluster.get("pod", name)["status"].get("podIP")
            return {one: visited for one, visited in endpoints(cluster).items() if one == address}

        seen = eventually(listed) or {}
        assert list(seen.values()) == [False], (
            f"expected the service `web` to list the pod `{name}`, which is not ready, and to send "
            f"nothing there, saw {seen}\n{cluster.look('get service web -o yaml')}"
        )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A pod receives its stop signal while clients still send requests to it.",
    "kube-proxy learns a moment later that a pod stops, and the pod has to wait for that.",
    "A `preStop` that runs `sleep` for 5 seconds, in the container's `lifecycle`.",
)
def test_answers_for_a_while_at_its_end(cluster: Cluster, ended: Ended | None) -> None:
    """A deleted pod still answers for a moment"""
    cluster.get("pod", "client")
    assert ended, (
        "expected a pod of `web` to answer the pod `client`, saw no answer\n"
        f"{cluster.look('get pods -o wide')}"
    )
    code, output = ended.answer.result()
    assert code == 0, (
        "expected a pod of `web` to answer one second after its deletion, "
        f"saw {output.strip()[:200]!r}\n{cluster.look('describe deployment web')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "A rollback needs an older revision.",
    "`kubectl rollout history` lists the revisions; old ReplicaSets contain them.",
    "`revisionHistoryLimit` must not be 0; its default is 10.",
)
def test_way_back_is_kept(cluster: Cluster) -> None:
    """The Deployment keeps older revisions for a rollback"""
    limit = cluster.get("deployment", "web")["spec"].get("revisionHistoryLimit", 10)
    assert limit > 0, (
        f"expected `web` to keep older revisions, saw a limit of {limit}\n"
        f"{cluster.look('rollout history deployment/web')}"
    )
    assert eventually(lambda: present_replicaset(cluster, "web"), 10), (
        "expected a ReplicaSet of the current revision of `web`, saw none\n"
        f"{cluster.look('get replicasets')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "The client's log shows whether its requests were answered.",
    "`kubectl logs client` has a line a second; send a request from inside that pod yourself.",
    "The page of each pod is its version, a dash and the end of its name; the service is `web`.",
)
def test_client_keeps_a_record(cluster: Cluster) -> None:
    """The pods of `web` answer the client's requests"""
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
    """Whether requests between two records were answered, the last ones only by these pods."""
    return after.answered > before.answered and bool(after.by) and after.by <= pods


@pytest.mark.points(3)
@pytest.mark.hints(
    "The other checks test one half each: the start of a pod, and its end.",
    "Watch `kubectl logs -f client` during `kubectl rollout restart`: when does `lost` grow?",
    "`maxUnavailable: 0`, a readinessProbe at the server's port, and `preStop` with a pause.",
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
    # The record is incomplete, or a loss may come from an earlier, worse version. Or a required
    # setting is missing, but no rollout has happened yet. In all cases, measure a new rollout.
    seen = outcome(cluster, 30)
    began = eventually(lambda: records(cluster), 10)
    old = present_replicaset(cluster, "web")
    assert seen == "complete" and began and old, (
        "expected a complete rollout and a client that counts, before the check starts another "
        f"rollout, saw it {seen}, and {'a' if began else 'no'} count\n"
        f"{cluster.look('rollout status deployment/web')}"
    )
    earlier = kept_revisions(cluster) - {old["metadata"]["name"]}
    code, output = cluster.kubectl("rollout", "restart", "deployment/web")
    assert code == 0, (
        f"expected `kubectl rollout restart` of `web` to succeed, saw {output.strip()}\n"
        f"{cluster.look('rollout restart deployment/web')}"
    )
    try:
        seen = outcome(cluster, 90)
        assert seen == "complete", (
            f"expected the rollout to become complete, saw it {seen}\n"
            f"{cluster.look('rollout status deployment/web')}"
        )
        judge(cluster, began[-1])
    finally:
        tidy(cluster, old, earlier)


def agreements(cluster: Cluster) -> bool:
    """Whether Deployment and Service have the settings for a rollout without losses."""
    spec = cluster.get("deployment", "web")["spec"]
    containers = spec["template"]["spec"]["containers"]
    probed = any(one.keys() & {"readinessProbe", "startupProbe"} for one in containers)
    early = cluster.get("service", "web")["spec"].get("publishNotReadyAddresses", False)
    return guaranteed(spec) >= WANTED and probed and not early


def last_rollout_lost_nothing(cluster: Cluster, end: Record) -> bool:
    """Whether the last rollout is complete, and the client's record shows no loss during it.

    The record must begin before the rollout and reach past `end`, in whose second the check deleted
    a pod.
    """
    present = present_replicaset(cluster, "web")
    states = cluster.get("pod", "client")["status"].get("containerStatuses", [])
    started = [one["state"]["running"]["startedAt"] for one in states if one["ready"]]
    if not present or not started:
        return False
    began = present["metadata"]["creationTimestamp"]
    # The client cannot send requests before the first version.
    first = present["metadata"]["annotations"][REVISION] == "1"
    if not first and max(started) > began:
        return False
    # A stalled or paused rollout loses nothing, but does not count.
    name = present["metadata"]["name"]
    if names(kept_pods(cluster, "deployment", "web")) - names(
        kept_pods(cluster, "replicaset", name)
    ):
        return False
    # A lost request delays a record, so begin with an earlier one.
    before = datetime.fromisoformat(began) - timedelta(seconds=LATE)
    counted = parse(cluster.logs("client", since=before.strftime("%Y-%m-%dT%H:%M:%SZ")))
    pods = names(ready_pods(cluster, "replicaset", name))
    return bool(counted) and lossless(counted[0], later(cluster, end), pods)


def later(cluster: Cluster, record: Record) -> Record:
    """The newest record, at least two lines after `record`, which cover its last second."""

    def found() -> list[Record]:
        newer = [one for one in records(cluster) if one.asked > record.asked]
        return newer if len(newer) > 1 else []

    return (eventually(found) or records(cluster) or [record])[-1]


def lossless(before: Record, after: Record, pods: frozenset[str]) -> bool:
    """Whether the client sent enough requests between two records and lost none.

    The last answers must come from these pods.
    """
    asked = after.asked - before.asked
    return asked >= ENOUGH and after.lost == before.lost and bool(after.by & pods)


def judge(cluster: Cluster, began: Record) -> None:
    """Fail the check unless new pods answered, and no request was lost since this record."""
    pods = pods_of_web(cluster)
    newest = later(cluster, (records(cluster) or [began])[-1])
    asked, lost = newest.asked - began.asked, newest.lost - began.lost
    assert lossless(began, newest, pods), (
        f"expected at least {ENOUGH} requests and none of them lost, the last ones answered by the "
        f"new pods, saw {lost} of {asked} lost, the last ones answered by "
        f"{', '.join(sorted(newest.by)) or 'no pod'}\n{cluster.look('logs client --tail=20')}"
    )


def kept_revisions(cluster: Cluster) -> set[str]:
    """The names of the old and current ReplicaSets of `web`."""
    items = replicasets_of(cluster, cluster.get("deployment", "web"))
    return {item["metadata"]["name"] for item in items}


def tidy(cluster: Cluster, old: Object, earlier: set[str]) -> None:
    """Remove the second revision of the same version, which `rollout undo` would restore.

    If it has replaced the `earlier` ones, it stays, since a rollback needs it.
    """
    if state(cluster.get("deployment", "web")) == "complete":
        if not earlier or earlier & kept_revisions(cluster):
            cluster.delete("replicaset", old["metadata"]["name"])
    else:
        cluster.kubectl("rollout", "undo", "deployment/web")
