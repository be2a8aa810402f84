"""Suites that are run only when they are asked for could rot unseen."""

from __future__ import annotations

import subprocess
import sys

from tests.integration.conftest import ROOT


def test_every_test_finds_what_it_asks_for() -> None:
    """pytest plans every suite without running it: all import, and no fixture is missing."""
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
