"""What is missing on which host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab import prerequisites
from lab.config import Lab
from lab.host import Host


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host on which no file exists."""
    monkeypatch.setattr(Path, "exists", lambda path: False)


def test_a_bare_debian(lab: Lab, host: Callable[..., Host]) -> None:
    bare = host(vagrant=None, docker_cli=False, docker_engine=None, mmdebstrap=False)
    assert prerequisites.missing(lab, bare) == [
        "vagrant",
        "docker.io",
        "mmdebstrap",
        "openssh-client",
    ]


def test_trixie_has_a_package_of_the_client(lab: Lab, host: Callable[..., Host]) -> None:
    def docker(**facts: object) -> list[str]:
        found = prerequisites.missing(lab, host(codename="trixie", **facts))
        return [package for package in found if package.startswith("docker")]

    assert docker(docker_cli=False, docker_engine=None) == ["docker.io", "docker-cli"]
    assert docker(docker_cli=False) == ["docker-cli"]
    assert docker() == []


def test_a_client_alone_is_no_engine(lab: Lab, host: Callable[..., Host]) -> None:
    assert "docker.io" in prerequisites.missing(lab, host(docker_engine=None))
    assert "docker.io" not in prerequisites.missing(lab, host())


def test_ubuntu_needs_debians_keyring(lab: Lab, host: Callable[..., Host]) -> None:
    assert "debian-archive-keyring" in prerequisites.missing(lab, host(distribution="ubuntu"))
    assert "debian-archive-keyring" not in prerequisites.missing(lab, host())


def test_a_compiler_only_where_something_is_built(lab: Lab, host: Callable[..., Host]) -> None:
    bare = host(c_compiler=False)
    assert {"gcc", "libc6-dev"} <= set(prerequisites.missing(lab, bare, compiler=True))
    assert "gcc" not in prerequisites.missing(lab, bare)


def test_virtual_machines_need_more(lab: Lab, host: Callable[..., Host]) -> None:
    found = prerequisites.missing(replace(lab, provider="libvirt"), host())
    assert {"vagrant-libvirt", "qemu-utils", "libvirt-clients", "dnsmasq-base"} <= set(found)


def test_virtualbox_takes_what_packs_a_disk(
    lab: Lab, host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prerequisites.Path, "exists", lambda path: path.name != "qemu-img")
    assert prerequisites.missing(replace(lab, provider="virtualbox"), host()) == ["qemu-utils"]
    assert prerequisites.missing(lab, host()) == []
