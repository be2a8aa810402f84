"""Whether the nodes and add-ons of a running cluster serve, and waiting until they do."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lab import wait
from lab.cluster.client import Cluster
from lab.cluster.objects import complaint, conditions, lacking, sign_of_life
from lab.config import Lab
from lab.errors import DeadlineExceeded, LabError, ResourceError

# Kubelets renew their leases every 10 s.
LEASE_AGE = 20
# Seconds for nodes to be Ready, and for each add-on: k3s unpacks its images before that.
PATIENCE = 240
METRICS = "v1beta1.metrics.k8s.io"


@dataclass(frozen=True)
class Baseline:
    """The add-ons of every cluster of a distribution.

    `addons` maps a namespace to workloads such as deployment/traefik. `ingress` is the namespace
    and the Service whose address leads to every Ingress. It is None for a distribution whose
    Ingress controller has a port of the node.
    """

    addons: Mapping[str, Sequence[str]]
    ingress: tuple[str, str] | None = None


def nodes_ready(lab: Lab, cluster: Cluster, since: datetime | None = None) -> bool | None:
    """True when every machine is a Ready node. Raises ResourceError with the first that is not.

    The API server reports a dead node as Ready for 40 s. So the node's last heartbeat must be
    recent, or not older than `since`.
    """
    items = cluster.get("nodes,leases", "--namespace", "kube-node-lease")
    found = {(item["kind"], item["metadata"]["name"]): item for item in items}
    now = datetime.now(UTC)
    for machine in lab.machines:
        node = found.get(("Node", machine.name))
        if not node:
            raise ResourceError(f"{machine.name} is not a node yet")
        if conditions(node).get("Ready") != "True":
            raise ResourceError(f"{machine.name} is not Ready")
        life = sign_of_life(node, found.get(("Lease", machine.name)))
        if life < (since or now - timedelta(seconds=wait.limit(LEASE_AGE))):
            age = (now - life).total_seconds()
            raise ResourceError(f"{machine.name} sent its last heartbeat {age:.0f} s ago")
    return True


def forget_nodes(lab: Lab, cluster: Cluster) -> None:
    """Delete nodes of workers that no longer have a machine."""
    names = {str(item["metadata"]["name"]) for item in cluster.get("nodes")}
    if gone := surplus(names, lab):
        cluster.kubectl("delete", "node", *gone, timeout=60)


def surplus(names: Collection[str], lab: Lab) -> list[str]:
    """Names of worker nodes that no longer have a machine.

    Nodes with other names, for example simulated ones, are ignored.
    """
    have = {machine.name for machine in lab.machines}
    return sorted(name for name in names if re.fullmatch(r"worker-\d", name) and name not in have)


def has_image(cluster: Cluster, name: str) -> bool:
    """Whether a node has an image, given without a tag."""
    return any(
        reference.startswith((f"{name}:", f"{name}@"))
        for node in cluster.get("nodes")
        for image in node["status"].get("images") or []
        for reference in image.get("names") or []
    )


def complaints(cluster: Cluster, namespace: str) -> list[str]:
    """A line for each pod of a namespace that is not Ready; none when the API does not answer."""
    try:
        pods = cluster.get("pods", "--namespace", namespace)
    except LabError:
        return []
    return [
        f"{pod['metadata']['name']}: {complaint(pod)}"
        for pod in pods
        if conditions(pod).get("Ready") != "True" and pod["status"].get("phase") != "Succeeded"
    ]


def with_complaints(
    error: DeadlineExceeded, cluster: Cluster, namespace: str, hint: str
) -> DeadlineExceeded:
    """The same error, with the reasons why pods of the namespace are not Ready."""
    found = "".join(f"\n  | {line}" for line in complaints(cluster, namespace))
    return DeadlineExceeded(error.message + found, hint=hint)


def available(cluster: Cluster, namespace: str, workload: str) -> bool | None:
    """True when a workload such as deployment/traefik, or a Service, serves.

    Raises ResourceError with its reason when it does not.
    """
    (item,) = cluster.get(workload, "--namespace", namespace)
    if lack := lacking(item):
        raise ResourceError(f"{namespace}/{workload}: {lack}")
    return True


Unless = Callable[[], None] | None


def wait_nodes(
    lab: Lab, cluster: Cluster, since: datetime | None = None, unless: Unless = None
) -> None:
    """Wait until every node is Ready, with a heartbeat `since`; an error of `unless` ends it."""
    wait.until(
        lambda: nodes_ready(lab, cluster, since),
        what="every node to be Ready",
        timeout=PATIENCE,
        unless=unless,
        hint="invoke lab-logs",
    )


def wait_ready(lab: Lab, cluster: Cluster, unless: Unless = None) -> None:
    """Wait until nodes are Ready and cluster DNS serves; an error of `unless` ends the wait."""
    wait_nodes(lab, cluster, unless=unless)
    _wait_available(cluster, "kube-system", "deployment/coredns", unless)


def _wait_available(cluster: Cluster, namespace: str, workload: str, unless: Unless = None) -> None:
    """Wait for a workload. Raises DeadlineExceeded with the reasons of the namespace's pods."""
    try:
        wait.until(
            lambda: available(cluster, namespace, workload),
            what=f"add-on {workload.split('/')[1]}",
            timeout=PATIENCE,
            unless=unless,
        )
    except DeadlineExceeded as error:
        raise with_complaints(error, cluster, namespace, "invoke lab-logs") from error


def wait_addons(cluster: Cluster, baseline: Baseline, unless: Unless = None) -> None:
    """Wait until every add-on of the baseline is available and Ingresses can be reached.

    An error of `unless` ends the wait.
    """
    for namespace, names in baseline.addons.items():
        for name in names:
            _wait_available(cluster, namespace, name, unless)
    if baseline.ingress:
        _wait_available(cluster, *baseline.ingress, unless)
    wait.until(
        lambda: metrics_served(cluster),
        what="metrics-server's API",
        timeout=PATIENCE,
        unless=unless,
        hint="invoke lab-logs",
    )


def metrics_served(cluster: Cluster) -> bool | None:
    """True when the API server reaches metrics-server.

    Until then, the API server deletes no namespace. Raises ResourceError when it does not.
    """
    (item,) = cluster.get("apiservice", METRICS)
    if conditions(item).get("Available") != "True":
        raise ResourceError(f"{METRICS} is not available")
    return True


def healthy(lab: Lab, cluster: Cluster) -> bool:
    """Whether the API server answers and every node is Ready."""
    try:
        return bool(nodes_ready(lab, cluster))
    except LabError:
        return False


def complete(cluster: Cluster, baseline: Baseline) -> bool:
    """Whether every workload of the baseline exists; a student may have deleted one."""
    try:
        there = addons(cluster, baseline)
    except LabError:
        return False
    return len(there) == sum(map(len, baseline.addons.values()))


def addons(cluster: Cluster, baseline: Baseline) -> list[dict[str, Any]]:
    """The workloads of the baseline that exist."""
    return [
        item
        for item in cluster.get("deployments,daemonsets", "--all-namespaces")
        if f"{item['kind'].lower()}/{item['metadata']['name']}"
        in baseline.addons.get(item["metadata"]["namespace"], ())
    ]
