"""Checks of exercise `machinery`: each component's work for the objects."""

import base64
import json
import shlex
from functools import partial
from typing import Any

import pytest

from infra.workloads.api import CannotCheck
from infra.workloads.checks import (
    ENDPOINTS_BY_SELECTOR,
    MANAGED_BY,
    Cluster,
    Object,
    answer_of,
    events_of,
    eventually,
    owned_by,
    ports_of,
    ready,
    ready_pods,
    replicasets_of,
    slices_of,
)

HELLO = "Hello from web-"
PORT = 9376
DEFAULT = "default-scheduler"
# kubeadm's etcd also has a JSON API. The database of k3s is inside its process and unreachable.
PKI = "/etc/kubernetes/pki/etcd"
ETCD = (
    f"curl -s --max-time 5 --cacert {PKI}/ca.crt --cert {PKI}/server.crt --key {PKI}/server.key"
    " https://127.0.0.1:2379/v3/kv/range"
)
SOCKETS = ("/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock")


def replicaset_of(cluster: Cluster) -> Object:
    """The Deployment's ReplicaSet with replicas."""
    deployment = cluster.get("deployment", "web")

    def found() -> Object | None:
        own = replicasets_of(cluster, deployment)
        return next((item for item in own if item["spec"]["replicas"]), None)

    replicaset = eventually(found)
    assert replicaset, (
        "expected a ReplicaSet that Deployment `web` has created, saw none\n"
        f"{cluster.look('get replicasets')}"
    )
    return replicaset


def pods_of(cluster: Cluster, replicaset: Object) -> list[Object]:
    """The pods of a ReplicaSet in any state."""

    def found() -> list[Object]:
        return [pod for pod in cluster.list("pods") if owned_by(pod, replicaset)]

    pods = eventually(found)
    assert pods, (
        "expected pods that the ReplicaSet of `web` has created, saw none\n"
        f"{cluster.look('get replicasets,pods')}"
    )
    return pods


def running_pods(cluster: Cluster) -> list[Object]:
    """The Deployment's Ready pods. Fails the check unless there are as many as its replicas."""
    wanted: int = cluster.get("deployment", "web")["spec"]["replicas"]

    pods: list[Object] = []

    def all_there() -> bool:
        pods[:] = ready_pods(cluster, "deployment", "web")
        return len(pods) == wanted

    assert eventually(all_there) and pods, (
        f"expected {wanted} ready pods of Deployment `web`, saw {len(pods)}\n"
        f"{cluster.look('get pods -o wide')}"
    )
    return pods


def machine_of(machines: list[Any], node: str) -> Any:
    """The machine of a node. Raises CannotCheck if the lab has no such machine."""
    for machine in machines:
        if machine.backend.hostname == node:
            return machine
    raise CannotCheck(f"node {node} is not a machine of the lab")


def said(machine: Any, command: str) -> str:
    """The output of a command as root on a machine. Raises CannotCheck if it fails."""
    done = machine.run("sudo sh -c %s", command)
    if done.rc:
        raise CannotCheck(f"`{command}` on {machine.backend.hostname}: {done.stderr.strip()}")
    return str(done.stdout)


def address_of(cluster: Cluster) -> str:
    """The address of the Service `web`. Fails the check unless it maps port 80 to 9376."""
    spec = cluster.get("service", "web")["spec"]
    containers = [one for pod in cluster.list("pods") for one in pod["spec"]["containers"]]
    ports = ports_of(spec, containers)
    address: str = spec.get("clusterIP", "None")
    assert address != "None" and ports == [(80, PORT)], (
        f"expected Service `web` to have an address and to map port 80 to {PORT}, "
        f"saw {address} and {ports}\n{cluster.look('get service web -o yaml')}"
    )
    return address


@pytest.mark.points(2)
@pytest.mark.hints(
    "Everything begins with an object that the API server stores for you.",
    "`kubectl get deployment web -o yaml` shows the object, and its version in `resourceVersion`.",
    "`replicas: 2` stands directly under the Deployment's `spec`.",
)
def test_api_server_keeps_it(cluster: Cluster, machines: list[Any]) -> None:
    """The API server stores the Deployment in etcd, and rejects a change to an old copy"""
    found = cluster.get("deployment", "web")
    assert found["spec"]["replicas"] == 2, (
        f"expected Deployment `web` to have 2 replicas, saw {found['spec']['replicas']}\n"
        f"{cluster.look('get deployment web -o yaml')}"
    )
    old = {**found, "metadata": {**found["metadata"], "resourceVersion": "1"}}
    words = ("replace", "--dry-run=server", "--filename", "-")
    code, output = cluster.kubectl(*words, stdin=json.dumps(old))
    assert code and "Conflict" in output, (
        f"expected the API server to reject a change to revision 1 of `web`, saw {output.strip()}\n"
        f"{cluster.look('get deployment web -o yaml')}"
    )
    plane = machines[0]
    if plane.run(f"sudo test -f {PKI}/server.key").rc:
        return

    def agree() -> bool:
        kept = in_etcd(plane, f"/registry/deployments/{cluster.namespace}/web")
        version: str = cluster.get("deployment", "web")["metadata"]["resourceVersion"]
        return kept.get("mod_revision") == version

    assert eventually(agree), (
        "expected `resourceVersion` of `web` to be its revision in etcd, saw another one\n"
        f"{cluster.look('get deployment web -o yaml')}"
    )


