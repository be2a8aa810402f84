"""The lecture's Deployment: three copies, and a message whose change starts a rollout."""

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Namespace

from infra.images import BUSYBOX
from infra.manifests import SKIP_AWAIT

LABELS = {"app": "hello-d"}


def deploy() -> None:
    """Deploy `hello-deployment` with the setting `message` as text; export name and message."""
    message = pulumi.Config().get("message") or "Hello Kubernetes!"
    namespace = Namespace("deployment", metadata={"name": "deployment"})
    deployment = Deployment(
        "hello-deployment",
        metadata={
            "name": "hello-deployment",
            "namespace": namespace.metadata["name"],
            "labels": LABELS,
            # Students observe the rollout, so Pulumi does not wait for it. Its plugin would also
            # wait in vain for a rollout that `kubectl rollout undo` has made already.
            "annotations": SKIP_AWAIT,
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
                            "command": ["sh", "-c", f"echo {message} && sleep 3600"],
                        }
                    ],
                },
            },
        },
    )
    pulumi.export("deployment", deployment.metadata["name"])
    pulumi.export("message", message)
