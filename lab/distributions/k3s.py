"""k3s from its official release: servers and agents, configured by files.

All keys are in the documentation of k3s' configuration file, and releases from 1.21 on know them.
Traefik, local-path, servicelb and metrics-server stay as they are in k3s.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab import wait
from lab.cluster.health import Baseline
from lab.config import REGISTRY, Lab, Machine
from lab.distributions import units
from lab.distributions.base import Distribution, by_role, machine_of, wait_for_node
from lab.images.catalogue import PAUSE, STUDENT_IMAGES, NodeImage
from lab.machines.ssh import Remote
from lab.parallel import each
from lab.state import remembered

CONFIG = "/etc/rancher/k3s/config.yaml"
REGISTRIES = "/etc/rancher/k3s/registries.yaml"
KUBECONFIG = "/etc/rancher/k3s/k3s.yaml"
# The token with the digest of the cluster's CA, by which an agent verifies the server.
AGENT_TOKEN = "/var/lib/rancher/k3s/server/node-token"
# The digest of the last configuration with which the unit had a healthy kubelet.
STARTED = "/etc/rancher/k3s/lab-started"
# Seconds for a unit to report ready. It unpacks its images first.
START = 300
# From this minor version on, a kubelet rejects cgroup v1 by default.
FAILS_ON_CGROUP_V1 = 35


def common(lab: Lab, machine: Machine, token: str) -> dict[str, Any]:
    """The configuration that servers and agents share.

    The machine replaces text between @, and may omit `pause-image` (vagrant/k3s.sh).
    """
    return {
        "token": token,
        "node-name": machine.name,
        "node-ip": machine.address,
        "flannel-iface": "@CARD@",
        "pause-image": f"{REGISTRY}/{PAUSE.name}",
        "kubelet-arg": [
            "@KUBELET_ARGS@",
            "fail-swap-on=false",
            # k3s' own key passes on only some of the servers.
            "resolv-conf=/run/lab/resolv.conf",
            # A node shares the disk of a laptop, so a nearly full disk must not evict pods.
            "eviction-hard=nodefs.available<1%",
            "image-gc-high-threshold=100",
            *(["fail-cgroupv1=false"] if minor(lab.kubernetes) >= FAILS_ON_CGROUP_V1 else ()),
        ],
        # A container may not set the sizes of the host kernel's tables.
        "kube-proxy-arg": ["conntrack-max-per-core=0"],
    }


def server(lab: Lab, machine: Machine, token: str) -> dict[str, Any]:
    """The configuration of a control plane.

    Three control planes use etcd, which the first one starts and the others join. A single one uses
    a file.
    """
    first, *_ = lab.machines
    settings = {
        **common(lab, machine, token),
        "write-kubeconfig-mode": "0600",
        "advertise-address": machine.address,
        "tls-san": ["127.0.0.1", machine.address],
        "cluster-cidr": str(lab.pods),
        "service-cidr": str(lab.services),
        "cluster-dns": str(lab.services.network_address + 10),
    }
    if machine != first:
        return {**settings, "server": address(first)}
    return {**settings, "cluster-init": True} if lab.control_planes > 1 else settings


def agent(lab: Lab, machine: Machine, token: str) -> dict[str, Any]:
    """The configuration of a worker."""
    return {**common(lab, machine, token), "server": address(lab.machines[0])}


def address(first: Machine) -> str:
    """The address of the cluster for further machines."""
    return f"https://{first.address}:6443"


def registries(lab: Lab) -> dict[str, Any]:
    """The registries of nodes. For Docker Hub's images, the lab's own is first, a room's second."""
    own = f"http://{REGISTRY}"
    both = [address for address in (own, lab.registry_mirror) if address]
    return {"mirrors": {REGISTRY: {"endpoint": [own]}, "docker.io": {"endpoint": both}}}


def minor(version: str) -> int:
    """The minor version, e.g. 34 for 1.34.2+k3s1; 0 for other text."""
    found = re.match(r"v?1\.(\d+)", version)
    return int(found[1]) if found else 0


