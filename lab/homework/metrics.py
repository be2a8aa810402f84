"""The metrics document that main.py writes about a training, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.errors import ResourceError

SCHEMA = 1


@dataclass(frozen=True)
class Data:
    """The data set: its name, and its numbers of images for training and for tests."""

    name: str
    train: int
    test: int


@dataclass(frozen=True)
class Clock:
    """Times of a training in Unix seconds, by the machine's clock.

    `started` is the start of the process (in steps of 10 ms), `first_line` the first statement of
    main.py, `imported` the end of its imports. `ready` is when data and model are loaded, `ended`
    when the document was last written.
    """

    started: float
    first_line: float
    imported: float
    ready: float
    ended: float


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images.

    `loss` is the mean of training; `accuracy` (0 to 1) and `test_loss` are of the test images.
    `processor` is the processor time of all threads together, in seconds. `seconds`, `processor`
    and `images_per_second` cover training alone.
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
    """The environment of a training: its user, and what can make it slower or faster.

    `cpus` counts the usable processors. `cpu_limit` (cores) and `memory_limit` (bytes) are the
    cgroup's limits, None without one. `seccomp` is 0 (off), 1 (strict) or 2 (filter). `root` is
    the type of the file system at /, `mount` the type of the image's mount.
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
    """A training as main.py measured it.

    `complete` says whether it ran to its end. `resumed` counts the epochs of earlier processes,
    `workers` the processes that trained together. `steps` is the loss curve: images seen since the
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
        """The part of test images recognized after the last epoch (0 to 1); None before one."""
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
            hint="main.py of infra/workloads/mnist/app writes it; run the training again",
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
