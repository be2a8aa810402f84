"""Grading reads pytest's reports and counts points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import errors, runner
from lab.config import Lab
from lab.errors import DeadlineExceeded, ResourceError
from lab.exercises import catalogue, grading
from lab.exercises.grading import Check, Report
from tests.unit.conftest import ROOT

XML = """<testsuites><testsuite>
<testcase classname="infra.workloads.daemon_set.test_daemon_set" name="test_one[a]" time="1.5">
<properties>
<property name="points" value="2"/><property name="title" value="One"/>
<property name="status" value="failed"/><property name="message" value="no such pod"/>
<property name="hints" value="[&quot;Look.&quot;]"/>
</properties><failure message="x">long</failure></testcase>
</testsuite></testsuites>"""


def report(*statuses: str) -> Report:
    checks = (Check("pod", f"test_{i}", f"c{i}", 2, s, "") for i, s in enumerate(statuses))
    return Report(tuple(checks))


def test_a_check_is_read_from_pytests_report() -> None:
    expected = Check("daemon-set", "test_one", "One", 2, "failed", "no such pod", ("Look.",), 1.5)
    assert grading.parse(XML) == [expected]


def test_checks_that_time_out_do_not_affect_other_exercises(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report has an error for their exercise, and the other exercises' checks."""
    stuck, good = (catalogue.find(ROOT, name) for name in ("mnist", "pod"))

    def run(argv: list[str], **_: Any) -> runner.Result:
        if "junit_suite_name=mnist" in argv:
            raise DeadlineExceeded("`pytest` timed out after 1800 s")
        (xml,) = (word.partition("=")[2] for word in argv if word.startswith("--junitxml="))
        Path(xml).write_text(XML)
        return runner.Result(1, "", "")

    monkeypatch.setattr(runner, "run", run)
    found = grading.grade(ROOT, [stuck, good], {})
    assert [(check.exercise, check.status, check.points) for check in found.checks] == [
        ("mnist", "error", 0),
        ("daemon-set", "failed", 2),
    ]
    with pytest.raises(ResourceError, match="timed out after 1800 s"):
        found.raise_for_errors()


def test_the_report_shows_as_many_hints_as_wanted() -> None:
    check = Check("pod", "test_x", "X", 1, "failed", "expected this", ("faint", "clear", "whole"))
    for hints in range(4):
        shown = Report((check,)).text(hints).splitlines()[2:-1]
        assert shown == [f"          hint: {hint}" for hint in check.hints[:hints]]


def test_only_passed_checks_win_points() -> None:
    mixed = report("passed", "failed", "error")
    assert (mixed.score, mixed.points) == (2, 6)
    assert mixed.data()["checks"][0]["score"] == 2
    assert mixed.text().splitlines()[-1] == "2 of 6 points"


def test_a_check_that_could_not_be_made_is_an_error_and_no_failure() -> None:
    report("passed").raise_for_status()
    with pytest.raises(errors.ChecksFailed, match="1 of 2 checks failed"):
        report("passed", "failed").raise_for_status()
    with pytest.raises(errors.ResourceError, match="could not be made"):
        report("failed", "error").raise_for_status()
    report("passed", "failed").raise_for_errors()
    with pytest.raises(errors.ResourceError, match="could not be made") as caught:
        report("failed", "error").raise_for_errors()
    assert caught.value.answered
