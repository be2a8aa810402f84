"""A Deployment and a Service: work for every component of Kubernetes."""

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Namespace, Service

from infra.images import BUSYBOX

LABELS = {"app": "web"}
SERVE = (
    'mkdir /www && echo "Hello from $(hostname)" > /www/index.html && exec httpd -f -p 9376 -h /www'
)


def deploy() -> None:
    """Deploy two web servers behind one address; export the Deployment and the address."""
    namespace = Namespace("machinery", metadata={"name": "machinery"})
    place = {"name": "web", "namespace": namespace.metadata["name"]}
    container = {
        "name": "web",
        "image": BUSYBOX,
        "command": ["sh", "-c", SERVE],
        "ports": [{"container_port": 9376}],
        "readiness_probe": {"tcp_socket": {"port": 9376}, "period_seconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    web = Deployment(
        "web",
        metadata={**place, "labels": LABELS},
        spec={
            "replicas": 2,
            "selector": {"match_labels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"termination_grace_period_seconds": 1, "containers": [container]},
            },
        },
    )
    service = Service(
        "web",
        metadata=place,
        spec={
            "selector": LABELS,
            "ports": [{"protocol": "TCP", "port": 80, "target_port": 9376}],
        },
    )
    pulumi.export("deployment", web.metadata["name"])
    # The API server chooses the address, so a preview does not know it.
    pulumi.export("cluster_ip", service.spec.apply(lambda spec: spec.get("cluster_ip")))
