"""Unit tests start no process and open no connection: anything that tries is a failure."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from lab import wait
from lab.cluster.client import Cluster
from lab.config import Lab, Ports
from lab.host.engine import Engine
from lab.host.facts import Host
from lab.machines.ssh import Remote

ROOT = Path(__file__).resolve().parents[2]


# A Debian host without a hypervisor.
HEALTHY = Host(
    name="laptop",
    system="Linux",
    architecture="x86_64",
    distribution="debian",
    codename="bookworm",
    python=(3, 11),
    cpus=4,
    memory=16000,
    memory_free=12000,
    disk_free=50 * 1024,
    docker_disk_free=50 * 1024,
    cgroup=2,
    missing_capabilities=(),
    is_root=False,
    can_sudo=True,
    docker_cli=True,
    docker_engine=Engine("26.1.5", "laptop", Path("/var/lib/docker")),
    docker_trouble="",
    vagrant="2.3.4",
    vagrant_libvirt=False,
    virtualbox=None,
    mmdebstrap=True,
    c_compiler=True,
    kvm=False,
    inotify_instances=512,
    bridge_netfilter=True,
    resolver=Path("/etc/resolv.conf"),
    name_servers=("192.0.2.53",),
    networks={},
    held_ports={},
)


class Scripted(Remote):
    """A machine that nobody connects to: what it says to a command is `answer`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, Path("none"))

    def answer(self, argv: Sequence[str]) -> str:
        """The standard output of a command."""
        raise AssertionError(f"nobody answers {argv}")

    def run(
        self,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        timeout: int = 60,
        ok: Sequence[int] = (0,),
    ) -> str:
        return self.answer(argv)


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"a unit test reached outside: {args}")

    # Limits are those of a usual host, however slow this one is.
    monkeypatch.setattr(wait, "host_slowness", lambda: 1.0)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def cluster() -> Cluster:
    """A cluster of which nothing is asked: tests replace its methods."""
    return Cluster(Path("kubeconfig"), Path("kubectl"), Path("cache"))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A resolved lab of one control plane and two workers, its state below `tmp_path`."""
    return Lab(
        root=tmp_path,
        provider="docker",
        distribution="kubeadm",
        kubernetes="1.35.4",
        workers=2,
        subnet=IPv4Network("192.168.56.0/24"),
        ports=Ports(api=6443, http=8080, registry=5000, ssh=2222),
    )


@pytest.fixture
def host() -> Callable[..., Host]:
    """A healthy Debian host without a hypervisor; keywords change it."""
    return lambda **changes: replace(HEALTHY, **changes)


@pytest.fixture
def arm64(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of that architecture."""
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
