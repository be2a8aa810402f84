"""What a pod can mount: a ConfigMap, a Secret, a claim of the default class, a folder of a node."""

from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import (
    ConfigMap,
    Namespace,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    Secret,
)

from infra.images import BUSYBOX
from infra.manifests import SKIP_AWAIT

SIZE = {"storage": "10Mi"}
DIARY = {"app": "diary"}
SLEEP = ["sh", "-c", "sleep 3600"]
WRITE = 'echo "$(hostname) was here" >> /diary/pages && sleep 3600'


def container(name: str, command: list[str], mounts: dict[str, str]) -> dict[str, Any]:
    """A busybox with these volumes, by name, at these paths."""
    found = [{"name": volume, "mount_path": path} for volume, path in mounts.items()]
    return {"name": name, "image": BUSYBOX, "command": command, "volume_mounts": found}


def deploy() -> None:
    """Pods `reader` and `host`, Deployment `diary`; exports the claims and who fulfils them."""
    namespace = Namespace("volumes", metadata={"name": "volumes"})

    def metadata(name: str, **more: dict[str, str]) -> dict[str, Any]:
        return {"name": name, "namespace": namespace.metadata["name"], **more}

    settings = ConfigMap("settings", metadata=metadata("settings"), data={"greeting": "Good day"})
    password = Secret(
        "password", metadata=metadata("password"), string_data={"password": "correct horse"}
    )
    reader = container("reader", SLEEP, {"settings": "/etc/settings", "password": "/etc/password"})
    source = {"config_map_key_ref": {"name": "settings", "key": "greeting"}}
    reader["env"] = [{"name": "GREETING", "value_from": source}]
    Pod(
        "reader",
        metadata=metadata("reader"),
        spec={
            "termination_grace_period_seconds": 1,
            "containers": [reader],
            "volumes": [
                {"name": "settings", "config_map": {"name": "settings"}},
                {
                    "name": "password",
                    "secret": {"secret_name": "password", "default_mode": 0o400},
                },
            ],
        },
        opts=pulumi.ResourceOptions(depends_on=[settings, password]),
    )

    diary = PersistentVolumeClaim(
        "diary",
        # The volume of the default class is made once a pod needs it: Pulumi must not wait for it
        # before.
        metadata=metadata("diary", annotations=SKIP_AWAIT),
        spec={"access_modes": ["ReadWriteOnce"], "resources": {"requests": SIZE}},
    )
    Deployment(
        "diary",
        metadata=metadata("diary"),
        spec={
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"match_labels": DIARY},
            "template": {
                "metadata": {"labels": DIARY},
                "spec": {
                    "termination_grace_period_seconds": 1,
                    "containers": [container("diary", ["sh", "-c", WRITE], {"diary": "/diary"})],
                    "volumes": [
                        {"name": "diary", "persistent_volume_claim": {"claim_name": "diary"}}
                    ],
                },
            },
        },
        opts=pulumi.ResourceOptions(depends_on=[diary]),
    )

    volume = PersistentVolume(
        "volumes-host",
        metadata={"name": "volumes-host"},
        spec={
            "capacity": SIZE,
            "access_modes": ["ReadWriteOnce"],
            "storage_class_name": "",
            "persistent_volume_reclaim_policy": "Retain",
            "host_path": {"path": "/tmp/volumes-host", "type": "DirectoryOrCreate"},
        },
    )
    host = PersistentVolumeClaim(
        "host",
        metadata=metadata("host"),
        spec={
            "access_modes": ["ReadWriteOnce"],
            "resources": {"requests": SIZE},
            "storage_class_name": "",
            "volume_name": volume.metadata["name"],
        },
    )
    Pod(
        "host",
        metadata=metadata("host"),
        spec={
            "termination_grace_period_seconds": 1,
            "containers": [container("host", SLEEP, {"host": "/host"})],
            "volumes": [{"name": "host", "persistent_volume_claim": {"claim_name": "host"}}],
        },
        opts=pulumi.ResourceOptions(depends_on=[host]),
    )
    pulumi.export("claims", [diary.metadata["name"], host.metadata["name"]])
    pulumi.export("volume", host.spec["volume_name"])
