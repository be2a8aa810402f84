"""What the lecture requires of the homework, and which items exist: 35 + 55 + 10 points.

These checks look only at whether an item exists. The graders judge how good it is.
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
# The digests of the lab's example. A file with another one was changed by the student.
SHIPPED: Mapping[str, str] = {
    DOCKERFILE: "dbed5809717b643a34005049a3eefcd04d63c4f8611a9ffb5aa1f9ef64b26904",
    PROGRAM: "21de48225dd8ab7cf8d5648733d86bfbe0cae67697d0174e49e3a6897a6913d5",
    DEFINITION: "963d869d62fe23008c5585c1f67fe2d9a7abad0d7b60b087e570cd86293aef48",
}
# The lab writes only between these marks of a report.
BEGIN = "<!-- measured by the lab: begin; mnist-submit writes this part anew -->"
END = "<!-- measured by the lab: end -->"

EPOCH = re.compile(r"epoch[^\d\n]{0,4}(\d+)", re.IGNORECASE)
ACCURACY = re.compile(r"accuracy\D{0,10}(\d[\d.]*(?:/\d+)?\s?%?)", re.IGNORECASE)
FAILED = re.compile(r"^(Traceback \(most recent call last\)|error: .*)", re.MULTILINE)
# The instructions of a Dockerfile that set its command.
COMMAND = re.compile(r"^\s*(?:CMD|ENTRYPOINT)\s+(.+)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """A section of the report that the student writes.

    `part` is the part of the rubric that it counts for, `asked` is the lecture's question.
    """

    heading: str
    part: str
    asked: str


SECTIONS = (
    Section("Steps", "report", "Every command, in order, so that a reader can repeat your work."),
    Section("Workflow", "report", "What is made of what, by which tool, on which machine?"),
    Section("Observations", "report", "What did you see, exactly: output, numbers, surprises?"),
    Section("Concepts", "report", "Which concepts of the lecture explain what you saw?"),
    Section("Code", "report", "What did you change, and what does each changed line do?"),
    Section("Discussion", "report", "Briefly: which way for what, and what speaks against it?"),
    Section("Docker and Singularity", "Singularity", "How do the two differ, in what you saw?"),
)


@dataclass(frozen=True)
class Item:
    """A required item: what was found, or what is missing and the next step."""

    part: str
    asked: str
    found: str = ""
    missing: str = ""
    hint: str = ""


def judge(files: Mapping[str, str]) -> list[Item]:
    """Every required item, checked against a bundle's files by name."""
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
            missing="it is the unchanged example",
            hint="change, for instance, options of main.py; then run invoke mnist-run docker",
        )
    commands = COMMAND.findall(text)
    return Item("source", asked, f"changed; {commands[-1]}" if commands else "changed")


def _program(files: Mapping[str, str]) -> Item:
    if PROGRAM in files:
        return Item("source", f"{PROGRAM}, if changed", "changed")
    return Item("source", f"{PROGRAM}, if changed", "unchanged, so not needed")


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
        return Item(part, asked, missing="it contains no epoch of a training", hint=hint)
    # The lecture accepts a part of the output, so it may lack an accuracy.
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
    """The lab's tables, which a student may have moved within the report."""
    asked = f"{REPORT}: what was measured"
    if any(line.startswith("|") for line in report.splitlines()):
        return Item("report", asked, "there")
    return Item("report", asked, missing="no table", hint="invoke mnist-compare")


# The student's changes and the lab's text.


def changed(name: str, text: str) -> bool:
    """Whether a file differs from the lab's example in more than comments and empty lines."""
    return fingerprint(text) != SHIPPED[name]


def fingerprint(text: str) -> str:
    """The SHA-256 of a file without comments, empty lines and trailing blanks."""
    lines = (line.rstrip() for line in text.splitlines())
    kept = "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
    return hashlib.sha256(kept.encode()).hexdigest()


def skeleton(student: str) -> str:
    """An empty report: headings, the lecture's question below each, and the lab's marks."""
    lines = ["# MNIST with Docker and Singularity", "", student, ""]
    for section in SECTIONS:
        lines += [f"## {section.heading}", f"<!-- {section.asked} -->", ""]
    return "\n".join([*lines, "## Measured", BEGIN, END, ""])


def with_measured(report: str, measured: str) -> str:
    """A report with the lab's part replaced; unchanged if it lacks the lab's marks."""
    before, begin, rest = report.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return report
    return f"{before}{BEGIN}\n{measured.strip()}\n{END}{after}"


def own_words(report: str, heading: str) -> int | None:
    """The number of words below a heading, without the lab's comments and tables.

    None if the report lacks the heading.
    """
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
    """Lines with their heading's level; 0 for text and for a `#` within code."""
    code = False
    for line in text.splitlines():
        code ^= line.lstrip().startswith("```")
        mark = re.match(r"#+(?= )", line)
        yield (len(mark[0]) if mark and not code else 0), line


def _without_the_labs(report: str) -> str:
    without = re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", "", report, flags=re.DOTALL)
    return re.sub("<!--.*?-->", "", without, flags=re.DOTALL)


def summary(items: Iterable[Item]) -> list[tuple[str, int, list[Item]]]:
    """The parts of the rubric, with their points and missing items."""
    known = list(items)
    return [
        (part, points, [item for item in known if item.part == part and item.missing])
        for part, points in PARTS.items()
    ]
