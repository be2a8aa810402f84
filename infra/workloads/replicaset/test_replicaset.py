"""Checks of exercise `replicaset`."""

import pytest

from infra.workloads.checks import Cluster, Object, eventually, ready

NAMESPACE = "replicaset"


def owned(cluster: Cluster) -> list[Object]:
    """The Ready pods that belong to the ReplicaSet `myapp-rs`."""
    owner = cluster.get("replicaset", "myapp-rs", NAMESPACE)["metadata"]["uid"]
    return [
        pod
        for pod in cluster.list("pods", NAMESPACE)
        if ready(pod)
        and any(item["uid"] == owner for item in pod["metadata"].get("ownerReferences", []))
    ]


@pytest.mark.points(2)
def test_three_pods(cluster: Cluster) -> None:
    """Three pods of the ReplicaSet are ready"""
    eventually(lambda: len(owned(cluster)) == 3)
    pods = owned(cluster)
    assert len(pods) == 3, (
        f"expected 3 ready pods that belong to `myapp-rs`, saw {len(pods)}\n"
        "look: kubectl get replicaset,pods -n replicaset"
    )


@pytest.mark.points(1)
def test_selector_and_labels_agree(cluster: Cluster) -> None:
    """Selector and template carry the label tier=myapp-rs"""
    spec = cluster.get("replicaset", "myapp-rs", NAMESPACE)["spec"]
    selector = spec["selector"].get("matchLabels", {})
    labels = spec["template"]["metadata"].get("labels", {})
    assert selector == {"tier": "myapp-rs"} and selector.items() <= labels.items(), (
        f"expected tier=myapp-rs in both, saw selector {selector} and labels {labels}\n"
        "look: kubectl get replicaset myapp-rs -n replicaset -o yaml"
    )


@pytest.mark.points(3)
def test_deleted_pod_is_replaced(cluster: Cluster) -> None:
    """A pod that is deleted is replaced by a new one"""
    before = owned(cluster)
    assert before, "expected pods to delete, saw none\nlook: kubectl get pods -n replicaset"
    victim = before[0]["metadata"]
    cluster.kubectl(
        "delete", "pod", victim["name"], "--namespace", NAMESPACE, "--wait=false", "--now"
    )
    known = {pod["metadata"]["uid"] for pod in before}

    def replaced() -> bool:
        now = {pod["metadata"]["uid"] for pod in owned(cluster)}
        return len(now) == len(before) and bool(now - known)

    assert eventually(replaced), (
        f"expected a new ready pod in place of `{victim['name']}` within 20 s, saw none\n"
        "look: kubectl get pods -n replicaset --watch"
    )
