"""The conformance list: requirements for a lab, as questions to its machines and its cluster.

Each question returns what is expected and what is seen, as values that can be compared and printed.
An error that a question raises is an answer, too: the lab did not respond.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from lab.cluster import objects, registry
from lab.cluster.client import Cluster
from lab.config import Lab, Machine
from lab.conformance.probe import HOST, IMAGE, NAMESPACE, PORT, TAG
from lab.distributions import distribution
from lab.errors import LabError
from lab.machines.ssh import Remote

Object = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """A lab under test: its cluster, and connections to its machines."""

    lab: Lab
    cluster: Cluster
    machines: tuple[Remote, ...]

    def get(self, *words: str) -> list[Object]:
        """The objects that kubectl gets; empty for a single one that does not exist."""
        return self.cluster.get(*words)

    def probes(self) -> dict[str, Object]:
        """Machine -> the probe's pod on it."""
        pods = self.get("pods", "--namespace", NAMESPACE, "--selector", "app=probe")
        return {pod["spec"]["nodeName"]: pod for pod in sorted(pods, key=name)}

    def inside(self, pod: str, line: str) -> str:
        """The output of a shell line in a pod of the probe."""
        words = ("exec", "--namespace", NAMESPACE, pod, "--", "sh", "-c", line)
        return self.cluster.kubectl(*words, timeout=30).strip()


Look = Callable[[Scene], tuple[object, object]]


@dataclass(frozen=True)
class Item:
    """One requirement; `needed` says for which labs."""

    id: str
    title: str
    look: Look
    needed: Callable[[Lab], bool] = lambda lab: True


def nodes(scene: Scene) -> tuple[object, object]:
    """Ready nodes by name, with their addresses in the cluster."""
    seen = {
        name(node): _address(node)
        for node in scene.get("nodes")
        if objects.conditions(node).get("Ready") == "True"
    }
    return {machine.name: machine.address for machine in scene.lab.machines}, seen


def versions(scene: Scene) -> tuple[object, object]:
    """The version of every kubelet, and of the API server."""
    expected = f"v{scene.lab.kubernetes}"
    told = scene.cluster.raw("/version")
    seen = {name(node): node["status"]["nodeInfo"]["kubeletVersion"] for node in scene.get("nodes")}
    names = [*(machine.name for machine in scene.lab.machines), "API server"]
    return dict.fromkeys(names, expected), {**seen, "API server": json.loads(told)["gitVersion"]}


def control_planes(scene: Scene) -> tuple[object, object]:
    """The nodes with the label of control planes."""
    label = "node-role.kubernetes.io/control-plane"
    seen = sorted(map(name, scene.get("nodes", "--selector", label)))
    return [machine.name for machine in _planes(scene.lab)], seen


def etcd_members(scene: Scene) -> tuple[object, object]:
    """The addresses of etcd's members, from its pods or from annotations of nodes."""
    if annotation := distribution(scene.lab).etcd_annotation:
        noted = [node["metadata"].get("annotations", {}) for node in scene.get("nodes")]
        addresses = [notes.get(annotation) for notes in noted]
    else:
        pods = scene.get("pods", "--namespace", "kube-system", "--selector", "component=etcd")
        ready = [pod for pod in pods if objects.conditions(pod).get("Ready") == "True"]
        addresses = [pod["status"]["podIP"] for pod in ready]
    expected = [machine.address for machine in _planes(scene.lab)]
    return expected, sorted(filter(None, addresses))


def flannel(scene: Scene) -> tuple[object, object]:
    """The addresses of nodes for flannel: in the lab's network, not behind Vagrant's NAT."""
    key = "flannel.alpha.coreos.com/public-ip"
    seen = {name(node): node["metadata"]["annotations"].get(key) for node in scene.get("nodes")}
    return {machine.name: machine.address for machine in scene.lab.machines}, seen


def networks(scene: Scene) -> tuple[object, object]:
    """The nodes' ranges in the pods' network, and the first addresses of Services."""
    ranges = [IPv4Network(node["spec"]["podCIDR"]) for node in scene.get("nodes")]
    outside = [str(one) for one in ranges if not one.subnet_of(scene.lab.pods)]
    (api,) = scene.get("service", "kubernetes")
    (dns,) = scene.get("service", "kube-dns", "--namespace", "kube-system")
    begin = scene.lab.services.network_address
    expected = {"outside": [], "API": str(begin + 1), "DNS": str(begin + 10)}
    seen = {
        "outside": outside,
        "API": api["spec"]["clusterIP"],
        "DNS": dns["spec"]["clusterIP"],
    }
    return expected, seen


