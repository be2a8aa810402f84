"""Jobs: one that succeeds, one that fails, and a CronJob that creates Jobs on a schedule."""

from typing import Any

import pulumi
from pulumi_kubernetes.batch.v1 import CronJob, Job
from pulumi_kubernetes.core.v1 import Namespace

from infra.images import BUSYBOX
from infra.manifests import SKIP_AWAIT

SCHEDULE = "*/5 * * * *"


def template(command: str) -> dict[str, Any]:
    """A pod that runs one command and never restarts."""
    container = {
        "name": "work",
        "image": BUSYBOX,
        "command": ["sh", "-c", command],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    return {"spec": {"restart_policy": "Never", "containers": [container]}}


def deploy() -> None:
    """Deploy `hello-job`, `broken-job` and `hello-cron`; export the pieces and the schedule."""
    namespace = Namespace("job", metadata={"name": "job"})

    def metadata(name: str) -> dict[str, Any]:
        return {"name": name, "namespace": namespace.metadata["name"]}

    hello = Job(
        "hello-job",
        metadata=metadata("hello-job"),
        spec={
            "completions": 4,
            "parallelism": 2,
            "completion_mode": "Indexed",
            "backoff_limit": 2,
            "template": template("echo Hello from piece $JOB_COMPLETION_INDEX && sleep 2"),
        },
    )
    Job(
        "broken-job",
        # Pulumi's plugin would wait for this Job to succeed, which never happens.
        metadata={**metadata("broken-job"), "annotations": SKIP_AWAIT},
        spec={"backoff_limit": 1, "template": template("echo I cannot do this && exit 1")},
    )
    cron = CronJob(
        "hello-cron",
        metadata=metadata("hello-cron"),
        spec={
            "schedule": SCHEDULE,
            "suspend": True,
            "concurrency_policy": "Forbid",
            "job_template": {
                "spec": {"backoff_limit": 2, "template": template("echo Hello, it is $(date)")}
            },
        },
    )
    pulumi.export("pieces", hello.spec["completions"])
    pulumi.export("schedule", cron.spec["schedule"])
