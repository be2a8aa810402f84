"""An Ingress that maps two URL paths to two services."""

from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Namespace, Service
from pulumi_kubernetes.networking.v1 import Ingress

from infra.images import NGINX

APPS = ("coffee", "tea")


def serve(name: str) -> str:
    """The command of a web server whose page lies below the path that the ingress passes on."""
    folder = f"/usr/share/nginx/html/{name}"
    page = f'mkdir {folder} && echo "This is {name}" > {folder}/index.html'
    return f'{page} && exec nginx -g "daemon off;"'


def application(name: str, namespace: pulumi.Input[str]) -> None:
    """A Deployment and the Service in front of it."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    labels = {"app": name}
    Deployment(
        name,
        metadata={**metadata, "labels": labels},
        spec={
            "replicas": 1,
            "selector": {"match_labels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [
                        {
                            "name": name,
                            "image": NGINX,
                            "command": ["sh", "-c", serve(name)],
                            "ports": [{"container_port": 80}],
                            "readiness_probe": {
                                "http_get": {"path": f"/{name}/", "port": 80},
                                "period_seconds": 1,
                            },
                        }
                    ]
                },
            },
        },
    )
    ports = [{"port": 80, "target_port": 80}]
    Service(name, metadata=metadata, spec={"selector": labels, "ports": ports})


def deploy() -> None:
    """Services `coffee` and `tea` behind the Ingress `menu`; exports the paths."""
    namespace = Namespace("ingress", metadata={"name": "ingress"})
    for name in APPS:
        application(name, namespace.metadata["name"])
    Ingress(
        "menu",
        metadata={"name": "menu", "namespace": namespace.metadata["name"]},
        spec={
            "rules": [
                {
                    "http": {
                        "paths": [
                            {
                                "path": f"/{name}",
                                "path_type": "Prefix",
                                "backend": {"service": {"name": name, "port": {"number": 80}}},
                            }
                            for name in APPS
                        ]
                    }
                }
            ]
        },
    )
    pulumi.export("paths", [f"/{name}/" for name in APPS])
