"""Open a lab that was brought up: its settled configuration, its tools, its cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lab import wait
from lab.cluster import health
from lab.cluster.client import Cluster, cluster_of
from lab.cluster.stacks import Stacks, environment
from lab.config import Lab, cache_folder
from lab.errors import NotFoundError, ResourceError
from lab.host import facts
from lab.host.choices import FILE as CHOICES
from lab.host.choices import (
    Choice,
    as_brought_up,
    neighbours,
    resolve,
)
from lab.host.facts import Host
from lab.lifecycle import snapshots
from lab.machines.driver import emulation
from lab.output import Status
from lab.toolchain import Toolchain


def settle(lab: Lab, host: Host, toolchain: Toolchain) -> Lab:
    """The lab with every `auto` replaced; from here on its machines are known to be slow or not."""
    settled = resolve_on(lab, host, toolchain)[0]
    wait.expect(emulation(settled, kvm=host.kvm))
    return settled


def resolve_on(lab: Lab, host: Host, toolchain: Toolchain) -> tuple[Lab, list[Choice]]:
    """`choices.resolve` with the host's ports and the toolchain's versions."""
    networks, ports = neighbours(lab, toolchain.cache)
    held = {**ports, **host.held_ports}
    return resolve(
        lab,
        replace(host, networks={**host.networks, **networks}),
        versions={
            distribution: toolchain.version(item)
            for distribution, item in {"kubeadm": "kubernetes", "k3s": "k3s"}.items()
            if toolchain.sources(item)
        },
        port_is_free=lambda port: port not in held and facts.port_is_free(port),
        owner=lambda port: held.get(port) or facts.owner(port),
    )


def exists(lab: Lab) -> bool:
    """Whether a lab-up has begun to make this lab, and no lab-destroy has removed it since."""
    return (lab.state / CHOICES).exists()


def known(lab: Lab) -> Lab:
    """The lab as its last lab-up settled it. Raises NotFoundError when there was none."""
    if not exists(lab):
        raise NotFoundError(f"lab `{lab.name}` does not exist", hint="invoke lab-up")
    return settle(lab, facts.gather(cache_folder()), toolchain_of(lab, Status()))


def toolchain_of(lab: Lab, status: Status, platform: str = "") -> Toolchain:
    """The tools as the lab's `source` and `mirror` say, or as they did for its last lab-up.

    They are this host's, unless a `platform` is given.
    """
    lab = as_brought_up(lab)
    return Toolchain(lab.root, cache_folder(), status, lab.source, lab.mirror, platform)


@dataclass(frozen=True)
class Opened:
    """A lab that was brought up: settled, with the folder of its programs."""

    lab: Lab
    tools: Path

    @property
    def cluster(self) -> Cluster:
        """The lab's cluster, which may be down."""
        return cluster_of(self.lab, self.tools)

    @property
    def environment(self) -> dict[str, str]:
        """Every variable that Vagrant, Pulumi, kubectl and the checks read to mean this lab."""
        return environment(self.lab, self.tools)

    def stacks(self, status: Status) -> Stacks:
        """The lab's Pulumi stacks."""
        return Stacks(self.lab, self.tools, status)


def opened(lab: Lab) -> Opened:
    """Open a lab that was brought up. Raises NotFoundError without one."""
    settled = known(lab)
    return Opened(settled, toolchain_of(settled, Status()).bin_folder())


def running(lab: Lab) -> Opened:
    """Open a lab whose cluster answers. Raises ResourceError when it does not answer."""
    found = opened(lab)
    snapshots.refuse_unfinished(found.lab)
    if not health.healthy(found.lab, found.cluster):
        raise ResourceError(
            f"the cluster of lab `{lab.name}` does not answer", hint="invoke lab-up"
        )
    return found
