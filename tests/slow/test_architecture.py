"""A bundle for hosts of another architecture, such a host, and a cluster there, all run by QEMU."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab import config
from lab.config import cache_folder
from lab.distributions.kubeadm import RECORD
from lab.host import prerequisites
from lab.images.builder import Builder
from lab.images.catalogue import REPOSITORY
from lab.images.docker import built_for, docker_build, load
from lab.lifecycle import bringup, opened
from lab.lifecycle.bringup import Bringup
from lab.output import Status
from lab.platforms import PLATFORMS, architecture_of, this_platform, uname_of
from lab.toolchain import HOST_TOOLS, Toolchain, mirror, packing
from tests.e2e.support import ROOT, Invoke, copy_checkout, docker
from tests.e2e.virtual import BUSYBOX

pytestmark = pytest.mark.e2e

(OTHER,) = (platform for platform in PLATFORMS if platform != this_platform())
LAB = "foreign"
TOOLS = {*HOST_TOOLS, *RECORD.image.tools}
# Numbers of architectures in a program's first bytes: elf(5).
ELF = {"amd64": 62, "arm64": 183}
# The Python of Debian trixie, which the other host is.
PYTHON = "3.13"
HOST = (
    "FROM {base}\nRUN apt-get update && apt-get install --yes --no-install-recommends {packages}\n"
)
ASKED = (
    "kubelet --version",
    "kubeadm version",
    "kubectl version --client",
    "containerd --version",
    "dockerd --version",
    "singularity --version",
)


@pytest.fixture(scope="module")
def bundle(maker: Invoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("usb stick") / "bundle"
    words = ["--provider", "docker", "--distribution", "kubeadm", "--python", PYTHON]
    words += ["--architecture", architecture_of(OTHER), "--output", str(folder)]
    print(maker("bundle", *words).err)
    return folder


@pytest.fixture(scope="module")
def image(bundle: Path) -> Iterator[str]:
    """The machines' image, as a host that has this mirror loads it."""
    tag = f"{REPOSITORY}/node:{mirror.read(str(bundle), OTHER)['image/node'].version}"
    toolchain = Toolchain(ROOT, cache_folder(), Status(), "mirror", str(bundle), OTHER)
    assert load(tag, toolchain)
    yield tag
    docker("rmi", tag)


