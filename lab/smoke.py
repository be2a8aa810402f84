"""The lab's own smoke test, for users' CI: everything once, with reports left behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab import lifecycle, logs, practice
from lab.config import Lab
from lab.grading import Report
from lab.output import Status


def run(lab: Lab, names: Sequence[str], folder: Path, status: Status) -> Report:
    """Bring the lab up, deploy and check these exercises (none: all), remove what this run made.

    `folder` gets junit.xml and the logs, on failure too. Raises as the steps do; lost points are
    the caller's to judge.
    """
    folder.mkdir(parents=True, exist_ok=True)
    existed = (lab.state / lifecycle.READY).exists()
    before: set[str] | None = None
    wanted = names or [practice.ALL]
    try:
        lifecycle.up(lab, status)
        before = practice.deployed(lab)
        practice.deploy(lab, wanted, status)
        report = practice.check(lab, wanted, status)
        (folder / "junit.xml").write_text(report.junit)
        return report
    finally:
        if (lab.state / lifecycle.CHOICES).exists():
            logs.collect(lab, folder / "logs", status)
        if not existed:
            lifecycle.destroy(lab, status)
        elif before is not None:
            practice.withdraw(lab, sorted(practice.deployed(lab) - before), status)
