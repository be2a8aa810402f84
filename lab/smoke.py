"""The lab's own smoke test, for users' CI: everything once, with reports left behind."""

from __future__ import annotations

from pathlib import Path

from lab import exercises, lifecycle, logs, practice
from lab.config import Lab
from lab.grading import Report
from lab.output import Status


def run(lab: Lab, folder: Path, status: Status) -> Report:
    """Bring the lab up, deploy and check every exercise, and remove what this run made.

    `folder` gets junit.xml and the logs, on failure too. Raises as the steps do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    existed = (lab.state / lifecycle.READY).exists()
    deployed: list[str] = []
    try:
        lifecycle.up(lab, status)
        for exercise in exercises.discover(lab.root):
            deployed.append(exercise.name)
            practice.deploy(lab, exercise.name, status)
        report = practice.check(lab, "")
        (folder / "junit.xml").write_text(report.junit)
        report.raise_for_status()
        return report
    finally:
        if (lab.state / lifecycle.CHOICES).exists():
            logs.collect(lab, folder / "logs", status)
        if not existed:
            lifecycle.destroy(lab, status)
        else:
            for name in deployed:
                practice.withdraw(lab, name, status)
