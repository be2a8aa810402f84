"""`invoke smoke`, by the script lines of the job files in docs/ci, in a checkout of its own."""

from __future__ import annotations

import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import ROOT, Invoke, docker, scrub

pytestmark = pytest.mark.e2e


def script_lines() -> set[str]:
    """What the job files run: GitHub's steps and GitLab's script."""
    github = yaml.safe_load((ROOT / "docs/ci/github.yml").read_text())
    gitlab = yaml.safe_load((ROOT / "docs/ci/gitlab.yml").read_text())
    lines = {step["run"] for step in github["jobs"]["smoke"]["steps"] if "run" in step}
    return lines | set(gitlab["smoke"]["script"])


def test_job_files(checkout: Path) -> None:
    (line,) = script_lines()
    launcher, *words = shlex.split(line)
    assert launcher == "./inv"
    scrub("smoke")
    lab = Invoke(checkout, "smoke")
    done = lab(*words, LAB_WORKERS="0")
    assert done.out.rstrip().endswith("points")
    suite = ElementTree.parse(checkout / "smoke" / "junit.xml").getroot()
    assert len(list(suite.iter("testcase"))) >= 10
    assert not list(suite.iter("failure"))
    assert (checkout / "smoke" / "logs" / "control-plane-1" / "journal.log").stat().st_size
    assert not docker("ps", "--all", "--quiet", "--filter", "label=lab.name=smoke")
