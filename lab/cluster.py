"""The running cluster, seen from the host: its kubeconfig, its nodes, its add-ons."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.workloads.api import CannotCheck, Proxy
from lab import runner, wait
from lab.config import Lab
from lab.errors import DeadlineExceeded, LabError, ResourceError

# Kubelets renew their leases every 10 s.
LEASE_AGE = 20
# Seconds for nodes to be Ready, and for each add-on: k3s unpacks its images before that.
PATIENCE = 240
METRICS = "v1beta1.metrics.k8s.io"
# Distribution -> namespace -> workloads of the baseline. k3s brings its own.
ADDONS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "kubeadm": {
        "kube-system": ("deployment/metrics-server",),
        "traefik": ("deployment/traefik",),
        "metallb-system": ("deployment/controller", "daemonset/speaker"),
        "local-path-storage": ("deployment/local-path-provisioner",),
    },
    "k3s": {
        "kube-system": (
            "deployment/metrics-server",
            "deployment/traefik",
            "deployment/local-path-provisioner",
        )
    },
}
# Distribution -> namespace and Service whose address is the way to every Ingress. The load balancer
# gives it one; kubeadm's Ingress controller has a port of the node instead.
INGRESS_SERVICE: Mapping[str, tuple[str, str]] = {"k3s": ("kube-system", "service/traefik")}


def for_host(kubeconfig: str, lab: Lab) -> str:
    """A node's kubeconfig, made to reach the API server through the host's loopback.

    Context and user are named after the lab, so that no other cluster's are meant.
    """
    text = re.sub(
        r"server: https://[^\s]+", f"server: https://127.0.0.1:{lab.ports.api}", kubeconfig
    )
    for old in (f"kubernetes-admin@{lab.name}", "kubernetes-admin"):
        text = text.replace(old, f"lab-{lab.name}")
    return text


def kubectl(lab: Lab, tools: Path, *words: str, stdin: str = "", timeout: float = 15) -> str:
    """Run kubectl against this lab's cluster and no other."""
    given = stdin.encode() if stdin else None
    command = [*client(lab, tools), *words]
    return runner.run(command, stdin=given, timeout=timeout).stdout


def client(lab: Lab, tools: Path) -> list[str]:
    """The words that every call of kubectl begins with."""
    config, cache = lab.state / "kubeconfig", lab.state / "kube-cache"
    return [str(tools / "kubectl"), f"--kubeconfig={config}", f"--cache-dir={cache}"]


@contextmanager
def proxy(lab: Lab, tools: Path) -> Iterator[Path]:
    """The socket of a `kubectl proxy` while the block runs: to look without a kubectl every time.

    Raises ResourceError when it does not start.
    """
    try:
        started = Proxy(client(lab, tools))
    except CannotCheck as error:
        raise ResourceError(str(error)) from error
    try:
        yield started.socket
    finally:
        started.close()


def listing(objects: Sequence[Mapping[str, Any]]) -> str:
    """Several objects as one JSON document for `kubectl apply --filename -`."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


def get(lab: Lab, tools: Path, *words: str) -> list[dict[str, Any]]:
    """`kubectl get ... -o json`: the items of a list."""
    answer = json.loads(kubectl(lab, tools, "get", *words, "--output", "json"))
    items: list[dict[str, Any]] = answer.get("items", [answer])
    return items


def conditions(item: Mapping[str, Any]) -> dict[str, str]:
    """An object's conditions by type, e.g. {"Ready": "True"}."""
    found = item.get("status", {}).get("conditions") or []
    return {condition["type"]: condition["status"] for condition in found}


def nodes_ready(lab: Lab, tools: Path, since: datetime | None = None) -> bool | None:
    """True when every machine is a Ready node. Raises ResourceError that names one that is not.

    A node stays Ready in the records for 40 s after its end: its last sign of life must be fresh,
    or not older than `since`.
    """
    items = get(lab, tools, "nodes,leases", "--namespace", "kube-node-lease")
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
            raise ResourceError(f"{machine.name} gave its last sign of life {age:.0f} s ago")
    return True


