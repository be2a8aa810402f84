"""The comparison as data: the values kept of every run, and the quantities computed from them.

Times are in seconds, sizes and memory in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from lab.homework.asked import WAYS as KNOWN
from lab.homework.metrics import Data, Environment, Metrics
from lab.homework.spread import Difference, difference

# In the order of the tables. All other ways are compared with the first.
BASE = "bare"
WAYS = (BASE, *(way for way in KNOWN if way != BASE))
# Numbers are rounded to this many decimals.
DECIMALS = 5

Curve = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Sample:
    """One run: its way, its repetition (from 1), and its phases in seconds.

    - setup: from the command to the process: the container is created
    - python: from the process to the first line of main.py
    - imports: torch and torchvision
    - loading: data read, model made
    - training: all epochs, training alone
    - testing: the rest until main.py's end: tests, checkpoints, metrics
    - ending: from there until the command returns: the container is removed

    A `cold` run starts with an empty page cache, and only its start counts. `processor` is the
    processor time of all threads together, in seconds. `processor` and `images_per_second` cover
    training alone. `accuracy` (0 to 1) and `test_loss` are of the last epoch. `memory` is the peak
    in bytes.
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
    """A part of a run's time: the name of its field, and its title."""

    key: str
    title: str


# In the order of time. The first four are the start of a run.
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
    """An image that a run needs: its size in bytes, and the seconds that it took to make.

    None stands for an unknown value. `words` say how it was made.
    """

    name: str
    size: int | None
    seconds: float | None
    words: str


@dataclass(frozen=True)
class Comparison:
    """All runs of one comparison, and their common settings.

    `seconds` is how long all of it took. `epochs` and `threads` are those of every run, `options`
    the options of main.py. `curves` are the loss curves of each way's first repetition, as pairs of
    images seen and loss. `apart` is the largest difference of any run's curve from the first run's,
    None if they are not curves of the same training. `no_cold` says why there are no runs with an
    empty page cache.
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
        """The ways that have runs, in the order of `WAYS`."""
        found = {sample.way for sample in self.samples}
        return [way for way in WAYS if way in found]

    @property
    def repetitions(self) -> int:
        """The number of repetitions of every way."""
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
    """A quantity that every run has a value of.

    `unit` is s, bytes, rate or part. `more` and `less` are the words for a larger and a smaller
    value. `cold` selects the runs with an empty page cache.
    """

    title: str
    unit: str
    more: str
    less: str
    value: Callable[[Sample], float]
    cold: bool = False


# Other programs on the machine make a training longer, but hardly change its processor time.
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
    """The values of a quantity for a way's runs, in the order of the repetitions."""
    return [quantity.value(sample) for sample in found.of(way, cold=quantity.cold)]


def differ(found: Comparison, quantity: Quantity, base: str, other: str) -> Difference | None:
    """The difference of `other` from `base`; None if one of them was not measured."""
    left, right = values(found, quantity, base), values(found, quantity, other)
    return difference(left, right) if left and right else None


def reduce(
    way: str, repetition: int, *, asked: float, seconds: float, metrics: Metrics, cold: bool = False
) -> Sample:
    """The sample of a run that began at `asked` (Unix seconds) and took `seconds`.

    Process start times have a resolution of 10 ms. The neighbouring phase absorbs the error.
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
    """The largest difference of a loss from the first curve's loss after the same images.

    None if the curves have different points: then they do not show the same training.
    """
    if not curves:
        return 0.0
    first = dict(curves[0])
    if any(dict(curve).keys() != first.keys() for curve in curves):
        return None
    return max((abs(loss - first[seen]) for curve in curves for seen, loss in curve), default=0.0)


def rounded(value: Any) -> Any:
    """A document whose numbers are rounded to the digits that a measurement supports."""
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def read(data: Mapping[str, Any]) -> Comparison:
    """The comparison that `data` wrote. Unknown keys are ignored."""
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
