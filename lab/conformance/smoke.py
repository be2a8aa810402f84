"""The smoke test for users' CI: everything once, with reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import conformance
from lab.config import Settings
from lab.conformance import Conformance
from lab.exercises import practice
from lab.exercises.grading import Report
from lab.lifecycle import bringup, opened, operations
from lab.observe import logs
from lab.output import Status


@dataclass(frozen=True)
class Smoke:
    """The results of a run: of the lab, and of the exercises."""

    conformance: Conformance
    report: Report

    def text(self) -> str:
        """Both results as text."""
        return f"{self.conformance.text()}\n\n{self.report.text()}"

    def raise_for_status(self) -> None:
        """Raise ChecksFailed when an item or a check failed."""
        self.conformance.raise_for_status()
        self.report.raise_for_status()


def run(settings: Settings, names: Sequence[str], folder: Path, status: Status) -> Smoke:
    """Bring the lab up, test it, deploy and check these exercises, and clean up.

    No `names` stand for all exercises. Removes what this run made, and the lab if it did not exist
    before. Writes conformance.xml, junit.xml and the logs into `folder`, also on failure. Raises as
    the steps do; the caller judges the results.
    """
    folder.mkdir(parents=True, exist_ok=True)
    existed = opened.exists(settings)
    before: set[str] | None = None
    wanted = practice.Wanted(tuple(names), every=not names)
    try:
        bringup.up(settings, status)
        before = practice.deployed(settings)
        found = conformance.run(opened.running(settings), status)
        (folder / "conformance.xml").write_text(found.junit)
        practice.deploy(settings, wanted, status)
        report = practice.check(settings, wanted, status)
        (folder / "junit.xml").write_text(report.junit)
        return Smoke(found, report)
    finally:
        try:
            if opened.exists(settings):
                logs.collect(settings, folder / "logs", status)
        finally:
            if not existed:
                operations.destroy(settings, status)
            elif before is not None:
                new = practice.Wanted(tuple(sorted(practice.deployed(settings) - before)))
                practice.withdraw(settings, new, status)
