"""Tables in the documentation are true, and no file says what it must not."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from invoke import Program

import tasks
from lab import config, errors, selftest
from lab.config import Settings
from lab.exercises import catalogue
from lab.host import doctor
from tests.unit.conftest import ROOT

VARIABLE = re.compile(r"\bLAB_[A-Z_]+\b")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
DOCS = [*(ROOT / name for name in PAGES), *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> Iterator[str]:
    """Every command line of the lab's own in an indented or fenced block of the documentation."""
    for path in (*DOCS, *ROOT.glob("infra/workloads/*/README.md")):
        for line in path.read_text().splitlines():
            if match := re.match(r"(?:    |\$ )?((?:invoke|\./inv) [a-z].*)$", line):
                yield match[1]


def rows(path: Path, heading: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading."""
    lines = path.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_every_suite_is_documented() -> None:
    cells = " ".join(row[0] for row in rows(ROOT / "docs/ci.md", "suite"))
    slow = [row[0].strip("`") for row in rows(ROOT / "docs/ci.md", "by name")]
    assert [*re.findall("`(.+?)`", cells), *slow] == list(selftest.SUITES)
    assert slow == list(selftest.SLOW)


def test_every_key_is_documented_with_its_default() -> None:
    table = {row[0].strip("`"): row for row in rows(ROOT / "docs/configuration.md", "key")}
    assert set(table) == set(config.KEYS)
    plain = Settings(root=Path())
    for key, (_, variable, _, default) in table.items():
        last = key.split(".")[-1]
        assert variable == f"`LAB_{last.upper()}`"
        holder = plain.ports if key.startswith("ports.") else plain
        value = {
            "version": 1,
            "mirror": "none",
            "network.ca": "none",
            "network.registry_mirror": "none",
        }.get(key, getattr(holder, last, None))
        assert default.strip("`") == str("auto" if value is None else value), key


@pytest.mark.parametrize(
    "path", [*DOCS, ROOT / "lab" / "offline" / "serve.py"], ids=lambda path: path.name
)
def test_variables_that_are_told_exist(path: Path) -> None:
    """Those that the lab reads, and those that `lab-env` sets."""
    known = {
        name
        for file in ("docs/configuration.md", "lab/cluster/stacks.py")
        for name in VARIABLE.findall((ROOT / file).read_text())
    }
    assert set(VARIABLE.findall(path.read_text())) <= known


def test_the_example_shows_the_defaults() -> None:
    """lab.toml, its comments taken away, is a valid lab with nothing but defaults."""
    text = "\n".join(
        line[2:]
        for line in (ROOT / "lab.toml").read_text().splitlines()
        if " = " in line or "[" in line
    )
    forward = text.index("[[forward]]")
    shown = tomllib.loads(text[:forward])
    keys = set(config._flatten(shown))
    assert keys == set(config.KEYS)
    assert tomllib.loads(text[forward:])["forward"][0].keys() == set(config.FORWARD_KEYS)
    assert tomllib.loads((ROOT / "lab.toml").read_text()) == {}


def test_exit_codes() -> None:
    table = {
        int(code): sorted(filter(None, names.split(", ")))
        for code, names, _ in rows(ROOT / "docs/exit-codes.md", "code")
    }
    assert table == errors.exit_codes()


def test_every_finding_of_the_doctor_is_documented() -> None:
    documented = set(
        re.findall(r"`([a-z-]+)`", " ".join(r[0] for r in rows(ROOT / "docs/doctor.md", "id")))
    )
    source = Path(doctor.__file__).read_text()
    made = set(re.findall(r'Finding\(\s*"([a-z-]+)"', source)) | {"vagrant", "docker"}
    assert (
        documented - {"source-release", "source-mirror", "source-wheel", "source-modules"} == made
    )


def test_every_task_is_documented_once() -> None:
    lines = (ROOT / "docs" / "tasks.md").read_text().splitlines()
    first = " ".join(line.split("|")[1] for line in lines if line.startswith("| `"))
    names = re.findall(r"`([a-z-]+)`", first)
    assert sorted(names) == sorted(name.replace("_", "-") for name in tasks.namespace.task_names)


def test_the_index_lists_every_page_once() -> None:
    links = re.findall(r"\]\(([a-z-]+\.md)\)", (ROOT / "docs" / "README.md").read_text())
    pages = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"]
    assert sorted(links) == sorted(pages)


def test_the_readmes_exercises_are_the_folders() -> None:
    expected = [
        [f"[{item.name}]({item.folder.relative_to(ROOT)}/README.md)", item.title, item.slide]
        for item in catalogue.discover(ROOT)
    ]
    assert rows(ROOT / "README.md", "name") == expected


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert "://" in link or (path.parent / link).exists(), link


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_anchors_lead_to_headings(path: Path) -> None:
    for name, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text()):
        target = path.parent / name if name else path
        assert anchor in anchors(target.read_text()), f"{name}#{anchor}"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_tasks_that_are_shown_exist(path: Path) -> None:
    names = {name.replace("_", "-") for name in tasks.namespace.task_names}
    for name in re.findall(r"(?:invoke|\./inv) ([a-z]+(?:-[a-z]+)?)\b", path.read_text()):
        assert name in names, name


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_commands_that_are_shown_are_understood(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """By Invoke's own parser, which rejects missing arguments and unknown flags."""
    words = shlex.split(line, comments=True)
    monkeypatch.setattr(sys, "argv", words)
    program = Program(namespace=tasks.namespace)
    program.create_config()
    program.parse_core(words)
    program.parse_collection()
    program.parse_tasks()
    assert program.tasks


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_job_files_are_yaml(name: str) -> None:
    job = yaml.safe_load((ROOT / "docs" / "ci" / f"{name}.yml").read_text())
    assert "./inv smoke --output smoke" in str(job)
