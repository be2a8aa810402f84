"""A DaemonSet: one pod on every node, each naming the node that it runs on."""

import pulumi
from pulumi_kubernetes.apps.v1 import DaemonSet
from pulumi_kubernetes.core.v1 import Namespace

from infra.images import BUSYBOX

LABELS = {"app": "hello-ds"}


def deploy() -> None:
    """`hello-ds` with the text of the setting `message`; exports its name and the message."""
    message = pulumi.Config().get("message") or "Hello from"
    namespace = Namespace("daemonset", metadata={"name": "daemonset"})
    daemonset = DaemonSet(
        "hello-ds",
        metadata={
            "name": "hello-ds",
            "namespace": namespace.metadata["name"],
            "labels": LABELS,
        },
        spec={
            "selector": {"match_labels": LABELS},
            "update_strategy": {
                "type": "RollingUpdate",
                "rolling_update": {"max_unavailable": 1},
            },
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "termination_grace_period_seconds": 1,
                    "containers": [
                        {
                            "name": "hello",
                            "image": BUSYBOX,
                            "command": ["sh", "-c", f"echo {message} $NODE && sleep 86400"],
                            "env": [
                                {
                                    "name": "NODE",
                                    "value_from": {"field_ref": {"field_path": "spec.nodeName"}},
                                }
                            ],
                            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                        }
                    ],
                },
            },
        },
    )
    pulumi.export("daemonset", daemonset.metadata["name"])
    pulumi.export("message", message)
