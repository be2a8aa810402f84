"""How Kubernetes gets on the machines: one module for each distribution, one interface for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lab import wait
from lab.config import Lab, Machine
from lab.connection import Remote


class Distribution(Protocol):
    """Installs Kubernetes on machines that are up. Every method may be called again."""

    def start(self, first: Remote) -> None:
        """Make the first machine a control plane; returns when its API server answers."""

    def join(self, first: Remote, others: Sequence[Remote]) -> None:
        """Make the other machines nodes of the cluster, control planes or workers by their role."""

    def kubeconfig(self, first: Remote) -> str:
        """The administrator's kubeconfig, as it lies on the first machine."""


def machine_of(lab: Lab, remote: Remote) -> Machine:
    """What the configuration says of a machine that is talked to."""
    return next(machine for machine in lab.machines if machine.name == remote.name)


def by_role(lab: Lab, others: Sequence[Remote]) -> tuple[list[Remote], list[Remote]]:
    """Further machines as control planes and workers."""
    planes = [one for one in others if machine_of(lab, one).role == "control-plane"]
    return planes, [one for one in others if one not in planes]


def distribution(lab: Lab, versions: dict[str, str]) -> Distribution:
    """The distribution that a resolved configuration names."""
    if lab.distribution == "k3s":
        from lab.distributions.k3s import K3s

        return K3s(lab)
    from lab.distributions.kubeadm import Kubeadm

    return Kubeadm(lab, versions)


def wait_for_api(first: Remote, *kubectl: str) -> None:
    """Wait until the API server says that it is ready: a machine that was stopped has one that
    still starts. Raises DeadlineExceeded with the API server's own words."""

    def answers() -> str | None:
        return first.run([*kubectl, "get", "--raw", "/readyz"], sudo=True) or None

    wait.until(answers, what="the API server", timeout=120, hint="invoke lab-logs")
