"""The README's commands on a stock Debian 13 with systemd and cgroup v2, typed by an ordinary user.

Emulated, so it takes an hour. The tests build on each other.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import Invoke, copy_checkout, install
from tests.slow.stock import Guest, booted

pytestmark = pytest.mark.e2e
NEEDED = {
    "qemu-system-x86": "/usr/bin/qemu-system-x86_64",
    "e2fsprogs": "/usr/sbin/mke2fs",
    "mmdebstrap": "/usr/bin/mmdebstrap",
}
EXERCISES = ("pod", "service", "volumes")
# What a lab may leave in the host's tree of control groups, and what Docker has.
LEFT = (
    "find /sys/fs/cgroup -name 'docker-*.scope' -o -name 'kubepods*';"
    " sudo docker ps --all --quiet; sudo docker volume ls --quiet;"
    " sudo docker network ls --quiet --filter type=custom"
)
# Seconds, of a host that is emulated beside other work.
LONG, SHORT = 7200, 1800


@pytest.fixture(scope="module")
def stick(maker: Invoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone, and a bundle for the guest's Python."""
    folder = tmp_path_factory.mktemp("stick")
    maker("bundle", "--output", str(folder / "lab-bundle"), "--python", "3.13")
    copy_checkout(folder / "clone")
    return folder


@pytest.fixture(scope="module")
def guest(stick: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    install(NEEDED)
    with booted(tmp_path_factory.mktemp("stock"), stick, 8192) as machine:
        yield machine


def student(guest: Guest, line: str, timeout: int = SHORT) -> str:
    """What a line prints that the student types in the clone."""
    return guest.run(f"cd ~/lab && export LAB_MIRROR=/media/stick/lab-bundle && {line}", timeout)


def status(guest: Guest) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(student(guest, "./inv lab-status --json"))
    return answer


def test_the_host_is_a_students(guest: Guest) -> None:
    assert guest.run("stat -fc %T /sys/fs/cgroup").strip() == "cgroup2fs"
    assert guest.run("cat /proc/1/comm").strip() == "systemd"
    assert guest.run("groups").split() == ["student", "sudo"]
    assert guest.run(LEFT) == ""


def test_lab_up(guest: Guest) -> None:
    guest.run("cp --recursive /media/stick/clone ~/lab")
    doctor = json.loads(student(guest, "./inv doctor --json"))
    (cgroup,) = (item for item in doctor["findings"] if item["id"] == "cgroup")
    assert cgroup["status"] == "ok"
    student(guest, "./inv lab-up --workers 1", LONG)
    assert [node["ready"] for node in status(guest)["nodes"]] == [True, True]


def test_exercises(guest: Guest) -> None:
    words = " ".join(EXERCISES)
    student(guest, f"./inv exercise-up {words}", LONG)
    report = json.loads(student(guest, f"./inv check {words} --json", LONG))
    assert report["score"] == report["points"], report


def test_pods_lie_below_their_machine(guest: Guest) -> None:
    """The host's tree has no group of kubelet's; each machine has one, with its pods' limits."""
    found = guest.run("find /sys/fs/cgroup -name kubepods.slice").split()
    assert len(found) == 2
    assert all("/docker-" in path for path in found), found
    restarts = "ssh -F .lab/lab/ssh_config {} systemctl show --value --property NRestarts kubelet"
    for machine in ("control-plane-1", "worker-1"):
        assert int(student(guest, restarts.format(machine))) < 3


def test_docker_and_singularity_on_a_machine(guest: Guest) -> None:
    lines = (
        "printf 'FROM busybox:1.37\\nRUN echo Hello >/hello\\n' >Dockerfile",
        "docker build --quiet --tag registry.lab:5000/mine . >/dev/null",
        "docker push --quiet registry.lab:5000/mine >/dev/null",
        "docker run --rm --memory 64m registry.lab:5000/mine cat /hello",
        "APPTAINER_TMPDIR=/var/tmp singularity --quiet exec --no-https"
        " docker://registry.lab:5000/mine cat /hello",
    )
    there = f"ssh -F .lab/lab/ssh_config control-plane-1 {shlex.quote(' && '.join(lines))}"
    assert student(guest, there).split() == ["Hello", "Hello"]


def test_snapshots_and_stops(guest: Guest) -> None:
    for words in (
        "lab-snapshot save before",
        "exercise-down pod",
        "lab-snapshot restore before",
        "check pod",
        "lab-suspend",
        "lab-resume",
        "lab-down",
        "lab-up --workers 1",
        "check service",
    ):
        student(guest, f"./inv {words}", LONG)


def test_destroyed_without_a_trace(guest: Guest) -> None:
    student(guest, "./inv lab-destroy")
    assert guest.run(LEFT) == ""
