"""The exercises of a checkout. Each folder's exercise.toml describes one."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from lab.errors import NotFoundError


@dataclass(frozen=True)
class Exercise:
    """One exercise. Its name is also the name of its stack and of its namespace.

    `nodes` is the number of machines that it needs. `image` must be in the lab's registry first.
    `pulls` is an image without a tag. Nodes pull it from its own registry, unless their
    distribution brings it. A `heavy` exercise keeps all processors of a machine busy, so the lab
    tries its mutants one at a time.
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
        """The files with the checks, sorted by name."""
        return sorted(self.folder.glob("test_*.py"))


def discover(root: Path) -> list[Exercise]:
    """Every exercise of the checkout `root`, in the order of the lecture."""
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
    """The exercise of this name. Raises NotFoundError, which suggests the most similar name."""
    known = {exercise.name: exercise for exercise in discover(root)}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        meant = f"; did you mean `{near[0]}`?" if near else ""
        raise NotFoundError(f"there is no exercise `{name}`{meant}", hint="invoke exercise-list")
    return known[name]
