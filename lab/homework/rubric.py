"""What the lecture asks of the homework, and what of it is there: 35 + 55 + 10 points.

What is judged is whether something is there. How good it is, is for whoever grades it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

# The parts of the rubric, and the points of each.
PARTS: Mapping[str, int] = {"source": 35, "report": 55, "Singularity": 10}
# Names of the files in a bundle.
VAGRANTFILE, DOCKERFILE, PROGRAM = "Vagrantfile", "Dockerfile", "main.py"
DOCKER_OUTPUT, SINGULARITY_OUTPUT = "docker-run.out", "singularity-run.out"
DEFINITION, REPORT = "mnist.def", "report.md"
# The lab's example, by digest: what a student has changed is known by it.
SHIPPED: Mapping[str, str] = {
    DOCKERFILE: "dbed5809717b643a34005049a3eefcd04d63c4f8611a9ffb5aa1f9ef64b26904",
    PROGRAM: "21de48225dd8ab7cf8d5648733d86bfbe0cae67697d0174e49e3a6897a6913d5",
    DEFINITION: "963d869d62fe23008c5585c1f67fe2d9a7abad0d7b60b087e570cd86293aef48",
}
# What the lab writes of a report lies between these; nothing outside of them is ever touched.
BEGIN = "<!-- measured by the lab: begin; mnist-submit writes this part anew -->"
END = "<!-- measured by the lab: end -->"

EPOCH = re.compile(r"epoch[^\d\n]{0,4}(\d+)", re.IGNORECASE)
ACCURACY = re.compile(r"accuracy\D{0,10}(\d[\d.]*(?:/\d+)?\s?%?)", re.IGNORECASE)
FAILED = re.compile(r"^(Traceback \(most recent call last\)|error: .*)", re.MULTILINE)
# How a command is told apart from the rest of a Dockerfile.
COMMAND = re.compile(r"^\s*(?:CMD|ENTRYPOINT)\s+(.+)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """A part of the report that only the student can write: its heading, the part of the rubric
    that it counts for, and what the lecture asks there."""

    heading: str
    part: str
    asked: str


SECTIONS = (
    Section("Steps", "report", "Every command, in order, so that somebody else gets the same."),
    Section("Workflow", "report", "What is made of what, by which tool, on which machine?"),
    Section("Observations", "report", "What did you see, exactly: output, numbers, surprises?"),
    Section("Concepts", "report", "Which concepts of the lecture explain what you saw?"),
    Section("Code", "report", "What did you change, and what does each changed line do?"),
    Section("Discussion", "report", "Briefly: which way for what, and what speaks against it?"),
    Section("Docker and Singularity", "Singularity", "How do the two differ, in what you saw?"),
)


@dataclass(frozen=True)
class Item:
    """One thing that is asked for: what was found of it, and what is missing, if anything, with
    the next thing to do."""

    part: str
    asked: str
    found: str = ""
    missing: str = ""
    hint: str = ""


def judge(files: Mapping[str, str]) -> list[Item]:
    """Everything that is asked for, held against the files of a bundle, by name."""
    report = files.get(REPORT, "")
    return [
        _vagrantfile(files),
        _dockerfile(files),
        _output(files, DOCKER_OUTPUT, "source", "invoke mnist-run docker"),
        _program(files),
        *(_section(report, section) for section in SECTIONS if section.part == "report"),
        _measured(report),
        _definition(files),
        _output(files, SINGULARITY_OUTPUT, "Singularity", "invoke mnist-run singularity"),
        *(_section(report, section) for section in SECTIONS if section.part == "Singularity"),
    ]


def _vagrantfile(files: Mapping[str, str]) -> Item:
    there = VAGRANTFILE in files
    return Item("source", VAGRANTFILE, "there" if there else "", "" if there else "not there")


def _dockerfile(files: Mapping[str, str]) -> Item:
    asked = f"{DOCKERFILE}, with a change of yours"
    if DOCKERFILE not in files:
        return Item("source", asked, missing="not there")
    text = files[DOCKERFILE]
    if not changed(DOCKERFILE, text):
        return Item(
            "source",
            asked,
            missing="it is the example's",
            hint="for instance options of main.py; then invoke mnist-run docker",
        )
    commands = COMMAND.findall(text)
    return Item("source", asked, f"changed; {commands[-1]}" if commands else "changed")


def _program(files: Mapping[str, str]) -> Item:
    if PROGRAM in files:
        return Item("source", f"{PROGRAM}, if changed", "changed")
    return Item("source", f"{PROGRAM}, if changed", "as the example's: not needed")


def _definition(files: Mapping[str, str]) -> Item:
    there = DEFINITION in files
    return Item(
        "Singularity", f"{DEFINITION}", "there" if there else "", "" if there else "not there"
    )


def _output(files: Mapping[str, str], name: str, part: str, hint: str) -> Item:
    asked = f"{name}, what a run showed"
    if name not in files:
        return Item(part, asked, missing="not there", hint=hint)
    text = files[name]
    if failure := FAILED.search(text):
        return Item(part, asked, missing=f"the run failed: {failure[1]}", hint=hint)
    epochs, results = EPOCH.findall(text), ACCURACY.findall(text)
    if not epochs:
        return Item(part, asked, missing="no epoch of a training is in it", hint=hint)
    # A part of the output is enough for the lecture, so an accuracy need not be in it.
    result = f", accuracy {results[-1].strip()}" if results else ""
    return Item(part, asked, f"up to epoch {max(map(int, epochs))}{result}")


def _section(report: str, section: Section) -> Item:
    asked = f"{REPORT}: {section.heading}"
    if not report:
        return Item(section.part, asked, missing="there is no report")
    words = own_words(report, section.heading)
    if words is None:
        return Item(section.part, asked, missing="no such heading", hint=section.asked)
    if not words:
        return Item(section.part, asked, missing="empty", hint=section.asked)
    return Item(section.part, asked, f"{words} words")


def _measured(report: str) -> Item:
    """The lab's tables, which a student may have copied to a place of their own."""
    asked = f"{REPORT}: what was measured"
    if any(line.startswith("|") for line in report.splitlines()):
        return Item("report", asked, "there")
    return Item("report", asked, missing="no table", hint="invoke mnist-compare")


