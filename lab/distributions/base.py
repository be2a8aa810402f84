"""The interface of every distribution, and functions that their modules share."""

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
    """Installs Kubernetes on running machines. Every method may be called again."""

    def start(self, first: Remote) -> None:
        """Make the first machine a control plane.

        Returns when its API server answers, the machine is a node and its kubelet is healthy.
        """

    def join(self, first: Remote, others: Sequence[Remote]) -> None:
        """Make the other machines control planes or workers, by their role.

        Returns when their kubelets are healthy.
        """

    def kubeconfig(self, first: Remote) -> str:
        """The text of the administrator's kubeconfig on the first machine."""


@dataclass(frozen=True)
class Distribution:
    """A distribution's programs, images, units and paths. `install` makes its installer.

    `item` is the item of the toolchain with its version. `ingress_port` is the port of the Ingress
    controller on the first machine. `units` maps a machine's role to the systemd unit of its
    kubelet. The kubelet is healthy within `healthy` seconds of its start, and `hint` is the next
    command when it is not. `kubeconfig` is the path of the administrator's kubeconfig on the first
    machine. `ctr` is the command for its containerd.

    With `deploys_baseline`, the Pulumi stack `cluster` deploys the baseline. With `one_process`,
    one process runs all components. `etcd_annotation` is the annotation of nodes with the address
    of their etcd member. With `balances_on_nodes`, a Service of type LoadBalancer gets the
    addresses of nodes.
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
    """The configuration of the machine behind a connection."""
    return next(machine for machine in lab.machines if machine.name == remote.name)


def by_role(lab: Lab, others: Sequence[Remote]) -> tuple[list[Remote], list[Remote]]:
    """Split further machines into control planes and workers."""
    planes = [one for one in others if machine_of(lab, one).role == "control-plane"]
    return planes, [one for one in others if one not in planes]


def wait_for_node(remote: Remote, *kubectl: str) -> None:
    """Wait until a control plane's API server is ready and has the machine as a node.

    After a stop, the API server may still be starting. Raises DeadlineExceeded with the API
    server's answer.
    """

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
