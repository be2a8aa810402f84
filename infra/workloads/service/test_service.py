"""Checks of exercise `service`."""

from functools import partial
from typing import Any

import pytest

from infra.workloads.checks import Cluster, Fetch, Object, answering, eventually, ready

NAMESPACE = "service"
HELLO = "Hello from hello-d-"


def service(cluster: Cluster, name: str, kind: str) -> Object:
    """A Service, which must be of this type and lead from port 80 to 9376."""
    spec: Object = cluster.get("service", name, NAMESPACE)["spec"]
    ports = [(port["port"], port["targetPort"]) for port in spec["ports"]]
    assert (spec["type"], ports) == (kind, [(80, 9376)]), (
        f"expected `{name}` of type {kind} from port 80 to 9376, saw {spec['type']} and {ports}\n"
        f"look: kubectl get service {name} -n service -o yaml"
    )
    return spec


@pytest.mark.points(1)
def test_endpoints_are_the_pods(cluster: Cluster) -> None:
    """The service's endpoints are the addresses of the ready pods"""
    service(cluster, "my-service", "ClusterIP")

    def agree() -> bool:
        pods = {
            pod["status"]["podIP"]
            for pod in cluster.list("pods", NAMESPACE, "app=hello-d")
            if ready(pod)
        }
        slices = cluster.list("endpointslices", NAMESPACE, "kubernetes.io/service-name=my-service")
        found = {
            address
            for one in slices
            for endpoint in one.get("endpoints") or []
            for address in endpoint["addresses"]
        }
        return len(pods) >= 2 and pods == found

    assert eventually(agree), (
        "expected the endpoints of `my-service` to be two or more ready pods labelled app=hello-d\n"
        "look: kubectl get endpointslices,pods -n service -o wide"
    )


@pytest.mark.points(2)
def test_client_calls_by_name(cluster: Cluster) -> None:
    """Container B reaches container C by the service's name"""
    service(cluster, "my-service", "ClusterIP")
    cluster.get("pod", "client", NAMESPACE)
    wget = ("wget", "-qO-", "-T", "3", "http://my-service")

    def answer() -> str | None:
        code, output = cluster.run_in("client", NAMESPACE, *wget)
        return output if code == 0 else None

    output = eventually(answer) or cluster.run_in("client", NAMESPACE, *wget)[1]
    assert HELLO in output, (
        f"expected `{HELLO}...` from http://my-service inside pod `client`, saw {output[:200]!r}\n"
        "look: kubectl exec client -n service -- wget -qO- http://my-service"
    )


def answer_of(machine: Any, command: str) -> str:
    """What a command prints on a machine."""
    return str(machine.run(command).stdout)


@pytest.mark.points(1)
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
def test_load_balancer(cluster: Cluster, fetch: Fetch) -> None:
    """The LoadBalancer's address answers on the host"""
    service(cluster, "my-service-loadbalancer", "LoadBalancer")

    def address() -> str | None:
        status = cluster.get("service", "my-service-loadbalancer", NAMESPACE)["status"]
        entries = status.get("loadBalancer", {}).get("ingress") or [{}]
        ip: str | None = entries[0].get("ip")
        return ip

    found = eventually(address)
    assert found, (
        "expected an external address for `my-service-loadbalancer`, saw none\n"
        "look: kubectl get service -n service"
    )
    url = f"http://{found}"
    code, body = eventually(lambda: answering(fetch, url)) or fetch(url)
    assert code == 200 and HELLO in body, (
        f"expected `{HELLO}...` from {url}, saw {code} {body[:200]!r}\nlook: curl -v {url}"
    )