def forget_nodes(lab: Lab, tools: Path) -> None:
    """Delete nodes whose machines the lab has no more."""
    names = {str(item["metadata"]["name"]) for item in get(lab, tools, "nodes")}
    if gone := surplus(names, lab):
        kubectl(lab, tools, "delete", "node", *gone, timeout=60)


def surplus(names: Collection[str], lab: Lab) -> list[str]:
    """Of the names of nodes those of workers that are no machines of the lab.

    Nodes with names of another kind somebody else has made, a simulator for instance.
    """
    have = {machine.name for machine in lab.machines}
    return sorted(name for name in names if re.fullmatch(r"worker-\d", name) and name not in have)


def sign_of_life(node: dict[str, Any], lease: dict[str, Any] | None) -> datetime:
    """When a node was last heard of: by its lease, which a new node has after ten seconds, or by
    the status that it reported."""
    times = [item["lastHeartbeatTime"] for item in node["status"]["conditions"]]
    times += [lease["spec"]["renewTime"]] if lease else []
    return max(map(datetime.fromisoformat, times))


def has_image(lab: Lab, tools: Path, name: str) -> bool:
    """Whether a node has an image, given without a tag: pulled, or imported by hand."""
    return any(
        reference.startswith((f"{name}:", f"{name}@"))
        for node in get(lab, tools, "nodes")
        for image in node["status"].get("images") or []
        for reference in image.get("names") or []
    )


def lacking(item: Mapping[str, Any]) -> str:
    """What a Deployment, a DaemonSet or a Service with an outside address still lacks; empty when
    it serves."""
    status = item.get("status", {})
    if item["kind"] == "Service":
        return "" if status.get("loadBalancer", {}).get("ingress") else "no address yet"
    if item["kind"] == "DaemonSet":
        wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
        return "" if wanted and ready == wanted else f"{ready} of {wanted} pods ready"
    # One replica that may be away while it is updated is "Available" without any pod.
    wanted, ready = item["spec"]["replicas"], status.get("readyReplicas", 0)
    serves = conditions(item).get("Available") == "True" and ready >= wanted
    return "" if serves else f"{ready} of {wanted} pods ready"


def complaint(pod: Mapping[str, Any]) -> str:
    """Why a pod is not Ready, in the kubelet's or the scheduler's words."""
    status = pod.get("status", {})
    for container in status.get("initContainerStatuses", []) + status.get("containerStatuses", []):
        state = container.get("state", {}).get("waiting", {})
        if state.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return f"{state['reason']}: {state.get('message', container['image'])}"
    said = [one["message"] for one in status.get("conditions") or [] if one.get("message")]
    return "; ".join(dict.fromkeys(said)) or str(status.get("phase", "unknown"))


def complaints(lab: Lab, tools: Path, namespace: str) -> list[str]:
    """A line for each pod of a namespace that should be Ready and is not; none without an API."""
    try:
        pods = get(lab, tools, "pods", "--namespace", namespace)
    except LabError:
        return []
    return [
        f"{pod['metadata']['name']}: {complaint(pod)}"
        for pod in pods
        if conditions(pod).get("Ready") != "True" and pod["status"].get("phase") != "Succeeded"
    ]


def with_complaints(
    error: DeadlineExceeded, lab: Lab, tools: Path, namespace: str, hint: str
) -> DeadlineExceeded:
    """The same time-out, with what the namespace's pods complain of."""
    found = "".join(f"\n  | {line}" for line in complaints(lab, tools, namespace))
    return DeadlineExceeded(error.message + found, hint=hint)


