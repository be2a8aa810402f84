"""The baseline: Ingress, storage, load balancer and metrics, as k3s brings them along."""

from __future__ import annotations

import os
from pathlib import Path

from infra import manifests, slowness

HERE = Path(__file__).parent


def deploy() -> None:
    """Needs LAB_ADDRESS_POOL, the addresses for LoadBalancer Services as `first-last`, and
    LAB_API_ADDRESS, where the API server is in the lab's network."""
    for name in ("traefik", "local-path"):
        manifests.deploy(HERE / f"{name}.yaml")
    scrapes = {"TIMEOUT": f"{10 * slowness():.0f}s", "INTERVAL": f"{15 * slowness():.0f}s"}
    manifests.deploy(HERE / "metrics-server.yaml", scrapes)
    kinds = manifests.deploy(HERE / "metallb-kinds.yaml")
    api = {"API": os.environ["LAB_API_ADDRESS"]}
    namespace, *_ = manifests.deploy(HERE / "metallb.yaml", api)
    pool = {"POOL": os.environ["LAB_ADDRESS_POOL"]}
    manifests.deploy(HERE / "address-pool.yaml", pool, needs=[namespace, *kinds])
