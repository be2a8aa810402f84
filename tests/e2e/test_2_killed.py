"""SIGKILL in the middle of lab-up, once in every step: the next lab-up just works.

All of it beside the first lab, which goes on as if nothing was.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Invoke, copy_checkout, docker, scrub

pytestmark = pytest.mark.e2e
# A step that has ended announces that the next one has begun.
AFTER = ("image", "machines", "names and registry", "control plane", "nodes ready")


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Invoke:
    scrub("killed")
    return Invoke(checkout, "killed")


def until(text: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines up to the one that has a text."""
    for line in lines:
        yield line
        if text in line:
            return


@pytest.fixture
def process(lab: Invoke) -> subprocess.Popen[str]:
    return lab.begin("lab-up", "--workers", "0", start_new_session=True)


def test_killed_with_ports_reserved(process: subprocess.Popen[str]) -> None:
    """Vagrant reserves ports while it makes machines, and cannot give them back any more."""
    begin = time.time()
    leases = Path.home() / ".vagrant.d" / "data" / "fp-leases"
    while not any(lease.stat().st_mtime > begin for lease in leases.iterdir()):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("step", AFTER)
def test_killed_in_the_step_after(process: subprocess.Popen[str], step: str) -> None:
    assert process.stderr
    if step != "image":
        story = list(until(f"✓ {step}", process.stderr))
        assert f"✓ {step}" in story[-1], "".join(story)
    time.sleep(1.5)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_two_labs_side_by_side(lab: Invoke, invoke: Invoke) -> None:
    report = invoke.json("check", "service")
    assert report["score"] == report["points"]
    both = [run.json("lab-status")["lab"] for run in (lab, invoke)]
    assert both[0]["subnet"] != both[1]["subnet"]  # type: ignore[index]
    assert not set(both[0]["ports"].values()) & set(both[1]["ports"].values())  # type: ignore[index]


def test_another_checkout_with_the_same_name(lab: Invoke, invoke: Invoke, tmp_path: Path) -> None:
    """It is refused; neither its lab-up nor its lab-destroy touches the first one's machines."""
    other = Invoke(copy_checkout(tmp_path / "other"), lab.lab)
    refused = other("lab-up", "--workers", "0", code=2)
    assert f"{lab.checkout} has a lab `killed` on this host already" in refused.err
    other("lab-destroy")
    nodes = lab.json("lab-status")["nodes"]
    assert [node["ready"] for node in nodes] == [True]  # type: ignore[attr-defined]


def test_next_run_works(lab: Invoke) -> None:
    """The next lab-up does; here as part of a smoke test, which takes away what it made."""
    done = lab("smoke", "--exercise", "pod", LAB_WORKERS="0")
    assert "5 of 5 points" in done.out
    assert not (lab.checkout / ".lab" / "killed").exists()
    assert not docker("ps", "--all", "--quiet", "--filter", "label=lab.name=killed")
