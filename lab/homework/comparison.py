"""The comparison as data: what is kept of every run, and what can be asked of all of them.

Times are in seconds, sizes and memory in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from lab.homework.asked import WAYS as KNOWN
from lab.homework.metrics import Data, Environment, Metrics
from lab.homework.spread import Difference, difference

# In the order in which they are told; the others are held against the first.
BASE = "bare"
WAYS = (BASE, *(way for way in KNOWN if way != BASE))
# Numbers are kept with so many decimals.
DECIMALS = 5

Curve = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Sample:
    """One run: its way, its repetition (from 1), and where its time went.

    setup     from the command to the process: the container is made
    python    from the process to the first line of main.py
    imports   torch and torchvision
    loading   data read, model made
    training  all epochs, training alone
    testing   the rest until main.py's end: tests, checkpoints, metrics
    ending    from there until the command was over: the container is taken away

    `cold` is one with an empty page cache, of which only the start counts. `images_per_second` and
    `processor`, the seconds of processor time of all threads together, are of training alone,
    `accuracy` (0 to 1) and `test_loss` of the end; `memory` is the largest.
    """

    way: str
    repetition: int
    cold: bool
    setup: float
    python: float
    imports: float
    loading: float
    training: float
    testing: float
    ending: float
    processor: float
    images_per_second: float
    accuracy: float
    test_loss: float
    memory: int

    @property
    def first_line(self) -> float:
        """From the command to the first line of Python."""
        return self.setup + self.python

    @property
    def total(self) -> float:
        """From the command to its end."""
        return float(sum(getattr(self, phase.key) for phase in PHASES))


@dataclass(frozen=True)
class Phase:
    """A part of a run's time: the name of its field, and what it is called."""

    key: str
    title: str


# In the order in which they pass; the start of a run is the first four.
PHASES = (
    Phase("setup", "container made"),
    Phase("python", "Python started"),
    Phase("imports", "torch imported"),
    Phase("loading", "data and model loaded"),
    Phase("training", "training"),
    Phase("testing", "tests and checkpoints"),
    Phase("ending", "container gone"),
)
START = PHASES[:4]


@dataclass(frozen=True)
class Part:
    """Something that had to be made before a run: how large it is, and how long that took.

    None where it is not known; `words` say how it was measured.
    """

    name: str
    size: int | None
    seconds: float | None
    words: str


@dataclass(frozen=True)
class Comparison:
    """All runs of one comparison, and what they were runs of.

    `epochs` and `threads` are those of every run, `options` what else was asked of main.py, as it
    was typed. `curves` are the loss curves of the ways, images seen and loss, of their first
    repetitions; `apart` is the largest difference of any run's curve from the first one's, None
    where they are not curves of the same training.
    `no_cold` says why there are no runs with an empty page cache.
    """

    date: str
    place: str
    seconds: float
    dataset: Data
    epochs: int
    threads: int
    options: str
    parts: tuple[Part, ...]
    samples: tuple[Sample, ...]
    environments: Mapping[str, Environment]
    curves: Mapping[str, Curve]
    apart: float | None
    no_cold: str

    @property
    def ways(self) -> list[str]:
        """The ways that were run, in the usual order."""
        found = {sample.way for sample in self.samples}
        return [way for way in WAYS if way in found]

    @property
    def repetitions(self) -> int:
        """How often every way was run."""
        return max((sample.repetition for sample in self.samples if not sample.cold), default=0)

    def of(self, way: str, *, cold: bool = False) -> list[Sample]:
        """The runs of one way, in their order."""
        return [one for one in self.samples if one.way == way and one.cold == cold]

    def data(self) -> dict[str, Any]:
        """The comparison for JSON."""
        document: dict[str, Any] = rounded(asdict(self))
        return document


@dataclass(frozen=True)
class Quantity:
    """Something that every run has a value of.

    `unit` is s, bytes, rate or part; `more` and `less` say in words what a larger and a smaller
    value is. `cold` runs have it only where only the start matters.
    """

    title: str
    unit: str
    more: str
    less: str
    value: Callable[[Sample], float]
    cold: bool = False


