"""MNIST as a Job, and as two workers that train one model together."""

from typing import Any

import pulumi
from pulumi_kubernetes.batch.v1 import Job
from pulumi_kubernetes.core.v1 import ConfigMap, Namespace, PersistentVolumeClaim, Service

from infra.images import MNIST
from infra.manifests import SKIP_AWAIT

TRAINING = {"EPOCHS": "2", "BATCH_SIZE": "64", "LR": "0.5", "GAMMA": "0.7", "SEED": "1"}
OPTIONS = [f"--{name.lower().replace('_', '-')}=$({name})" for name in TRAINING]
# Waiting threads sleep. With more threads than processors, busy waiting would take processor time
# from the working threads.
WAITING = {"OMP_WAIT_POLICY": "passive"}
KEPT = ["--metrics=/results/metrics.json", "--checkpoint=/results/checkpoint.pt"]
PORT = 29500
WORKERS = 2
MEMORY = "640Mi"
# The exit code of main.py for invalid options, which a retry cannot repair.
WRONG = 2
DAY = 24 * 60 * 60


def claim(name: str) -> dict[str, Any]:
    """A pod's volume from a claim."""
    return {"name": name, "persistent_volume_claim": {"claim_name": name}}


def container(args: list[str], cpu: str, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    """The container of a training with the ConfigMap's numbers."""
    return {
        "name": "mnist",
        "image": MNIST,
        "args": [*OPTIONS, *args, *KEPT],
        "env_from": [{"config_map_ref": {"name": "training"}}],
        "resources": {
            "requests": {"cpu": "100m", "memory": MEMORY},
            "limits": {"cpu": cpu, "memory": MEMORY},
        },
        "volume_mounts": mounts,
    }


def job(backoff: int, template: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A Job that replaces lost pods, and fails at once for invalid options."""
    wrong = {
        "action": "FailJob",
        "on_exit_codes": {"container_name": "mnist", "operator": "In", "values": [WRONG]},
    }
    drained = {
        "action": "Ignore",
        "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    return {
        "backoff_limit": backoff,
        "ttl_seconds_after_finished": DAY,
        "pod_failure_policy": {"rules": [wrong, drained]},
        "template": template,
        **more,
    }


def deploy() -> None:
    """Deploy two claims and the Jobs `mnist` and `mnist-workers`; export their settings."""
    namespace = Namespace("mnist", metadata={"name": "mnist"})

    def metadata(name: str, **more: dict[str, str]) -> dict[str, Any]:
        return {"name": name, "namespace": namespace.metadata["name"], **more}

    training = ConfigMap("training", metadata=metadata("training"), data={**TRAINING, **WAITING})
    claims = [
        PersistentVolumeClaim(
            name,
            # The volume is created once a pod needs it, so Pulumi must not wait for it.
            metadata=metadata(name, annotations=SKIP_AWAIT),
            spec={"access_modes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
        )
        for name, size in {"data": "100Mi", "results": "50Mi"}.items()
    ]

    fill = {
        "name": "data",
        "image": MNIST,
        "command": ["cp", "--recursive", "--no-clobber", "/data/MNIST", "/claim/"],
        "resources": {
            "requests": {"cpu": "50m", "memory": "32Mi"},
            "limits": {"cpu": "2", "memory": "128Mi"},
        },
        "volume_mounts": [{"name": "data", "mount_path": "/claim"}],
    }
    results = {"name": "results", "mount_path": "/results"}
    single = [{"name": "data", "mount_path": "/data"}, {**results, "sub_path": "single"}]
    pod = {"restart_policy": "Never", "termination_grace_period_seconds": 5}
    alone = Job(
        "mnist",
        metadata=metadata("mnist"),
        spec=job(
            4,
            {
                "spec": {
                    **pod,
                    "init_containers": [fill],
                    "containers": [container(["--save-model"], "2", single)],
                    "volumes": [claim("data"), claim("results")],
                }
            },
        ),
        opts=pulumi.ResourceOptions(depends_on=[training, *claims]),
    )

    service = Service(
        "workers",
        # The Service has no endpoints before the workers exist, so Pulumi must not wait for it.
        metadata=metadata("workers", annotations=SKIP_AWAIT),
        spec={
            "cluster_ip": "None",
            "publish_not_ready_addresses": True,
            "selector": {"app": "mnist-workers"},
            "ports": [{"name": "rendezvous", "port": PORT, "target_port": "rendezvous"}],
        },
    )
    worker = container(["--threads=1"], "1", [{**results, "sub_path": "workers"}])
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    worker["env"] = [
        {"name": "RANK", "value_from": {"field_ref": {"field_path": index}}},
        {"name": "WORLD_SIZE", "value": str(WORKERS)},
        {"name": "MASTER_ADDR", "value": "mnist-workers-0.workers"},
        {"name": "MASTER_PORT", "value": str(PORT)},
    ]
    worker["ports"] = [{"name": "rendezvous", "container_port": PORT}]
    Job(
        "mnist-workers",
        metadata=metadata("mnist-workers"),
        spec=job(
            8,
            {
                "metadata": {"labels": {"app": "mnist-workers"}},
                "spec": {
                    **pod,
                    "subdomain": "workers",
                    "containers": [worker],
                    "volumes": [claim("results")],
                },
            },
            completions=WORKERS,
            parallelism=WORKERS,
            completion_mode="Indexed",
        ),
        # One training after the other, since a small machine lacks memory for three at once.
        opts=pulumi.ResourceOptions(depends_on=[alone, service]),
    )
    pulumi.export("training", training.data)
    pulumi.export("workers", WORKERS)
