"""Distributions of Kubernetes: a module for each one, and an interface for all of them."""

from __future__ import annotations

from lab.config import Lab
from lab.distributions import k3s, kubeadm
from lab.distributions.base import Distribution

# `auto` chooses the first distribution that a source can provide here.
DISTRIBUTIONS = {record.name: record for record in (k3s.RECORD, kubeadm.RECORD)}


def distribution(lab: Lab) -> Distribution:
    """The distribution of a lab."""
    return DISTRIBUTIONS[lab.distribution]
