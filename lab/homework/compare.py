"""`invoke mnist-compare`: run the same training in every way, repeatedly and in turns."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.config import Settings
from lab.errors import ConfigError, ResourceError, tail
from lab.homework import image, markdown, page
from lab.homework.asked import Ask
from lab.homework.comparison import WAYS, Comparison, Curve, Part, Sample, apart, read, reduce
from lab.homework.metrics import Environment, Metrics
from lab.homework.runs import KEPT as FOLDER
from lab.homework.runs import Run, Runs, opened
from lab.homework.ways import ROOT
from lab.machines.vagrantfile import place
from lab.output import Status, document
from lab.state import write_aside

# More repetitions than these take over an hour.
FEWEST, MOST = 1, 20
# Below the lab's state: the last comparison, and the runs of a current or interrupted one.
KEPT, UNFINISHED = f"{FOLDER}/comparison.json", f"{FOLDER}/comparison.part.json"
FORMS = ("comparison.json", "comparison.md", "comparison.html")
# Options of main.py unless the student gives others.
DEFAULTS: Mapping[str, str] = {"--epochs": "3", "--seed": "1"}
NOT_ALLOWED = "the machine does not permit clearing it"
NOT_ASKED = "it was not requested"


def compare(
    settings: Settings,
    options: Sequence[str],
    status: Status,
    *,
    repetitions: int = 5,
    cold: bool = True,
) -> Comparison:
    """Run every way `repetitions` times, in turns, and keep the measurements.

    `options` are those of main.py. Threads and processors are the same for all runs. `cold` adds
    runs with an empty page cache. The whole kernel shares that cache, so clearing it slows down
    other programs, too. Raises ConfigError for too few or too many repetitions, ResourceError for
    a failed run, and what `runs.opened` raises.
    """
    refuse(repetitions)
    with opened(settings, "mnist-compare", status) as runs:
        begin = time.monotonic()
        asked = with_defaults(options, runs.lab.cpus)
        no_cold = "" if cold else NOT_ASKED
        if cold and not runs.drop_caches():
            no_cold = NOT_ALLOWED

        outside = mounts(runs)

        def build(notes: Notes) -> Comparison:
            return Comparison(
                date=datetime.now(UTC).strftime("%Y-%m-%d"),
                place=place(runs.lab),
                environments=seen_outside(notes.environments, outside),
                seconds=round(time.monotonic() - begin, 1),
                options=shlex.join(asked),
                parts=parts(runs.made),
                no_cold=no_cold,
                **notes.told(),
            )

        unfinished = runs.lab.state / UNFINISHED
        keep = Keeper(unfinished, build)
        try:
            notes = repeat(
                Starter(runs, asked), WAYS, repetitions, status, cold=not no_cold, after=keep
            )
        except BaseException:
            if keep.number:
                status.say(f"the {keep.number} runs so far are saved in {unfinished}")
            raise
        found = build(notes)
        unfinished.unlink(missing_ok=True)
        write_aside(runs.lab.state / KEPT, document(found.data()) + "\n", mode=0o644)
        # Return the numbers as they were written, with the same rounding.
        return read(found.data())


def write(found: Comparison, folder: Path) -> list[Path]:
    """Write the comparison as JSON, Markdown and HTML into a folder; return the files."""
    texts = (document(found.data()) + "\n", markdown.markdown(found), page.page(found))
    for name, text in zip(FORMS, texts, strict=True):
        write_aside(folder / name, text, mode=0o644)
    return [folder / name for name in FORMS]


def last(settings: Settings) -> Comparison | None:
    """The last comparison on a lab; None before the first one."""
    path = settings.state / KEPT
    return read(json.loads(path.read_text())) if path.exists() else None


def with_defaults(options: Sequence[str], cpus: int) -> tuple[str, ...]:
    """Options of main.py, with defaults for those that make runs comparable."""
    given = {option.partition("=")[0] for option in options}
    added = {**DEFAULTS, "--threads": str(cpus)}
    pairs = [pair for pair in added.items() if pair[0] not in given]
    return (*options, *(word for pair in pairs for word in pair))


def parts(made: image.Made) -> tuple[Part, ...]:
    """The images that mnist-up made, as rows of a table."""
    return (
        Part("PyTorch's image", None, made.base_seconds, "Debian's packages, once, on the host"),
        Part("Docker image", made.image, made.build_seconds, "docker build, on PyTorch's image"),
        Part("the same in the registry", made.layers, made.push_seconds, "docker push, compressed"),
        Part("SIF", made.sif, made.convert_seconds, "singularity build of the registry's image"),
    )


def mounts(runs: Runs) -> dict[str, str]:
    """The mount below / for `bare` and `singularity`, which their trainings cannot see.

    Singularity mounts the SIF first and / on top of it. `bare` enters a folder, which is no mount.
    """
    runs.unpack_root()
    lines = (
        f"singularity exec {image.SIF} sleep 3 2>/dev/null & sleep 1; "
        "pgrep -l squashfuse || cat /proc/[0-9]*/mountinfo 2>/dev/null | grep -o -m1 squashfs"
    )
    sif = runs.machine.run(["sh", "-c", lines], ok=range(256))
    kind = runs.machine.run(["stat", "--file-system", "--format", "%T", ROOT])
    return {"bare": kind.strip(), "singularity": mode(sif)}


def mode(seen: str) -> str:
    """How a SIF is mounted; `seen` lists the machine's processes or mounts while it is in use."""
    if found := re.search(r"squashfuse\w*", seen):
        return f"{found[0]} (FUSE)"
    return "squashfs (kernel)" if "squashfs" in seen else "unpacked"


