"""The jobs of GitHub Actions: what they may do, and that they call what exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import selftest
from lab.config import cache_folder
from tests.unit.conftest import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CI = ROOT / ".github" / "workflows" / "ci.yml"


def read(path: Path) -> dict[Any, Any]:
    """A workflow; YAML 1.1 reads its key `on` as a truth value."""
    workflow: dict[Any, Any] = yaml.safe_load(path.read_text())
    return workflow


def steps(job: dict[str, Any], key: str) -> list[str]:
    """What the steps of a job use or run."""
    return [step[key] for step in job["steps"] if key in step]


def actions() -> Iterator[tuple[str, str, str]]:
    """Every action in any workflow: its name, its commit and the version beside it."""
    for path in FILES:
        used = re.findall(r"uses: (.*)", path.read_text())
        for line in used:
            found = re.fullmatch(r"(actions/[a-z-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
            assert found, f"{path.name}: {line}"
            yield found[1], found[2], found[3]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_workflow_may_read_and_ends(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    for job in workflow["jobs"].values():
        assert "permissions" not in job and job["timeout-minutes"] <= 120
        # No job keeps the token of the repository for what it runs.
        out = [step for step in job["steps"] if "actions/checkout@" in step.get("uses", "")]
        assert [step["with"] for step in out] == [{"persist-credentials": False}]
        assert "pull_request_target" not in workflow[True]


def test_an_action_is_the_same_commit_everywhere() -> None:
    pinned = set(actions())
    assert len({name for name, _, _ in pinned}) == len(pinned)


def test_ci_runs_what_the_readme_says() -> None:
    assert steps(read(CI)["jobs"]["test"], "run") == ["./inv test"]
    assert "\n    ./inv test " in (ROOT / "README.md").read_text()


def test_the_quick_suites_run_on_the_oldest_and_the_newest_python() -> None:
    """`./inv` would prefer the runner's own Python."""
    job = read(CI)["jobs"]["quick"]
    pythons = job["strategy"]["matrix"]["python"]
    launcher = (ROOT / "inv").read_text()
    assert all(f" python{python}" in launcher.replace(":-", " ") for python in pythons)
    assert job["env"] == {"LAB_PYTHON": "python${{ matrix.python }}"}
    suites = re.findall(r"--only (\S+)", " ".join(steps(job, "run")))
    assert suites == ["lint", "types", "unit"] and set(suites) <= set(selftest.QUICK)


def test_the_cache_is_the_labs_and_goes_by_the_lock_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/runner")
    (step,) = [one for one in read(CI)["jobs"]["test"]["steps"] if "cache@" in str(one)]
    assert Path(step["with"]["path"].replace("~", "/home/runner")) == cache_folder({})
    (file,) = re.findall(r"hashFiles\('(.+?)'\)", step["with"]["key"])
    assert (ROOT / file).is_file()
