"""Checks of exercise `replicaset`."""

import pytest

from infra.workloads.checks import Cluster, Object, eventually, lasts, ready_pods


def owned(cluster: Cluster) -> list[Object]:
    """The Ready pods that belong to the ReplicaSet `myapp-rs`."""
    return ready_pods(cluster, "replicaset", "myapp-rs")


@pytest.mark.points(2)
@pytest.mark.hints(
    "A ReplicaSet says how many pods it wants, and how many it has.",
    "`kubectl get replicaset` shows DESIRED, CURRENT and READY side by side.",
    "`replicas: 3` stands directly under the ReplicaSet's `spec`.",
)
def test_three_pods(cluster: Cluster) -> None:
    """Three pods of the ReplicaSet are ready"""
    good = eventually(lambda: len(owned(cluster)) == 3 and lasts(lambda: len(owned(cluster)) == 3))
    assert good, (
        f"expected 3 pods that belong to `myapp-rs` and stay ready, saw {len(owned(cluster))}\n"
        f"{cluster.look('get replicaset,pods')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "A ReplicaSet knows its pods by their labels, not by their names.",
    "The selector is under `spec`, the labels are in the pods' template.",
    "Both say `tier: myapp-rs`.",
)
def test_selector_and_labels_agree(cluster: Cluster) -> None:
    """Selector and template carry the label tier=myapp-rs"""
    spec = cluster.get("replicaset", "myapp-rs")["spec"]
    selector = spec["selector"]
    labels = spec["template"]["metadata"].get("labels", {})
    # Two ways to say the same.
    told = selector.get("matchLabels", {}).get("tier") == "myapp-rs" or {
        "key": "tier",
        "operator": "In",
        "values": ["myapp-rs"],
    } in selector.get("matchExpressions", [])
    assert told and labels.get("tier") == "myapp-rs", (
        f"expected tier=myapp-rs in both, saw selector {selector} and labels {labels}\n"
        f"{cluster.look('get replicaset myapp-rs -o yaml')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "The pods' template is a whole pod spec without a name.",
    "The cluster is asked which image really runs, whatever its name in the spec.",
    "Use `image: busybox:1.37` in the template.",
)
def test_image(cluster: Cluster) -> None:
    """The pods are busyboxes"""
    pods = eventually(lambda: owned(cluster)) or []
    assert pods, f"expected ready pods of `myapp-rs`, saw none\n{cluster.look('get pods')}"
    for pod in pods:
        cluster.expect_image(pod, "busybox")


@pytest.mark.points(3)
@pytest.mark.hints(
    "Something must notice that a pod is gone, and want it back.",
    "Only pods with an owner are replaced; `kubectl describe pod` says `Controlled By`.",
    "Create the pods through a ReplicaSet, not one by one.",
)
def test_deleted_pod_is_replaced(cluster: Cluster) -> None:
    """A pod that is deleted is replaced by a new one"""
    before = owned(cluster)
    assert before, f"expected pods to delete, saw none\n{cluster.look('get pods')}"
    victim = before[0]["metadata"]
    cluster.delete("pod", victim["name"], now=True)
    known = {pod["metadata"]["uid"] for pod in before}

    def replaced() -> bool:
        now = {pod["metadata"]["uid"] for pod in owned(cluster)}
        return len(now) == len(before) and bool(now - known)

    assert eventually(replaced), (
        f"expected a new ready pod in place of `{victim['name']}` within 20 s, saw none\n"
        f"{cluster.look('get pods --watch')}"
    )
