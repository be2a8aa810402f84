"""What people look for at the top of a repository."""

from __future__ import annotations

import hashlib
import re
import tomllib
from datetime import date

from tests.unit.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The text of https://www.apache.org/licenses/LICENSE-2.0.txt, from its title to its appendix.
APACHE = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_the_licence_is_the_standard_text() -> None:
    """Tools that recognise licences compare whole texts, so nothing is filled in or added."""
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE
    assert (PROJECT["license"], PROJECT["license-files"]) == ("Apache-2.0", ["LICENSE"])


def test_the_changelog_has_the_form_that_programs_read() -> None:
    """https://keepachangelog.com: Unreleased, then versions with their dates, the newest first."""
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    unreleased, *released = [line[3:] for line in lines if line.startswith("## ")]
    assert unreleased == "[Unreleased]"
    found = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\S+)", title) for title in released]
    versions = [tuple(map(int, one.groups()[:3])) for one in found if one]
    dates = [date.fromisoformat(one[4]) for one in found if one]
    assert len(versions) == len(released)
    assert versions == sorted(set(versions), reverse=True) and dates == sorted(dates, reverse=True)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {line[4:] for line in lines if line.startswith("### ")} <= kinds


def test_the_changelog_tells_of_this_version() -> None:
    assert f"\n## [{PROJECT['version']}] - " in (ROOT / "CHANGELOG.md").read_text()
