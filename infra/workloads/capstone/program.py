"""A small site of two parts: a shop that everybody sees, and an office that asks for a password."""

from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import (
    ConfigMap,
    Namespace,
    PersistentVolumeClaim,
    Secret,
    Service,
)
from pulumi_kubernetes.networking.v1 import Ingress

from infra.images import BUSYBOX, NGINX
from infra.manifests import SKIP_AWAIT

PORTS = {"shop": 80, "admin": 8080}
OPEN = """\
echo "/admin:$(cat /login/user):$(cat /login/password)" > /tmp/httpd.conf
echo "The office was opened by $(hostname)" >> /www/admin/index.html
exec httpd -f -p 8080 -h /www -c /tmp/httpd.conf
"""
RESOURCES = {
    "requests": {"cpu": "10m", "memory": "16Mi"},
    "limits": {"cpu": "200m", "memory": "64Mi"},
}
SHOP: dict[str, Any] = {
    "name": "shop",
    "image": NGINX,
    "resources": RESOURCES,
    "volume_mounts": [{"name": "pages", "mount_path": "/usr/share/nginx/html/shop"}],
}
ADMIN: dict[str, Any] = {
    "name": "admin",
    "image": BUSYBOX,
    "command": ["sh", "-c", OPEN],
    "resources": RESOURCES,
    "volume_mounts": [
        {"name": "login", "mount_path": "/login"},
        {"name": "data", "mount_path": "/www/admin"},
    ],
}


def deploy() -> None:
    """Ingress, Services, Deployments, and what these mount; exports the paths."""
    namespace = Namespace("capstone", metadata={"name": "capstone"})

    def metadata(name: str, **more: dict[str, str]) -> dict[str, Any]:
        return {"name": name, "namespace": namespace.metadata["name"], **more}

    pages = ConfigMap(
        "shop", metadata=metadata("shop"), data={"index.html": "Welcome to the shop\n"}
    )
    login = Secret(
        "admin", metadata=metadata("admin"), string_data={"user": "teacher", "password": "chalk"}
    )
    data = PersistentVolumeClaim(
        "admin",
        # The claim's volume is made once a pod needs it: Pulumi must not wait for it before.
        metadata=metadata("admin", annotations=SKIP_AWAIT),
        spec={"access_modes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
    )

    def application(
        container: dict[str, Any],
        volumes: list[dict[str, Any]],
        needs: list[pulumi.Resource],
        pods: dict[str, Any],
        **spec: Any,
    ) -> None:
        """A Deployment and the Service in front of it."""
        name = container["name"]
        port = PORTS[name]
        listening = {
            "ports": [{"container_port": port}],
            "readiness_probe": {"tcp_socket": {"port": port}, "period_seconds": 1},
        }
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{**container, **listening}], "volumes": volumes, **pods},
        }
        Deployment(
            name,
            metadata=metadata(name),
            spec={"selector": {"match_labels": {"app": name}}, "template": template, **spec},
            opts=pulumi.ResourceOptions(depends_on=needs),
        )
        ports = [{"port": 80, "target_port": port}]
        Service(name, metadata=metadata(name), spec={"selector": {"app": name}, "ports": ports})

    application(SHOP, [{"name": "pages", "config_map": {"name": "shop"}}], [pages], {}, replicas=2)
    application(
        ADMIN,
        [
            {"name": "login", "secret": {"secret_name": "admin"}},
            {"name": "data", "persistent_volume_claim": {"claim_name": "admin"}},
        ],
        [login, data],
        {"termination_grace_period_seconds": 1},
        replicas=1,
        strategy={"type": "Recreate"},
    )
    paths = [
        {
            "path": f"/{name}",
            "path_type": "Prefix",
            "backend": {"service": {"name": name, "port": {"number": 80}}},
        }
        for name in PORTS
    ]
    Ingress("site", metadata=metadata("site"), spec={"rules": [{"http": {"paths": paths}}]})
    pulumi.export("paths", [f"/{name}/" for name in PORTS])
