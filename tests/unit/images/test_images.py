"""The images' names and Dockerfiles, and the digest of an image's inputs."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from lab import runner, wait
from lab.distributions.kubeadm import RECORD
from lab.images import builder, catalogue, docker
from lab.images.builder import Builder
from lab.output import Status
from lab.toolchain.lock import read_lock
from tests.unit.conftest import ROOT

VERSIONS = {"kubernetes": "1.35.4", "etcd": "3.6.14", "coredns": "1.14.4"}


def named(program: str) -> catalogue.Image:
    (found,) = [image for image in catalogue.CLUSTER_IMAGES if f"/{program}:" in image.name]
    return found


def test_names_are_the_ones_that_kubeadm_pulls() -> None:
    assert named("kube-proxy").reference(VERSIONS) == "registry.k8s.io/kube-proxy:v1.35.4"
    assert named("etcd").reference(VERSIONS) == "registry.k8s.io/etcd:3.6.14-0"
    assert named("coredns").reference(VERSIONS) == "registry.k8s.io/coredns/coredns:v1.14.4"


def test_flannel_can_delete_the_chains_of_its_other_mode() -> None:
    """flannel uses nftables, but runs iptables at each start and exits without it."""
    parts = (ROOT / "vagrant/images/parts/Dockerfile").read_text()
    (collected,) = re.findall(rf"collect /images/{named('flannel').part} (.+) \\\n", parts)
    assert collected.split() == ["/usr/sbin/iptables", "/usr/sbin/ip6tables"]
    # With iptables in its image, kube-proxy would also look for old chains of its own.
    assert named("kube-proxy").part != named("flannel").part


def test_a_daemon_has_an_entry_point_and_a_shell_has_a_default_command() -> None:
    assert 'ENTRYPOINT ["/coredns"]' in builder.dockerfile(named("coredns"))
    busybox = builder.dockerfile(catalogue.STUDENT_IMAGES[0])
    assert 'CMD ["sh"]' in busybox
    assert "ENTRYPOINT" not in busybox


@pytest.mark.parametrize("image", [*catalogue.CLUSTER_IMAGES, *catalogue.STUDENT_IMAGES])
def test_the_first_step_copies_a_platform_dependent_file(image: catalogue.Image) -> None:
    """A shared part comes before the program. The certificates are the same on every platform."""
    first = builder.dockerfile(image).partition("FROM scratch\n")[2].splitlines()[0]
    assert first.startswith("COPY ") and "certificates" not in first
    assert ("--from=parts" in first) == (image.part not in ("", "certificates"))


def test_an_image_without_parts_only_copies_its_program() -> None:
    text = builder.dockerfile(named("kube-scheduler"))
    assert "COPY --from" not in text
    assert "COPY kube-scheduler /usr/local/bin/kube-scheduler" in text


@pytest.mark.parametrize("image", [*catalogue.CLUSTER_IMAGES, *catalogue.STUDENT_IMAGES])
def test_every_image_has_its_program_in_the_lock_file_and_its_part_in_the_dockerfile(
    image: catalogue.Image,
) -> None:
    lock = read_lock(ROOT / "toolchain" / "lock.toml", "linux-amd64")
    assert not image.tool or image.tool in RECORD.image.tools
    assert not image.tool or image.tool in lock
    parts = (ROOT / "vagrant/images/parts/Dockerfile").read_text()
    assert not image.part or f"/images/{image.part} " in parts


def test_the_baseline_only_runs_images_of_the_node() -> None:
    lock = read_lock(ROOT / "toolchain" / "lock.toml", "linux-amd64")
    versions = {name: item.version for name, item in lock.items()}
    carried = {image.reference(versions) for image in catalogue.CLUSTER_IMAGES}
    carried |= {image.reference(versions) for image in catalogue.STUDENT_IMAGES}
    for path in (ROOT / "infra" / "cluster").glob("*.yaml"):
        for line in path.read_text().splitlines():
            words = line.split()
            if "image:" in words:
                name = words[-1]
                full = name if name.split("/")[0].count(".") else f"docker.io/library/{name}"
                assert {name, full} & carried, f"{path.name}: {name}"


def test_the_digest_changes_with_text_content_mode_and_name(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    first = docker.digest("text", tmp_path)
    assert docker.digest("text", tmp_path) == first
    assert docker.digest("other", tmp_path) != first
    file.chmod(0o755)
    second = docker.digest("text", tmp_path)
    file.write_text("y")
    third = docker.digest("text", tmp_path)
    file.rename(tmp_path / "b")
    assert len({first, second, third, docker.digest("text", tmp_path)}) == 4


def test_every_user_can_read_the_files_of_an_image(tmp_path: Path) -> None:
    """From a checkout with umask 077, machines got an `/etc` that only root could read."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "etc").mkdir(parents=True)
    for name in ("etc/program", "etc/file"):
        (source / name).touch(mode=0o700 if name == "etc/program" else 0o600)
    (source / "etc").chmod(0o700)
    docker.copy_readable(source, target)
    modes = {path.name: path.stat().st_mode & 0o777 for path in target.rglob("*")}
    assert modes == {"etc": 0o755, "program": 0o755, "file": 0o644}