# What others take of the machine makes a training longer, and hardly its processor time.
PROCESSOR = Quantity("processor time of training", "s", "more", "less", lambda s: s.processor)
QUANTITIES = (
    Quantity("command to first line of Python", "s", "longer", "shorter", lambda s: s.first_line),
    Quantity(
        "the same with an empty page cache",
        "s",
        "longer",
        "shorter",
        lambda s: s.first_line,
        cold=True,
    ),
    Quantity("import of torch", "s", "longer", "shorter", lambda s: s.imports),
    Quantity(
        "import with an empty page cache", "s", "longer", "shorter", lambda s: s.imports, cold=True
    ),
    Quantity("data and model loaded", "s", "longer", "shorter", lambda s: s.loading),
    Quantity("training, all epochs", "s", "longer", "shorter", lambda s: s.training),
    PROCESSOR,
    Quantity("images per second", "rate", "faster", "slower", lambda s: s.images_per_second),
    Quantity("peak memory", "bytes", "more", "less", lambda s: float(s.memory)),
    Quantity("accuracy", "part", "better", "worse", lambda s: s.accuracy),
    Quantity("from the command to its end", "s", "longer", "shorter", lambda s: s.total),
)
RATE = next(one for one in QUANTITIES if one.unit == "rate")
FIRST_LINE = QUANTITIES[0]


def values(found: Comparison, quantity: Quantity, way: str) -> list[float]:
    """What every run of a way has of a quantity, in the order of the repetitions."""
    return [quantity.value(sample) for sample in found.of(way, cold=quantity.cold)]


def differ(found: Comparison, quantity: Quantity, base: str, other: str) -> Difference | None:
    """One way held against another; None where one of them was not measured."""
    left, right = values(found, quantity, base), values(found, quantity, other)
    return difference(left, right) if left and right else None


def reduce(
    way: str, repetition: int, *, asked: float, seconds: float, metrics: Metrics, cold: bool = False
) -> Sample:
    """What is kept of a run that began at `asked` (unix seconds) and took `seconds`.

    A process' start is known in steps of 10 ms only: what it was too early or too late goes to the
    neighbouring part.
    """
    clock = metrics.clock
    started = min(max(clock.started, asked), clock.first_line)
    training = sum(epoch.seconds for epoch in metrics.epochs)
    images = metrics.data.train * len(metrics.epochs)
    last = metrics.epochs[-1] if metrics.epochs else None
    return Sample(
        way=way,
        repetition=repetition,
        cold=cold,
        setup=started - asked,
        python=clock.first_line - started,
        imports=clock.imported - clock.first_line,
        loading=clock.ready - clock.imported,
        training=training,
        testing=max(clock.ended - clock.ready - training, 0.0),
        ending=max(asked + seconds - clock.ended, 0.0),
        processor=sum(epoch.processor for epoch in metrics.epochs),
        images_per_second=images / training if training else 0.0,
        accuracy=last.accuracy if last else 0.0,
        test_loss=last.test_loss if last else 0.0,
        memory=metrics.peak_memory,
    )


def apart(curves: Sequence[Curve]) -> float | None:
    """The largest difference of a loss from that of the first curve at the same place.

    None where the places are not the same: those are not curves of the same training.
    """
    if not curves:
        return 0.0
    first = dict(curves[0])
    if any(dict(curve).keys() != first.keys() for curve in curves):
        return None
    return max((abs(loss - first[seen]) for curve in curves for seen, loss in curve), default=0.0)


def rounded(value: Any) -> Any:
    """Numbers of a document without the digits that nobody has measured."""
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def read(data: Mapping[str, Any]) -> Comparison:
    """The comparison that `data` wrote; keys that it does not know are left alone."""
    known = {field.name: data[field.name] for field in fields(Comparison)}
    return Comparison(
        **{
            **known,
            "dataset": Data(**data["dataset"]),
            "parts": tuple(Part(**part) for part in data["parts"]),
            "samples": tuple(Sample(**sample) for sample in data["samples"]),
            "environments": {
                way: Environment(**place) for way, place in data["environments"].items()
            },
            "curves": {
                way: tuple((int(seen), float(loss)) for seen, loss in curve)
                for way, curve in data["curves"].items()
            },
        }
    )
