"""Upstream Kubernetes by kubeadm, with flannel between the pods.

The configuration follows kubeadm's v1beta4 reference and the kubelet's and kube-proxy's
configuration APIs. It is JSON, which is also YAML, so it needs no text templates.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import wait
from lab.cluster.health import Baseline
from lab.config import Lab, Machine
from lab.distributions import units
from lab.distributions.base import Distribution, by_role, machine_of, wait_for_node
from lab.images.catalogue import CLUSTER_IMAGES, STUDENT_IMAGES, NodeImage
from lab.machines import cgroups
from lab.machines.cgroups import Cgroups
from lab.machines.ssh import Remote
from lab.parallel import each
from lab.state import remembered

KUBEADM_API = "kubeadm.k8s.io/v1beta4"
CRI_SOCKET = "unix:///run/containerd/containerd.sock"
KUBECONFIG = "/etc/kubernetes/admin.conf"
# Timeouts in seconds (etcd: milliseconds), with the defaults of kube-apiserver, of components with
# leader election, and of etcd, which answers within five seconds and two elections.
SERVER_LIMITS = {"etcd-healthcheck-timeout": 2, "etcd-readycheck-timeout": 2}
ETCD_LIMITS = {"heartbeat-interval": 100, "election-timeout": 1000}
LEADER_LIMITS = {
    "leader-elect-lease-duration": 15,
    "leader-elect-renew-deadline": 10,
    "leader-elect-retry-period": 2,
}


def node_registration(machine: Machine) -> dict[str, Any]:
    """A node's registration: the machine's name, and its address in the lab's network."""
    return {
        "name": machine.name,
        "criSocket": CRI_SOCKET,
        "imagePullPolicy": "IfNotPresent",
        "taints": [],
        "kubeletExtraArgs": [{"name": "node-ip", "value": machine.address}],
        # The node has its images, students' machines are small and have swap, and a container uses
        # the host's kernel. So kubeadm's preflight checks do not apply.
        "ignorePreflightErrors": ["all"],
    }


def limits(defaults: Mapping[str, float], unit: str = "s") -> list[dict[str, str]]:
    """Timeout arguments of a component, from its defaults in `unit`.

    They grow on slow machines. A component that times out too early restarts, and its start takes
    processor time from the others.
    """
    return [
        {"name": name, "value": f"{wait.limit(usual):.0f}{unit}"}
        for name, usual in defaults.items()
    ]


def election(planes: int) -> list[dict[str, str]]:
    """Arguments of components with leader election. A single control plane needs no election.

    A leader writes a lease every two seconds, and waits at its start for the old lease to expire.
    """
    return limits(LEADER_LIMITS) if planes > 1 else [{"name": "leader-elect", "value": "false"}]


def initial(
    lab: Lab,
    machine: Machine,
    token: str,
    certificate_key: str,
    versions: Mapping[str, str],
    groups: Cgroups,
) -> list[dict[str, Any]]:
    """The documents that `kubeadm init` reads for the first machine.

    `certificate_key` (64 hex digits) encrypts the certificates for further control planes.
    """
    return [
        {
            "apiVersion": KUBEADM_API,
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": machine.address, "bindPort": 6443},
            "nodeRegistration": node_registration(machine),
            "certificateKey": certificate_key,
            # Shorter than the script's limit, so that kubeadm names what did not start.
            "timeouts": {
                "kubeletHealthCheck": f"{wait.limit(120):.0f}s",
                "controlPlaneComponentHealthCheck": f"{wait.limit(180):.0f}s",
            },
            "bootstrapTokens": [
                {
                    "token": token,
                    "ttl": "0s",
                    "usages": ["signing", "authentication"],
                    "groups": ["system:bootstrappers:kubeadm:default-node-token"],
                }
            ],
        },
        {
            "apiVersion": KUBEADM_API,
            "kind": "ClusterConfiguration",
            "clusterName": lab.name,
            # RSA, the default, takes an emulated processor half a minute for the keys.
            "encryptionAlgorithm": "ECDSA-P256",
            "kubernetesVersion": f"v{versions['kubernetes']}",
            "controlPlaneEndpoint": f"{machine.address}:6443",
            "networking": {"podSubnet": str(lab.pods), "serviceSubnet": str(lab.services)},
            "apiServer": {
                "certSANs": ["127.0.0.1", "localhost", machine.address],
                "extraArgs": limits(SERVER_LIMITS),
            },
            "controllerManager": {"extraArgs": election(lab.control_planes)},
            "scheduler": {"extraArgs": election(lab.control_planes)},
            "dns": {
                "imageRepository": "registry.k8s.io/coredns",
                "imageTag": f"v{versions['coredns']}",
            },
            "etcd": {
                "local": {
                    "imageTag": f"{versions['etcd']}-0",
                    "extraArgs": limits(ETCD_LIMITS, ""),
                },
            },
        },
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "cgroupDriver": groups.driver,
            # Since 1.35, the kubelet rejects cgroup v1 by default.
            **({"failCgroupV1": False} if groups.version == 1 else {}),
            "failSwapOn": False,
            "resolvConf": "/run/lab/resolv.conf",
            # A node shares the disk of a laptop, so a nearly full disk must not evict pods.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
        },
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            # A container may not set the sizes of the host kernel's tables.
            "conntrack": {"maxPerCore": 0},
            # Forwarded ports of the host arrive at Vagrant's network card.
            "nodePortAddresses": ["0.0.0.0/0"],
        },
    ]


