"""The app of the comparison in its Kubernetes form: two copies that leave a dead machine soon."""

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Namespace, Service

from infra.images import BUSYBOX

LABELS = {"app": "web"}
PORT = 8080
# How long a pod stays on a machine that is away; Kubernetes' own default is 300 s.
PATIENCE = 5
SERVE = (
    'mkdir -p /www && echo "$TEXT from $(hostname)" >/www/index.html'
    " && trap 'sleep 2; exit' TERM && { httpd -f -p 8080 -h /www & wait; }"
)


def deploy() -> None:
    """The Deployment `web` and its Service; exports copies, text, and the seconds of patience."""
    text = pulumi.Config().get("text") or "v1"
    namespace = Namespace("orchestrators", metadata={"name": "orchestrators"})
    container = {
        "name": "web",
        "image": BUSYBOX,
        "env": [{"name": "TEXT", "value": text}],
        "command": ["sh", "-c", SERVE],
        "ports": [{"container_port": PORT}],
        "readiness_probe": {"http_get": {"path": "/", "port": PORT}, "period_seconds": 1},
    }
    deployment = Deployment(
        "web",
        metadata={"name": "web", "namespace": namespace.metadata["name"], "labels": LABELS},
        spec={
            "replicas": 2,
            "selector": {"match_labels": LABELS},
            "strategy": {
                "type": "RollingUpdate",
                "rolling_update": {"max_surge": 1, "max_unavailable": 0},
            },
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "termination_grace_period_seconds": 5,
                    "topology_spread_constraints": [
                        {
                            "max_skew": 1,
                            "topology_key": "kubernetes.io/hostname",
                            "when_unsatisfiable": "ScheduleAnyway",
                            "label_selector": {"match_labels": LABELS},
                        }
                    ],
                    "tolerations": [
                        {
                            "key": f"node.kubernetes.io/{trouble}",
                            "operator": "Exists",
                            "effect": "NoExecute",
                            "toleration_seconds": PATIENCE,
                        }
                        for trouble in ("unreachable", "not-ready")
                    ],
                    "containers": [container],
                },
            },
        },
    )
    Service(
        "web",
        metadata={"name": "web", "namespace": namespace.metadata["name"]},
        spec={
            "type": "NodePort",
            "selector": LABELS,
            "ports": [{"protocol": "TCP", "port": 80, "target_port": PORT}],
        },
    )
    pulumi.export("copies", deployment.spec["replicas"])
    pulumi.export("text", text)
    pulumi.export("patience", PATIENCE)
