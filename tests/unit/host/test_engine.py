"""Each kind of Docker engine is recognized by its output, which is shortened here.

The output of Debian's Docker, with and without `userns-remap`, and of Debian's podman is recorded.
The others follow reports of users (docker/for-mac#7402, kubernetes/minikube#10878, moby/moby#46757,
canonical/docker-snap).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.host import engine
from lab.host.engine import Engine, Kind

DEBIAN: dict[str, Any] = {
    "ID": "FXC3:L3BC:GU4N",
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
    "CgroupVersion": "1",
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "DockerRootDir": "/var/lib/docker",
    "Name": "laptop",
    "ServerVersion": "20.10.24+dfsg1",
    "SecurityOptions": ["name=seccomp,profile=default"],
    "Warnings": None,
}
ENGINE = [{"Name": "Engine", "Version": "20.10.24"}, {"Name": "containerd", "Version": "1.6.20"}]
# Debian 13's package podman-docker. It also writes to standard error that it emulates Docker.
PODMAN_VERSION = {"Client": {"APIVersion": "5.4.2", "Version": "5.4.2", "BuildOrigin": "Debian"}}
PODMAN_INFO = {
    "host": {"hostname": "laptop", "cgroupVersion": "v2", "security": {"rootless": False}},
    "store": {"graphDriverName": "overlay", "graphRoot": "/var/lib/containers/storage"},
    "version": {"APIVersion": "5.4.2", "Version": "5.4.2"},
}
# Docker's client at podman's socket: the client adds the component Engine.
PODMAN_SERVER = [{"Name": "Podman Engine", "Version": "5.4.2"}, {"Name": "Engine"}]


def parsed(components: list[dict[str, str]] = ENGINE, **changes: Any) -> Engine:
    version = {"Client": {"Version": "28.2.2"}, "Server": {"Components": components}}
    return engine.parse(json.dumps(version), json.dumps(DEBIAN | changes))


def test_dockers_own_engine_has_no_kind() -> None:
    root = Path("/var/lib/docker")
    assert parsed() == Engine("20.10.24+dfsg1", "laptop", root, "overlay2", None)
    # Older and newer engines leave out the options.
    assert parsed(SecurityOptions=None).kind is None


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        (
            {
                "SecurityOptions": ["name=seccomp,profile=default", "name=userns"],
                "DockerRootDir": "/var/lib/docker/100000.100000",
            },
            engine.REMAPPED,
        ),
        (
            {
                "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"],
                "DockerRootDir": "/home/kim/.local/share/docker",
                "CgroupDriver": "none",
            },
            engine.ROOTLESS,
        ),
        (
            {
                "OperatingSystem": "Docker Desktop",
                "Name": "docker-desktop",
                "Driver": "overlayfs",
                "SecurityOptions": ["name=seccomp,profile=unconfined", "name=cgroupns"],
            },
            engine.DESKTOP,
        ),
        (
            {
                "DockerRootDir": "/var/snap/docker/common/var-lib-docker",
                "OperatingSystem": "Ubuntu Core 22",
            },
            engine.SNAP_PACKAGE,
        ),
    ],
    ids=["userns-remap", "rootless", "desktop", "snap"],
)
def test_engines_of_other_kinds_are_recognized(changes: dict[str, Any], kind: Kind) -> None:
    assert parsed(**changes).kind is kind


def test_docker_29_has_another_storage_driver() -> None:
    status = [["driver-type", "io.containerd.snapshotter.v1"]]
    found = parsed(Driver="overlayfs", DriverStatus=status, ServerVersion="29.0.2")
    assert (found.driver, found.kind) == ("overlayfs", None)


def test_podman_instead_of_docker_is_recognized() -> None:
    found = engine.parse(json.dumps(PODMAN_VERSION), json.dumps(PODMAN_INFO))
    assert found.kind is engine.FOREIGN
    root = "/var/lib/containers/storage"
    assert parsed(PODMAN_SERVER, Driver="overlay", DockerRootDir=root).kind is engine.FOREIGN


@pytest.mark.parametrize("text", ["", "null", "{}", "[]", '{"Server": null}', "Client: 1.2"])
def test_unknown_output_is_an_unknown_engine(text: str) -> None:
    assert engine.parse(text, text) == engine.UNKNOWN