def available(lab: Lab, tools: Path, namespace: str, workload: str) -> bool | None:
    """True when a workload, such as deployment/traefik, or a Service serves. Raises ResourceError
    if not."""
    (item,) = get(lab, tools, workload, "--namespace", namespace)
    if lack := lacking(item):
        raise ResourceError(f"{namespace}/{workload}: {lack}")
    return True


Unless = Callable[[], None] | None


def wait_nodes(lab: Lab, tools: Path, since: datetime | None = None, unless: Unless = None) -> None:
    """Wait until every node is Ready, and was heard of `since`; what `unless` raises ends it."""
    wait.until(
        lambda: nodes_ready(lab, tools, since),
        what="every node becoming Ready",
        timeout=PATIENCE,
        unless=unless,
        hint="invoke lab-logs",
    )


def wait_ready(lab: Lab, tools: Path, unless: Unless = None) -> None:
    """Wait until every node is Ready and the cluster's DNS serves; what `unless` raises ends it."""
    wait_nodes(lab, tools, unless=unless)
    _wait_available(lab, tools, "kube-system", "deployment/coredns", unless)


def _wait_available(
    lab: Lab, tools: Path, namespace: str, workload: str, unless: Unless = None
) -> None:
    """Wait for a workload. Raises DeadlineExceeded with what the namespace's pods complain of."""
    try:
        wait.until(
            lambda: available(lab, tools, namespace, workload),
            what=f"add-on {workload.split('/')[1]}",
            timeout=PATIENCE,
            unless=unless,
        )
    except DeadlineExceeded as error:
        raise with_complaints(error, lab, tools, namespace, "invoke lab-logs") from error


def wait_addons(lab: Lab, tools: Path, unless: Unless = None) -> None:
    """Wait until every add-on of the baseline is available, and Ingresses can be reached; what
    `unless` raises ends it."""
    for namespace, names in ADDONS[lab.distribution].items():
        for name in names:
            _wait_available(lab, tools, namespace, name, unless)
    if lab.distribution in INGRESS_SERVICE:
        _wait_available(lab, tools, *INGRESS_SERVICE[lab.distribution], unless)
    wait.until(
        lambda: metrics_served(lab, tools),
        what="metrics-server's API",
        timeout=PATIENCE,
        unless=unless,
        hint="invoke lab-logs",
    )


def metrics_served(lab: Lab, tools: Path) -> bool | None:
    """True when the API server reaches metrics-server, which it asks itself all the time.

    While it does not, no namespace can be deleted. Raises ResourceError with its reason.
    """
    (item,) = get(lab, tools, "apiservice", METRICS)
    if conditions(item).get("Available") != "True":
        raise ResourceError(f"{METRICS} is not available")
    return True


def healthy(lab: Lab, tools: Path) -> bool:
    """Whether the cluster answers now, with every node Ready."""
    try:
        return bool(nodes_ready(lab, tools))
    except LabError:
        return False


def complete(lab: Lab, tools: Path) -> bool:
    """Whether every workload of the baseline is there now: somebody may have deleted one."""
    try:
        there = addons(lab, tools)
    except LabError:
        return False
    return len(there) == sum(map(len, ADDONS[lab.distribution].values()))


def addons(lab: Lab, tools: Path) -> list[dict[str, Any]]:
    """The workloads of the baseline that are there."""
    baseline = ADDONS[lab.distribution]
    return [
        item
        for item in get(lab, tools, "deployments,daemonsets", "--all-namespaces")
        if f"{item['kind'].lower()}/{item['metadata']['name']}"
        in baseline.get(item["metadata"]["namespace"], ())
    ]


def fingerprint(lab: Lab) -> str:
    """A digest of everything that a lab-up of this configuration makes."""
    sources = [lab.root / "vagrant", lab.root / "infra" / "cluster", lab.root / "toolchain"]
    total = hashlib.sha256(repr(lab).encode())
    for path in sorted(path for folder in sources for path in folder.rglob("*") if path.is_file()):
        total.update(path.read_bytes())
    return total.hexdigest()
