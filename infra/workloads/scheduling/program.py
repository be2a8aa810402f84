"""Pods with constraints for the scheduler, and a second scheduler."""

from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import ConfigMap, Namespace, Pod, ServiceAccount
from pulumi_kubernetes.rbac.v1 import ClusterRoleBinding

from infra.images import BUSYBOX
from infra.manifests import SKIP_AWAIT

# The same image as the scheduler of kubeadm, so the versions agree.
KUBE_SCHEDULER = "registry.k8s.io/kube-scheduler:v1.35.4"
PACKER = "scheduling-packer"
CONFIG = f"""\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: false
profiles:
  - schedulerName: {PACKER}
    pluginConfig:
      - name: NodeResourcesFit
        args:
          scoringStrategy:
            type: MostAllocated
            resources:
              - name: cpu
                weight: 1
"""
WORKERS_ONLY = {
    "node_affinity": {
        "required_during_scheduling_ignored_during_execution": {
            "node_selector_terms": [
                {
                    "match_expressions": [
                        {
                            "key": "node-role.kubernetes.io/control-plane",
                            "operator": "DoesNotExist",
                        }
                    ]
                }
            ]
        }
    }
}
TOLERATION = {
    "key": "lecture",
    "operator": "Equal",
    "value": "reserved",
    "effect": "NoSchedule",
}
APART = {
    "pod_anti_affinity": {
        "required_during_scheduling_ignored_during_execution": [
            {
                "topology_key": "kubernetes.io/hostname",
                "label_selector": {"match_labels": {"app": "apart"}},
            }
        ]
    }
}
ONE_BY_ONE = {"type": "RollingUpdate", "rolling_update": {"max_surge": 0, "max_unavailable": 1}}


def asleep(cpu: str = "10m", **wishes: Any) -> dict[str, Any]:
    """The spec of a sleeping pod, with constraints for the scheduler."""
    container = {
        "name": "sleep",
        "image": BUSYBOX,
        "command": ["sleep", "86400"],
        "resources": {"requests": {"cpu": cpu, "memory": "16Mi"}},
    }
    return {**wishes, "termination_grace_period_seconds": 1, "containers": [container]}


def scheduler() -> dict[str, Any]:
    """The spec of the second scheduler's pod."""
    return {
        "service_account_name": "packer",
        "containers": [
            {
                "name": "kube-scheduler",
                "image": KUBE_SCHEDULER,
                "command": [
                    "kube-scheduler",
                    "--config=/etc/packer/config.yaml",
                    "--authentication-skip-lookup",
                ],
                "ports": [{"container_port": 10259}],
                "readiness_probe": {
                    "http_get": {"scheme": "HTTPS", "path": "/readyz", "port": 10259},
                    "period_seconds": 1,
                },
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
                "volume_mounts": [{"name": "config", "mount_path": "/etc/packer"}],
            }
        ],
        "volumes": [{"name": "config", "config_map": {"name": "packer"}}],
    }


def deploy() -> None:
    """Deploy the pods and the scheduler `packer`; export its name and the node of `packed`."""
    namespace = Namespace("scheduling", metadata={"name": "scheduling"})

    def metadata(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "namespace": namespace.metadata["name"], **more}

    def deployment(name: str, spec: dict[str, Any], *after: pulumi.Resource, **more: Any) -> Any:
        labels = {"app": name}
        return Deployment(
            name,
            metadata=metadata(name, labels=labels),
            spec={
                "replicas": 1,
                "selector": {"match_labels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
                **more,
            },
            opts=pulumi.ResourceOptions(depends_on=list(after)),
        )

    # These pods stay Pending deliberately, so Pulumi must not wait for them.
    waiting = {"annotations": SKIP_AWAIT}
    linux, windows = ({"kubernetes.io/os": system} for system in ("linux", "windows"))
    Pod("on-linux", metadata=metadata("on-linux"), spec=asleep(node_selector=linux))
    Pod(
        "on-windows",
        metadata=metadata("on-windows", **waiting),
        spec=asleep(node_selector=windows),
    )
    Pod("too-big", metadata=metadata("too-big", **waiting), spec=asleep("100"))
    deployment("worker", asleep(affinity=WORKERS_ONLY))
    deployment("tolerant", asleep(affinity=WORKERS_ONLY, tolerations=[TOLERATION]))
    deployment("apart", asleep(affinity=APART), replicas=2, strategy=ONE_BY_ONE)

    account = ServiceAccount("packer", metadata=metadata("packer"))
    bindings = [
        ClusterRoleBinding(
            f"scheduling-{role}",
            metadata={"name": f"scheduling-{role}"},
            role_ref={
                "api_group": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": f"system:{role}",
            },
            subjects=[{"kind": "ServiceAccount", **metadata("packer")}],
        )
        for role in ("kube-scheduler", "volume-scheduler")
    ]
    config = ConfigMap("packer", metadata=metadata("packer"), data={"config.yaml": CONFIG})
    packer = deployment("packer", scheduler(), account, config, *bindings)
    packed = Pod(
        "packed",
        metadata=metadata("packed"),
        spec=asleep(scheduler_name=PACKER),
        opts=pulumi.ResourceOptions(depends_on=[packer]),
    )
    pulumi.export("scheduler", packed.spec["scheduler_name"])
    # The scheduler chooses the node, so a preview does not know it.
    pulumi.export("packed_on", packed.spec.apply(lambda spec: spec.get("node_name")))
