"""`invoke mnist-compare`: the same training in every way, again and again, in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lab.errors import ConfigError, ResourceError, tail
from lab.homework.comparison import BASE, Curve, Sample, reduce
from lab.homework.metrics import Environment, Metrics
from lab.output import Status

# Fewer repetitions have no spread, more than these cost an hour.
FEWEST, MOST = 1, 20


class Ended(Protocol):
    """What is looked at of a run; see lab/homework/runs.py."""

    @property
    def asked(self) -> float: ...
    @property
    def seconds(self) -> float: ...
    @property
    def code(self) -> int: ...
    @property
    def output(self) -> str: ...
    @property
    def metrics(self) -> Metrics | None: ...


@dataclass
class Notes:
    """What the runs so far have shown."""

    samples: list[Sample] = field(default_factory=list)
    metrics: dict[str, Metrics] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)

    def add(self, way: str, repetition: int, run: Ended, *, cold: bool = False) -> None:
        """Note a run. Raises ResourceError for one that failed, or that measured nothing."""
        known = run.metrics
        if run.code or known is None or not known.complete:
            why = f"ended with code {run.code}" if run.code else "wrote no metrics"
            raise ResourceError(
                f"training by {way} {why}{tail(run.output)}", hint=f"invoke mnist-run {way}"
            )
        if known.resumed:
            raise ResourceError(f"training by {way} went on from a checkpoint: not a whole run")
        self.samples.append(
            reduce(way, repetition, asked=run.asked, seconds=run.seconds, metrics=known, cold=cold)
        )
        if not cold:
            self.metrics.setdefault(way, known)
            self.curves.append(known.steps)

    @property
    def environments(self) -> Mapping[str, Environment]:
        """Where the first run of each way was."""
        return {way: known.environment for way, known in self.metrics.items()}


def turns(ways: Sequence[str], repetitions: int) -> Iterator[tuple[int, str]]:
    """Repetition and way of every run, in order.

    Every repetition begins with another way: who goes first, and after whom, is nobody's for good.
    """
    for number in range(repetitions):
        at = number % len(ways)
        for way in (*ways[at:], *ways[:at]):
            yield number + 1, way


def repeat(
    start: Callable[[str, bool], Ended],
    ways: Sequence[str],
    repetitions: int,
    status: Status,
    *,
    cold: bool,
    after: Callable[[Notes], None] = lambda _: None,
) -> Notes:
    """Run every way so often, in turns, after one run of each that does not count.

    `start` runs a way, warm or cold (then only its start matters). `after` is told what is known
    after each run.
    """
    notes = Notes()
    for way in ways:
        with status.step(f"{way}, not counted"):
            Notes().add(way, 0, start(way, False))
    for chilled in (False, True) if cold else (False,):
        for repetition, way in turns(ways, repetitions):
            words = f"{way}, {repetition} of {repetitions}{', empty page cache' if chilled else ''}"
            with status.step(words):
                notes.add(way, repetition, start(way, chilled), cold=chilled)
            after(notes)
    return notes


def refuse(repetitions: int, ways: Sequence[str]) -> None:
    """Raises ConfigError for what cannot be compared."""
    if not FEWEST <= repetitions <= MOST:
        raise ConfigError(f"repetitions: {repetitions} is not between {FEWEST} and {MOST}")
    if BASE not in ways:
        raise ConfigError(f"ways: `{BASE}` is what the others are held against")
