"""The comparison in words and tables: for a terminal, for the documentation, for a report.

Every sentence here comes from measurements. Students interpret them in their reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lab.homework.comparison import (
    BASE,
    FIRST_LINE,
    PROCESSOR,
    QUANTITIES,
    RATE,
    Comparison,
    Quantity,
    differ,
    values,
)
from lab.homework.metrics import Data, Environment
from lab.homework.spread import Difference, Spread, chance
from lab.output import count, table

TITLES = {
    "bare": "bare Python",
    "docker": "Docker",
    "singularity": "Singularity",
    "job": "Kubernetes Job",
}
# Throughput in a container counts as equal to that of bare Python within this part.
NEAR = 0.05
# Larger ratios are written as times, smaller ones in percent.
TIMES = 2.0
NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """A table with its own heading, and a note below it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def text(found: Comparison) -> str:
    """The comparison for a terminal."""
    blocks = [f"{one.title}\n{table(one.header, one.rows)}" for one in tables(found)]
    lines = [f"- {finding}" for finding in findings(found)]
    return "\n\n".join([*blocks, "\n".join(lines), caption(found)])


def markdown(found: Comparison, level: int = 2) -> str:
    """The comparison for a document whose headings have this level."""
    mark = "#" * level
    blocks = [f"{mark} What was seen", *(f"- {finding}" for finding in findings(found)), ""]
    for one in tables(found):
        blocks += [f"{mark} {one.title}", *_lines(one), ""]
        blocks += [one.note, ""] if one.note else []
    return "\n".join(
        [*blocks, f"{mark} How it was measured", caption(found), "", method(found), ""]
    )


def _lines(one: Table) -> Iterable[str]:
    for row in (one.header, tuple("---" for _ in one.header), *one.rows):
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


def tables(found: Comparison) -> list[Table]:
    """Every table of the comparison, in the order of the report."""
    return [
        _measured(found),
        _against(found),
        *([_made(found)] if found.parts else []),
        _environment(found),
        _concepts(found),
    ]


def titles(found: Comparison) -> tuple[str, ...]:
    """The titles of the ways that have runs."""
    return tuple(TITLES[way] for way in found.ways)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


# Measurements.


def _measured(found: Comparison) -> Table:
    rows = tuple(
        (quantity.title, *(cell(values(found, quantity, way), quantity.unit) for way in found.ways))
        for quantity in QUANTITIES
        if any(values(found, quantity, way) for way in found.ways)
    )
    note = "Medians; the smallest and the largest value in brackets."
    if found.no_cold:
        note += f" There are no runs with an empty page cache: {found.no_cold}."
    return Table("Measured", ("", *titles(found)), rows, note)


def _against(found: Comparison) -> Table:
    pairs = [(BASE, way) for way in found.ways if way != BASE and BASE in found.ways]
    if {"docker", "singularity"} <= set(found.ways):
        pairs.append(("docker", "singularity"))
    header = ("", *(f"{TITLES[other]} against {TITLES[base]}" for base, other in pairs))
    rows = tuple(
        (quantity.title, *(_said(found, quantity, base, other) for base, other in pairs))
        for quantity in QUANTITIES
        if any(values(found, quantity, way) for way in found.ways)
    )
    return Table("Differences", header, rows, NOISE)


NOISE = (
    "*No difference seen*: the middle halves of the two groups of runs overlap. A difference is "
    "given if every run of one lies beyond every run of the other. *Perhaps* is between the two."
)


def _said(found: Comparison, quantity: Quantity, base: str, other: str) -> str:
    known = differ(found, quantity, base, other)
    return words(known, quantity) if known else NOTHING


def words(known: Difference, quantity: Quantity) -> str:
    """A difference in words, e.g. `3.1 % slower` or `no difference seen`."""
    if known.word in ("same", "few", "none"):
        return {
            "same": "the same",
            "few": "too few runs to say",
            "none": "no difference seen",
        }[known.word]
    perhaps = "perhaps " if known.word == "perhaps" else ""
    if known.ratio >= TIMES:
        return f"{perhaps}{known.ratio:.1f} times"
    part = abs(known.ratio - 1) * 100
    amount = f"{part:.1f} %" if part < 10 else f"{part:.0f} %"
    return f"{perhaps}{amount} {quantity.more if known.ratio > 1 else quantity.less}"


