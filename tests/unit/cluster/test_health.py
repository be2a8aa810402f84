"""Whether nodes and add-ons serve."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lab.cluster import health
from lab.cluster.client import Cluster
from lab.config import Lab
from lab.distributions import DISTRIBUTIONS, kubeadm
from lab.errors import DeadlineExceeded, ResourceError


def test_a_baseline_that_somebody_deleted_from(
    lab: Lab, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [
        {"kind": kind.capitalize(), "metadata": {"name": name, "namespace": namespace}}
        for namespace, names in kubeadm.RECORD.baseline.addons.items()
        for kind, name in (one.split("/") for one in names)
    ]
    for item in items:
        item["kind"] = {"Daemonset": "DaemonSet"}.get(str(item["kind"]), item["kind"])
    monkeypatch.setattr(Cluster, "get", lambda *_: items)
    assert health.complete(cluster, kubeadm.RECORD.baseline)
    items.pop()
    assert not health.complete(cluster, kubeadm.RECORD.baseline)

    def late(*_: object) -> None:
        raise DeadlineExceeded("the API server is late")

    monkeypatch.setattr(Cluster, "get", late)
    assert not health.complete(cluster, kubeadm.RECORD.baseline)


def test_a_node_must_have_been_heard_of_since(
    lab: Lab, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records of before a restore say Ready of machines that have not started yet."""
    now = datetime.now(UTC)
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": f"{now:%FT%TZ}"}
    nodes = [
        {"kind": "Node", "metadata": {"name": item.name}, "status": {"conditions": [ready]}}
        for item in lab.machines
    ]
    monkeypatch.setattr(Cluster, "get", lambda *_: nodes)
    assert health.nodes_ready(lab, cluster)
    with pytest.raises(ResourceError, match="control-plane-1 sent its last heartbeat"):
        health.nodes_ready(lab, cluster, since=now + timedelta(seconds=1))
    # The signs of slow machines are rarer.
    old = {**ready, "lastHeartbeatTime": f"{now - timedelta(seconds=42):%FT%TZ}"}
    nodes[:] = [{**node, "status": {"conditions": [old]}} for node in nodes]
    with pytest.raises(ResourceError, match="its last heartbeat 4"):
        health.nodes_ready(lab, cluster)
    monkeypatch.setattr(health.wait, "limit", lambda seconds: 6 * seconds)
    assert health.nodes_ready(lab, cluster)


@pytest.mark.parametrize("distribution", ["k3s", "kubeadm"])
def test_a_baseline_is_there_when_ingresses_can_be_reached(
    lab: Lab, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, distribution: str
) -> None:
    """k3s' load balancer has pods of its own, which come last."""
    asked: list[str] = []

    def available(cluster: Cluster, namespace: str, workload: str) -> bool:
        asked.append(workload)
        return True

    monkeypatch.setattr(health, "available", available)
    monkeypatch.setattr(health, "metrics_served", lambda *_: True)
    health.wait_addons(cluster, DISTRIBUTIONS[distribution].baseline)
    assert ("service/traefik" in asked) is (distribution == "k3s")
    assert "deployment/traefik" in asked
