"""The dev container: its image of Debian's packages, and a lab inside, as VS Code would start it.

The same container then plays a student's Ubuntu on WSL: no systemd, and an archive without Vagrant.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import config
from lab.host import facts
from lab.host.facts import Host
from lab.images.builder import Builder
from lab.machines.containers import run_arguments
from lab.output import Status
from lab.toolchain import Toolchain
from tests.e2e.support import ROOT, Done, Invoke, copy_checkout, docker

pytestmark = pytest.mark.e2e

NAME = "lecture-lab-devcontainer"
HERE = "/workspaces/checkout"
SETTINGS = {
    "LAB_MIRROR": "/bundle",
    "LAB_PROVIDER": "docker",
    "LAB_DISTRIBUTION": "kubeadm",
    "LAB_WORKERS": "0",
    "LAB_PATIENCE": "3",
}
# HashiCorp's package, played by Debian's under another version.
STAND_IN = """set -eu
cd "$(mktemp -d)"
apt-get update
apt-get download vagrant
dpkg-deb --raw-extract vagrant_*.deb tree
sed -i 's/^Version:.*/Version: 2.4.9-1/' tree/DEBIAN/control
mkdir -p /srv/vagrant
dpkg-deb --build tree /srv/vagrant/vagrant_2.4.9-1_amd64.deb
apt-get purge --yes vagrant
# As on Ubuntu, apt knows none; a file has no origin and may be installed.
printf 'Package: vagrant\\nPin: release o=Debian\\nPin-Priority: -1\\n' >/etc/apt/preferences.d/none
"""
ADDRESS = "http://127.0.0.1:8090/vagrant_2.4.9-1_amd64.deb"
WSL = "Linux version 6.6.87.2-microsoft-standard-WSL2"


@dataclass(frozen=True)
class Container:
    """A running dev container, its checkout as the host sees it, and what its file asks for."""

    folder: Path
    asked: dict[str, Any]

    def run(self, line: str, user: str = "", code: int = 0, **variables: str) -> Done:
        """Run a line of shell in the checkout, as VS Code's terminal does."""
        settings = {**SETTINGS, **variables}
        words = [f"--env={name}={value}" for name, value in settings.items()]
        command = ["docker", "exec", *words, "--user", user or self.asked["remoteUser"]]
        done = subprocess.run(
            [*command, "--workdir", HERE, NAME, "sh", "-c", line],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert done.returncode == code, f"{line}:\n{done.stdout}\n{done.stderr}"
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self) -> None:
        """What a tool does after each start of the container."""
        self.run(self.asked["postStartCommand"])


def asked() -> dict[str, Any]:
    """devcontainer.json, which may have comments."""
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text()
    found: dict[str, Any] = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    return found


def privileges(host: Host) -> Sequence[str]:
    """`--privileged`, or what comes next to it where this host itself lacks a capability."""
    if not host.missing_capabilities:
        return ["--privileged"]
    words = run_arguments(host)
    pairs = zip(words[::2], words[1::2], strict=True)
    # A machine's own folders are not the dev container's.
    wanted = [
        pair
        for pair in pairs
        if pair[0] != "--tmpfs" and (pair[0], ":" in pair[1]) != ("--volume", False)
    ]
    return [word for pair in wanted for word in pair]


def pin(lock: Path, digest: str) -> None:
    """Have a lock file ask for the stand-in in place of HashiCorp's package."""
    others, item = lock.read_text().split("[vagrant]\n")
    item = re.sub('^url = ".*"', f'url = "{ADDRESS}"', item, flags=re.MULTILINE)
    item = re.sub('^digest = ".*"', f'digest = "sha256:{digest}"', item, flags=re.MULTILINE)
    lock.write_text(f"{others}[vagrant]\n{item}")


@pytest.fixture(scope="module")
def bundle(maker: Invoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For Debian 13's Python; so only packages are asked of a network."""
    folder = tmp_path_factory.mktemp("devcontainer") / "bundle"
    kind = ("--provider", "docker", "--distribution", "kubeadm", "--python", "3.13")
    maker("bundle", *kind, "--output", str(folder))
    return folder


@pytest.fixture(scope="module")
def container(
    bundle: Path, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    cache, status = config.cache_folder(), Status()
    host = facts.gather(cache)
    builder = Builder(ROOT, Toolchain(ROOT, cache, status), run_arguments(host), status)
    folder = copy_checkout(tmp_path_factory.mktemp("workspaces"))
    wanted = asked()
    subprocess.run(["chown", "--recursive", "1000:1000", folder], check=True)
    source = ROOT / ".devcontainer"
    file = source / wanted["build"]["dockerfile"]
    docker(
        "build",
        "--build-arg",
        f"BASE={builder.base()}",
        "--tag",
        NAME,
        "--file",
        str(file),
        str(source),
    )
    mounts = [
        f"type={one['type']},source={NAME},target={one['target']}" for one in wanted["mounts"]
    ]
    mounts += [f"type=bind,source={folder},target={HERE}"]
    mounts += [f"type=bind,source={bundle},target=/bundle,readonly"]
    words = [f"--mount={mount}" for mount in mounts]
    assert wanted["privileged"] and wanted["init"]
    words += ["--name", NAME, "--hostname", NAME, "--init", *privileges(host)]
    docker("run", "--detach", *words, NAME, "sleep", "infinity")
    made = Container(folder, wanted)
    try:
        made.run(wanted["postCreateCommand"])
        made.start()
        yield made
        made.run("./inv lab-destroy")
    finally:
        docker("rm", "--force", "--volumes", NAME)
        docker("volume", "rm", NAME)
        docker("rmi", NAME)


def test_nothing_is_left_to_install(container: Container) -> None:
    """The image has whatever lab-up would install, and its engine answers."""
    told = json.loads(container.run("./inv doctor --json").out)
    assert [one for one in told["findings"] if one["status"] in ("install", "fail", "warn")] == []


def test_a_lab(container: Container) -> None:
    done = container.run("./inv lab-up")
    assert "image/node from the mirror" in done.err and "apt-get" not in done.err
    container.run("./inv exercise-up pod")
    assert "failed" not in container.run("./inv check pod").out


def test_a_lab_outlives_its_container(container: Container) -> None:
    """Its volume is kept, and so the machines, which the next lab-up starts."""
    docker("restart", NAME)
    container.start()
    container.run("./inv lab-up")
    assert "failed" not in container.run("./inv check pod").out
    container.run("./inv lab-destroy")


def test_an_archive_without_vagrant(container: Container) -> None:
    """As on Ubuntu on WSL; the package comes from a server of this test's, by its digest."""
    container.run(STAND_IN, "root")
    digest = container.run("sha256sum /srv/vagrant/*.deb").out.split()[0]
    pin(container.folder / "toolchain" / "lock.toml", digest)
    server = "setsid python3 -m http.server --bind 127.0.0.1 --directory /srv/vagrant 8090"
    container.run(f"{server} >/dev/null 2>&1 </dev/null &", "root")
    container.run(f"echo '{WSL}' >/srv/version && mount --bind /srv/version /proc/version", "root")
    done = container.run("./inv lab-up")
    assert (
        "installing HashiCorp's, version 2.4.9 (Business Source License), from 127.0.0.1"
        in done.err
    )
    assert "2.4.9-1" in container.run("dpkg-query --show vagrant").out
    container.run("./inv exercise-up pod")
    assert "failed" not in container.run("./inv check pod").out
    container.run("./inv lab-destroy")
