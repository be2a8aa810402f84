"""Checks of exercise `deployment`."""

from functools import partial

import pytest

from infra.workloads.checks import Cluster, Object, eventually, ready

NAMESPACE = "deployment"
REVISION = "deployment.kubernetes.io/revision"


def current(cluster: Cluster) -> Object | None:
    """The ReplicaSet of the Deployment's present revision."""
    deployment = cluster.get("deployment", "hello-deployment", NAMESPACE)
    revision = deployment["metadata"].get("annotations", {}).get(REVISION)
    for replicaset in cluster.list("replicasets", NAMESPACE):
        owners = replicaset["metadata"].get("ownerReferences", [])
        mine = any(item["uid"] == deployment["metadata"]["uid"] for item in owners)
        if mine and replicaset["metadata"]["annotations"].get(REVISION) == revision:
            return replicaset
    return None


@pytest.mark.points(2)
def test_three_updated_replicas(cluster: Cluster) -> None:
    """Three replicas of the present revision are ready, and none of an older one is left"""

    def settled() -> bool:
        status = cluster.get("deployment", "hello-deployment", NAMESPACE)["status"]
        counts = [status.get(key, 0) for key in ("readyReplicas", "updatedReplicas", "replicas")]
        return counts == [3, 3, 3]

    assert eventually(settled, 45), (
        "expected 3 ready replicas, all of them updated\n"
        "look: kubectl rollout status deployment/hello-deployment -n deployment"
    )


@pytest.mark.points(2)
def test_replicaset_is_made_by_the_deployment(cluster: Cluster) -> None:
    """The Deployment made the ReplicaSet, and the ReplicaSet the pods"""
    replicaset = current(cluster)
    assert replicaset, (
        "expected a ReplicaSet that `hello-deployment` owns, saw none\n"
        "look: kubectl get replicasets -n deployment"
    )
    owner = replicaset["metadata"]["uid"]
    pods = [
        pod
        for pod in cluster.list("pods", NAMESPACE, "app=hello-d")
        if ready(pod) and any(item["uid"] == owner for item in pod["metadata"]["ownerReferences"])
    ]
    assert len(pods) == 3, (
        f"expected 3 ready pods of `{replicaset['metadata']['name']}`, saw {len(pods)}\n"
        "look: kubectl get pods -n deployment -l app=hello-d"
    )


@pytest.mark.points(1)
def test_pods_say_the_message(cluster: Cluster) -> None:
    """Every pod says hello, in the first text or in the updated one"""
    cluster.get("deployment", "hello-deployment", NAMESPACE)
    pods = [pod["metadata"]["name"] for pod in cluster.list("pods", NAMESPACE, "app=hello-d")]
    assert pods, "expected pods labelled app=hello-d\nlook: kubectl get pods -n deployment"
    for pod in pods:
        log = eventually(partial(cluster.logs, pod, NAMESPACE)) or ""
        assert "Hello Kubernetes!" in log, (
            f"expected `Hello Kubernetes!` in the log of {pod}, saw {log[:200]!r}\n"
            f"look: kubectl logs {pod} -n deployment"
        )