@dataclass(frozen=True)
class K3s:
    """k3s on the machines of one lab."""

    lab: Lab

    def start(self, first: Remote) -> None:
        """Run a k3s server on the first machine."""
        self._serve(first)

    def join(self, first: Remote, others: Sequence[Remote]) -> None:
        """Start servers one after the other, because etcd adds one member at a time.

        Then start all agents at once.
        """
        planes, workers = by_role(self.lab, others)
        for plane in planes:
            self._serve(plane)
        if not workers:
            return
        token = wait.until(
            lambda: first.run(["cat", AGENT_TOKEN], sudo=True).strip() or None,
            what=f"{AGENT_TOKEN} on {first.name}",
            timeout=60,
        )

        def join_one(worker: Remote) -> None:
            self._run(worker, agent(self.lab, machine_of(self.lab, worker), token))

        each(workers, join_one)

    def kubeconfig(self, first: Remote) -> str:
        """k3s' administrator kubeconfig with the lab's names."""
        text = first.run(["cat", KUBECONFIG], sudo=True)
        return text.replace(": default", f": lab-{self.lab.name}")

    def _serve(self, plane: Remote) -> None:
        """Run a server on a control plane until it answers and the machine is a node."""
        self._run(plane, server(self.lab, machine_of(self.lab, plane), self._token()))
        wait_for_node(plane, "k3s", "kubectl")

    def _run(self, remote: Remote, settings: dict[str, Any]) -> None:
        """Run k3s with these settings, and return when its kubelet is healthy.

        A unit that already runs or starts with them is not restarted.
        """
        unit = RECORD.units[machine_of(self.lab, remote).role]
        script = self.lab.root / "vagrant" / "k3s.sh"
        given = registries(self.lab)
        texts = {CONFIG: json.dumps(settings, indent=1), REGISTRIES: json.dumps(given, indent=1)}
        wanted = hashlib.sha256("".join([*texts.values(), script.read_text()]).encode()).hexdigest()
        before = remote.run(["cat", STARTED], sudo=True, ok=(0, 1)).strip()
        state = remote.run(["systemctl", "is-active", unit], ok=range(256)).strip()
        if before == wanted and state in ("active", "activating"):
            units.wait_healthy(self.lab, remote, RECORD)
            return
        for path, text in texts.items():
            remote.put(text, path, mode="0600")
        with units.hinted(RECORD.hint):
            # A release with containerd 1 may have to start twice.
            remote.script(script, unit, f"{wait.limit(START):.0f}", timeout=3 * START)
        units.wait_healthy(self.lab, remote, RECORD)
        remote.put(wanted, STARTED)

    def _token(self) -> str:
        return remembered(self.lab.state / "token", lambda: secrets.token_hex(24))


RECORD = Distribution(
    name="k3s",
    item="k3s",
    image=NodeImage(
        source="k3s",
        tools=("k3s",),
        layout={"bin": {"k3s": "k3s"}, "images": {}},
        own=(),
        served=(*STUDENT_IMAGES, PAUSE),
        archives="images",
    ),
    # k3s' load balancer takes port 80 of every node.
    ingress_port=80,
    baseline=Baseline(
        addons={
            "kube-system": (
                "deployment/metrics-server",
                "deployment/traefik",
                "deployment/local-path-provisioner",
            )
        },
        ingress=("kube-system", "service/traefik"),
    ),
    units={"control-plane": "k3s", "worker": "k3s-agent"},
    # It unpacks its images first.
    healthy=300,
    hint="invoke lab-logs, or try the other distribution: "
    "invoke lab-destroy, then invoke lab-up --distribution kubeadm",
    kubeconfig=KUBECONFIG,
    ctr=("k3s", "ctr"),
    install=lambda lab, versions: K3s(lab),
    one_process=True,
    etcd_annotation="etcd.k3s.cattle.io/node-address",
    balances_on_nodes=True,
)
