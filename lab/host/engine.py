"""Which Docker engine answers, and whether its containers can be machines. Parsing is pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

# The driver whose layers a snapshot copies.
LAYERS = "overlay2"
# The root of the snap (https://github.com/canonical/docker-snap).
SNAP = Path("/var/snap/docker")


@dataclass(frozen=True)
class Kind:
    """A kind of engine whose containers cannot be machines: the reason and the fix.

    `builds` tells whether it can build images, which is enough for virtual machines.
    """

    trouble: str
    fix: str
    builds: bool = True


FOREIGN = Kind(
    "another program answers instead of Docker, e.g. podman",
    "sudo apt-get remove podman-docker; unset DOCKER_HOST; then lab-up installs Docker",
    builds=False,
)
DESKTOP = Kind(
    "it is Docker Desktop's: its containers run in a virtual machine, not on this host",
    "install Docker's engine (Debian and Ubuntu: docker.io); then docker context use default",
)
SNAP_PACKAGE = Kind(
    "it is a snap, which can only access few of this host's folders",
    "sudo snap remove docker; then lab-up installs the distribution's package",
    builds=False,
)
ROOTLESS = Kind(
    "it is rootless: its containers cannot be machines",
    "unset DOCKER_HOST DOCKER_CONTEXT; docker context use default",
)
REMAPPED = Kind(
    "it has `userns-remap`: root of a container has no rights of root, which a machine needs",
    "remove `userns-remap` from /etc/docker/daemon.json, and restart Docker",
)


@dataclass(frozen=True)
class Engine:
    """A running engine: its version, its host's name, its folder there and its storage driver.

    `kind` is None for Docker's own engine from packages of a distribution or of Docker.
    """

    version: str
    host: str
    root: Path
    driver: str = LAYERS
    kind: Kind | None = None

    @property
    def limits_capabilities(self) -> bool:
        """Whether the engine leaves out capabilities that the host lacks (moby#42933).

        Such an engine refuses to drop one of them.
        """
        found = re.match(r"\d+", self.version)
        return found is not None and int(found[0]) >= 23


# An engine that the lab does not know.
UNKNOWN = Engine("unknown", "", Path("/"), "", FOREIGN)


def parse(version: str, info: str) -> Engine:
    """The engine from the JSON of `docker version` and `docker info`."""
    try:
        told, facts = json.loads(version), json.loads(info)
        server = told["Server"]
        # For another program's server without a component `Engine`, Docker's client adds one.
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
        # For example, podman's program `docker` has no server.
        return UNKNOWN
