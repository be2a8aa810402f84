"""k3s from its official release: server and agents, configured by files and not by flags.

Keys are those of k3s' documented configuration file; Traefik, local-path, servicelb and
metrics-server stay as k3s brings them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.config import Lab, Machine
from lab.connection import Remote
from lab.distributions import wait_for_api
from lab.parallel import each
from lab.state import remembered

CONFIG = "/etc/rancher/k3s/config.yaml"
REGISTRIES = "/etc/rancher/k3s/registries.yaml"
KUBECONFIG = "/etc/rancher/k3s/k3s.yaml"


def common(machine: Machine, token: str) -> dict[str, Any]:
    """What servers and agents share. @CARD@ and @KUBELET_ARGS@ are the machine's to fill in."""
    return {
        "token": token,
        "node-name": machine.name,
        "node-ip": machine.address,
        "flannel-iface": "@CARD@",
        "kubelet-arg": [
            "@KUBELET_ARGS@",
            "fail-swap-on=false",
            "resolv-conf=/run/lab/resolv.conf",
        ],
    }


def server(lab: Lab, machine: Machine, token: str) -> dict[str, Any]:
    """The configuration of the first machine."""
    return {
        **common(machine, token),
        "write-kubeconfig-mode": "0600",
        "advertise-address": machine.address,
        "tls-san": ["127.0.0.1", machine.address],
        "cluster-cidr": str(lab.pods),
        "service-cidr": str(lab.services),
        "cluster-dns": str(lab.services.network_address + 10),
        "kube-proxy-arg": ["conntrack-max-per-core=0"],
    }


def agent(machine: Machine, token: str, first: Machine) -> dict[str, Any]:
    """The configuration of a further machine."""
    return {
        **common(machine, token),
        "server": f"https://{first.address}:6443",
        "kube-proxy-arg": ["conntrack-max-per-core=0"],
    }


def registries() -> dict[str, Any]:
    """The lab's registry, also asked for what is said to be on Docker Hub."""
    endpoint = {"endpoint": ["http://registry.lab:5000"]}
    return {"mirrors": {"registry.lab:5000": endpoint, "docker.io": endpoint}}


@dataclass(frozen=True)
class K3s:
    """k3s on the machines of one lab."""

    lab: Lab

    def start(self, first: Remote) -> None:
        """A k3s server on the first machine."""
        machine = self._machine(first)
        self._run(first, server(self.lab, machine, self._token()), "k3s")
        wait_for_api(first, "k3s", "kubectl")

    def join(self, first: Remote, workers: Sequence[Remote]) -> None:
        """k3s agents on every further machine at once."""
        server_machine = self._machine(first)

        def join_one(worker: Remote) -> None:
            machine = self._machine(worker)
            self._run(worker, agent(machine, self._token(), server_machine), "k3s-agent")

        each(workers, join_one)

    def kubeconfig(self, first: Remote) -> str:
        """k3s' own administrator kubeconfig, its names those of the lab."""
        text = first.run(["cat", KUBECONFIG], sudo=True)
        return text.replace(": default", f": lab-{self.lab.name}")

    def _run(self, remote: Remote, settings: dict[str, Any], unit: str) -> None:
        """Start a unit with these settings, unless it runs with them already."""
        text = json.dumps(settings, indent=1)
        before = remote.run(["cat", f"{CONFIG}.wanted"], sudo=True, ok=(0, 1))
        active = remote.run(["systemctl", "is-active", unit], ok=range(256)).strip() == "active"
        if before == text and active:
            return
        remote.put(text, CONFIG, mode="0600")
        remote.put(json.dumps(registries(), indent=1), REGISTRIES, mode="0600")
        remote.script(self.lab.root / "vagrant" / "k3s.sh", unit, timeout=240)
        remote.put(text, f"{CONFIG}.wanted", mode="0600")

    def _machine(self, remote: Remote) -> Machine:
        return next(machine for machine in self.lab.machines if machine.name == remote.name)

    def _token(self) -> str:
        return remembered(self.lab.state / "token", lambda: secrets.token_hex(24))
