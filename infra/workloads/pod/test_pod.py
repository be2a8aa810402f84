"""Checks of exercise `pod`."""

import pytest

from infra.workloads.checks import Cluster, eventually, lasts, ready


@pytest.mark.points(2)
@pytest.mark.hints(
    "A pod that is not Ready says why in its events.",
    "`kubectl describe pod` ends with the events; the newest is the last one.",
    "The name is `myapp-pod`, and the command must go on: a container that ends is not Ready.",
)
def test_pod_runs(cluster: Cluster) -> None:
    """The pod `myapp-pod` runs"""

    def runs() -> bool:
        return ready(cluster.get("pod", "myapp-pod"))

    assert eventually(lambda: runs() and lasts(runs)), (
        "expected `myapp-pod` to become Ready and to stay so\n"
        f"{cluster.look('describe pod myapp-pod')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "Services and ReplicaSets find pods by what is written on them.",
    "Labels stand under `metadata.labels`, next to the pod's name.",
    "The label is `app: myapp`.",
)
def test_pod_is_labelled(cluster: Cluster) -> None:
    """The pod carries the label that services will find it by"""
    labels = cluster.get("pod", "myapp-pod")["metadata"].get("labels", {})
    assert labels.get("app") == "myapp", (
        f"expected the label app=myapp, saw {labels}\n{cluster.look('get pods --show-labels')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "The image decides which programs a container has.",
    "The cluster is asked which image really runs, whatever its name in the spec.",
    "Use `image: busybox:1.37`.",
)
def test_image(cluster: Cluster) -> None:
    """The container is a busybox"""
    cluster.expect_image(cluster.get("pod", "myapp-pod"), "busybox")


@pytest.mark.points(1)
@pytest.mark.hints(
    "What a container prints is its log.",
    "The command is a list: a shell, `-c`, and one text for that shell.",
    "The shell's text begins with `echo Hello Kubernetes!`.",
)
def test_says_hello(cluster: Cluster) -> None:
    """The container says hello"""
    cluster.get("pod", "myapp-pod")
    log = eventually(lambda: cluster.logs("myapp-pod")) or ""
    assert "Hello Kubernetes!" in log.splitlines(), (
        f"expected the line `Hello Kubernetes!` in the log, saw {log[:200]!r}\n"
        f"{cluster.look('logs myapp-pod')}"
    )
