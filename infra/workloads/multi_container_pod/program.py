"""A pod of two containers: one writes a page into a shared folder, the other serves it."""

from typing import Any

import pulumi
from pulumi_kubernetes.core.v1 import Namespace, Pod

from infra.images import BUSYBOX, NGINX

NAME = "web-and-writer"
WRITE = """\
while true; do
  echo "Written at $(date +%T)" > /pages/new
  mv /pages/new /pages/index.html
  echo "localhost says: $(wget -qO- -T 1 http://localhost)"
  sleep 1
done
"""
RESOURCES = {
    "requests": {"cpu": "10m", "memory": "16Mi"},
    "limits": {"cpu": "200m", "memory": "64Mi"},
}
WEB: dict[str, Any] = {
    "name": "web",
    "image": NGINX,
    "ports": [{"name": "http", "container_port": 80}],
    "resources": RESOURCES,
    "volume_mounts": [
        {"name": "pages", "mount_path": "/usr/share/nginx/html", "read_only": True},
    ],
    "readiness_probe": {"http_get": {"path": "/", "port": "http"}, "period_seconds": 1},
    "liveness_probe": {"tcp_socket": {"port": "http"}, "period_seconds": 5},
}
WRITER: dict[str, Any] = {
    "name": "writer",
    "image": BUSYBOX,
    "command": ["sh", "-c", WRITE],
    "resources": RESOURCES,
    "volume_mounts": [{"name": "pages", "mount_path": "/pages"}],
}


def deploy() -> None:
    """The pod `web-and-writer`; exports its name and its containers."""
    namespace = Namespace("multi-container-pod", metadata={"name": "multi-container-pod"})
    pod = Pod(
        NAME,
        metadata={
            "name": NAME,
            "namespace": namespace.metadata["name"],
            "labels": {"app": NAME},
        },
        spec={
            "containers": [WEB, WRITER],
            "volumes": [{"name": "pages", "empty_dir": {}}],
            "termination_grace_period_seconds": 1,
        },
    )
    pulumi.export("pod", pod.metadata["name"])
    pulumi.export("containers", [WEB["name"], WRITER["name"]])
