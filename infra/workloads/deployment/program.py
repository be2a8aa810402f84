"""The lecture's Deployment: three copies, and a message whose change rolls all of them over."""

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Namespace

from infra.images import BUSYBOX
from infra.manifests import SKIP_AWAIT

LABELS = {"app": "hello-d"}


def deploy() -> None:
    """`hello-deployment` with the text of the setting `message`; exports name and message."""
    message = pulumi.Config().get("message") or "Hello Kubernetes!"
    namespace = Namespace("deployment", metadata={"name": "deployment"})
    deployment = Deployment(
        "hello-deployment",
        metadata={
            "name": "hello-deployment",
            "namespace": namespace.metadata["name"],
            "labels": LABELS,
            # Nobody waits for the rollout here: it is what the exercise looks at, and Pulumi's
            # plugin would wait in vain for one that `kubectl rollout undo` has made already.
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
