"""The versions that a report of a fault has."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from invoke import Context

import tasks
from lab.toolchain.lock import read_lock
from lab.version import UNKNOWN, Versions, versions
from tests.unit.conftest import ROOT
from tests.unit.test_repository import PROJECT

FOUND = Versions("0.2.0", "1.35.4", "3.13.1", "Debian GNU/Linux 13 (trixie), Linux 6.12 x86_64")


def test_versions_are_those_of_the_files() -> None:
    found = versions()
    lock = read_lock(ROOT / "toolchain" / "lock.toml", "linux-amd64")
    assert found.lab == PROJECT["version"]
    assert found.kubernetes == lock["kubernetes"].version
    assert found.python == platform.python_version()
    assert platform.machine() in found.platform


def test_the_version_stands_in_one_place() -> None:
    """Not in the code, where a release would miss it."""
    sources = [*ROOT.glob("lab/**/*.py"), ROOT / "tasks.py", ROOT / "inv"]
    version = f'"{PROJECT["version"]}"'
    assert [path for path in sources if version in path.read_text()] == []


@pytest.mark.parametrize("text", [None, "", "[project", "project = 1", "[project]\nname = 'lab'"])
def test_a_damaged_checkout_has_unknown_versions(tmp_path: Path, text: str | None) -> None:
    """The fault that is reported may be just that."""
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    assert (versions(tmp_path).lab, versions(tmp_path).kubernetes) == (UNKNOWN, UNKNOWN)


def test_a_system_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> dict[str, str]:
        raise OSError("no /etc/os-release")

    monkeypatch.setattr(platform, "freedesktop_os_release", missing)
    assert versions().platform.startswith(f"{UNKNOWN}, {platform.system()} ")


def test_the_text_has_a_line_for_each() -> None:
    assert FOUND.text() == (
        "lab        0.2.0\n"
        "kubernetes 1.35.4\n"
        "python     3.13.1\n"
        "platform   Debian GNU/Linux 13 (trixie), Linux 6.12 x86_64"
    )


def test_the_task_prints_text_or_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    tasks.version(Context())
    assert capsys.readouterr().out == f"{versions().text()}\n"
    tasks.version(Context(), json_=True)
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "versions": versions().data()}
