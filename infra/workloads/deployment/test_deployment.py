"""Checks of exercise `deployment`."""

from functools import partial

import pytest

from infra.workloads.checks import Cluster, eventually, owned_by, present_replicaset, ready


@pytest.mark.points(2)
@pytest.mark.hints(
    "During an update, or if it is stuck, there are pods of two revisions.",
    "`kubectl rollout status` says what it waits for; a pod's events say why it does not start.",
    "`replicas: 3` under the Deployment's `spec`, and a command that keeps running: `sleep 3600`.",
)
def test_three_updated_replicas(cluster: Cluster) -> None:
    """Three replicas of the current revision are ready, and no older one is left"""

    def settled() -> bool:
        status = cluster.get("deployment", "hello-deployment")["status"]
        counts = [status.get(key, 0) for key in ("readyReplicas", "updatedReplicas", "replicas")]
        return counts == [3, 3, 3]

    assert eventually(settled, 45), (
        "expected 3 ready replicas, all of them updated\n"
        f"{cluster.look('rollout status deployment/hello-deployment')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A Deployment creates no pods itself. Another object does that for it.",
    "`kubectl get pod -o yaml` names the owner; follow the owners upwards.",
    "Pods labelled `app: hello-d`, owned by a ReplicaSet, which `hello-deployment` owns.",
)
def test_replicaset_is_made_by_the_deployment(cluster: Cluster) -> None:
    """The Deployment created the ReplicaSet, and the ReplicaSet the pods"""
    replicaset = present_replicaset(cluster, "hello-deployment")
    assert replicaset, (
        "expected a ReplicaSet that `hello-deployment` owns, saw none\n"
        f"{cluster.look('get replicasets')}"
    )
    pods = [
        pod
        for pod in cluster.list("pods", "app=hello-d")
        if ready(pod) and owned_by(pod, replicaset)
    ]
    assert len(pods) == 3, (
        f"expected 3 ready pods of `{replicaset['metadata']['name']}`, saw {len(pods)}\n"
        f"{cluster.look('get pods -l app=hello-d')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "A container's output is its log.",
    "Every pod prints the text, and the check asks the cluster which image really runs.",
    "`image: busybox:1.37`, and a command that begins with `echo Hello Kubernetes!`.",
)
def test_pods_say_the_message(cluster: Cluster) -> None:
    """Every pod prints the first text or the updated one"""
    cluster.get("deployment", "hello-deployment")
    pods = cluster.list("pods", "app=hello-d")
    assert pods, f"expected pods labelled app=hello-d\n{cluster.look('get pods')}"
    for pod in pods:
        name = pod["metadata"]["name"]
        log = eventually(partial(cluster.logs, name)) or ""
        assert "Hello Kubernetes!" in log, (
            f"expected `Hello Kubernetes!` in the log of {name}, saw {log[:200]!r}\n"
            f"{cluster.look(f'logs {name}')}"
        )
        cluster.expect_image(pod, "busybox")