def cell(found: Sequence[float], unit: str) -> str:
    """A median and its spread, e.g. `412 ms (401 to 455)`."""
    if not found:
        return NOTHING
    spread = Spread((*found,))
    divisor, digits, name = _scale(spread.median, unit)
    middle, low, high = (
        f"{value / divisor:,.{digits}f}".replace(",", " ")
        for value in (spread.median, spread.low, spread.high)
    )
    around = "" if low == high else f" ({low} to {high})"
    return f"{middle}{name}{around}"


def _scale(value: float, unit: str) -> tuple[float, int, str]:
    """The format of a value: its divisor, its number of decimals, and its unit."""
    if unit == "s":
        if value < 1:
            return 0.001, 0, " ms"
        return 1, 2 if value < 10 else 1, " s"
    if unit == "bytes":
        return (1e9, 2, " GB") if value >= 1e9 else (1e6, 0 if value >= 1e8 else 1, " MB")
    if unit == "part":
        return 0.01, 2, " %"
    return 1, 0, ""


# Images made beforehand.


def _made(found: Comparison) -> Table:
    rows = tuple(
        (
            part.name,
            NOTHING if part.size is None else cell([float(part.size)], "bytes"),
            NOTHING if part.seconds is None else cell([part.seconds], "s"),
            part.words,
        )
        for part in found.parts
    )
    return Table("Made beforehand", ("", "size", "time", "how"), rows)


# The environments of the runs.


EVEN = ("kernel", "processors allowed", "Python, torch, BLAS")
SECCOMP = {0: "off", 1: "strict", 2: "filter"}
ENVIRONMENT: dict[str, Callable[[Environment], str]] = {
    "kernel": lambda e: e.kernel,
    "cgroup version": lambda e: str(e.cgroup),
    "processors allowed": lambda e: str(e.cpus),
    "limit of its cgroup": lambda e: _limits(e),
    "seccomp": lambda e: SECCOMP.get(e.seccomp, str(e.seccomp)),
    "speculative store bypass": lambda e: e.speculation,
    "file system of /": lambda e: e.root,
    "mount of the image": lambda e: e.mount,
    "user": lambda e: _user(e),
    "host name": lambda e: e.hostname,
    "Python, torch, BLAS": lambda e: f"{e.python}, {e.torch}, {e.blas}",
}


def _environment(found: Comparison) -> Table:
    ways = [way for way in found.ways if way in found.environments]
    rows = tuple(
        (title, *(value(found.environments[way]) for way in ways))
        for title, value in ENVIRONMENT.items()
    )
    note = (
        "These change the answer on other machines. An old kernel slows down processes with a "
        "seccomp filter. A limit of processors lengthens training, and a mount by FUSE slows down "
        "imports. Limits are listed only if the container can see them."
    )
    return Table("Where it ran", ("", *(TITLES[way] for way in ways)), rows, note)


def _limits(place: Environment) -> str:
    cores = "" if place.cpu_limit is None else f"{place.cpu_limit:g} processors"
    size = "" if place.memory_limit is None else cell([float(place.memory_limit)], "bytes")
    return ", ".join(filter(None, (cores, size))) or "none"


def _user(place: Environment) -> str:
    return "root (0)" if place.uid == 0 else f"ordinary ({place.uid})"


# The lecture's concepts for the observations.


def _concepts(found: Comparison) -> Table:
    places = {way: found.environments[way] for way in found.ways if way in found.environments}
    host = places.get(BASE)
    rows = (
        ("namespaces", *(_name(place, host) for place in places.values())),
        ("cgroups", *(f"v{place.cgroup}, limit: {_limits(place)}" for place in places.values())),
        ("image format", *(f"{FORMATS.get(way, way)}: {p.mount}" for way, p in places.items())),
        ("user identity", *(_user(place) for place in places.values())),
        ("who must be root", *(_root(way, p) for way, p in places.items())),
        ("system calls", *(f"seccomp {SECCOMP.get(p.seccomp, '?')}" for p in places.values())),
    )
    return Table("Concepts", ("", *(TITLES[way] for way in places)), rows)


FORMATS = {
    "bare": "the image's files in a folder",
    "docker": "layers",
    "singularity": "one file (SIF)",
    "job": "layers, by containerd",
}
ROOTS = {
    "bare": "the caller of chroot",
    "docker": "the daemon dockerd",
    "job": "kubelet and containerd",
}


