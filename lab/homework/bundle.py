"""`invoke mnist-submit`: the homework's files in a folder and a zip, and what of it is missing."""

from __future__ import annotations

import json
import shlex
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.config import Lab
from lab.connection import Remote
from lab.errors import ChecksFailed, ConfigError, LabError, answered
from lab.homework import comparison, markdown, page, rubric
from lab.homework.rubric import Item
from lab.output import Status, table
from lab.state import write_aside

APP = Path("infra/workloads/mnist/app")
# Where mnist-run and mnist-compare leave what a bundle needs, below the lab's state.
KEPT = "mnist"
COMPARISON = "comparison.json"
# On the machine, as deep below the home folder as this, the outputs of runs by hand are looked for.
DEPTH = 3
# A zip file has a date for everything in it. The earliest that it can have makes the same of the
# same.
DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """What was put together: its folder, its zip, and how it stands to the rubric."""

    folder: Path
    archive: Path
    files: tuple[str, ...]
    items: tuple[Item, ...]

    @property
    def missing(self) -> list[Item]:
        """What the lecture asks for and is not there."""
        return [item for item in self.items if item.missing]

    def text(self) -> str:
        """For people: everything that is asked for, by its part of the rubric."""
        rows = [
            (
                f"{item.part} ({rubric.PARTS[item.part]})",
                "✗" if item.missing else "✓",
                item.asked,
                item.missing or item.found,
                item.hint if item.missing else "",
            )
            for item in self.items
        ]
        parts = [
            f"{part}: {f'{len(missing)} missing' if missing else 'complete'} ({points} points)"
            for part, points, missing in rubric.summary(self.items)
        ]
        return "\n".join(
            [
                table(("part", "", "asked for", "found", "what to do"), rows),
                "",
                "; ".join(parts),
                f"{self.folder}: {', '.join(self.files)}",
                str(self.archive),
            ]
        )

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "folder": str(self.folder),
            "archive": str(self.archive),
            "files": list(self.files),
            "complete": not self.missing,
            "items": [vars(item) for item in self.items],
        }

    def raise_for_status(self) -> None:
        """Raises ChecksFailed when something is missing."""
        if self.missing:
            raise answered(
                ChecksFailed(
                    f"{len(self.missing)} of {len(self.items)} things are missing",
                    hint=f"write into {self.folder / rubric.REPORT}; then invoke mnist-submit",
                )
            )


def submit(
    lab: Lab,
    status: Status,
    *,
    output: Path,
    app: Path | None = None,
    program: Path | None = None,
    student: str = "",
) -> Bundle:
    """Put the bundle together in a folder and beside it as a zip.

    `app` is the folder of the student's Dockerfile and mnist.def, `program` their main.py where it
    lies elsewhere. What a student has written in the folder's report stays as it is. Raises
    ConfigError for a folder or a program that is not there.
    """
    source = app or lab.root / APP
    for path in filter(None, (source, program)):
        if not path.exists():
            raise ConfigError(f"{path} does not exist")
    files = gathered(lab, status, source, program)
    measured = measurements(lab)
    report = output / rubric.REPORT
    written = report.read_text() if report.exists() else rubric.skeleton(student)
    if measured:
        files[COMPARISON] = (lab.state / KEPT / COMPARISON).read_text()
        files["comparison.html"] = page.page(measured)
        written = rubric.with_measured(written, markdown.markdown(measured, level=3))
    files[rubric.REPORT] = written
    # An output that a student put there by hand, and nobody has a newer one of.
    for name in (rubric.DOCKER_OUTPUT, rubric.SINGULARITY_OUTPUT):
        if name not in files and (output / name).exists():
            files[name] = (output / name).read_text()
    for name, text in files.items():
        write_aside(output / name, text, mode=0o644)
    archive = output.with_name(f"{output.name}.zip")
    pack(output.name, files, archive)
    return Bundle(output, archive, tuple(files), tuple(rubric.judge(files)))


def gathered(lab: Lab, status: Status, source: Path, program: Path | None) -> dict[str, str]:
    """The files of the bundle by name, as far as there are any, without the report."""
    places = {
        rubric.VAGRANTFILE: lab.root / rubric.VAGRANTFILE,
        rubric.DOCKERFILE: source / rubric.DOCKERFILE,
        rubric.DEFINITION: source / rubric.DEFINITION,
    }
    files = {name: path.read_text() for name, path in places.items() if path.exists()}
    main = program or source / rubric.PROGRAM
    if main.exists() and rubric.changed(rubric.PROGRAM, main.read_text()):
        files[rubric.PROGRAM] = main.read_text()
        # What a changed program may still import of the example's.
        for path in sorted(main.parent.glob("*.py")):
            if path.name != main.name:
                files[path.name] = path.read_text()
    return {**files, **outputs(lab, status)}


def outputs(lab: Lab, status: Status) -> dict[str, str]:
    """What the last run by Docker and by Singularity showed: mnist-run's, or that of a run by hand
    on the machine, whichever is newer."""
    names = (rubric.DOCKER_OUTPUT, rubric.SINGULARITY_OUTPUT)
    found = {
        name: (path.stat().st_mtime, path.read_text())
        for name in names
        if (path := lab.state / KEPT / name).exists()
    }
    try:
        for name, age, text in _by_hand(lab, names):
            if name not in found or found[name][0] < age:
                found[name] = (age, text)
    except LabError as error:
        status.say(f"left out, outputs on the machine: {error.message}")
    return {name: text for name, (_, text) in found.items()}


def _by_hand(lab: Lab, names: tuple[str, ...]) -> list[tuple[str, float, str]]:
    """Outputs in the home folder on the machine: name, time in unix seconds, content."""
    if not (lab.state / "ssh_config").exists():
        return []
    machine = Remote("control-plane-1", lab.state / "ssh_config")
    found = []
    try:
        for name in names:
            listing = f"find . -maxdepth {DEPTH} -name {shlex.quote(name)} -printf '%T@ %p\\n'"
            look = f"{listing} | sort -n"
            for line in machine.run(["sh", "-c", look]).splitlines()[-1:]:
                age, _, path = line.partition(" ")
                found.append((name, float(age), machine.run(["cat", path])))
    finally:
        machine.close()
    return found


def measurements(lab: Lab) -> comparison.Comparison | None:
    """The last comparison; None before the first one."""
    path = lab.state / KEPT / COMPARISON
    return comparison.read(json.loads(path.read_text())) if path.exists() else None


def pack(name: str, files: Mapping[str, str], archive: Path) -> None:
    """Write files into a zip, below a folder of this name; the same files make the same zip."""
    aside = archive.with_name(f".{archive.name}.part")
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(files):
            place = zipfile.ZipInfo(f"{name}/{file}", DATE)
            packed.writestr(place, files[file], zipfile.ZIP_DEFLATED)
    aside.replace(archive)
