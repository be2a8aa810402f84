"""The lab's own test suites, the cheapest first."""

from __future__ import annotations

import sys
from pathlib import Path

from lab import runner
from lab.config import cache_folder
from lab.errors import ConfigError
from lab.parallel import each

PYTHON = [sys.executable, "-m"]
LAB = [*PYTHON, "pytest", "--exitfirst", "--durations=12"]
# Suites that take too long for every run. `--only` runs one of them.
SLOW = (
    "architecture",
    "bare",
    "devcontainer",
    "firmware",
    "homework",
    "k3s",
    "offline",
    "planes",
    "release",
    "snapshots",
    "stock",
    "vm",
)
SUITES = {
    "lint": [[*PYTHON, "ruff", "check", "."], [*PYTHON, "ruff", "format", "--check", "."]],
    # All checkouts share mypy's cache, which depends only on the files' contents.
    "types": [[*PYTHON, "mypy", "--cache-dir", str(cache_folder() / "mypy")]],
    "unit": [[*PYTHON, "pytest", "tests/unit"]],
    "integration": [[*PYTHON, "pytest", "tests/integration"]],
    "refusals": [[*LAB, "tests/refusals"]],
    "e2e": [[*LAB, "tests/e2e"]],
    **{name: [[*LAB, f"tests/slow/test_{name}.py"]] for name in SLOW},
}
# Suites that need no lab run at the same time. After them, ALONE runs by itself.
QUICK = ("lint", "types", "unit", "integration", "refusals")
ALONE = "e2e"
LIMIT = 1800


def run(root: Path, only: str = "") -> int:
    """Run the suites of CI, or only one. Returns the exit code of the first failure, else 0.

    Output goes to the terminal, suite by suite. Raises ConfigError for an unknown suite.
    """
    if only and only not in SUITES:
        raise ConfigError(f"there is no suite `{only}`; the suites are: {', '.join(SUITES)}")
    if only:
        return _attached(root, only)
    codes = each(QUICK, lambda name: _aside(root, name))
    return next((code for code in codes if code), 0) or _attached(root, ALONE)


def _attached(root: Path, name: str) -> int:
    """Run a suite and show its output immediately."""
    print(f"== {name}", flush=True)
    codes = (runner.attach(command, cwd=root) for command in SUITES[name])
    return next((code for code in codes if code), 0)


def _aside(root: Path, name: str) -> int:
    """Run a suite and print its whole output at its end."""
    told, code = "", 0
    for command in SUITES[name]:
        result = runner.run(command, cwd=root, timeout=LIMIT, ok=range(256))
        told += result.stdout + result.stderr
        if code := result.code:
            break
    print(f"== {name}\n{told}", end="", flush=True)
    return code
