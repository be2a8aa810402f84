"""Grading: run the checks of exercises and turn pytest's results into a report."""

from __future__ import annotations

import json
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab import runner, wait
from lab.errors import ChecksFailed, DeadlineExceeded, ResourceError, answered
from lab.exercises.catalogue import Exercise
from lab.pages import junit
from lab.parallel import each

# pytest exits with 0 if all tests passed and with 1 if some failed. Any other code means that the
# checks did not run.
RAN = (0, 1)
# The mark in front of a check, by its status.
MARKS = {"passed": "✓", "failed": "✗", "error": "!"}
# Seconds that the checks of one exercise may take. Those of `mnist` wait for two trainings.
LONGEST = 3000
# Exercises whose checks run at the same time.
AT_ONCE = 4


@dataclass(frozen=True)
class Check:
    """One check's outcome. `status` is passed, failed or error (the check could not be made).

    `hints` help with a failed check, the vaguest first. `seconds` is how long the check ran.
    """

    exercise: str
    name: str
    title: str
    points: int
    status: str
    message: str
    hints: tuple[str, ...] = ()
    seconds: float = 0

    @property
    def score(self) -> int:
        """The points that the student won with this check."""
        return self.points if self.status == "passed" else 0


@dataclass(frozen=True)
class Report:
    """The outcome of one run of checks. `junit` is pytest's own JUnit report.

    `left_out` maps exercises that were wanted but not checked to what the lab lacks for them.
    """

    checks: tuple[Check, ...]
    junit: str = field(default="", repr=False)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def score(self) -> int:
        """The sum of the points that the student won."""
        return sum(check.score for check in self.checks)

    @property
    def points(self) -> int:
        """The sum of the points of all checks."""
        return sum(check.points for check in self.checks)

    def data(self) -> dict[str, Any]:
        """The report for JSON."""
        checks = [{**asdict(check), "score": check.score} for check in self.checks]
        score = {"score": self.score, "points": self.points}
        return {**score, "left_out": dict(self.left_out), "checks": checks}

    def text(self, hints: int = 0) -> str:
        """The report as text: one line for each check, and the message below a failed one.

        `hints` is the number of hints to show for a failed check, from 0 to 3.
        """
        lines = []
        for check in self.checks:
            score = f"{check.score}/{check.points}"
            lines.append(f"{MARKS[check.status]} {score:5} {check.exercise}: {check.title}")
            if check.message:
                lines += [f"          {line}" for line in check.message.splitlines()]
                lines += [f"          hint: {hint}" for hint in check.hints[:hints]]
        lines += [f"- left out: {lack}" for lack in self.left_out.values()]
        return "\n".join([*lines, f"{self.score} of {self.points} points"])

    def raise_for_errors(self) -> None:
        """Raise ResourceError if a check could not be made. Such a check costs no points."""
        if errors := [check for check in self.checks if check.status == "error"]:
            raise answered(
                ResourceError(
                    f"{len(errors)} check(s) could not be made: {errors[0].message}",
                    hint="invoke lab-status",
                )
            )

    def raise_for_status(self) -> None:
        """Like `raise_for_errors`, and raise ChecksFailed if a check failed."""
        self.raise_for_errors()
        if failed := [check for check in self.checks if check.status == "failed"]:
            raise answered(ChecksFailed(f"{len(failed)} of {len(self.checks)} checks failed"))


def grade(root: Path, exercises: Sequence[Exercise], environment: Mapping[str, str]) -> Report:
    """Run the checks of these exercises against a cluster.

    Each exercise gets its own pytest process; several run at once. `root` is the checkout.
    `environment` has the variables that name the cluster and the exercise's namespace. Raises
    ResourceError if pytest could not run the checks.
    """
    reports = each(
        exercises, lambda exercise: _grade(root, exercise, environment), wait.at_once(AT_ONCE)
    )
    document = junit.merged(reports)
    return Report(tuple(parse(document)), document)


def _grade(root: Path, exercise: Exercise, environment: Mapping[str, str]) -> str:
    """pytest's JUnit report of one exercise."""
    with tempfile.TemporaryDirectory(prefix="lab-checks-") as folder:
        # Run in the checkout, with relative names, because pytest expands `$` in its arguments.
        xml = Path(folder) / "report.xml"
        files = [str(path.relative_to(root)) for path in exercise.checks]
        command = [sys.executable, "-m", "pytest", "--quiet", "--no-header", "--tb=short"]
        command += ["-p", "no:cacheprovider", "-o", f"junit_suite_name={exercise.name}"]
        try:
            result = runner.run(
                [*command, f"--junitxml={xml}", *files],
                cwd=root,
                env=environment,
                timeout=LONGEST,
                ok=range(256),
            )
        except DeadlineExceeded as error:
            return unmade(exercise, str(error))
        if result.code not in RAN:
            tail = "\n".join((result.stdout + result.stderr).strip().splitlines()[-15:])
            raise ResourceError(f"the checks did not run (pytest {result.code}):\n{tail}")
        return xml.read_text()


def unmade(exercise: Exercise, why: str) -> str:
    """A JUnit report like pytest's for an exercise whose checks timed out.

    So the reports of the other exercises still count. `why` is the message.
    """
    place = f"{exercise.checks[0].parent.name}.{exercise.checks[0].stem}"
    noted = {"title": "The checks finish in time", "points": "0", "hints": "[]"}
    noted |= {"status": "error", "message": why}
    return junit.document(exercise.name, [junit.Case(place, "checks", "error", why, noted)])


def parse(xml: str) -> list[Check]:
    """The checks in pytest's JUnit report. conftest.py writes the properties that it reads."""
    checks = []
    for case in ElementTree.fromstring(xml).iter("testcase"):
        noted = {item.get("name", ""): item.get("value", "") for item in case.iter("property")}
        folder = case.get("classname", "").split(".")[-2]
        checks.append(
            Check(
                exercise=folder.replace("_", "-"),
                name=case.get("name", "").partition("[")[0],
                title=noted["title"],
                points=int(noted["points"]),
                status=noted["status"],
                message=noted["message"],
                hints=tuple(json.loads(noted["hints"])),
                seconds=float(case.get("time", "0")),
            )
        )
    return checks
