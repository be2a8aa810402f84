"""Suites that run only on request still import, and find all their fixtures."""

from __future__ import annotations

import subprocess
import sys

from tests.integration.conftest import ROOT


def test_pytest_can_plan_every_suite() -> None:
    """A plan imports every module and looks up every fixture, but runs no test."""
    plan = [sys.executable, "-m", "pytest", "--setup-plan", "--quiet", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*plan, "tests/refusals", "tests/e2e", "tests/slow"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert all(name in done.stdout for name in ("test_offline.py::", "test_1_lifecycle.py::"))
