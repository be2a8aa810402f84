"""Whose Docker engine answers, and whether its containers can be machines. Parsing is pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

# The driver whose layers a snapshot copies.
LAYERS = "overlay2"
# Where the snap has its root (https://github.com/canonical/docker-snap).
SNAP = Path("/var/snap/docker")


@dataclass(frozen=True)
class Kind:
    """A kind of engine that cannot do all that the lab asks for: why, and the way out.

    `builds` tells whether it makes images nevertheless, which is all that virtual machines need.
    """

    trouble: str
    fix: str
    builds: bool = True


FOREIGN = Kind(
    "another program answers in Docker's place, podman for instance",
    "sudo apt-get remove podman-docker; unset DOCKER_HOST; then lab-up installs Docker",
    builds=False,
)
DESKTOP = Kind(
    "it is Docker Desktop's: its containers run in a virtual machine, not on this host",
    "install Docker's engine beside it (Debian and Ubuntu: docker.io): docker context use default",
)
SNAP_PACKAGE = Kind(
    "it is a snap, which sees few of this host's folders",
    "sudo snap remove docker; then lab-up installs the distribution's package",
    builds=False,
)
ROOTLESS = Kind(
    "it is rootless: its containers cannot be machines",
    "unset DOCKER_HOST DOCKER_CONTEXT; docker context use default",
)
REMAPPED = Kind(
    "it has `userns-remap`: root of a container is no root, and cannot be one of a machine",
    "take `userns-remap` out of /etc/docker/daemon.json, and restart Docker",
)


@dataclass(frozen=True)
class Engine:
    """An engine that answers: the host that it runs on, its folder there, its storage driver.

    `kind` is None for Docker's own engine as distributions and Docker itself pack it.
    """

    version: str
    host: str
    root: Path
    driver: str = LAYERS
    kind: Kind | None = None

    @property
    def limits_capabilities(self) -> bool:
        """Whether it adds none that the host lacks, and refuses to drop one (moby#42933)."""
        found = re.match(r"\d+", self.version)
        return found is not None and int(found[0]) >= 23


# What answers is not known to the lab.
UNKNOWN = Engine("unknown", "", Path("/"), "", FOREIGN)


def parse(version: str, info: str) -> Engine:
    """The engine out of what `docker version` and `docker info` print as JSON."""
    try:
        told, facts = json.loads(version), json.loads(info)
        server = told["Server"]
        # Docker's client adds the component `Engine` where another program's server has none.
        components = [component["Name"] for component in server["Components"]]
        options = facts["SecurityOptions"] or ()
        root = Path(facts["DockerRootDir"])
        known = {
            FOREIGN: any("podman" in name.lower() for name in components),
            DESKTOP: facts["OperatingSystem"] == "Docker Desktop",
            SNAP_PACKAGE: root.is_relative_to(SNAP),
            ROOTLESS: "name=rootless" in options,
            REMAPPED: "name=userns" in options,
        }
        kind = next((kind for kind, there in known.items() if there), None)
        return Engine(facts["ServerVersion"], facts["Name"], root, facts["Driver"], kind)
    except (ValueError, KeyError, TypeError):
        # The program `docker` of podman's, for instance, has no server.
        return UNKNOWN
