"""The metrics document: what main.py writes down of a training, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.errors import ResourceError

SCHEMA = 1


@dataclass(frozen=True)
class Data:
    """What was trained on: the set's name, and how many images it has of each kind."""

    name: str
    train: int
    test: int


@dataclass(frozen=True)
class Clock:
    """When things happened, in unix seconds by the clock of the machine.

    `started` is the start of the process (in steps of 10 ms), `first_line` the first statement of
    main.py, `imported` after its imports, `ready` with data loaded and model made, `ended` the
    last time that the document was written.
    """

    started: float
    first_line: float
    imported: float
    ready: float
    ended: float


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images.

    `loss` is the mean of training, `accuracy` (0 to 1) and `test_loss` are of the test images;
    `seconds`, `processor` (seconds of processor time, of all threads together) and
    `images_per_second` are of training alone.
    """

    epoch: int
    loss: float
    test_loss: float
    accuracy: float
    seconds: float
    processor: float
    images_per_second: float


@dataclass(frozen=True)
class Environment:
    """Where a training ran: what can make it slower or faster, and who it was.

    `cpus` may be used, of which `cpu_limit` (cores) and `memory_limit` (bytes) are the cgroup's,
    None without one. `seccomp` is 0 (off), 1 or 2 (filter), `root` the kind of file system that /
    is, and `mount` the kind that the image is mounted as.
    """

    kernel: str
    cgroup: int
    cpus: int
    cpu_limit: float | None
    memory_limit: int | None
    seccomp: int
    speculation: str
    uid: int
    hostname: str
    root: str
    mount: str
    python: str
    torch: str
    blas: str


@dataclass(frozen=True)
class Metrics:
    """A training as main.py saw it.

    `complete` says whether it came to its end, `resumed` how many epochs an earlier process had
    done, `workers` how many trained together. `steps` is the loss curve: images seen since the
    beginning, and the loss there. `peak_memory` is in bytes.
    """

    complete: bool
    data: Data
    options: Mapping[str, Any]
    clock: Clock
    epochs: tuple[Epoch, ...]
    steps: tuple[tuple[int, float], ...]
    peak_memory: int
    threads: int
    resumed: int
    workers: int
    environment: Environment

    @property
    def accuracy(self) -> float | None:
        """Of the test images, how many were right in the end (0 to 1); None before an epoch."""
        return self.epochs[-1].accuracy if self.epochs else None


def parse(text: str) -> Metrics:
    """The document that main.py wrote. Raises ResourceError for anything else."""
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']!r}, expected {SCHEMA}")
        return _read(document)
    except (ValueError, KeyError, TypeError) as error:
        raise ResourceError(
            f"the metrics file cannot be read: {type(error).__name__}: {error}",
            hint="it is written by main.py of infra/workloads/mnist/app; run it again",
        ) from error


def _read(document: Mapping[str, Any]) -> Metrics:
    return Metrics(
        complete=bool(document["complete"]),
        data=Data(**document["data"]),
        options=dict(document["options"]),
        clock=Clock(**document["clock"]),
        epochs=tuple(Epoch(**epoch) for epoch in document["epochs"]),
        steps=tuple((int(seen), float(loss)) for seen, loss in document["steps"]),
        peak_memory=int(document["peak_memory"]),
        threads=int(document["threads"]),
        resumed=int(document["resumed"]),
        workers=int(document["workers"]),
        environment=Environment(**document["environment"]),
    )
