"""Checks of exercise `service`."""

from functools import partial
from typing import Any

import pytest

from infra.workloads.checks import (
    Cluster,
    Fetch,
    Object,
    answer_of,
    answering,
    eventually,
    ports_of,
    ready,
    selected,
)

HELLO = "Hello from hello-d-"


def service(cluster: Cluster, name: str, kind: str, port: int = 80) -> Object:
    """A Service, which must be of this type, lead from this port to 9376, and find its pods by its
    selector."""
    spec: Object = cluster.get("service", name)["spec"]
    containers = [one for pod in helloes(cluster) for one in pod["spec"]["containers"]]
    ports = ports_of(spec, containers)
    assert spec["type"] == kind and (port, 9376) in ports, (
        f"expected `{name}` of type {kind} from port {port} to 9376, "
        f"saw {spec['type']} and {ports}\n"
        f"{cluster.look(f'get service {name} -o yaml')}"
    )

    def agree() -> bool:
        return selected(cluster, name, [pod for pod in helloes(cluster) if ready(pod)])

    assert eventually(agree), (
        f"expected the endpoints of `{name}` to be the ready pods labelled app=hello-d, "
        f"found by its selector\n{cluster.look('get endpointslices,pods -o wide --show-labels')}"
    )
    return spec


def helloes(cluster: Cluster) -> list[Object]:
    """The pods that the Services are for."""
    return cluster.list("pods", "app=hello-d")


@pytest.mark.points(1)
@pytest.mark.hints(
    "A Service finds its pods by their labels; nobody writes their addresses down.",
    "Compare the Service's `selector` with `kubectl get pods --show-labels`.",
    "`selector: {app: hello-d}`, and two pods that carry this label and are ready.",
)
def test_endpoints_are_the_pods(cluster: Cluster) -> None:
    """The service's endpoints are the ready pods that its selector finds"""
    service(cluster, "my-service", "ClusterIP")
    pods = eventually(lambda: [pod for pod in helloes(cluster) if ready(pod)][1:])
    assert pods, (
        "expected two or more ready pods labelled app=hello-d behind `my-service`, saw fewer\n"
        f"{cluster.look('get pods -o wide --show-labels')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "Call it yourself, from inside the pod `client`.",
    "If the name resolves and nobody answers: is there an endpoint, and who listens at its port?",
    "The pods must listen on 9376, where port 80 of `my-service` leads.",
)
def test_client_calls_by_name(cluster: Cluster) -> None:
    """Container B reaches container C by the service's name"""
    service(cluster, "my-service", "ClusterIP")
    client = cluster.get("pod", "client")
    wget = ("wget", "-qO-", "-T", "3", "http://my-service")

    def answer() -> str | None:
        code, output = cluster.run_in("client", *wget)
        return output if code == 0 else None

    output = eventually(answer) or cluster.run_in("client", *wget)[1]
    assert HELLO in output, (
        f"expected `{HELLO}...` from http://my-service inside pod `client`, saw {output[:200]!r}\n"
        f"{cluster.look('exec client -- wget -qO- http://my-service')}"
    )
    # What it says must come from the programs that the exercise names.
    for pod in (client, *helloes(cluster)):
        cluster.expect_image(pod, "busybox")


@pytest.mark.points(1)
@pytest.mark.hints(
    "A Service of this type is reached at a port of every machine, even of one without its pods.",
    "`kubectl get service` shows the port behind the colon.",
    "`type: NodePort`, with the same selector and ports as `my-service`.",
)
def test_node_port(cluster: Cluster, machines: list[Any]) -> None:
    """Every machine serves the NodePort"""
    spec = service(cluster, "my-service-nodeport", "NodePort")
    port = spec["ports"][0]["nodePort"]
    for machine in machines:
        name = machine.check_output("hostname")
        command = f"curl -s --max-time 5 http://{name}:{port}"
        output = eventually(partial(answer_of, machine, command)) or ""
        assert HELLO in output, (
            f"expected `{HELLO}...` at port {port} of {name}, saw {output[:200]!r}\n"
            f"look: invoke lab-ssh {name}, then {command}"
        )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A Service of this type gets an address of its own from outside the cluster.",
    "EXTERNAL-IP in `kubectl get services` is that address; then `curl` it from your computer.",
    "`type: LoadBalancer`, from port 8080 to the same pods as `my-service`.",
)
def test_load_balancer(cluster: Cluster, fetch: Fetch) -> None:
    """The LoadBalancer's address answers on the host"""
    service(cluster, "my-service-loadbalancer", "LoadBalancer", 8080)

    def address() -> str | None:
        status = cluster.get("service", "my-service-loadbalancer")["status"]
        entries = status.get("loadBalancer", {}).get("ingress") or [{}]
        ip: str | None = entries[0].get("ip")
        return ip

    found = eventually(address)
    assert found, (
        "expected an external address for `my-service-loadbalancer`, saw none\n"
        f"{cluster.look('get services')}"
    )
    url = f"http://{found}:8080"
    code, body = eventually(lambda: answering(fetch, url)) or fetch(url)
    assert code == 200 and HELLO in body, (
        f"expected `{HELLO}...` from {url}, saw {code} {body[:200]!r}\nlook: curl -v {url}"
    )