def in_etcd(plane: Any, key: str) -> dict[str, str]:
    """etcd's own metadata of a key; empty if it has no such key."""
    asked = json.dumps({"key": base64.b64encode(key.encode()).decode(), "keys_only": True})
    answer = json.loads(said(plane, f"{ETCD} --data {shlex.quote(asked)}"))
    return next(iter(answer.get("kvs", [])), {})


@pytest.mark.points(2)
@pytest.mark.hints(
    "You write one object, and controllers create others because of it.",
    "`kubectl get replicasets,pods,endpointslices -o yaml`: look for `ownerReferences`.",
    "A Deployment `web`, and a Service `web` with `selector: {app: web}`; write nothing else.",
)
def test_controllers_made_the_rest(cluster: Cluster) -> None:
    """Controllers created the ReplicaSet, its pods and the Service's EndpointSlice"""
    pods_of(cluster, replicaset_of(cluster))
    service = cluster.get("service", "web")

    found = eventually(lambda: slices_of(cluster, "web")) or []
    makers = {item["metadata"]["labels"].get(MANAGED_BY, "hand") for item in found}
    assert makers == {ENDPOINTS_BY_SELECTOR} and all(owned_by(item, service) for item in found), (
        f"expected {ENDPOINTS_BY_SELECTOR} to create the endpoints of Service `web`, "
        f"saw {', '.join(makers) or 'none'}\n{cluster.look('get endpointslices -o yaml')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A component must choose a node for each pod, and it should not be you.",
    "`kubectl describe pod` names the component that assigned the pod in its events.",
    "No `nodeName` and no `schedulerName` in the template of `web`.",
)
def test_scheduler_bound_the_pods(cluster: Cluster) -> None:
    """The scheduler chose the nodes of the pods"""
    replicaset = replicaset_of(cluster)
    template = replicaset["spec"]["template"]["spec"]
    assert "nodeName" not in template and template["schedulerName"] == DEFAULT, (
        f"expected the template of `web` to leave the node to {DEFAULT}, saw "
        f"node {template.get('nodeName', 'open')}, scheduler {template['schedulerName']}\n"
        f"{cluster.look('get deployment web -o yaml')}"
    )

    # The template names no node, so the scheduler has bound every pod that has one.
    def unbound() -> list[str]:
        pods = pods_of(cluster, replicaset)
        return [pod["metadata"]["name"] for pod in pods if "nodeName" not in pod["spec"]]

    assert eventually(lambda: not unbound()), (
        f"expected every pod to be bound to a node, saw {', '.join(unbound())} without one\n"
        f"{cluster.look('describe pods')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A container is processes of the machine that it runs on.",
    "Log in to the pod's machine and run `sudo ctr -n k8s.io tasks ls`.",
    "`image: busybox:1.37`, and a command that keeps running: `exec httpd -f -p 9376 -h /www`.",
)
def test_kubelets_run_them(cluster: Cluster, machines: list[Any]) -> None:
    """The containers are processes on the machines of their nodes"""
    for pod in running_pods(cluster):
        cluster.expect_image(pod, "busybox")
        node, name = pod["spec"]["nodeName"], pod["metadata"]["name"]
        tasks = tasks_on(machine_of(machines, node))
        for state in pod["status"]["containerStatuses"]:
            identity = state["containerID"].rpartition("/")[2]
            assert tasks.get(identity) == "RUNNING", (
                f"expected the container of `{name}` to run on {node}, "
                f"saw it {tasks.get(identity, 'nowhere')}\n"
                f"look: invoke lab-ssh {node}, then sudo ctr -n k8s.io tasks ls"
            )


def tasks_on(machine: Any) -> dict[str, str]:
    """A mapping from containers to the states of their first processes, by containerd."""
    listings = [
        f"[ ! -S {socket} ] || ctr --address {socket} --namespace k8s.io tasks ls"
        for socket in SOCKETS
    ]
    found = said(machine, "; ".join(listings))
    lines = [line.split() for line in found.splitlines()]
    return {words[0]: words[2] for words in lines if len(words) == 3}


