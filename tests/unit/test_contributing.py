"""CONTRIBUTING.md names files and names that exist, also after they have moved."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
QUOTED = re.findall(r"`([^`\n]+)`", TEXT)
# Files are quoted alone, with a folder or an ending; a command has blanks.
PATHS = sorted(
    {
        one
        for one in QUOTED
        if " " not in one
        and one != "./inv"
        and ("/" in one or re.search(r"\.[a-z]+$", one) or (ROOT / one).exists())
    }
)
# `NAME` in `FILE`: what the file defines.
DEFINED = re.findall(r"`(\w+)`\s+in\s+`([^`\s]+\.py)`", TEXT)
MODULES = sorted(set(re.findall(r"python -m ([\w.]+)", TEXT)))
# What a clone gets only when it runs.
MADE = {".venv"}


@pytest.mark.parametrize("path", PATHS)
def test_a_file_exists(path: str) -> None:
    """`NAME` stands for any name."""
    found = path in MADE or list(ROOT.glob(path.replace("NAME", "*")))
    assert found, f"CONTRIBUTING.md names {path}"


@pytest.mark.parametrize(("name", "path"), DEFINED)
def test_a_name_is_defined_there(name: str, path: str) -> None:
    defined = rf"^(class |def )?{name}\b( *[:=(]|$)"
    assert re.search(defined, (ROOT / path).read_text(), re.MULTILINE), f"{name} in {path}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_a_program(module: str) -> None:
    source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()
    assert 'if __name__ == "__main__":' in source


def test_the_patterns_find_what_the_page_names() -> None:
    """A change of its form must not leave the other tests without anything to look at."""
    assert len(PATHS) > 50 and len(DEFINED) > 10 and len(MODULES) == 3
    assert {"tasks.py", "lab/runner.py", "Vagrantfile", "infra/workloads/NAME/"} <= set(PATHS)


def test_every_kind_of_change_has_a_recipe() -> None:
    titles = re.findall(r"^### (.+)$", TEXT.partition("## Recipes")[2].partition("\n## ")[0], re.M)
    wanted = "exercise,lint rule,task,doctor probe,conformance item,provider,distribution,version"
    assert [title.split(maxsplit=1)[1] for title in titles] == wanted.split(",")


def test_the_example_of_a_commit_follows_the_rule() -> None:
    (subject,) = re.findall(r"^    (\w+: .+)$", TEXT, re.M)
    assert len(subject) <= 72 and not subject.endswith(".")
