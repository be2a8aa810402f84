"""The lab's own smoke test, for users' CI: everything once, with reports left behind."""

from __future__ import annotations

from pathlib import Path

from lab import lifecycle, logs, practice
from lab.config import Lab
from lab.grading import Report
from lab.output import Status


def run(lab: Lab, folder: Path, status: Status) -> Report:
    """Bring the lab up, deploy and check every exercise, and remove what this run made.

    `folder` gets junit.xml and the logs, on failure too. Raises as the steps do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    existed = (lab.state / lifecycle.READY).exists()
    before: set[str] | None = None
    try:
        lifecycle.up(lab, status)
        before = practice.deployed(lab)
        practice.deploy(lab, practice.ALL, status)
        report = practice.check(lab, practice.ALL, status)
        (folder / "junit.xml").write_text(report.junit)
        report.raise_for_status()
        return report
    finally:
        if (lab.state / lifecycle.CHOICES).exists():
            logs.collect(lab, folder / "logs", status)
        if not existed:
            lifecycle.destroy(lab, status)
        elif before is not None:
            for name in sorted(practice.deployed(lab) - before):
                practice.withdraw(lab, name, status)
