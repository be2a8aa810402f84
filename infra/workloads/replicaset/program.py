"""The lecture's ReplicaSet: three copies of the pod, replaced whenever one is gone."""

import pulumi
from pulumi_kubernetes.apps.v1 import ReplicaSet
from pulumi_kubernetes.core.v1 import Namespace

from infra.images import BUSYBOX

LABELS = {"tier": "myapp-rs"}


def deploy() -> None:
    """A namespace with `myapp-rs` in it; exports its name and the number of copies."""
    namespace = Namespace("replicaset", metadata={"name": "replicaset"})
    replicaset = ReplicaSet(
        "myapp-rs",
        metadata={
            "name": "myapp-rs",
            "namespace": namespace.metadata["name"],
            "labels": {"app": "myapp-rs"},
        },
        spec={
            "replicas": 3,
            "selector": {"match_labels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "termination_grace_period_seconds": 1,
                    "containers": [
                        {
                            "name": "myapp-container",
                            "image": BUSYBOX,
                            "command": ["sh", "-c", "echo Hello Kubernetes! && sleep 3600"],
                        }
                    ],
                },
            },
        },
    )
    pulumi.export("replicaset", replicaset.metadata["name"])
    pulumi.export("replicas", replicaset.spec["replicas"])
