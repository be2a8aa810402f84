"""The interface of every distribution, and what their modules share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lab import wait
from lab.cluster.health import Baseline
from lab.config import Lab, Machine
from lab.images.catalogue import NodeImage
from lab.machines.ssh import Remote


class Installer(Protocol):
    """Installs Kubernetes on machines that are up. Every method may be called again."""

    def start(self, first: Remote) -> None:
        """Make the first machine a control plane; returns when its API server answers and has it
        as a node, and its kubelet is healthy."""

    def join(self, first: Remote, others: Sequence[Remote]) -> None:
        """Make the other machines nodes of the cluster, control planes or workers by their role;
        returns when their kubelets are healthy."""

    def kubeconfig(self, first: Remote) -> str:
        """The administrator's kubeconfig, as it lies on the first machine."""


@dataclass(frozen=True)
class Distribution:
    """Everything that the lab knows of a distribution; `install` makes its installer.

    `item` is the item of the toolchain that has its version. `ingress_port` is the port of the
    first machine where the Ingress controller listens. `units` maps a machine's role to the systemd
    unit that runs its kubelet, which is healthy within `healthy` seconds of its start; `hint` is
    the next command when it cannot run. `kubeconfig` is the administrator's on the first machine,
    and `ctr` are the words that its containerd is asked with. With `deploys_baseline`, the Pulumi
    stack `cluster` makes the baseline. A distribution of `one_process` runs all its components in
    it, and `etcd_annotation` is the nodes' annotation with the address of their etcd member. With
    `balances_on_nodes`, a Service of type LoadBalancer gets the addresses of nodes.
    """

    name: str
    item: str
    image: NodeImage
    ingress_port: int
    baseline: Baseline
    units: Mapping[str, str]
    healthy: int
    hint: str
    kubeconfig: str
    ctr: tuple[str, ...]
    install: Callable[[Lab, Mapping[str, str]], Installer]
    deploys_baseline: bool = False
    one_process: bool = False
    etcd_annotation: str = ""
    balances_on_nodes: bool = False


def machine_of(lab: Lab, remote: Remote) -> Machine:
    """What the configuration says of a machine that is talked to."""
    return next(machine for machine in lab.machines if machine.name == remote.name)


def by_role(lab: Lab, others: Sequence[Remote]) -> tuple[list[Remote], list[Remote]]:
    """Further machines as control planes and workers."""
    planes = [one for one in others if machine_of(lab, one).role == "control-plane"]
    return planes, [one for one in others if one not in planes]


def wait_for_node(remote: Remote, *kubectl: str) -> None:
    """Wait until a control plane's API server says that it is ready, and knows the machine as a
    node: a machine that was stopped has one that still starts. Raises DeadlineExceeded with the
    API server's own words."""

    def look(*words: str) -> str | None:
        return remote.run([*kubectl, "get", *words], sudo=True) or None

    wait.until(
        lambda: look("--raw", "/readyz"),
        what="the API server",
        timeout=120,
        hint="invoke lab-logs",
    )
    wait.until(
        lambda: look("node", remote.name, "--output", "name"),
        what=f"node {remote.name}",
        timeout=60,
        hint="invoke lab-logs",
    )