def test_an_ordinary_user_can_read_the_archive_that_root_makes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With umask 077, `docker build` of an ordinary user could not read root's archive."""
    there: list[bool] = []
    built: list[bool] = []

    def run(argv: Sequence[Any], **_: Any) -> runner.Result:
        if "trixie" in argv:
            archive = next(word for word in argv if isinstance(word, Path))
            assert argv[:3] == ["sudo", "-n", "mmdebstrap"]
            there.append(archive.exists())
        return runner.Result(0, "", "")

    monkeypatch.setattr(builder.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(builder.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(builder, "exists", lambda tag: False)
    monkeypatch.setattr(builder, "proxy_variables", lambda: [])
    monkeypatch.setattr(builder, "host_mirror", lambda: [])
    monkeypatch.setattr(builder, "docker_build", lambda *_: built.append(True))
    monkeypatch.setattr(runner, "run", run)
    tools: Any = SimpleNamespace(platform="linux-amd64")
    made_by = Builder(ROOT, tools, (), Status(io.StringIO()))
    assert made_by.base() == "lecture-lab/debian:trixie-amd64"
    assert there == built == [True]


def test_debian_mirrors() -> None:
    lines = [
        "http://mirror/debian-security/ Debian",
        "http://mirror/debian/ Debian",
        "http://elsewhere/ Docker",
        # Builds reach neither a list in this host's file nor a proxy on its loopback.
        "mirror+file:/etc/apt/mirrors/debian.list/ Debian",
        "http://127.0.0.1:3142/debian/ Debian",
        "torn",
    ]
    assert builder.debian_mirrors(lines) == ["http://mirror/debian/"]


def test_images_have_the_toolchains_platform(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Images from Docker Hub have it, too. Each platform has its own tags."""
    ran: list[list[str]] = []

    def run(words: list[Any], **_: Any) -> Any:
        ran.append([str(word) for word in words])
        return SimpleNamespace(stdout="")

    monkeypatch.setattr(docker.runner, "run", run)
    monkeypatch.setattr(builder, "exists", lambda tag: False)
    monkeypatch.setattr(docker, "reachable", lambda url: True)
    monkeypatch.setattr(builder.shutil, "which", lambda name: name)
    tags = set()
    for platform in ("linux-amd64", "linux-arm64"):
        tools: Any = SimpleNamespace(cache=tmp_path, platform=platform)
        made_by = Builder(ROOT, tools, (), Status(io.StringIO()))
        ran.clear()
        tags |= {made_by.base(), made_by.machine()}
        assert docker.pull(catalogue.STUDENT_IMAGES[0], "tag", platform)
        builds = [words for words in ran if words[1] in ("build", "pull")]
        assert len(builds) == 4
        for words in builds:
            assert words[2:4] == ["--platform", platform.replace("-", "/")]
        architecture = platform.removeprefix("linux-")
        assert any(f"--architectures={architecture}" in words for words in ran)
    assert len(tags) == 4


def test_two_labs_that_start_together_make_the_image_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[str] = []
    started, resume, progress = Event(), Event(), io.StringIO()

    def make(builder: Builder, distribution: str, tag: str) -> None:
        started.set()
        assert resume.wait(10)
        made.append(tag)

    monkeypatch.setattr(Builder, "_make_node", make)
    monkeypatch.setattr(builder, "exists", lambda tag: tag in made)
    monkeypatch.setattr(builder, "load", lambda tag, toolchain: False)
    tools: Any = SimpleNamespace(cache=tmp_path, platform="linux-amd64", key=lambda name: name)
    made_by = Builder(ROOT, tools, (), Status(progress))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(made_by.node, RECORD.image)
        assert started.wait(10)
        second = pool.submit(made_by.node, RECORD.image)
        line = "waiting for another lab"
        wait.until(lambda: line in progress.getvalue() or None, what="the line", timeout=10)
        resume.set()
        assert [first.result(), second.result()] == made * 2
