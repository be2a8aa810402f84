"""What is measured of each orchestrator, as data: scenes, courses, the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Scene:
    """One thing that happened to the app.

    `at` is when, in seconds from the beginning of the course, and `watched` for how long it was
    looked at. `seconds` is how long it took until all was well again, None when that did not come
    about; `asked` and `lost` are the visitor's questions meanwhile, `copies` how many answered in
    the end, and `words` what the tool said of it.
    """

    name: str
    at: float
    watched: float
    seconds: float | None
    asked: int = 0
    lost: int = 0
    copies: int = 1
    words: str = ""


@dataclass(frozen=True)
class Course:
    """An orchestrator's scenes, by name, and what the visitor saw in every half second."""

    orchestrator: str
    version: str
    machines: int
    # Whether a machine without a copy answers for the app.
    anywhere: bool
    scenes: tuple[Scene, ...]
    bars: tuple[tuple[int, int], ...]

    def scene(self, name: str) -> Scene:
        """The scene of this name."""
        return next(scene for scene in self.scenes if scene.name == name)


@dataclass(frozen=True)
class Comparison:
    """All courses of one run, when and on what machines, and how long the run took."""

    date: str
    place: str
    seconds: float
    courses: tuple[Course, ...]

    def data(self) -> dict[str, Any]:
        """The comparison for JSON."""
        return asdict(self)


def read(data: Mapping[str, Any]) -> Comparison:
    """The comparison that `data` wrote."""
    return Comparison(
        data["date"], data["place"], data["seconds"], tuple(map(_course, data["courses"]))
    )


def _course(data: Mapping[str, Any]) -> Course:
    scenes: Sequence[Mapping[str, Any]] = data["scenes"]
    return Course(
        **{
            **data,
            "scenes": tuple(Scene(**scene) for scene in scenes),
            "bars": tuple((good, bad) for good, bad in data["bars"]),
        }
    )
