"""Machines that are suspended or lose their power, and snapshots. The tests build on each other."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support import KEPT, Invoke, containers, deployed, docker, names, ready, scrub

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def lab(checkout: Path, engine: None) -> Iterator[Invoke]:
    scrub("snapshots")
    run = Invoke(checkout, "snapshots")
    run("lab-up", "--workers", "2")
    run("exercise-up", *KEPT)
    yield run
    run("lab-destroy")


def test_suspend_and_resume(lab: Invoke) -> None:
    lab("lab-suspend")
    assert {machine["state"] for machine in lab.json("lab-status")["machines"]} == {"paused"}
    lab("lab-resume")
    assert ready(lab.json("lab-status")) == 3
    assert "nothing to do" in lab("lab-up").err


def test_power_cut(lab: Invoke) -> None:
    """Every machine ends at once, unasked; the next lab-up brings all of it back."""
    docker("kill", *containers(lab.lab))
    lab("lab-up")
    report = lab.json("check", *KEPT)
    assert report["score"] == report["points"], report


def spoil(lab: Invoke) -> None:
    """Change whatever a snapshot has: objects, stacks, a machine's own files, its image's too."""
    lab("exercise-down", *KEPT)
    lab.shell("kubectl create namespace spoilt")
    machine = 'ssh -F "$LAB_SSH_CONFIG" worker-1 '
    lab.shell(f"{machine} 'touch spoilt && sudo rm -r /usr/bin/docker /etc/containerd/certs.d'")


def assert_unspoilt(lab: Invoke) -> None:
    machine = 'ssh -F "$LAB_SSH_CONFIG" worker-1 '
    lab.shell(f"{machine} 'test ! -e spoilt && docker version && ls /etc/containerd/certs.d/*'")
    lab.shell("kubectl get namespace spoilt", code=1)
    assert deployed(lab) == set(KEPT)
    report = lab.json("check", *KEPT)
    assert report["score"] == report["points"], report


def test_snapshot(lab: Invoke) -> None:
    saved = lab.json("lab-snapshot", "save", "before")
    assert names(saved["snapshots"]) == ["before"]
    assert "already" in lab("lab-snapshot", "save", "before", code=2).err
    spoil(lab)
    begin = time.monotonic()
    lab("lab-snapshot", "restore", "before")
    # Wanted are ten seconds, and measured by the benchmark: this machine may be shared.
    assert time.monotonic() - begin < 30
    assert_unspoilt(lab)


@pytest.mark.parametrize("action", ["restore before", "save second"])
def test_a_killed_snapshot(lab: Invoke, action: str) -> None:
    """SIGKILL while machines are copied; then lab-up has a lab, the restored one or as it was."""
    if action.startswith("restore"):
        spoil(lab)
    process = subprocess.Popen(
        lab.command("lab-snapshot", *action.split()),
        cwd=lab.checkout,
        env=lab.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not docker("ps", "--quiet", "--filter", f"name={lab.lab}-snapshot"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    lab("lab-up")
    assert_unspoilt(lab)
    assert names(lab.json("lab-snapshot", "list")["snapshots"]) == ["before"]


def test_delete_a_snapshot(lab: Invoke) -> None:
    assert lab.json("lab-snapshot", "delete", "before")["snapshots"] == []
    assert "there is none" in lab("lab-snapshot", "restore", "before", code=6).err
