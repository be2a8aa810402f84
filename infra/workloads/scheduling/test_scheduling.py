"""Checks of exercise `scheduling`."""

from typing import Any

import pytest

from infra.workloads.checks import Cluster, Object, eventually, made_for_a_moment, ready, ready_pods

HOSTNAME = "kubernetes.io/hostname"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
DEFAULT = "default-scheduler"
TAINT = {"key": "lecture", "value": "reserved", "effect": "NoSchedule"}


def labels_of(cluster: Cluster, node: str) -> dict[str, str]:
    """The labels of a node."""
    labels: dict[str, str] = cluster.get("node", node)["metadata"]["labels"]
    return labels


def scheduled(pod: Object) -> Object:
    """A pod's condition PodScheduled, which the scheduler sets; empty if there is none."""
    conditions = pod.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == "PodScheduled"), {})


def waits(cluster: Cluster, name: str, because: str) -> None:
    """Fail the check unless this pod is Pending, and the scheduler names the reason."""

    def said() -> bool:
        return because in scheduled(cluster.get("pod", name)).get("message", "")

    eventually(said)
    pod = cluster.get("pod", name)
    condition = scheduled(pod)
    seen = condition.get("message") or (
        f"it on {pod['spec']['nodeName']}" if "nodeName" in pod["spec"] else "nothing"
    )
    assert condition.get("reason") == "Unschedulable" and because in seen, (
        f"expected `{name}` to be Pending, and the scheduler to say `{because}`, saw {seen}\n"
        f"{cluster.look(f'describe pod {name}')}"
    )


def expect_pods(cluster: Cluster, name: str, number: int) -> list[Object]:
    """The Ready pods of a Deployment. Fails the check unless their number is right."""

    def found() -> list[Object]:
        return ready_pods(cluster, "deployment", name)

    eventually(lambda: len(found()) == number, 40)
    pods = found()
    assert len(pods) == number, (
        f"expected {number} ready pod(s) of Deployment `{name}`, saw {len(pods)}\n"
        f"{cluster.look(f'get pods -l app={name} -o wide')}"
    )
    return pods


def probe(cluster: Cluster, name: str, labels: dict[str, str], spec: dict[str, Any]) -> Object:
    """Create a temporary pod; return it once a scheduler has handled it.

    It has no requests and tolerates every taint, so that only `spec` decides.
    """
    container = {"name": "sleep", "image": "busybox:1.37", "command": ["sleep", "60"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [container], "tolerations": [{"operator": "Exists"}], **spec},
    }
    with made_for_a_moment(cluster, pod):
        eventually(lambda: scheduled(cluster.get("pod", name)))
        return cluster.get("pod", name)


@pytest.mark.points(2)
@pytest.mark.hints(
    "Nodes have labels, and a pod can require one.",
    "`kubectl get nodes --show-labels`, and `kubectl describe pod` of the Pending pod.",
    "`nodeSelector: {kubernetes.io/os: linux}` in `on-linux`, and `windows` in `on-windows`.",
)
def test_node_selector(cluster: Cluster) -> None:
    """`on-linux` runs on a node with its label, and `on-windows` stays Pending"""
    wanted = cluster.get("pod", "on-linux")["spec"].get("nodeSelector", {})
    assert wanted.get("kubernetes.io/os") == "linux", (
        "expected `on-linux` to select nodes with kubernetes.io/os=linux, "
        f"saw {wanted or 'no nodeSelector'}\n{cluster.look('get pod on-linux -o yaml')}"
    )
    assert eventually(lambda: ready(cluster.get("pod", "on-linux")), 40), (
        f"expected `on-linux` to be ready\n{cluster.look('describe pod on-linux')}"
    )
    node = cluster.get("pod", "on-linux")["spec"]["nodeName"]
    assert wanted.items() <= labels_of(cluster, node).items(), (
        f"expected the node of `on-linux` to have {wanted}, saw {node} without it\n"
        "look: kubectl get nodes --show-labels"
    )
    waits(cluster, "on-windows", "didn't match Pod's node affinity/selector")


@pytest.mark.points(2)
@pytest.mark.hints(
    "A selector requires a label; an affinity can also require that a label is missing.",
    "Compare `operator` and `key` with the labels of the control plane's node.",
    "Required: `key: node-role.kubernetes.io/control-plane` with `operator: DoesNotExist`.",
)
def test_node_affinity(cluster: Cluster) -> None:
    """`worker` runs on a worker, and the scheduler keeps it off the control plane"""
    (pod,) = expect_pods(cluster, "worker", 1)
    node = pod["spec"]["nodeName"]
    assert CONTROL_PLANE not in labels_of(cluster, node), (
        f"expected `worker` to run on a worker, saw it on {node}\n"
        f"{cluster.look('get pods -l app=worker -o wide')}"
    )
    planes = cluster.list("nodes", CONTROL_PLANE)
    if planes:
        host = planes[0]["metadata"]["labels"][HOSTNAME]
        wishes = {key: pod["spec"][key] for key in ("affinity",) if key in pod["spec"]}
        selector = {**pod["spec"].get("nodeSelector", {}), HOSTNAME: host}
        seen = probe(cluster, "check-worker", {}, {**wishes, "nodeSelector": selector})
        assert scheduled(seen).get("reason") == "Unschedulable", (
            f"expected the scheduler to keep a pod with the affinity of `worker` off {host}, "
            f"saw it placed there\n{cluster.look('get deployment worker -o yaml')}"
        )


