"""The measurements of each orchestrator as data: scenes, courses and the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Scene:
    """One event in the app's life, e.g. a killed copy.

    `at` is the time since the start of the course, and `watched` how long the scene was observed,
    both in seconds. `seconds` is the time until the app had recovered, None if it did not. `asked`
    and `lost` count the client's requests meanwhile, `copies` the copies that answered at the end.
    `words` is the tool's message.
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
    """An orchestrator's scenes, and the client's answered and lost requests per half second."""

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
    """All courses of one run, with its date, its machines and its duration in seconds."""

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
