"""A StatefulSet: pods that keep their names and their volumes, and a Service for the names."""

from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import StatefulSet
from pulumi_kubernetes.core.v1 import Namespace, Pod, Service

from infra.images import BUSYBOX, NGINX

LABELS = {"app": "web"}
REPLICAS = 2
PAGES = "/usr/share/nginx/html"
# Every start adds a line to the page, which lies on the pod's own volume.
SERVE = f'echo "$HOSTNAME started at $(date)" >> {PAGES}/index.html && exec nginx -g "daemon off;"'


def deploy() -> None:
    """The StatefulSet `web`, its headless Service and a client; exports the pods' DNS names."""
    namespace = Namespace("statefulset", metadata={"name": "statefulset"})

    def metadata(name: str, labels: dict[str, str]) -> dict[str, Any]:
        return {"name": name, "namespace": namespace.metadata["name"], "labels": labels}

    Service(
        "web",
        metadata=metadata("web", LABELS),
        spec={
            "cluster_ip": "None",
            "selector": LABELS,
            "ports": [{"port": 80, "target_port": 80}],
        },
    )
    StatefulSet(
        "web",
        metadata=metadata("web", LABELS),
        spec={
            # Its name, and not its output: a Service is made when it has pods, and these are they.
            "service_name": "web",
            "replicas": REPLICAS,
            "pod_management_policy": "OrderedReady",
            "selector": {"match_labels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "containers": [
                        {
                            "name": "nginx",
                            "image": NGINX,
                            "command": ["sh", "-c", SERVE],
                            "ports": [{"container_port": 80}],
                            "readiness_probe": {
                                "http_get": {"path": "/", "port": 80},
                                "period_seconds": 1,
                            },
                            "volume_mounts": [{"name": "data", "mount_path": PAGES}],
                            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                        }
                    ]
                },
            },
            "volume_claim_templates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {
                        "access_modes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "16Mi"}},
                    },
                }
            ],
        },
    )
    client = {
        "name": "client",
        "image": BUSYBOX,
        "command": ["sh", "-c", "sleep 86400"],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    Pod(
        "client",
        metadata=metadata("client", {"app": "client"}),
        spec={"termination_grace_period_seconds": 1, "containers": [client]},
    )
    names = [f"web-{number}.web" for number in range(REPLICAS)]
    pulumi.export("names", names)
