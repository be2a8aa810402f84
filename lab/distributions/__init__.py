"""How Kubernetes gets on the machines: one module for each distribution, one interface for all."""

from __future__ import annotations

from lab.config import Lab
from lab.distributions.base import Distribution
from lab.distributions.k3s import K3s
from lab.distributions.kubeadm import Kubeadm


def distribution(lab: Lab, versions: dict[str, str]) -> Distribution:
    """The distribution that a resolved configuration names."""
    return K3s(lab) if lab.distribution == "k3s" else Kubeadm(lab, versions)
