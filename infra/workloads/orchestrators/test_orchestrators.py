"""Checks of exercise `orchestrators`: of its Kubernetes form."""

from functools import partial
from typing import Any

import pytest

from infra.workloads.checks import Cluster, Object, answer_of, endpoints_of, eventually, ready_pods

# Seconds that a pod may stay on a machine that is away: a tenth of Kubernetes' own 300.
PATIENCE = 30
TROUBLES = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def copies(cluster: Cluster) -> list[Object]:
    """The ready pods of the Deployment `web`."""
    return ready_pods(cluster, "deployment", "web")


def names(pods: list[Object]) -> set[str]:
    """The pods' names."""
    return {pod["metadata"]["name"] for pod in pods}


@pytest.mark.points(2)
@pytest.mark.hints(
    "What is on one machine only dies with it.",
    "`kubectl get pods -o wide` shows the node of each pod, and how many there are.",
    "`replicas: 2`, and nothing that draws the pods together on one node.",
)
def test_copies_on_two_machines(cluster: Cluster) -> None:
    """Two copies or more are ready, on different machines"""

    def nodes() -> set[str] | None:
        found = {pod["spec"]["nodeName"] for pod in copies(cluster)}
        return found if len(found) > 1 else None

    assert eventually(nodes), (
        "expected ready pods of Deployment `web` on two nodes or more, saw "
        f"{sorted(pod['spec']['nodeName'] for pod in copies(cluster)) or 'none'}\n"
        f"{cluster.look('get pods -o wide')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "Whoever asks should see which copy has answered.",
    "Inside a pod, `hostname` is the pod's name; ask it yourself with `kubectl exec`.",
    '`echo "$TEXT from $(hostname)" >/www/index.html` before `httpd -f -p 8080 -h /www`.',
)
def test_answers_name_the_pod(cluster: Cluster) -> None:
    """Every copy answers with a text and its own name"""
    pods = eventually(lambda: copies(cluster)) or []
    assert pods, f"expected ready pods of Deployment `web`\n{cluster.look('get pods')}"
    for pod in pods:
        name = pod["metadata"]["name"]
        # By its address, as others ask it: an answer to itself alone would be none.
        url = f"http://{pod['status']['podIP']}:8080"
        answer = cluster.run_in(name, "wget", "-qO-", "-T", "3", url)[1].strip()
        text, _, who = answer.rpartition(" from ")
        assert text and who == name, (
            f"expected `... from {name}` at port 8080 of pod `{name}`, saw {answer[:200]!r}\n"
            f"{cluster.look(f'exec {name} -- wget -qO- {url}')}"
        )
        cluster.expect_image(pod, "busybox")


@pytest.mark.points(3)
@pytest.mark.hints(
    "With `docker run`, nobody would bring it back.",
    "`kubectl describe pod` says `Controlled By`: somebody must count the pods.",
    "Make the pods by a Deployment called `web`, with a readiness probe that they pass.",
)
def test_deleted_copy_is_replaced(cluster: Cluster) -> None:
    """A copy that is deleted is replaced within seconds"""
    before = eventually(lambda: copies(cluster)) or []
    assert before, f"expected a ready pod to delete, saw none\n{cluster.look('get pods')}"
    victim = before[0]["metadata"]["name"]
    cluster.delete("pod", victim, now=True)

    def replaced() -> bool:
        now = copies(cluster)
        return len(now) >= len(before) and bool(names(now) - names(before))

    assert eventually(replaced), (
        f"expected a new ready pod in place of `{victim}` within 20 s, saw "
        f"{sorted(names(copies(cluster)))}\n{cluster.look('get pods --watch')}"
    )


def endpoints(cluster: Cluster) -> set[str]:
    """The addresses of pods that the Service `web` leads to now."""
    found = endpoints_of(cluster, "web")
    return {address for address, conditions in found.items() if conditions.get("ready")}


@pytest.mark.points(2)
@pytest.mark.hints(
    "More copies are of use only when visitors find them.",
    "Scale it yourself, and watch `kubectl get endpointslices`: do addresses come along?",
    "The Service `web` has `selector: {app: web}`, the label of the Deployment's pods.",
)
def test_one_more_copy_is_served(cluster: Cluster) -> None:
    """One copy more is asked for, made, and found by the Service"""
    cluster.get("service", "web")
    wanted = cluster.get("deployment", "web")["spec"]["replicas"]
    scale = ("scale", "deployment", "web")
    cluster.kubectl(*scale, f"--replicas={wanted + 1}")

    def served() -> bool:
        addresses = {pod["status"]["podIP"] for pod in copies(cluster)}
        return len(addresses) == wanted + 1 and addresses == endpoints(cluster)

    try:
        done = eventually(served)
        seen = f"{len(copies(cluster))} ready pods and {len(endpoints(cluster))} endpoints"
    finally:
        cluster.kubectl(*scale, f"--replicas={wanted}")
    assert done, (
        f"expected {wanted + 1} ready pods, all of them endpoints of the Service `web`, after "
        f"scaling from {wanted}; saw {seen}\n{cluster.look('get endpointslices,pods -o wide')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A visitor should not have to know on which machines the copies are.",
    "`kubectl get service` shows the port behind the colon; every machine has it open.",
    "`type: NodePort`, from port 80 to `targetPort: 8080`.",
)
def test_every_machine_answers(cluster: Cluster, machines: list[Any]) -> None:
    """Every machine answers for the app, also one without a copy"""
    spec = cluster.get("service", "web")["spec"]
    ports = [port.get("nodePort") for port in spec.get("ports", [])]
    assert any(ports), (
        f"expected the Service `web` to have a port on every machine, saw type {spec['type']}\n"
        f"{cluster.look('get service web')}"
    )
    for machine in machines:
        name = machine.check_output("hostname")
        command = f"curl -s --max-time 3 http://{name}:{ports[0]}"
        answer = eventually(partial(answer_of, machine, command)) or ""
        assert " from web-" in answer, (
            f"expected `... from web-...` at port {ports[0]} of {name}, saw {answer[:200]!r}\n"
            f"look: invoke lab-ssh {name}, then {command}"
        )


def patience(pod: Object, trouble: str) -> float:
    """Seconds that a pod stays on a machine that has a trouble; without a limit for ever."""
    for toleration in pod["spec"].get("tolerations", []):
        if toleration.get("key") in (trouble, None) and toleration.get("effect") != "NoSchedule":
            return float(toleration.get("tolerationSeconds", "inf"))
    return 0


@pytest.mark.points(1)
@pytest.mark.hints(
    "A machine that is away might come back; how long is that waited for?",
    "`kubectl describe pod` lists the tolerations, also those that nobody wrote.",
    "Tolerate `node.kubernetes.io/unreachable` and `.../not-ready` for `tolerationSeconds: 5`.",
)
def test_dead_machine_is_given_up_soon(cluster: Cluster) -> None:
    """Pods leave a machine that is away within 30 s, not after five minutes"""
    pods = eventually(lambda: copies(cluster)) or []
    assert pods, f"expected ready pods of Deployment `web`\n{cluster.look('get pods')}"
    longest = max(patience(pod, trouble) for pod in pods for trouble in TROUBLES)
    assert longest <= PATIENCE, (
        f"expected pods that stay at most {PATIENCE} s on a machine that is away, saw "
        f"{longest:.0f} s\n{cluster.look('describe pods')}"
    )
