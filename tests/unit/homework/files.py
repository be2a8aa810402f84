"""A comparison of invented numbers, for tests of its texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lab.homework.comparison import Comparison, Part, Sample
from lab.homework.metrics import Data, Environment

# The start of each way in seconds: setup, python, imports, loading.
STARTS: Mapping[str, Sequence[float]] = {
    "bare": (0.01, 0.05, 1.9, 0.1),
    "docker": (0.45, 0.06, 1.9, 0.1),
    "singularity": (0.12, 0.06, 2.1, 0.1),
    "job": (1.8, 0.06, 1.95, 0.1),
}
# Images per second of five repetitions. The job is slower in every one, the others are equal.
RATES: Mapping[str, Sequence[float]] = {
    "bare": (1000, 1010, 990, 1005, 995),
    "docker": (998, 1007, 992, 1009, 996),
    "singularity": (1001, 1003, 989, 1004, 998),
    "job": (930, 940, 925, 935, 920),
}
HOSTS = {"bare": "control-plane-1", "singularity": "control-plane-1", "docker": "a1b2c3"}


def place(way: str) -> Environment:
    """The environment of a way."""
    return Environment(
        kernel="6.18",
        cgroup=1,
        cpus=2,
        cpu_limit=2.0 if way in ("docker", "job") else None,
        memory_limit=1_500_000_000 if way == "job" else None,
        seccomp=2 if way == "docker" else 0,
        speculation="vulnerable",
        uid=0 if way in ("docker", "job") else 1000,
        hostname=HOSTS.get(way, "mnist-x7k2p"),
        root="squashfs" if way == "singularity" else "overlay",
        mount="fuse.squashfuse_ll" if way == "singularity" else "overlay",
        python="3.13",
        torch="2.6",
        blas="OpenBLAS <0.3>",
    )


def sample(way: str, repetition: int, *, cold: bool = False) -> Sample:
    """A sample of a run."""
    setup, python, imports, loading = (
        part * (1 + repetition / 100) * (3 if cold else 1) for part in STARTS[way]
    )
    rate = RATES[way][repetition - 1]
    return Sample(
        way=way,
        repetition=repetition,
        cold=cold,
        setup=setup,
        python=python,
        imports=imports,
        loading=loading,
        training=15000 / rate,
        testing=1.0,
        ending=0.2,
        processor=2 * 15000 / rate,
        images_per_second=rate,
        accuracy=0.97,
        test_loss=0.09,
        memory=400_000_000 + repetition * 1_000_000,
    )


def comparison(*, cold: bool = True, repetitions: int = 5) -> Comparison:
    """A comparison of all four ways."""
    numbers = range(1, repetitions + 1)
    samples = [sample(way, number) for number in numbers for way in STARTS]
    if cold:
        samples += [sample(way, number, cold=True) for number in numbers[:3] for way in STARTS]
    curve = tuple((640 * step, round(2.3 / (1 + step / 2), 4)) for step in range(1, 24))
    return Comparison(
        date="2026-11-24",
        place="3 machines (containers)",
        seconds=512.3,
        dataset=Data("digits", 5000, 297),
        epochs=3,
        threads=2,
        options="--epochs 3 --seed 1",
        parts=(
            Part("Docker image", 1_400_000_000, 61.5, "docker build"),
            Part("SIF", 450_000_000, 48.0, "singularity build"),
            Part("root in a folder", 1_390_000_000, None, "docker export"),
        ),
        samples=tuple(samples),
        environments={way: place(way) for way in STARTS},
        curves=dict.fromkeys(STARTS, curve),
        apart=0.0,
        no_cold="" if cold else "the machine is a container",
    )


def without(found: Comparison, *ways: str) -> Comparison:
    """The comparison without the runs of these ways."""
    return replace(found, samples=tuple(one for one in found.samples if one.way not in ways))
