"""Checks of exercise `daemonset`."""

from functools import partial

import pytest

from infra.workloads.checks import Cluster, Object, eventually, ready_pods

REPELLING = ("NoSchedule", "NoExecute")


def owned(cluster: Cluster) -> list[Object]:
    """The Ready pods that belong to the DaemonSet `hello-ds`."""
    return ready_pods(cluster, "daemonset", "hello-ds")


def schedulable(cluster: Cluster) -> list[str]:
    """The nodes that take any pod: neither cordoned nor tainted."""
    return [
        node["metadata"]["name"]
        for node in cluster.list("nodes")
        if not node["spec"].get("unschedulable")
        and not any(taint["effect"] in REPELLING for taint in node["spec"].get("taints", []))
    ]


def places(cluster: Cluster) -> list[str]:
    """The nodes of the ready pods of `hello-ds`, one entry a pod."""
    return sorted(pod["spec"]["nodeName"] for pod in owned(cluster))


@pytest.mark.points(2)
@pytest.mark.hints(
    "Count the nodes and the pods, and see which node has none.",
    "`kubectl get nodes` beside `kubectl get pods -o wide`: only a DaemonSet follows the nodes.",
    "`kind: DaemonSet`, without `replicas`, `nodeSelector` and `affinity`.",
)
def test_one_pod_on_every_node(cluster: Cluster) -> None:
    """Every node has exactly one ready pod of the DaemonSet"""
    cluster.get("daemonset", "hello-ds")

    def everywhere() -> bool:
        found = places(cluster)
        return len(found) == len(set(found)) and set(schedulable(cluster)) <= set(found)

    assert eventually(everywhere), (
        f"expected one ready pod of `hello-ds` on each of {', '.join(schedulable(cluster))}, "
        f"saw pods on {', '.join(places(cluster)) or 'none'}\n"
        f"{cluster.look('get daemonset,pods -o wide')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "What happens to running pods when the template changes is a setting of its own.",
    "`kubectl rollout status daemonset/hello-ds` tells when the pods do not follow the template.",
    "`updateStrategy: {type: RollingUpdate}` under the DaemonSet's `spec`.",
)
def test_rolling_update(cluster: Cluster) -> None:
    """A changed template reaches every node by itself, and has done so"""
    strategy = cluster.get("daemonset", "hello-ds")["spec"]["updateStrategy"]["type"]
    assert strategy == "RollingUpdate", (
        f"expected the update strategy RollingUpdate, saw {strategy}\n"
        f"{cluster.look('get daemonset hello-ds -o yaml')}"
    )

    def updated() -> bool:
        item = cluster.get("daemonset", "hello-ds")
        status = item.get("status", {})
        counts = [status.get(f"{key}NumberScheduled", 0) for key in ("desired", "updated")]
        seen = status.get("observedGeneration") == item["metadata"]["generation"]
        return bool(seen and counts[0] == counts[1])

    assert eventually(updated), (
        "expected every pod of `hello-ds` to be made from its present template\n"
        f"{cluster.look('rollout status daemonset/hello-ds')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "What a container prints is its log; all pods come from one template, yet each says its own.",
    "A pod is told about itself by environment variables with `valueFrom` and `fieldRef`.",
    "Busybox, `env` NODE from the field `spec.nodeName`, and `echo Hello from $NODE`.",
)
def test_pods_name_their_node(cluster: Cluster) -> None:
    """Every pod says which node it runs on"""
    pods = eventually(lambda: owned(cluster)) or []
    assert pods, f"expected ready pods of `hello-ds`, saw none\n{cluster.look('get pods')}"
    for pod in pods:
        name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
        log = eventually(partial(cluster.logs, name)) or ""
        first = (log.splitlines() or [""])[0]
        assert "Hello" in first and first.split()[-1] == node, (
            f"expected the log of {name} to begin with `Hello from {node}`, saw {log[:200]!r}\n"
            f"{cluster.look(f'logs {name}')}"
        )
        cluster.expect_image(pod, "busybox")


@pytest.mark.points(3)
@pytest.mark.hints(
    "Something must notice that a node lost its pod.",
    "Only pods with an owner are replaced; `kubectl describe pod` says `Controlled By`.",
    "Let a DaemonSet `hello-ds` make the pods, and let their command go on: `sleep 86400`.",
)
def test_deleted_pod_comes_back(cluster: Cluster) -> None:
    """A pod that is deleted comes back on the same node"""
    before = eventually(lambda: owned(cluster)) or []
    assert before, f"expected a ready pod to delete, saw none\n{cluster.look('get pods')}"
    victim, node = before[0]["metadata"], before[0]["spec"]["nodeName"]
    cluster.delete("pod", victim["name"], now=True)

    def back() -> bool:
        return any(
            pod["metadata"]["uid"] != victim["uid"] and pod["spec"]["nodeName"] == node
            for pod in owned(cluster)
        )

    assert eventually(back, 60), (
        f"expected a new ready pod on {node} in place of `{victim['name']}` within a minute, "
        f"saw none\n{cluster.look('get pods -o wide --watch')}"
    )
