"""The exercises: found by their folders, described by their exercise.toml."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from lab.errors import NotFoundError


@dataclass(frozen=True)
class Exercise:
    """One exercise: its name is its stack and its namespace, `nodes` how many it needs.

    `image` is one that has to be in the lab's registry first. `pulls` is one without a tag that
    nodes pull from its own registry, unless their distribution brings it. `heavy` is one that keeps
    all of a machine's processors busy: several of it at once would only be in each other's way.
    """

    name: str
    folder: Path
    title: str
    order: int
    slide: str
    nodes: int
    image: str = ""
    pulls: str = ""
    heavy: bool = False

    def data(self) -> dict[str, object]:
        """The exercise for JSON."""
        return {"name": self.name, "title": self.title, "slide": self.slide, "nodes": self.nodes}

    @property
    def checks(self) -> list[Path]:
        """The files with its checks."""
        return sorted(self.folder.glob("test_*.py"))


def discover(root: Path) -> list[Exercise]:
    """Every exercise of a checkout in the lecture's order."""
    found = [
        Exercise(
            name=path.parent.name.replace("_", "-"),
            folder=path.parent,
            **tomllib.loads(path.read_text()),
        )
        for path in root.glob("infra/workloads/*/exercise.toml")
    ]
    return sorted(found, key=lambda exercise: exercise.order)


def find(root: Path, name: str) -> Exercise:
    """The exercise of this name. Raises NotFoundError with the nearest one that exists."""
    known = {exercise.name: exercise for exercise in discover(root)}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        meant = f"; did you mean `{near[0]}`?" if near else ""
        raise NotFoundError(f"there is no exercise `{name}`{meant}", hint="invoke exercise-list")
    return known[name]