def joining(
    machine: Machine, endpoint: str, token: str, ca_digest: str, certificate_key: str
) -> list[dict[str, Any]]:
    """The document that `kubeadm join` reads on a further machine."""
    plane = {
        "localAPIEndpoint": {"advertiseAddress": machine.address, "bindPort": 6443},
        "certificateKey": certificate_key,
    }
    return [
        {
            **({"controlPlane": plane} if machine.role == "control-plane" else {}),
            "apiVersion": KUBEADM_API,
            "kind": "JoinConfiguration",
            "nodeRegistration": node_registration(machine),
            "discovery": {
                "bootstrapToken": {
                    "apiServerEndpoint": endpoint,
                    "token": token,
                    "caCertHashes": [f"sha256:{ca_digest}"],
                }
            },
        }
    ]


def documents(parts: Sequence[Mapping[str, Any]]) -> str:
    """Several documents as one text, as kubeadm reads them."""
    return "\n---\n".join(json.dumps(part, indent=1) for part in parts) + "\n"


def new_token() -> str:
    """A bootstrap token in kubeadm's format: six and sixteen characters of [a-z0-9]."""
    text = secrets.token_hex(11)
    return f"{text[:6]}.{text[6:]}"


@dataclass(frozen=True)
class Kubeadm:
    """kubeadm on the machines of one lab. `versions` maps toolchain items to their versions."""

    lab: Lab
    versions: Mapping[str, str]

    def start(self, first: Remote) -> None:
        """Run `kubeadm init` on the first machine, then deploy flannel."""
        machine = machine_of(self.lab, first)
        parts = initial(
            self.lab,
            machine,
            self._token(),
            self._certificate_key(),
            self.versions,
            cgroups.parse(first.run(["cat", cgroups.FILE])),
        )
        first.put(documents(parts), "/etc/lab/kubeadm.json", mode="0600")
        first.put(self._flannel(machine), "/etc/lab/flannel.yaml")
        first.script(self._script("kubeadm-control-plane.sh"), timeout=360)
        units.wait_healthy(self.lab, first, RECORD)
        wait_for_node(first, "kubectl", f"--kubeconfig={KUBECONFIG}")

    def join(self, first: Remote, others: Sequence[Remote]) -> None:
        """Run `kubeadm join` on control planes one after the other, then on all workers at once.

        etcd adds one member at a time.
        """
        ca_digest = first.script(self._script("kubeadm-discovery.sh")).strip()
        endpoint = f"{machine_of(self.lab, first).address}:6443"
        planes, workers = by_role(self.lab, others)

        def join_one(remote: Remote) -> None:
            parts = joining(
                machine_of(self.lab, remote),
                endpoint,
                self._token(),
                ca_digest,
                self._certificate_key(),
            )
            remote.put(documents(parts), "/etc/lab/kubeadm.json", mode="0600")
            remote.script(self._script("kubeadm-join.sh"), timeout=240)
            units.wait_healthy(self.lab, remote, RECORD)

        if planes:
            first.script(self._script("kubeadm-companions.sh"), timeout=120)
        for plane in planes:
            join_one(plane)
        each(workers, join_one)

    def kubeconfig(self, first: Remote) -> str:
        """kubeadm's administrator kubeconfig."""
        return first.run(["cat", KUBECONFIG], sudo=True)

    def _token(self) -> str:
        return remembered(self.lab.state / "token", new_token)

    def _certificate_key(self) -> str:
        return remembered(self.lab.state / "certificate-key", lambda: secrets.token_hex(32))

    def _script(self, name: str) -> Path:
        return self.lab.root / "vagrant" / name

    def _flannel(self, first: Machine) -> str:
        text = (self.lab.root / "vagrant" / "flannel.yaml").read_text()
        version = f"v{self.versions['flannel']}"
        values = {"PODS": self.lab.pods, "GATEWAY": first.address, "VERSION": version}
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        return text


RECORD = Distribution(
    name="kubeadm",
    item="kubernetes",
    image=NodeImage(
        source="node",
        tools=(
            "kubernetes",
            "kubectl",
            "coredns",
            "metallb",
            "flannel",
            "local-path-provisioner",
            "etcd",
            "flannel-cni",
            "metrics-server",
            "traefik",
        ),
        layout={
            "bin": {name: name for name in ("kubelet", "kubeadm", "kubectl")},
            "cni": {"flannel-cni": "flannel"},
        },
        own=CLUSTER_IMAGES,
        served=STUDENT_IMAGES,
    ),
    # Traefik's port of the node. infra/cluster has the same number.
    ingress_port=30080,
    baseline=Baseline(
        addons={
            "kube-system": ("deployment/metrics-server",),
            "traefik": ("deployment/traefik",),
            "metallb-system": ("deployment/controller", "daemonset/speaker"),
            "local-path-storage": ("deployment/local-path-provisioner",),
        }
    ),
    units={"control-plane": "kubelet", "worker": "kubelet"},
    healthy=60,
    hint="invoke lab-logs",
    kubeconfig=KUBECONFIG,
    ctr=("ctr",),
    install=Kubeadm,
    deploys_baseline=True,
)
