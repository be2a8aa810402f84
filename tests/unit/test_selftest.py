"""The suites run in parallel, the one with a lab last."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import errors, runner, selftest
from tests.unit.conftest import ROOT


def test_an_unknown_suite_is_an_error() -> None:
    with pytest.raises(
        errors.ConfigError, match=r"no suite `unti`; the suites are: lint, .* homework"
    ):
        selftest.run(ROOT, "unti")


def test_parallel_suites_run_before_the_suite_with_a_lab(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output of all suites appears. The suite with a lab only runs if they pass."""
    attached: list[str] = []
    codes = {"mypy": 1}

    def run(command: list[str], **_: object) -> runner.Result:
        return runner.Result(codes.get(command[2], 0), f"{command[2]} {command[-1]}\n", "")

    def attach(command: list[str], cwd: Path) -> int:
        attached.append(command[-1])
        return 0

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(runner, "attach", attach)
    assert selftest.run(ROOT) == 1
    assert "== unit\npytest tests/unit\n" in capsys.readouterr().out
    assert attached == []
    codes.clear()
    assert selftest.run(ROOT) == 0
    assert attached == ["tests/e2e"]
