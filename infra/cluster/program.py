"""The baseline: Ingress, storage, load balancer and metrics, as k3s brings them along."""

from __future__ import annotations

import os
from pathlib import Path

from infra import manifests

HERE = Path(__file__).parent


def deploy() -> None:
    """Needs LAB_ADDRESS_POOL, the addresses for LoadBalancer Services as `first-last`."""
    for name in ("traefik", "local-path", "metrics-server"):
        manifests.deploy(HERE / f"{name}.yaml")
    kinds = manifests.deploy(HERE / "metallb-kinds.yaml")
    namespace, *_ = manifests.deploy(HERE / "metallb.yaml")
    pool = {"POOL": os.environ["LAB_ADDRESS_POOL"]}
    manifests.deploy(HERE / "address-pool.yaml", pool, needs=[namespace, *kinds])
