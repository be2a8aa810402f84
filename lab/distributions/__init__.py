"""How Kubernetes gets on the machines: one module for each distribution, one interface for all."""

from __future__ import annotations

from lab.config import Lab
from lab.distributions import k3s, kubeadm
from lab.distributions.base import Distribution

# The first one that can be had here is what `auto` chooses.
DISTRIBUTIONS = {record.name: record for record in (k3s.RECORD, kubeadm.RECORD)}


def distribution(lab: Lab) -> Distribution:
    """The distribution of a lab."""
    return DISTRIBUTIONS[lab.distribution]
