"""One name for many pods: a Service of each type before the same two pods, and a client pod."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Namespace, Pod, Service

from infra.images import BUSYBOX

LABELS = {"app": "hello-d"}
SERVE = (
    'mkdir /www && echo "Hello from $(hostname)" > /www/index.html && exec httpd -f -p 9376 -h /www'
)
# Some load balancers have only the machines' own addresses to give: there port 80 is the Ingress's.
SERVICES = {
    "my-service": ("ClusterIP", 80),
    "my-service-nodeport": ("NodePort", 80),
    "my-service-loadbalancer": ("LoadBalancer", 8080),
}


def deploy() -> None:
    """Pods that listen on 9376, three Services, a client; exports how to reach them."""
    namespace = Namespace("service", metadata={"name": "service"})

    def metadata(name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
        named = {"name": name, "namespace": namespace.metadata["name"]}
        return {**named, "labels": labels} if labels else named

    Deployment(
        "hello-d",
        metadata=metadata("hello-d", LABELS),
        spec={
            "replicas": 2,
            "selector": {"match_labels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "termination_grace_period_seconds": 1,
                    "containers": [
                        {
                            "name": "hello",
                            "image": BUSYBOX,
                            "command": ["sh", "-c", SERVE],
                            "ports": [{"container_port": 9376}],
                            "readiness_probe": {
                                "tcp_socket": {"port": 9376},
                                "period_seconds": 1,
                            },
                        }
                    ],
                },
            },
        },
    )
    client = {"name": "client", "image": BUSYBOX, "command": ["sh", "-c", "sleep 3600"]}
    Pod(
        "client",
        metadata=metadata("client", {"app": "client"}),
        spec={"termination_grace_period_seconds": 1, "containers": [client]},
    )
    services = {
        name: Service(
            name,
            metadata=metadata(name),
            spec={
                "type": kind,
                "selector": LABELS,
                "ports": [{"protocol": "TCP", "port": port, "target_port": 9376}],
            },
        )
        for name, (kind, port) in SERVICES.items()
    }
    pulumi.export(
        "cluster_ip", services["my-service"].spec.apply(lambda spec: spec.get("cluster_ip"))
    )
    pulumi.export("node_port", services["my-service-nodeport"].spec.apply(node_port))
    pulumi.export("load_balancer", services["my-service-loadbalancer"].status.apply(external))


# What the cluster chooses is not there in a preview: it knows only what is written above.


def node_port(spec: Mapping[str, Any]) -> int | None:
    """The port that every machine serves."""
    port: int | None = spec["ports"][0].get("node_port")
    return port


def external(status: Mapping[str, Any] | None) -> str | None:
    """The address that the load balancer gave."""
    entries = ((status or {}).get("load_balancer") or {}).get("ingress") or [{}]
    address: str | None = entries[0].get("ip")
    return address