def addons(scene: Scene) -> tuple[object, object]:
    """What each add-on lacks."""
    wanted = [
        (namespace, workload)
        for namespace, workloads in distribution(scene.lab).baseline.addons.items()
        for workload in workloads
    ]
    seen = {}
    for namespace, workload in [("kube-system", "deployment/coredns"), *wanted]:
        try:
            (item,) = scene.get(workload, "--namespace", namespace)
            seen[workload] = objects.lacking(item) or "available"
        except LabError:
            seen[workload] = "does not exist"
    return dict.fromkeys(seen, "available"), seen


def metrics(scene: Scene) -> tuple[object, object]:
    """The nodes whose use of resources `kubectl top nodes` shows."""
    path = "/apis/metrics.k8s.io/v1beta1/nodes"
    told = scene.cluster.raw(path)
    return _machines(scene.lab), sorted(map(name, json.loads(told)["items"]))


def pulls(container: str, scene: Scene) -> tuple[object, object]:
    """Node -> digest of the image that the probe's container pulled."""
    digest = registry.digest(scene.lab, IMAGE, TAG)
    seen = {}
    for machine, pod in scene.probes().items():
        status = {one["name"]: one for one in pod["status"].get("containerStatuses", ())}
        seen[machine] = status[container]["imageID"].rpartition("@")[2] if status else "no status"
    return dict.fromkeys(_machines(scene.lab), digest), seen


def names(scene: Scene) -> tuple[object, object]:
    """Node -> whether its pod reaches a Service by name."""
    line = f"wget -q -T 5 -O - http://probe.{NAMESPACE}.svc.cluster.local/"
    known = _machines(scene.lab)
    seen = {}
    for machine, pod in scene.probes().items():
        answer = scene.inside(name(pod), line)
        seen[machine] = "answered" if answer in known else answer
    return dict.fromkeys(known, "answered"), seen


def pod_network(scene: Scene) -> tuple[object, object]:
    """Node -> the nodes whose pods answer its own."""
    pods = scene.probes()
    addresses = " ".join(pod["status"].get("podIP", "") for pod in pods.values())
    line = f"for one in {addresses}; do wget -q -T 5 -O - http://$one:8080/ || echo none; done"
    seen = {machine: sorted(scene.inside(name(pod), line).split()) for machine, pod in pods.items()}
    return dict.fromkeys(_machines(scene.lab), _machines(scene.lab)), seen


def load_balancer(scene: Scene) -> tuple[object, object]:
    """The addresses of a Service of type LoadBalancer, and whether a machine reaches each."""
    lab = scene.lab
    (service,) = scene.get("service", "public", "--namespace", NAMESPACE)
    told = [one.get("ip") for one in service["status"]["loadBalancer"].get("ingress", ())]
    known = _machines(lab)
    line = "curl --silent --show-error --max-time 5 {}"
    answers = {}
    for address in sorted(filter(None, told)):
        url = f"http://{address}:{PORT}/"
        said = scene.machines[-1].run(["sh", "-c", line.format(url) + " 2>&1"], ok=range(256))
        answers[address] = "answered" if said.strip() in known else said.strip()
    if distribution(lab).balances_on_nodes:
        return {machine.address: "answered" for machine in lab.machines}, answers
    first, last = map(IPv4Address, lab.address_pool.split("-"))
    one = f"an address of {lab.address_pool}"
    inside = [address for address in answers if first <= IPv4Address(address) <= last]
    seen = {one: answers[inside[0]]} if len(inside) == len(answers) == 1 else answers
    return {one: "answered"}, seen


def ingress(scene: Scene) -> tuple[object, object]:
    """The host's answers from 127.0.0.1 for the name of an Ingress and for an unknown name."""
    known = _machines(scene.lab)
    seen = {host: _http(scene.lab.ports.http, host) for host in (HOST, "unknown.lab")}
    return (
        {HOST: "answered", "unknown.lab": "404"},
        {host: "answered" if said in known else said for host, said in seen.items()},
    )


def storage_class(scene: Scene) -> tuple[object, object]:
    """The class for a claim that names none."""
    key = "storageclass.kubernetes.io/is-default-class"
    seen = [
        f"{name(one)} by {one['provisioner']}"
        for one in scene.get("storageclasses")
        if one["metadata"].get("annotations", {}).get(key) == "true"
    ]
    return ["local-path by rancher.io/local-path"], seen