@pytest.mark.points(2)
@pytest.mark.hints(
    "If a machine fails, all copies on it fail.",
    "An anti-affinity names pods by label; `topologyKey` says what they must not share.",
    "Required, `app: apart` in its `labelSelector`, and `topologyKey: kubernetes.io/hostname`.",
)
def test_pod_anti_affinity(cluster: Cluster) -> None:
    """The two pods of `apart` run on different nodes, and no third one may run there"""
    pods = expect_pods(cluster, "apart", 2)
    nodes = sorted(pod["spec"]["nodeName"] for pod in pods)
    assert len(set(nodes)) == 2, (
        f"expected the pods of `apart` on different nodes, saw both on {nodes[0]}\n"
        f"{cluster.look('get pods -l app=apart -o wide')}"
    )
    labels = {k: v for k, v in pods[0]["metadata"]["labels"].items() if k != "pod-template-hash"}
    host = labels_of(cluster, nodes[0])[HOSTNAME]
    seen = probe(cluster, "check-apart", labels, {"nodeSelector": {HOSTNAME: host}})
    said = scheduled(seen).get("message", "")
    assert "anti-affinity" in said, (
        f"expected anti-affinity to keep another pod with the labels of `apart` off {host}, "
        f"saw {said or 'it placed there'}\n"
        f"{cluster.look('get deployment apart -o yaml')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "The scheduler adds up what pods reserve, not what they use.",
    "`kubectl describe pod too-big` ends with the resources that each node lacks.",
    "`requests` with `cpu: 100`, under the container's `resources`.",
)
def test_too_big(cluster: Cluster) -> None:
    """`too-big` stays Pending, since it requests more than any node has"""
    waits(cluster, "too-big", "Insufficient")


@pytest.mark.points(1)
@pytest.mark.hints(
    "A taint keeps pods away from a node, except those that tolerate it.",
    "The toleration has to match the taint's key, value and effect.",
    "`{key: lecture, operator: Equal, value: reserved, effect: NoSchedule}` in `tolerations`.",
)
def test_toleration(cluster: Cluster) -> None:
    """`tolerant` tolerates the taint lecture=reserved:NoSchedule, and `worker` does not"""
    found = {}
    for name in ("tolerant", "worker"):
        (pod,) = expect_pods(cluster, name, 1)
        found[name] = [one for one in pod["spec"].get("tolerations", []) if tolerates(one)]
    assert found["tolerant"] and not found["worker"], (
        "expected the pod of `tolerant`, and not that of `worker`, to tolerate "
        f"lecture=reserved:NoSchedule, saw {found}\n{cluster.look('describe pods -l app=tolerant')}"
    )


def tolerates(toleration: dict[str, Any]) -> bool:
    """Whether a toleration matches the taint of this exercise."""
    exists = toleration.get("operator") == "Exists"
    key = toleration.get("key", TAINT["key"] if exists else "")
    value = TAINT["value"] if exists else toleration.get("value", "")
    effect = toleration.get("effect") or TAINT["effect"]
    return {"key": key, "value": value, "effect": effect} == TAINT


@pytest.mark.points(3)
@pytest.mark.hints(
    "A pod names its scheduler, and stays Pending until that one runs.",
    "Is `packer` ready, does its profile have the name in the pod, and what is in its log?",
    "The profile's name in the ConfigMap is the `schedulerName` of `packed`; both roles are bound.",
)
def test_second_scheduler(cluster: Cluster) -> None:
    """Your own scheduler places `packed`, and any other pod that names it"""
    pod = cluster.get("pod", "packed")
    name = pod["spec"]["schedulerName"]
    assert name != DEFAULT, (
        f"expected `packed` to name another scheduler than {DEFAULT}\n"
        f"{cluster.look('get pod packed -o yaml')}"
    )
    (packer,) = expect_pods(cluster, "packer", 1)
    assert eventually(lambda: ready(cluster.get("pod", "packed")), 40), (
        f"expected {name} to place `packed`, and the pod to become ready\n"
        f"{cluster.look('describe pod packed')}"
    )
    seen = probe(cluster, "check-packed", {}, {"schedulerName": name})
    assert eventually(lambda: placed_by(cluster, seen, packer)), (
        f"expected `{packer['metadata']['name']}` to place a new pod that names {name}, "
        f"saw {scheduled(seen).get('message') or 'another scheduler'}\n"
        f"{cluster.look('logs deployment/packer')}"
    )


def placed_by(cluster: Cluster, pod: Object, scheduler: Object) -> bool:
    """Whether a pod's event Scheduled comes from the scheduler in another pod."""
    return any(
        event["involvedObject"].get("uid") == pod["metadata"]["uid"]
        and event["reason"] == "Scheduled"
        and event.get("reportingInstance", "").endswith(scheduler["metadata"]["name"])
        for event in cluster.list("events")
    )