def _root(way: str, place: Environment) -> str:
    """Only root may have the kernel mount a file. Every user may use FUSE or a folder."""
    if way != "singularity":
        return ROOTS[way]
    return "the starter, for the mount" if "kernel" in place.mount else "no process while it runs"


def _name(place: Environment, host: Environment | None) -> str:
    if host is None:
        return f"host name `{place.hostname}`"
    if place.hostname == host.hostname:
        return "sees the machine's host name"
    return f"a host name of its own: `{place.hostname}`"


# Findings in sentences.


def findings(found: Comparison) -> list[str]:
    """The findings, one sentence each."""
    others = [way for way in found.ways if way != BASE]
    lines = [f"Data: {data_words(found.dataset)}."]
    if BASE in found.ways:
        lines += [_against_base(found, way, RATE, "Training") for way in others]
        lines += [
            _against_base(found, way, PROCESSOR, "Processor time of training") for way in others
        ]
    lines += _starts(found)
    return [*lines, _same(found), *_uneven(found)]


def data_words(dataset: Data) -> str:
    """The data set in words, which say so if it is not MNIST."""
    honest = dataset.name if "MNIST" in dataset.name else f"{dataset.name} (not MNIST)"
    return f"{honest}, {dataset.train} images for training and {dataset.test} for the test"


def _against_base(found: Comparison, way: str, quantity: Quantity, subject: str) -> str:
    known = differ(found, quantity, BASE, way)
    assert known is not None
    return (
        f"{subject} by {TITLES[way]} against {TITLES[BASE]}: {words(known, quantity)} "
        f"(median of the ratios {known.ratio:.3f}, from {known.low:.3f} to {known.high:.3f}; "
        f"{near(known)})."
    )


def near(known: Difference) -> str:
    """Whether a ratio is near to 1, as far as the runs show it."""
    part = f"{NEAR:.0%}".replace("%", " %")
    if max(abs(known.low - 1), abs(known.high - 1)) <= NEAR:
        return f"within {part}"
    if known.word == "seen" and not known.within(NEAR):
        return f"not within {part}"
    return f"unclear whether within {part}, since the runs vary too much"


def _starts(found: Comparison) -> list[str]:
    if not {"docker", "singularity"} <= set(found.ways):
        return []
    known = differ(found, FIRST_LINE, "docker", "singularity")
    assert known is not None
    left, right = (cell(values(found, FIRST_LINE, way), "s") for way in ("docker", "singularity"))
    return [
        f"From the command to the first line of Python: {TITLES['docker']} {left}, "
        f"{TITLES['singularity']} {right}; Singularity against Docker: {words(known, FIRST_LINE)}."
    ]


def _uneven(found: Comparison) -> list[str]:
    """Properties that should be the same for all ways and differ; they may explain differences."""
    lines = []
    for title in EVEN:
        seen = {way: ENVIRONMENT[title](place) for way, place in found.environments.items()}
        if len(set(seen.values())) > 1:
            each = ", ".join(f"{TITLES[way]} {value}" for way, value in seen.items())
            lines.append(f"Not the same for all, {title}: {each}.")
    return lines


def _same(found: Comparison) -> str:
    if found.apart is None:
        return "The runs trained on different images, so their losses cannot be compared."
    if found.apart == 0:
        return "The loss curves of all runs are equal, digit by digit."
    return f"The loss curves of all runs differ by at most {found.apart:.2g}."


def caption(found: Comparison) -> str:
    """When, where and of what the numbers were measured."""
    return (
        f"Measured on {found.date} in {found.seconds:.0f} s: {found.place}. "
        f"{count(found.repetitions, 'repetition')} of {listed(titles(found))}, "
        f"{count(found.epochs, 'epoch')} on {count(found.threads, 'thread')} each; "
        f"{data_words(found.dataset)}; options of main.py: `{found.options}`."
    )


def method(found: Comparison) -> str:
    """How the numbers were measured, and how often chance alone separates two groups."""
    number = found.repetitions
    odds = f"{chance(number, number):.1%}".replace("%", " %")
    return (
        "The ways ran one after the other, in another order in every repetition, after one "
        "uncounted run of each. So a temporary slowdown affects all of them. `bare` enters a "
        "folder with the image's root by chroot. It has the same Python and the same libraries "
        f"without namespaces, cgroup and seccomp. Two groups of {number} equal runs lie apart by "
        f"chance in {odds} of all comparisons."
    )
