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
    """What the scheduler says of a pod: the condition PodScheduled, or nothing."""
    conditions = pod.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == "PodScheduled"), {})


def waits(cluster: Cluster, name: str, because: str) -> None:
    """Fail the check unless this pod waits, and the scheduler names the reason."""

    def said() -> bool:
        return because in scheduled(cluster.get("pod", name)).get("message", "")

    eventually(said)
    pod = cluster.get("pod", name)
    condition = scheduled(pod)
    seen = condition.get("message") or (
        f"it on {pod['spec']['nodeName']}" if "nodeName" in pod["spec"] else "nothing"
    )
    assert condition.get("reason") == "Unschedulable" and because in seen, (
        f"expected `{name}` to wait, and the scheduler to say `{because}`, saw {seen}\n"
        f"{cluster.look(f'describe pod {name}')}"
    )


def expect_pods(cluster: Cluster, name: str, number: int) -> list[Object]:
    """The Ready pods of a Deployment, which must be so many."""

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
    """A pod that is there for a moment only, as it is when a scheduler has judged it.

    It has no requests and puts up with every taint, so that nothing but `spec` decides.
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
    "Nodes have labels, and a pod can insist on one.",
    "`kubectl get nodes --show-labels`, and `kubectl describe pod` of the pod that waits.",
    "`nodeSelector: {kubernetes.io/os: linux}` in `on-linux`, and `windows` in `on-windows`.",
)
def test_node_selector(cluster: Cluster) -> None:
    """`on-linux` has a node with its label, and `on-windows` waits for one"""
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
    "A selector asks for a label that is there; an affinity can ask for one that is not.",
    "Compare `operator` and `key` with the labels of the control plane's node.",
    "Required: `key: node-role.kubernetes.io/control-plane` with `operator: DoesNotExist`.",
)
def test_node_affinity(cluster: Cluster) -> None:
    """`worker` runs on a worker, and would be refused on the control plane"""
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
            f"expected a pod with the affinity of `worker` to be refused on {host}, saw it placed\n"
            f"{cluster.look('get deployment worker -o yaml')}"
        )


@pytest.mark.points(2)
@pytest.mark.hints(
    "Two copies on one machine are lost together.",
    "An anti-affinity names pods by label, and by `topologyKey` how far apart they have to be.",
    "Required, `app: apart` in its `labelSelector`, and `topologyKey: kubernetes.io/hostname`.",
)
def test_pod_anti_affinity(cluster: Cluster) -> None:
    """The two pods of `apart` run on different nodes, and one more would be refused there"""
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
        f"expected a further pod labelled like `apart` to be refused on {host} because of "
        f"anti-affinity, saw {said or 'it placed'}\n"
        f"{cluster.look('get deployment apart -o yaml')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "The scheduler adds up what pods reserve, not what they use.",
    "`kubectl describe pod too-big` ends with what the scheduler missed on each node.",
    "`requests` with `cpu: 100`, under the container's `resources`.",
)
def test_too_big(cluster: Cluster) -> None:
    """`too-big` waits, since no node has that much to reserve"""
    waits(cluster, "too-big", "Insufficient")


@pytest.mark.points(1)
@pytest.mark.hints(
    "A taint keeps pods away from a node, all but those that say they can bear it.",
    "The toleration has to fit the taint in key, value and effect.",
    "`{key: lecture, operator: Equal, value: reserved, effect: NoSchedule}` in `tolerations`.",
)
def test_toleration(cluster: Cluster) -> None:
    """`tolerant` bears the taint lecture=reserved:NoSchedule, and `worker` does not"""
    found = {}
    for name in ("tolerant", "worker"):
        (pod,) = expect_pods(cluster, name, 1)
        found[name] = [one for one in pod["spec"].get("tolerations", []) if tolerates(one)]
    assert found["tolerant"] and not found["worker"], (
        "expected the pod of `tolerant`, and not that of `worker`, to tolerate "
        f"lecture=reserved:NoSchedule, saw {found}\n{cluster.look('describe pods -l app=tolerant')}"
    )


def tolerates(toleration: dict[str, Any]) -> bool:
    """Whether a toleration fits the taint of this exercise."""
    exists = toleration.get("operator") == "Exists"
    key = toleration.get("key", TAINT["key"] if exists else "")
    value = TAINT["value"] if exists else toleration.get("value", "")
    effect = toleration.get("effect") or TAINT["effect"]
    return {"key": key, "value": value, "effect": effect} == TAINT


@pytest.mark.points(3)
@pytest.mark.hints(
    "A pod says which scheduler it is for, and waits until that one comes along.",
    "Is `packer` ready, is its profile called what the pod asks for, and what is in its log?",
    "The profile's name in the ConfigMap is the `schedulerName` of `packed`; both roles are bound.",
)
def test_second_scheduler(cluster: Cluster) -> None:
    """A scheduler of your own places `packed`, and whatever else asks for it"""
    pod = cluster.get("pod", "packed")
    name = pod["spec"]["schedulerName"]
    assert name != DEFAULT, (
        f"expected `packed` to ask for another scheduler than {DEFAULT}\n"
        f"{cluster.look('get pod packed -o yaml')}"
    )
    (packer,) = expect_pods(cluster, "packer", 1)
    assert eventually(lambda: ready(cluster.get("pod", "packed")), 40), (
        f"expected `packed` to be placed by {name} and ready\n{cluster.look('describe pod packed')}"
    )
    seen = probe(cluster, "check-packed", {}, {"schedulerName": name})
    assert eventually(lambda: placed_by(cluster, seen, packer)), (
        f"expected a new pod that asks for {name} to be placed by `{packer['metadata']['name']}`, "
        f"saw {scheduled(seen).get('message') or 'otherwise'}\n"
        f"{cluster.look('logs deployment/packer')}"
    )


def placed_by(cluster: Cluster, pod: Object, scheduler: Object) -> bool:
    """Whether a pod's event Scheduled comes from the program that runs in another pod."""
    return any(
        event["involvedObject"].get("uid") == pod["metadata"]["uid"]
        and event["reason"] == "Scheduled"
        and event.get("reportingInstance", "").endswith(scheduler["metadata"]["name"])
        for event in cluster.list("events")
    )