@pytest.fixture(scope="module")
def host(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A container with a clone, the bundle, Debian's Python, and no network."""
    folder = tmp_path_factory.mktemp("host")
    base = f"{REPOSITORY}/debian:trixie-{architecture_of(OTHER)}"
    (folder / "Dockerfile").write_text(HOST.format(base=base, packages="python3 python3-venv"))
    docker_build("lab-test/host", folder, {}, OTHER)
    clone = copy_checkout(folder / "clone")
    words = ["run", "--detach", *built_for(OTHER), "--network", "none", "--workdir", "/clone"]
    words += ["--volume", f"{clone}:/clone", "--volume", f"{bundle}:/usb:ro"]
    words += ["--env", "LAB_MIRROR=/usb", "--env", "LAB_PROVIDER=docker"]
    (container,) = docker(*words, "lab-test/host", "sleep", "infinity")
    yield container
    docker("rm", "--force", container)
    docker("rmi", "lab-test/host")
    shutil.rmtree(clone)


def within(container: str, *words: str) -> str:
    """What a command says in a container."""
    done = subprocess.run(
        ["docker", "exec", container, *words], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_program_is_of_that_architecture(bundle: Path, tmp_path: Path) -> None:
    assert not mirror.read(str(bundle), this_platform())
    items = mirror.read(str(bundle), OTHER)
    assert items.keys() >= TOOLS
    seen = {}
    for name in TOOLS:
        for file, entry in items[name].files.items():
            packing.unpack(bundle / entry.path, tmp_path / "program")
            begin = (tmp_path / "program").read_bytes()[:20]
            if begin[:4] == b"\x7fELF":
                seen[file] = struct.unpack_from("<H", begin, 18)[0]
    assert set(seen.values()) == {ELF[architecture_of(OTHER)]}, seen
    assert {"pulumi", "kubectl", "kubelet", "flanneld", "traefik", "etcd"} <= seen.keys()


def test_it_is_whole(maker: Invoke, bundle: Path) -> None:
    maker("bundle-verify", str(bundle))


def test_such_a_host_takes_everything_from_it(host: str, bundle: Path) -> None:
    """The Python packages too; it looks for exactly this image of the machines."""
    assert within(host, "uname", "-m").strip() == uname_of(OTHER)
    findings = json.loads(within(host, "./inv", "doctor", "--json"))["findings"]
    sources = {one["id"]: one["detail"] for one in findings if one["id"].startswith("source-")}
    assert list(sources) == ["source-mirror"]
    assert set(sources["source-mirror"].split(", ")) == TOOLS
    asks = (
        "from pathlib import Path; from lab import config; from lab.output import Status; "
        "from lab.distributions.kubeadm import RECORD; from lab.images.builder import Builder; "
        "from lab.lifecycle.opened import toolchain_of; lab = config.load(Path.cwd(), {}); "
        "tools = toolchain_of(lab, Status()); "
        "print(Builder(lab.root, tools, (), Status()).node_tag(RECORD.image))"
    )
    key = within(host, ".venv/bin/python", "-c", asks).strip().rpartition(":")[2]
    assert mirror.read(str(bundle), OTHER)["image/node"].version == key


def test_the_machine(image: str) -> None:
    """Its programs run, and the cluster's images in it are of that architecture."""
    assert docker("image", "inspect", "--format", "{{.Architecture}}", image) == [
        architecture_of(OTHER)
    ]
    script = " && ".join(("uname -m", *ASKED))
    words = ["run", "--rm", *built_for(OTHER), "--network", "none", image, "sh", "-c", script]
    told = " ".join(docker(*words))
    assert told.startswith(uname_of(OTHER)) and "Kubernetes v1." in told


@pytest.fixture(scope="module")
def up(checkout: Path, engine: None) -> Iterator[Bringup]:
    """A lab of one virtual machine of that architecture, before it is begun."""
    chosen = {"name": LAB, "provider": "libvirt", "distribution": "kubeadm", "machines.workers": 0}
    lab = config.load(checkout, chosen, environ={})
    begun = Bringup.of(lab, opened.toolchain_of(lab, Status()), Status())
    # No host has it for another architecture.
    begun.host = replace(begun.host, kvm=False)
    yield begun
    begun.pool.shutdown(wait=False)
    for remote in begun.remotes:
        remote.close()
    Invoke(checkout, LAB)("lab-destroy")


def test_a_cluster_of_that_architecture(up: Bringup) -> None:
    """By the steps of lab-up, with an image like the bundle's instead of one of this host's."""
    bringup.install_prerequisites(up)
    emulator = prerequisites.EMULATORS[uname_of(OTHER)]
    prerequisites.install([emulator], up.host, up.status, up.toolchain)
    toolchain = opened.toolchain_of(up.lab, up.status, OTHER)
    for step in bringup.STEPS[bringup.STEPS.index(bringup.remember_choices) :]:
        if step == bringup.make_node_image:
            up.tools = up.pool.submit(up.toolchain.bin_folder)
            up.image = Builder(up.lab.root, toolchain, (), up.status).node(RECORD.image)
        else:
            step(up)
    machine = up.remotes[0]
    assert machine.run(["uname", "-m"]).strip() == uname_of(OTHER)
    for name, command in BUSYBOX.items():
        said = machine.run([*command, "sh", "-c", f"echo {name} on $(uname -m)"], timeout=600)
        assert said.strip() == f"{name} on {uname_of(OTHER)}"


def test_its_exercise(up: Bringup) -> None:
    students = Invoke(up.lab.root, LAB)
    students("exercise-up", "pod")
    report = students.json("check", "pod", LAB_PATIENCE="6")
    assert report["score"] == report["points"], report
    nodes = students.shell("kubectl get nodes --show-labels")
    assert f"kubernetes.io/arch={architecture_of(OTHER)}" in nodes