def rules_on(machine: Any, *addresses: str) -> str:
    """The lines of a machine's packet rules that contain one of these addresses."""
    wanted = " ".join(f"-e {address}" for address in addresses)
    command = f"(nft list ruleset; iptables-save) 2>/dev/null | grep -wF {wanted} || true"
    return said(machine, command)


@pytest.mark.points(2)
@pytest.mark.hints(
    "A Service's address belongs to no network card. Every machine has packet rules for it.",
    "Run `sudo nft list ruleset` on any machine, and search for the Service's address.",
    "The rules forward to ready pods that `selector: {app: web}` finds, at `targetPort: 9376`.",
)
def test_proxies_wrote_rules(cluster: Cluster, machines: list[Any]) -> None:
    """Every machine has rules that forward from the Service's address to the pods"""
    address = address_of(cluster)
    pods = [pod["status"]["podIP"] for pod in running_pods(cluster)]
    wanted = [address, *(f"{pod}:{PORT}" for pod in pods)]
    for machine in machines:

        def missing(machine: Any = machine) -> list[str]:
            rules = rules_on(machine, address, *pods)
            return [word for word in wanted if word not in rules]

        assert eventually(lambda missing=missing: not missing()), (  # type: ignore[misc]
            f"expected rules for {address} and to {', '.join(wanted[1:])} on "
            f"{machine.backend.hostname}, saw none for {', '.join(missing())}\n"
            f"look: invoke lab-ssh {machine.backend.hostname}, then sudo nft list ruleset"
        )


@pytest.mark.points(1)
@pytest.mark.hints(
    "Call the address from a machine of the cluster.",
    "Without an answer: has the Service endpoints, and does a program listen at their port?",
    "From port 80 to `targetPort: 9376`, where the pods labelled `app: web` listen.",
)
def test_service_answers(cluster: Cluster, machines: list[Any]) -> None:
    """The Service answers on every machine, also on those without its pods"""
    address = address_of(cluster)
    for machine in machines:
        command = f"curl -s --max-time 2 http://{address}"
        output = eventually(partial(answer_of, machine, command)) or ""
        assert HELLO in output, (
            f"expected `{HELLO}...` from http://{address} on {machine.backend.hostname}, "
            f"saw {output[:200]!r}\nlook: invoke lab-ssh {machine.backend.hostname}, then {command}"
        )


@pytest.mark.points(3)
@pytest.mark.hints(
    "Delete a pod and watch each component's work until there is another one.",
    "`kubectl get events --sort-by=.metadata.creationTimestamp` names the components.",
    "All six checks above have to pass. Then the machinery does the same for a new pod.",
)
def test_all_of_it_again(cluster: Cluster, machines: list[Any]) -> None:
    """A deleted pod's successor is bound by the scheduler, run by a kubelet, and in the rules"""
    before = running_pods(cluster)
    address_of(cluster)
    victim = before[0]["metadata"]["name"]
    cluster.delete("pod", victim, now=True)
    known = {pod["metadata"]["uid"] for pod in before}

    def successor() -> Object | None:
        pods = ready_pods(cluster, "deployment", "web")
        return next((pod for pod in pods if pod["metadata"]["uid"] not in known), None)

    pod = eventually(successor)
    assert pod and ready(pod), (
        f"expected a new ready pod to replace `{victim}` within 20 s, saw none\n"
        f"{cluster.look('get pods,events')}"
    )
    name, node, ip = pod["metadata"]["name"], pod["spec"]["nodeName"], pod["status"]["podIP"]
    wanted = {("Scheduled", DEFAULT), ("Started", "kubelet")}

    def missing() -> set[tuple[str, str]]:
        events = events_of(cluster, pod["metadata"]["uid"])
        return wanted - {(event["reason"], reporter(event)) for event in events}

    assert eventually(lambda: not missing()), (
        f"expected events {sorted(wanted)} of `{name}`, saw none of {sorted(missing())}\n"
        f"{cluster.look(f'describe pod {name}')}"
    )
    machine = machine_of(machines, node)
    assert eventually(lambda: f"{ip}:{PORT}" in rules_on(machine, ip)), (
        f"expected rules to the new pod, {ip}:{PORT}, on {node}, saw none\n"
        f"look: invoke lab-ssh {node}, then sudo nft list ruleset"
    )


def reporter(event: Object) -> str:
    """The component that reported an event."""
    return str(event.get("reportingComponent") or event.get("source", {}).get("component", ""))
