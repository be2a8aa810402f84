"""Checks of exercise `pod`."""

import pytest

from infra.workloads.checks import Cluster, eventually, ready

NAMESPACE = "pod"


@pytest.mark.points(2)
def test_pod_runs(cluster: Cluster) -> None:
    """The pod `myapp-pod` runs"""
    pod = eventually(lambda: ready(cluster.get("pod", "myapp-pod", NAMESPACE)))
    assert pod, "expected `myapp-pod` to be Ready\nlook: kubectl describe pod myapp-pod -n pod"


@pytest.mark.points(1)
def test_pod_is_labelled(cluster: Cluster) -> None:
    """The pod carries the label that services will find it by"""
    labels = cluster.get("pod", "myapp-pod", NAMESPACE)["metadata"].get("labels", {})
    assert labels.get("app") == "myapp", (
        f"expected the label app=myapp, saw {labels}\nlook: kubectl get pods -n pod --show-labels"
    )


@pytest.mark.points(1)
def test_image(cluster: Cluster) -> None:
    """The container is a busybox"""
    containers = cluster.get("pod", "myapp-pod", NAMESPACE)["spec"]["containers"]
    images = [container["image"] for container in containers]
    assert any(image.split("/")[-1].split(":")[0] == "busybox" for image in images), (
        f"expected an image `busybox`, saw {images}\n"
        "look: kubectl get pod myapp-pod -n pod -o jsonpath='{.spec.containers[*].image}'"
    )


@pytest.mark.points(1)
def test_says_hello(cluster: Cluster) -> None:
    """The container says hello"""
    cluster.get("pod", "myapp-pod", NAMESPACE)
    log = eventually(lambda: cluster.logs("myapp-pod", NAMESPACE)) or ""
    assert "Hello Kubernetes!" in log.splitlines(), (
        f"expected the line `Hello Kubernetes!` in the log, saw {log[:200]!r}\n"
        "look: kubectl logs myapp-pod -n pod"
    )
