"""Open a lab that was brought up: its settled configuration, its tools, its cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lab import wait
from lab.cluster import health
from lab.cluster.client import Cluster, cluster_of
from lab.cluster.stacks import Stacks, environment
from lab.config import Lab, Settings, cache_folder
from lab.distributions import DISTRIBUTIONS, distribution
from lab.distributions.base import Distribution
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


def settle(settings: Settings, host: Host, toolchain: Toolchain) -> Lab:
    """The lab with every `auto` replaced; raises what `choices.resolve` raises."""
    return resolve_on(settings, host, toolchain)[0]


def adapt_limits(lab: Lab, host: Host) -> None:
    """Make every limit of this process longer where the lab's machines are emulated."""
    wait.expect(emulation(lab, kvm=host.kvm))


def resolve_on(settings: Settings, host: Host, toolchain: Toolchain) -> tuple[Lab, list[Choice]]:
    """`choices.resolve` with the host's ports and the toolchain's versions."""
    networks, ports = neighbours(settings, toolchain.cache)
    held = {**ports, **host.held_ports}
    return resolve(
        settings,
        replace(host, networks={**host.networks, **networks}),
        versions={
            name: toolchain.version(record.item)
            for name, record in DISTRIBUTIONS.items()
            if toolchain.sources(record.item)
        },
        port_is_free=lambda port: port not in held and facts.port_is_free(port),
        owner=lambda port: held.get(port) or facts.owner(port),
    )


def exists(settings: Settings) -> bool:
    """Whether a lab-up has begun to make this lab, and no lab-destroy has removed it since."""
    return (settings.state / CHOICES).exists()


def known(settings: Settings) -> Lab:
    """The lab as its last lab-up settled it. Raises NotFoundError when there was none."""
    if not exists(settings):
        raise NotFoundError(f"lab `{settings.name}` does not exist", hint="invoke lab-up")
    host = facts.gather(cache_folder())
    lab = settle(settings, host, toolchain_of(settings, Status()))
    adapt_limits(lab, host)
    return lab


def toolchain_of(settings: Settings, status: Status, platform: str = "") -> Toolchain:
    """The tools as the lab's `source` and `mirror` say, or as they did for its last lab-up.

    They are this host's, unless a `platform` is given.
    """
    lab = as_brought_up(settings)
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
    def distribution(self) -> Distribution:
        """What the lab knows of its distribution."""
        return distribution(self.lab)

    @property
    def environment(self) -> dict[str, str]:
        """Every variable that Vagrant, Pulumi, kubectl and the checks read to mean this lab."""
        return environment(self.lab, self.tools)

    def stacks(self, status: Status) -> Stacks:
        """The lab's Pulumi stacks."""
        return Stacks(self.lab, self.tools, status)


def opened(settings: Settings) -> Opened:
    """Open a lab that was brought up. Raises NotFoundError without one."""
    settled = known(settings)
    return Opened(settled, toolchain_of(settled, Status()).bin_folder())


def running(settings: Settings) -> Opened:
    """Open a lab whose cluster answers. Raises ResourceError when it does not answer."""
    found = opened(settings)
    snapshots.refuse_unfinished(found.lab)
    if not health.healthy(found.lab, found.cluster):
        raise ResourceError(
            f"the cluster of lab `{settings.name}` does not answer", hint="invoke lab-up"
        )
    return found
