"""SIGKILL in the middle of lab-up, once in every step, a power cut, and what comes of that."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.host.choices import FILE
from lab.host.facts import vagrant_home
from tests.e2e.support import Done, Invoke, containers, copy_checkout, docker, scrub

NAME = "killed"
PORTS = "ports reserved"
# A step that has ended announces that the next one has begun.
STEPS = (PORTS, "image", "machines", "names and registry", "control plane", "nodes ready")


@dataclass(frozen=True)
class Ending:
    """How a lab went on whose lab-up was killed in every step.

    `status` is its lab-status then; `refused` a lab-up from another checkout, `standing` its
    lab-status after that one's lab-destroy; `smoke` a smoke test, with its machine cut off before,
    and `kept` the machines after that. `unrecorded` is a lab-destroy while the lab's folder is
    empty, and `left` what that leaves of the machines.
    """

    status: dict[str, Any]
    refused: Done
    standing: dict[str, Any]
    smoke: Done
    kept: list[str]
    unrecorded: Done
    left: list[str]


def in_every_step(checkout: Path, elsewhere: Path) -> Ending:
    """Kill lab-up after lab-up; `elsewhere` is a folder for another checkout."""
    scrub(NAME)
    lab, other = Invoke(checkout, NAME), Invoke(copy_checkout(elsewhere), NAME)
    try:
        return _go_on(lab, other, elsewhere)
    except BaseException:
        scrub(NAME)
        raise


def _go_on(lab: Invoke, other: Invoke, elsewhere: Path) -> Ending:
    for step in STEPS:
        kill(lab, step)
    status = lab.json("lab-status")
    refused = other("lab-up", "--workers", "0", code=2)
    other("lab-destroy")
    standing = lab.json("lab-status")
    docker("kill", *containers(NAME))
    # The first lab's reports are in the same checkout.
    reports = str(elsewhere / "reports")
    smoke = lab("smoke", "--exercise", "pod", "--output", reports, LAB_WORKERS="0")
    kept = containers(NAME)
    lab.state.rename(elsewhere / "state")
    # Another task makes it anew, for its lock.
    lab.state.mkdir()
    unrecorded = lab("lab-destroy")
    left = containers(NAME)
    (elsewhere / "state").rename(lab.state)
    lab("lab-destroy")
    return Ending(status, refused, standing, smoke, kept, unrecorded, left)


def kill(lab: Invoke, step: str) -> None:
    """Begin a lab-up, and end it by SIGKILL soon after a step."""
    process = lab.begin("lab-up", "--workers", "0", start_new_session=True)
    assert process.stderr
    if step == PORTS:
        _wait_for_reservations(lab, process)
    else:
        if step != "image":
            story = list(until(f"✓ {step}", process.stderr))
            assert f"✓ {step}" in story[-1], "".join(story)
        time.sleep(1.5)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def _wait_for_reservations(lab: Invoke, process: subprocess.Popen[str]) -> None:
    """Vagrant reserves ports while it makes machines, and cannot give them back any more."""
    begin = time.time()
    leases, choices = vagrant_home() / "data" / "fp-leases", lab.state / FILE

    def reserved() -> bool:
        with contextlib.suppress(FileNotFoundError):
            kept = json.loads(choices.read_text())
            lease = leases / f"127_0_0_1_{kept['ports.api']}"
            return lease.stat().st_mtime > begin
        return False

    while not reserved():
        assert process.poll() is None
        time.sleep(0.02)


def until(text: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines up to the one that has a text."""
    for line in lines:
        yield line
        if text in line:
            return