def seen_outside(
    environments: Mapping[str, Environment], outside: Mapping[str, str]
) -> dict[str, Environment]:
    """Environments completed by the mounts that only the machine can see."""
    found = {}
    for way, known in environments.items():
        mount = outside.get(way, known.mount)
        root = mount if known.root == "unknown" else known.root
        found[way] = replace(known, mount=mount, root=root)
    return found


@dataclass
class Starter:
    """Starts the runs of a comparison with the same options and on the same processors."""

    runs: Runs
    options: tuple[str, ...]

    def __call__(self, way: str, cold: bool) -> Run:
        """Run one training; a cold run does one step only. Raises what `Runs.run` raises."""
        if cold:
            self.runs.drop_caches()
        cpus = ",".join(map(str, range(self.runs.lab.cpus)))
        return self.runs.run(way, Ask((*self.options, *(["--dry-run"] if cold else [])), cpus=cpus))


@dataclass
class Keeper:
    """Saves the comparison after each run; `number` counts the saved runs."""

    path: Path
    build: Callable[[Notes], Comparison]
    number: int = 0

    def __call__(self, notes: Notes) -> None:
        """Save the comparison with the new run."""
        self.number = len(notes.samples)
        write_aside(self.path, document(self.build(notes).data()) + "\n", mode=0o644)


@dataclass
class Notes:
    """The results of the runs so far."""

    samples: list[Sample] = field(default_factory=list)
    metrics: dict[str, Metrics] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)

    def add(self, way: str, repetition: int, run: Run, *, cold: bool = False) -> None:
        """Add a run. Raises ResourceError for a failed run and for a run without metrics."""
        known = run.metrics
        if run.code or known is None or not known.complete:
            why = f"ended with code {run.code}" if run.code else "wrote no metrics"
            raise ResourceError(
                f"training by {way} {why}{tail(run.output)}", hint=f"invoke mnist-run {way}"
            )
        if known.resumed:
            raise ResourceError(
                f"training by {way} resumed from a checkpoint, so it is not a whole run",
                hint="invoke mnist-compare",
            )
        self.samples.append(
            reduce(way, repetition, asked=run.asked, seconds=run.seconds, metrics=known, cold=cold)
        )
        if not cold:
            self.metrics.setdefault(way, known)
            self.curves.append(known.steps)

    @property
    def environments(self) -> Mapping[str, Environment]:
        """The environment of each way's first run."""
        return {way: known.environment for way, known in self.metrics.items()}

    def told(self) -> dict[str, Any]:
        """The fields of a `Comparison` that come from the runs. There must be at least one run."""
        first = next(iter(self.metrics.values()))
        return {
            "dataset": first.data,
            "epochs": len(first.epochs),
            "threads": first.threads,
            "samples": tuple(self.samples),
            "curves": {way: known.steps for way, known in self.metrics.items()},
            "apart": apart(self.curves),
        }


def turns(ways: Sequence[str], repetitions: int) -> Iterator[tuple[int, str]]:
    """Repetition (from 1) and way of every run, in order.

    Each repetition starts with a different way, so no way always runs first.
    """
    for number in range(repetitions):
        at = number % len(ways)
        for way in (*ways[at:], *ways[:at]):
            yield number + 1, way


def repeat(
    start: Callable[[str, bool], Run],
    ways: Sequence[str],
    repetitions: int,
    status: Status,
    *,
    cold: bool,
    after: Callable[[Notes], None] = lambda _: None,
) -> Notes:
    """Run every way `repetitions` times, in turns, after one uncounted run of each.

    `start` runs a way, warm or cold; only the start of a cold run matters. `after` gets the notes
    after each run. Raises what `start` and `Notes.add` raise.
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


def refuse(repetitions: int) -> None:
    """Raise ConfigError for too few or too many repetitions."""
    if not FEWEST <= repetitions <= MOST:
        raise ConfigError(f"repetitions: {repetitions} is not between {FEWEST} and {MOST}")
