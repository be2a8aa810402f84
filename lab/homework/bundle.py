"""`invoke mnist-submit`: the homework's files in a folder and a zip, and what is missing."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.config import Settings
from lab.errors import ChecksFailed, ConfigError, LabError, answered
from lab.homework import compare, markdown, page, rubric
from lab.homework.image import HOME
from lab.homework.rubric import Item
from lab.homework.runs import KEPT
from lab.machines.ssh import Remote, ssh_config
from lab.output import Status, table
from lab.state import write_aside

APP = Path("infra/workloads/mnist/app")
COMPARISON = "comparison.json"
OUTPUTS = (rubric.DOCKER_OUTPUT, rubric.SINGULARITY_OUTPUT)
# Search the machine's home folder to this depth for outputs of runs by hand.
DEPTH = 3
# A zip file stores a date for each entry. A fixed one, the earliest possible, makes equal files
# give equal archives.
DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """A submission: its folder, its zip, and the rubric's items."""

    folder: Path
    archive: Path
    files: tuple[str, ...]
    items: tuple[Item, ...]

    @property
    def missing(self) -> list[Item]:
        """The items that the lecture requires and the bundle lacks."""
        return [item for item in self.items if item.missing]

    def text(self) -> str:
        """A table for a terminal: every required item, by its part of the rubric."""
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
                    f"{len(self.missing)} of {len(self.items)} required items are missing",
                    hint="the table above lists the next step for each; write your own words into "
                    f"{self.folder / rubric.REPORT}, then run invoke mnist-submit again",
                )
            )


def submit(
    settings: Settings,
    status: Status,
    *,
    output: Path,
    app: Path | None = None,
    program: Path | None = None,
    student: str = "",
) -> Bundle:
    """Write the bundle into a folder, and a zip of it next to the folder.

    `app` is the folder of the student's Dockerfile and mnist.def, `program` a main.py outside of
    it. The student's text in the folder's report stays unchanged. Raises ConfigError for a missing
    folder or program.
    """
    source = app or settings.root / APP
    for path in filter(None, (source, program)):
        if not path.exists():
            raise ConfigError(f"{path} does not exist")
    files = gathered(settings, status, source, program)
    measured = compare.last(settings)
    # The zip takes the folder's name, and `.` has none.
    output = output.absolute()
    report = output / rubric.REPORT
    written = report.read_text() if report.exists() else rubric.skeleton(student)
    if measured:
        files[COMPARISON] = (settings.state / compare.KEPT).read_text()
        files["comparison.html"] = page.page(measured)
        written = rubric.with_measured(written, markdown.markdown(measured, level=3))
    files[rubric.REPORT] = written
    # Keep an output that a student copied into the folder, unless a newer one was found.
    for name in OUTPUTS:
        if name not in files and (output / name).exists():
            files[name] = (output / name).read_text()
    for name, text in files.items():
        write_aside(output / name, text, mode=0o644)
    archive = output.with_name(f"{output.name}.zip")
    pack(output.name, files, archive)
    return Bundle(output, archive, tuple(files), tuple(rubric.judge(files)))


def gathered(
    settings: Settings, status: Status, source: Path, program: Path | None
) -> dict[str, str]:
    """The existing files of the bundle by name, without the report.

    A file may exist on the host and on the machine. The copy that the student changed wins, and
    the newer one if both were changed.
    """
    main = program or source / rubric.PROGRAM
    places = {
        rubric.DOCKERFILE: source / rubric.DOCKERFILE,
        rubric.DEFINITION: source / rubric.DEFINITION,
        rubric.PROGRAM: main,
        **{name: settings.state / KEPT / name for name in OUTPUTS},
    }
    found = {name: [Copy.of(path)] for name, path in places.items() if path.exists()}
    try:
        for name, copy in on_machine(settings):
            if name != rubric.PROGRAM or not program:
                found.setdefault(name, []).append(copy)
    except LabError as error:
        status.say(f"files on the machine are left out: {error.message}")
    files = {name: best(name, copies).text for name, copies in found.items()}
    if (settings.root / rubric.VAGRANTFILE).exists():
        files[rubric.VAGRANTFILE] = (settings.root / rubric.VAGRANTFILE).read_text()
    if rubric.PROGRAM in files and not rubric.changed(rubric.PROGRAM, files[rubric.PROGRAM]):
        del files[rubric.PROGRAM]
    elif rubric.PROGRAM in files:
        # A changed program may still import modules of the example.
        for path in sorted(main.parent.glob("*.py")):
            if path != main:
                files.setdefault(path.name, path.read_text())
    return files


@dataclass(frozen=True)
class Copy:
    """One copy of a file: when it was changed, in Unix seconds, and its content."""

    changed: float
    text: str

    @classmethod
    def of(cls, path: Path) -> Copy:
        """A file on the host."""
        return cls(path.stat().st_mtime, path.read_text())


def best(name: str, copies: Sequence[Copy]) -> Copy:
    """The newest copy that the student changed; the newest of all if none was changed."""
    mine = [one for one in copies if name in rubric.SHIPPED and rubric.changed(name, one.text)]
    return max(mine or copies, key=lambda one: one.changed)


def on_machine(lab: Settings) -> list[tuple[str, Copy]]:
    """Files in the machine's home folder by name.

    These are the files that mnist-up put there, which a student may have edited, and outputs of
    runs by hand. Raises what `Remote.run` raises.
    """
    if not ssh_config(lab).exists():
        return []
    paths = [f"-path ./{Path(HOME).name}/{name}" for name in rubric.SHIPPED]
    wanted = " -o ".join([*paths, *(f"-name {name}" for name in OUTPUTS)])
    look = f"find . -maxdepth {DEPTH} -type f \\( {wanted} \\) -printf '%T@ %p\\n'"
    machine = Remote("control-plane-1", ssh_config(lab))
    try:
        lines = [line.split(" ", 1) for line in machine.run(["sh", "-c", look]).splitlines()]
        return [
            (Path(path).name, Copy(float(age), machine.run(["cat", path]))) for age, path in lines
        ]
    finally:
        machine.close()


def pack(name: str, files: Mapping[str, str], archive: Path) -> None:
    """Write files into a zip, below a folder of this name. Equal files give an equal zip."""
    aside = archive.with_name(f".{archive.name}.part")
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(files):
            place = zipfile.ZipInfo(f"{name}/{file}", DATE)
            packed.writestr(place, files[file], zipfile.ZIP_DEFLATED)
    aside.replace(archive)
