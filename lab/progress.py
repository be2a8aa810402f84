"""How long steps take: kept from earlier runs, and said while a step runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.state import write_aside

# In the cache, which all labs share.
FILE = "durations.json"
# So many runs of a step are kept, and so many steps: the names of some contain numbers.
RUNS, STEPS = 5, 200
# Seconds from which the duration of a step is worth keeping.
SHORTEST = 2.0


@dataclass(frozen=True)
class Running:
    """A step that runs: its name, when it started (seconds of the monotonic clock), and how many
    seconds it usually takes, if that is known."""

    name: str
    started: float
    usual: float | None = None


@dataclass(frozen=True)
class History:
    """How long each step took in earlier runs, kept in the folder `cache`."""

    cache: Path

    def usual(self, name: str) -> float | None:
        """The median of a step's last runs in seconds; None for a step that never finished."""
        # Not by `statistics`: every task would pay for its import.
        runs = sorted(self._read().get(name, []))
        return runs[len(runs) // 2] if runs else None

    def add(self, name: str, seconds: float) -> None:
        """Keep the duration of a step that has finished; a full disk is no reason to fail."""
        if seconds < SHORTEST:
            return
        known = self._read()
        runs = [*known.pop(name, []), round(seconds, 1)][-RUNS:]
        kept = dict([*known.items(), (name, runs)][-STEPS:])
        try:
            write_aside(self.cache / FILE, json.dumps(kept, indent=0), mode=0o644)
        except OSError:
            return

    def _read(self) -> dict[str, list[float]]:
        try:
            known = json.loads((self.cache / FILE).read_text())
            return {str(name): [float(run) for run in runs] for name, runs in known.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def duration(seconds: float) -> str:
    """A duration for people: `45 s`, `2 min 10 s`, `1 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def line(running: Sequence[Running], now: float, note: str = "") -> str:
    """What is being done, for how long, and how long it usually takes: the newest steps first.

    `note` is what the newest step reports of itself, for instance the package that Go compiles.
    """
    told = []
    for step in reversed(running):
        text = f"{step.name}  {duration(now - step.started)}"
        if step.usual:
            text += f", usually {duration(step.usual)}"
        told.append(text)
    if note and note != running[-1].name:
        told[0] += f": {note}"
    return "; ".join(told)
