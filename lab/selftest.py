"""The lab's own tests, in the order in which a fault is cheapest to find."""

from __future__ import annotations

import sys
from pathlib import Path

from lab import runner
from lab.errors import ConfigError

PYTHON = [sys.executable, "-m"]
SUITES = {
    "lint": [[*PYTHON, "ruff", "check", "."], [*PYTHON, "ruff", "format", "--check", "."]],
    "types": [[*PYTHON, "mypy"]],
    "unit": [[*PYTHON, "pytest", "tests/unit"]],
    "integration": [[*PYTHON, "pytest", "tests/integration"]],
    "e2e": [[*PYTHON, "pytest", "--exitfirst", "--durations=12", "tests/e2e"]],
}
# Only when it is asked for: what takes too long for every run.
APART = {"vm": [[*PYTHON, "pytest", "--exitfirst", "--durations=12", "tests/vm"]]}


def run(root: Path, only: str = "") -> int:
    """Run the suites, or one of them; returns the exit code of the first that fails, else 0.

    Output goes straight to the terminal. Raises ConfigError for a suite that does not exist.
    """
    known = {**SUITES, **APART}
    if only and only not in known:
        raise ConfigError(f"there is no suite `{only}`; there are: {', '.join(known)}")
    for name in [only] if only else SUITES:
        print(f"== {name}", flush=True)
        for command in known[name]:
            if code := runner.attach(command, cwd=root):
                return code
    return 0
