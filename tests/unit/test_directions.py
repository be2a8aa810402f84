"""Imports point one way: the line in docs/design.md is the rule, and no module breaks it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.unit.conftest import ROOT

GROUND = "ground"


def levels() -> Mapping[str, int]:
    """Room -> its level, counted from the ground, as the line in docs/design.md orders them."""
    text = (ROOT / "docs" / "design.md").read_text()
    line = re.search(r"`(ground < .+?)`", text, re.DOTALL)
    assert line, "docs/design.md has no line of rooms"
    steps = " ".join(line[1].split()).split(" < ")
    return {room: level for level, step in enumerate(steps) for room in step.split(", ")}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def imported(path: Path) -> Iterator[str]:
    """The modules of lab and infra that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if is_module(full) else node.module


def room_of(module: str) -> str:
    """`host` for lab.host.facts; `ground` for a module that lies in lab/ itself."""
    _, *rest = module.split(".")
    return rest[0] if rest and (ROOT / "lab" / rest[0]).is_dir() else GROUND


def test_rooms_import_from_below_only() -> None:
    order = levels()
    rooms = {path.name for path in (ROOT / "lab").iterdir() if (path / "__init__.py").exists()}
    assert rooms | {GROUND, "tasks"} == set(order)
    wrong = []
    for path in (ROOT / "lab").rglob("*.py"):
        here = room_of(module_of(path))
        for module in imported(path):
            there = room_of(module)
            if module.split(".")[0] == "lab" and here != there and order[there] >= order[here]:
                wrong.append(f"{module_of(path)} ({here}) imports {module} ({there})")
    assert not wrong, "\n".join(wrong)


def test_what_runs_in_clusters_and_programs_does_not_know_the_lab() -> None:
    """Pulumi runs infra/ by itself, for a student who never types a task."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / "infra").rglob("*.py")
        for module in imported(path)
        if module.split(".")[0] in ("lab", "tasks")
    ]
    assert not wrong, "\n".join(wrong)


def test_a_room_is_entered_without_importing_anything() -> None:
    """`python3 -m lab.machines.bare` has no package, and every task pays for what these import."""
    for room in ("host", "images", "machines", "lifecycle", "cluster", "exercises", "cli"):
        (docstring,) = ast.parse((ROOT / "lab" / room / "__init__.py").read_text()).body
        assert isinstance(docstring, ast.Expr)