# What is whose.


def changed(name: str, text: str) -> bool:
    """Whether a file is another than the lab's example, its comments and empty lines aside."""
    return fingerprint(text) != SHIPPED[name]


def fingerprint(text: str) -> str:
    """The SHA-256 of a file without comments, empty lines and blanks at the ends of lines."""
    lines = (line.rstrip() for line in text.splitlines())
    kept = "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
    return hashlib.sha256(kept.encode()).hexdigest()


def skeleton(student: str) -> str:
    """A report with nothing in it but headings, what is asked below each, and the lab's place."""
    lines = ["# MNIST with Docker and Singularity", "", student, ""]
    for section in SECTIONS:
        lines += [f"## {section.heading}", f"<!-- {section.asked} -->", ""]
    return "\n".join([*lines, "## Measured", BEGIN, END, ""])


def with_measured(report: str, measured: str) -> str:
    """A report with the lab's part written anew; without its marks, the report as it is."""
    before, begin, rest = report.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return report
    return f"{before}{BEGIN}\n{measured.strip()}\n{END}{after}"


def own_words(report: str, heading: str) -> int | None:
    """How many words stand below a heading, the lab's comments and tables aside; None without
    such a heading."""
    asked = {section.heading.casefold() for section in SECTIONS}
    found: list[str] | None = None
    depth = 0
    for level, line in _lines(_without_the_labs(report)):
        title = line.lstrip("#").strip().casefold()
        if level and title == heading.casefold():
            found, depth = [], level
        elif level and found is not None and (level <= depth or title in asked):
            break
        elif found is not None and not level:
            found.append(line)
    return None if found is None else len(re.findall(r"\w+", " ".join(found)))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines, and of which level a heading each is; 0 for text, which a `#` within code is too."""
    code = False
    for line in text.splitlines():
        code ^= line.lstrip().startswith("```")
        mark = re.match(r"#+(?= )", line)
        yield (len(mark[0]) if mark and not code else 0), line


def _without_the_labs(report: str) -> str:
    without = re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", "", report, flags=re.DOTALL)
    return re.sub("<!--.*?-->", "", without, flags=re.DOTALL)


def summary(items: Iterable[Item]) -> list[tuple[str, int, list[Item]]]:
    """The parts of the rubric: their points, and what of each is missing."""
    known = list(items)
    return [
        (part, points, [item for item in known if item.part == part and item.missing])
        for part, points in PARTS.items()
    ]