def volume(scene: Scene) -> tuple[object, object]:
    """A claim's state, and the text that a pod reads back from it."""
    (claim,) = scene.get("persistentvolumeclaim", "kept", "--namespace", NAMESPACE)
    seen = [claim["status"]["phase"], scene.inside("writer", "cat /data/word")]
    return ["Bound", "kept"], seen


def kubeconfig(scene: Scene) -> tuple[object, object]:
    """The lab's kubeconfig: it is private, and selects this lab through the host."""
    lab, words = scene.lab, ("config", "view", "--minify", "--output", "json")
    view = json.loads(scene.cluster.kubectl(*words))
    mode = (lab.state / "kubeconfig").stat().st_mode & 0o777
    seen = [f"{mode:04o}", view["current-context"], view["clusters"][0]["cluster"]["server"]]
    return ["0600", f"lab-{lab.name}", f"https://127.0.0.1:{lab.ports.api}"], seen


def admin_kubeconfig(scene: Scene) -> tuple[object, object]:
    """The administrator's kubeconfig on the first machine: owner and mode."""
    path = distribution(scene.lab).kubeconfig
    return "root 600", scene.machines[0].run(["stat", "-c", "%U %a", path], sudo=True).strip()


def units(scene: Scene) -> tuple[object, object]:
    """Machine -> state of its kubelet's unit."""
    expected, seen = {}, {}
    for machine, remote in zip(scene.lab.machines, scene.machines, strict=True):
        unit = distribution(scene.lab).units[machine.role]
        answer = remote.run(["systemctl", "is-active", unit], ok=range(256)).strip()
        enabled = remote.run(["systemctl", "is-enabled", unit], ok=range(256)).strip()
        expected[machine.name] = f"{unit} active enabled"
        seen[machine.name] = f"{unit} {answer} {enabled}"
    return expected, seen


def _http(port: int, host: str) -> str:
    """The answer of the host's loopback for a virtual host: its text, or an error's code."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": host})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            request, timeout=5
        ) as answer:
            return str(answer.read(1000).decode(errors="replace")).strip()
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError as error:
        return str(error)


def name(item: Object) -> str:
    return str(item["metadata"]["name"])


def _address(node: Object) -> str:
    told = {one["type"]: one["address"] for one in node["status"]["addresses"]}
    return str(told.get("InternalIP", ""))


def _machines(lab: Lab) -> list[str]:
    return [machine.name for machine in lab.machines]


def _planes(lab: Lab) -> list[Machine]:
    return [machine for machine in lab.machines if machine.role == "control-plane"]


ITEMS: Sequence[Item] = (
    Item("nodes", "every machine is a Ready node at its address in the lab", nodes),
    Item("versions", "kubelets and API server have the source's version", versions),
    Item("control-planes", "the control planes are those of the configuration", control_planes),
    Item(
        "etcd-members",
        "each of three control planes is a member of etcd",
        etcd_members,
        lambda lab: lab.control_planes > 1,
    ),
    Item("units", "the kubelet's unit runs, and will after a boot", units),
    Item("flannel", "pods' traffic between nodes takes the lab's network", flannel),
    Item("networks", "pods and Services have addresses of the configured networks", networks),
    Item("add-ons", "DNS, Ingress, storage, metrics and load balancer are available", addons),
    Item("metrics", "metrics are served for every node", metrics),
    Item("registry", "every node pulls from the lab's registry", partial(pulls, "web")),
    Item(
        "docker-hub",
        "every node asks the lab's registry for what is said to be on Docker Hub",
        partial(pulls, "hub"),
    ),
    Item("names", "pods on every node find Services by name", names),
    Item("pod-network", "pods on all nodes reach each other", pod_network),
    Item("load-balancer", "a Service of type LoadBalancer answers at its addresses", load_balancer),
    Item("ingress", "an Ingress answers on the host at 127.0.0.1", ingress),
    Item("storage-class", "local-path is the default StorageClass", storage_class),
    Item("volume", "a claim gets a volume that keeps what is written", volume),
    Item("kubeconfig", "the lab's kubeconfig is private and means this lab", kubeconfig),
    Item(
        "admin-kubeconfig",
        "the administrator's kubeconfig on the first machine is private",
        admin_kubeconfig,
    ),
)
