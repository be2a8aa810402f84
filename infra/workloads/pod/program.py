"""The lecture's first pod: it says hello and sleeps."""

import pulumi
from pulumi_kubernetes.core.v1 import Namespace, Pod

from infra.images import BUSYBOX


def deploy() -> None:
    """A namespace with `myapp-pod` in it; exports the pod's name and node."""
    namespace = Namespace("pod", metadata={"name": "pod"})
    pod = Pod(
        "myapp-pod",
        metadata={
            "name": "myapp-pod",
            "namespace": namespace.metadata["name"],
            "labels": {"app": "myapp"},
        },
        spec={
            "termination_grace_period_seconds": 1,
            "containers": [
                {
                    "name": "myapp-container",
                    "image": BUSYBOX,
                    "command": ["sh", "-c", "echo Hello Kubernetes! && sleep 3600"],
                }
            ],
        },
    )
    pulumi.export("pod", pod.metadata["name"])
    # A preview knows only what was written above: the scheduler has not chosen a node yet.
    pulumi.export("node", pod.spec.apply(lambda spec: spec.get("node_name")))
