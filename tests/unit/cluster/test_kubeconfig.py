"""The lab's kubeconfig."""

from __future__ import annotations

from lab.cluster import kubeconfig
from lab.config import Lab


def test_kubeconfig_reaches_the_cluster_through_loopback(lab: Lab) -> None:
    """Its context and user are no other lab's: several kubeconfigs may be read as one."""
    text = (
        "server: https://192.168.56.11:6443\ncurrent-context: kubernetes-admin@lab\n"
        "    user: kubernetes-admin\n"
    )
    made = kubeconfig.for_host(text, lab)
    assert "server: https://127.0.0.1:6443" in made
    assert "current-context: lab-lab\n    user: lab-lab\n" in made
