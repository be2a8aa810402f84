"""Two namespaces with the same names in them, one of which has limits."""

from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import LimitRange, Namespace, Pod, ResourceQuota, Service

from infra.images import BUSYBOX, NGINX

OWN, OTHER = "namespace", "namespace-other"
LABELS = {"app": "web"}
SERVE = (
    'echo "This is web of $NAMESPACE" > /usr/share/nginx/html/index.html'
    ' && exec nginx -g "daemon off;"'
)
LIMITS = {
    "type": "Container",
    "default_request": {"cpu": "10m", "memory": "16Mi"},
    "default": {"cpu": "200m", "memory": "64Mi"},
}
HARD = {"pods": "5", "requests.memory": "256Mi"}


def web(space: Namespace, name: str, limits: list[LimitRange]) -> Deployment:
    """`web`, a Deployment and a Service, in a namespace. Its page says in which."""
    metadata: dict[str, Any] = {"name": "web", "namespace": space.metadata["name"]}
    container = {
        "name": "web",
        "image": NGINX,
        "command": ["sh", "-c", SERVE],
        "env": [
            {"name": "NAMESPACE", "value_from": {"field_ref": {"field_path": "metadata.namespace"}}}
        ],
        "ports": [{"container_port": 80}],
        "readiness_probe": {"tcp_socket": {"port": 80}, "period_seconds": 1},
    }
    ports = [{"port": 80, "target_port": 80}]
    Service(f"{name}/web", metadata=metadata, spec={"selector": LABELS, "ports": ports})
    return Deployment(
        f"{name}/web",
        metadata=metadata,
        spec={
            "replicas": 1,
            "selector": {"match_labels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}},
        },
        opts=pulumi.ResourceOptions(depends_on=limits),
    )


def deploy() -> None:
    """`web` twice, a client of both, limits for one; exports the addresses for the client."""
    spaces = {name: Namespace(name, metadata={"name": name}) for name in (OWN, OTHER)}
    here = spaces[OWN].metadata["name"]
    # Defaults are given to pods that come later, and a quota asks for what they give: in order.
    limits = LimitRange(
        "defaults", metadata={"name": "defaults", "namespace": here}, spec={"limits": [LIMITS]}
    )
    web(spaces[OTHER], OTHER, [])
    own = web(spaces[OWN], OWN, [limits])
    client = {"name": "client", "image": BUSYBOX, "command": ["sh", "-c", "sleep 3600"]}
    pod = Pod(
        "client",
        metadata={"name": "client", "namespace": here, "labels": {"app": "client"}},
        spec={"containers": [client], "termination_grace_period_seconds": 1},
        opts=pulumi.ResourceOptions(depends_on=[limits]),
    )
    ResourceQuota(
        "quota",
        metadata={"name": "quota", "namespace": here},
        spec={"hard": HARD},
        opts=pulumi.ResourceOptions(depends_on=[own, pod]),
    )
    pulumi.export("own", "http://web")
    pulumi.export("other", spaces[OTHER].metadata["name"].apply(lambda name: f"http://web.{name}"))
