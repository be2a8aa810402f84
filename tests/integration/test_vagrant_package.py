"""Install Vagrant on a host whose archive lacks it, by real apt-get and dpkg in their own root."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lab.errors import PrerequisiteError
from lab.host import facts, prerequisites
from lab.output import Status
from lab.platforms import this_platform
from lab.toolchain import Toolchain
from tests.integration.conftest import Web

CONTROL = """Package: vagrant
Version: 2.4.9-1
Architecture: all
Maintainer: The lab's tests <tests@lab.test>
Description: stand-in for HashiCorp's package
"""
# apt-get has an empty archive, and dpkg installs into a system below `root`.
APT = """Dir "{root}";
Dir::Bin::Methods "/usr/lib/apt/methods";
Dir::Bin::dpkg "/usr/bin/dpkg";
Dir::State "{root}/var/lib/apt";
Dir::State::status "{root}/var/lib/dpkg/status";
DPkg::Options {{ "--root={root}"; "--force-not-root"; }};
"""


@dataclass(frozen=True)
class Place:
    """A system with an empty archive. `address` and `digest` belong to the stand-in's package."""

    root: Path
    address: str
    digest: str

    @property
    def program(self) -> Path:
        return self.root / "usr" / "bin" / "vagrant"

    @property
    def installed(self) -> str:
        """The text of dpkg's list of packages."""
        return (self.root / "var/lib/dpkg/status").read_text()


@pytest.fixture
def place(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> Place:
    root = tmp_path / "root"
    for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/apt/lists/partial"):
        (root / folder).mkdir(parents=True)
    for folder in ("etc/apt/preferences.d", "var/cache/apt/archives/partial", "var/log/apt"):
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (tmp_path / "apt.conf").write_text(APT.format(root=root))
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    address, digest = web.put("/vagrant/2.4.9/vagrant_2.4.9-1_amd64.deb", package(tmp_path))
    return Place(root, address, digest)


def package(folder: Path) -> bytes:
    """The content of a package. Its program prints a version as Vagrant does."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(CONTROL)
    program = tree / "usr" / "bin" / "vagrant"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho Vagrant 2.4.9\n")
    program.chmod(0o755)
    target = folder / "stand-in.deb"
    subprocess.run(["dpkg-deb", "--build", tree, target], check=True, capture_output=True)
    return target.read_bytes()


@pytest.fixture
def toolchain(place: Place, tmp_path: Path, status: Status) -> Callable[..., Toolchain]:
    """A function that makes a toolchain with the stand-in in its lock file."""

    def make(
        platform: str = "", address: str = place.address, digest: str = place.digest
    ) -> Toolchain:
        lock = f'[vagrant]\nversion = "2.4.9"\n[[vagrant.release.{platform or this_platform()}]]\n'
        lock += f'url = "{address}"\ndigest = "{digest}"\nfile = "vagrant.deb"\n'
        (tmp_path / "toolchain").mkdir(exist_ok=True)
        (tmp_path / "toolchain" / "lock.toml").write_text(lock)
        return Toolchain(tmp_path, tmp_path / "a cache", status)

    return make


@pytest.fixture
def install(tmp_path: Path, status: Status) -> Callable[[Toolchain], None]:
    host = replace(facts.gather(tmp_path), is_root=True)
    return lambda tools: prerequisites.install(["vagrant"], host, status, tools)


def test_hashicorps_package_is_installed(
    place: Place,
    toolchain: Callable[..., Toolchain],
    install: Callable[[Toolchain], None],
    progress: io.StringIO,
) -> None:
    install(toolchain())
    answer = subprocess.run([place.program, "--version"], capture_output=True, text=True)
    assert facts.parse_version(answer.stdout) == "2.4.9"
    assert "Package: vagrant\nStatus: install ok installed" in place.installed
    server = place.address.split("/")[2]
    (line,) = [line for line in progress.getvalue().splitlines() if "HashiCorp's" in line]
    assert "version 2.4.9 (Business Source License)" in line and f"from {server}" in line


def test_a_package_with_another_digest_is_not_installed(
    place: Place, toolchain: Callable[..., Toolchain], install: Callable[[Toolchain], None]
) -> None:
    wanted = f"sha256:{'0' * 64}"
    with pytest.raises(PrerequisiteError, match=f"expected {wanted}") as failed:
        install(toolchain(digest=wanted))
    assert "developer.hashicorp.com" in failed.value.hint
    assert place.installed == "" and not place.program.exists()


def test_the_error_for_a_404_links_the_manual(
    place: Place, toolchain: Callable[..., Toolchain], install: Callable[[Toolchain], None]
) -> None:
    """HashiCorp's server answers 404 in some countries."""
    with pytest.raises(PrerequisiteError, match="the server answered 404") as failed:
        install(toolchain(address=f"{place.address}.none"))
    assert "developer.hashicorp.com" in failed.value.hint


def test_an_unreachable_server_is_an_error(
    toolchain: Callable[..., Toolchain], install: Callable[[Toolchain], None]
) -> None:
    with pytest.raises(PrerequisiteError, match=r"no source has HashiCorp's \(source = 'auto'\)"):
        install(toolchain(address="http://127.0.0.1:1/vagrant.deb"))


def test_a_platform_without_a_package_is_an_error(
    toolchain: Callable[..., Toolchain], install: Callable[[Toolchain], None]
) -> None:
    with pytest.raises(PrerequisiteError, match="HashiCorp publishes none for linux-") as failed:
        install(toolchain(platform="linux-riscv64"))
    assert "docs/hosts.md" in failed.value.hint


def test_a_mirror_provides_the_package(
    place: Place,
    toolchain: Callable[..., Toolchain],
    install: Callable[[Toolchain], None],
    web: Web,
    progress: io.StringIO,
) -> None:
    """A room may not reach HashiCorp's server."""
    path = place.address.removeprefix(f"{web.address}/")
    entry = f'{{ path = "{path}", sha256 = "{place.digest.removeprefix("sha256:")}" }}'
    manifest = f'[vagrant]\nversion = "2.4.9"\n[vagrant.{this_platform()}]\n"vagrant.deb" = {entry}'
    web.put("/manifest.toml", manifest.encode())
    tools = toolchain(address="http://127.0.0.1:1/vagrant.deb")
    tools.mirror = web.address
    install(tools)
    assert place.program.exists()
    assert "from the mirror" in progress.getvalue()
