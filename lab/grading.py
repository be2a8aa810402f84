"""Grading: run the checks of exercises and turn what pytest saw into a report."""

from __future__ import annotations

import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import runner
from lab.config import Lab
from lab.errors import ChecksFailed, LabError, ResourceError
from lab.exercises import Exercise
from lab.stacks import environment

# pytest: 0 all passed, 1 some failed; anything else means that the checks did not run.
RAN = (0, 1)


@dataclass(frozen=True)
class Check:
    """One check's outcome. `status` is passed, failed or error (it could not be made)."""

    exercise: str
    title: str
    points: int
    status: str
    message: str

    @property
    def score(self) -> int:
        """Points won."""
        return self.points if self.status == "passed" else 0


@dataclass(frozen=True)
class Report:
    """The outcome of one run of checks."""

    checks: tuple[Check, ...]

    @property
    def score(self) -> int:
        """Points won in all."""
        return sum(check.score for check in self.checks)

    @property
    def points(self) -> int:
        """Points that could be won."""
        return sum(check.points for check in self.checks)

    def data(self) -> dict[str, Any]:
        """The report for JSON."""
        checks = [{**asdict(check), "score": check.score} for check in self.checks]
        return {"score": self.score, "points": self.points, "checks": checks}

    def text(self) -> str:
        """The report for people: one line a check, and under a failed one what to look at."""
        marks = {"passed": "✓", "failed": "✗", "error": "!"}
        lines = []
        for check in self.checks:
            score = f"{check.score}/{check.points}"
            lines.append(f"{marks[check.status]} {score:5} {check.exercise}: {check.title}")
            if check.message:
                lines += [f"          {line}" for line in check.message.splitlines()]
        return "\n".join([*lines, f"{self.score} of {self.points} points"])

    def raise_for_status(self) -> None:
        """Raises ResourceError for a check that could not be made, ChecksFailed for lost points."""
        for status in ("error", "failed"):
            found = [check for check in self.checks if check.status == status]
            if not found:
                continue
            error: LabError = ChecksFailed(f"{len(found)} of {len(self.checks)} checks failed")
            if status == "error":
                error = ResourceError(
                    f"{len(found)} check(s) could not be made: {found[0].message}",
                    hint="invoke lab-status",
                )
            error.answered = True
            raise error


def grade(
    lab: Lab, tools: Path, exercises: Sequence[Exercise], *, junit: Path | None = None
) -> Report:
    """Run the checks of these exercises against the lab's cluster as it is now.

    `junit` is where pytest's own XML report is kept. Raises ResourceError when pytest itself
    could not run them.
    """
    with tempfile.TemporaryDirectory(prefix="lab-checks-") as folder:
        # Here, and relative to the checkout: pytest expands `$` in the names that it is given.
        xml = Path(folder) / "report.xml"
        checks = [path for exercise in exercises for path in exercise.checks]
        files = [str(path.relative_to(lab.root)) for path in checks]
        command = [sys.executable, "-m", "pytest", "--quiet", "--no-header", "--tb=short"]
        command += ["-p", "no:cacheprovider", f"--junitxml={xml}", *files]
        result = runner.run(
            command,
            cwd=lab.root,
            env=environment(lab, tools),
            timeout=120 + 120 * len(exercises),
            ok=range(256),
        )
        if result.code not in RAN:
            tail = "\n".join((result.stdout + result.stderr).strip().splitlines()[-15:])
            raise ResourceError(f"the checks did not run (pytest {result.code}):\n{tail}")
        if junit:
            shutil.copyfile(xml, junit)
        return Report(tuple(parse(xml.read_text())))


def parse(xml: str) -> list[Check]:
    """The checks in pytest's JUnit report, by the properties that conftest.py notes."""
    checks = []
    for case in ElementTree.fromstring(xml).iter("testcase"):
        noted = {item.get("name", ""): item.get("value", "") for item in case.iter("property")}
        folder = case.get("classname", "").split(".")[-2]
        checks.append(
            Check(
                exercise=folder.replace("_", "-"),
                title=noted["title"],
                points=int(noted["points"]),
                status=noted["status"],
                message=noted["message"],
            )
        )
    return checks
