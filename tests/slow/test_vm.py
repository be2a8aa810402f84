"""A whole cluster in a virtual machine, by the same tasks and the same checks as in containers.

Emulated it takes too long for every run: `invoke test --only vm`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support import Invoke, copy_checkout, ready, scrub_virtual

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def invoke(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Invoke]:
    scrub_virtual("vm")
    run = Invoke(copy_checkout(tmp_path_factory.mktemp("vm") / "ein Labor"), "vm")
    yield run
    run("lab-destroy")


def on_machine(invoke: Invoke, line: str) -> str:
    return invoke.shell(f"ssh -F \"$LAB_SSH_CONFIG\" control-plane-1 '{line}'")


def test_lab_up(invoke: Invoke) -> None:
    invoke("lab-up", "--provider", "libvirt", "--workers", "0")
    state = invoke.json("lab-status")
    assert [machine["state"] for machine in state["machines"]] == ["running"]
    assert ready(state) == 1
    assert all(addon["available"] for addon in state["addons"])


def test_cgroups(invoke: Invoke) -> None:
    """A virtual machine has version 2, by systemd, whatever its host has."""
    assert "cgroup2fs" in on_machine(invoke, "stat -fc %T /sys/fs/cgroup")
    assert "systemd" in on_machine(invoke, "sudo grep cgroupDriver /var/lib/kubelet/config.yaml")


def test_the_lectures_busybox(invoke: Invoke) -> None:
    """By Docker and by Singularity, out of the lab's registry."""
    assert "by docker" in on_machine(invoke, "docker run --rm busybox echo by docker")
    run = "singularity --quiet exec --no-https docker://registry.lab:5000/library/busybox"
    assert "by singularity" in on_machine(invoke, f"{run} echo by singularity")


def test_exercise_pod(invoke: Invoke) -> None:
    invoke("exercise-up", "pod")
    report = invoke.json("check", "pod", LAB_PATIENCE="6")
    assert report["score"] == report["points"], report


def test_snapshot(invoke: Invoke) -> None:
    invoke("lab-snapshot", "save", "one")
    invoke("exercise-down", "pod")
    invoke("lab-snapshot", "restore", "one")
    report = invoke.json("check", "pod", LAB_PATIENCE="6")
    assert report["score"] == report["points"], report


def test_suspend_and_resume(invoke: Invoke) -> None:
    invoke("lab-suspend")
    state = invoke.json("lab-status")
    assert [machine["state"] for machine in state["machines"]] == ["paused"]
    invoke("lab-resume")


def test_destroy(invoke: Invoke, tmp_path: Path) -> None:
    invoke("lab-destroy")
    assert not invoke.state.exists()
