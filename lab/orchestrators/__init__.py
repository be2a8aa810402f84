"""`invoke orchestrators`: one web app by docker run, Compose, podman, Swarm and Kubernetes.

Each runs through the same scenes while a client sends requests (race.py). records.py evaluates the
client's log, and table.py and page.py present the results. Each orchestrator has one file.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lab.config import Settings
from lab.errors import LabError, PrerequisiteError
from lab.faults import network
from lab.interrupts import held_back
from lab.lifecycle.lock import locked
from lab.lifecycle.opened import running
from lab.machines.ssh import connections
from lab.machines.vagrantfile import place
from lab.orchestrators import course, page
from lab.orchestrators.compose import Compose
from lab.orchestrators.course import Comparison, Course
from lab.orchestrators.docker import Docker
from lab.orchestrators.ground import FOLDER, IMAGE, Ground, Orchestrator
from lab.orchestrators.kubernetes import Kubernetes
from lab.orchestrators.podman import Podman
from lab.orchestrators.race import AWAY, Race
from lab.orchestrators.swarm import Swarm
from lab.orchestrators.table import text
from lab.output import Status, document
from lab.parallel import each
from lab.state import write_aside

ORCHESTRATORS: Sequence[Callable[[Ground], Orchestrator]] = (
    Docker,
    Compose,
    Podman,
    Swarm,
    Kubernetes,
)
# The programs that a machine needs in addition to Kubernetes.
PROGRAMS = ("docker", "podman", "curl", "nft", "systemd-run")


def compare(settings: Settings, status: Status) -> Comparison:
    """Measure every orchestrator on a running lab, and restore the machines afterwards.

    Raises PrerequisiteError for a lab without workers or a machine without a program, and LabError
    for a failure on a machine.
    """
    found = running(settings)
    resolved = found.lab
    if len(resolved.machines) < 2:
        raise PrerequisiteError(
            "a comparison needs 2 machines, but the lab has 1", hint="invoke lab-up --workers 2"
        )
    machines = {machine.name: machine for machine in connections(resolved)}
    ground = Ground(resolved, found.cluster, machines)
    with locked(resolved, "orchestrators", status), held_back() as halt:
        begin = time.monotonic()
        try:
            courses = tuple(_all(ground, status, halt))
        finally:
            for machine in machines.values():
                machine.close()
    return Comparison(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        place=place(resolved),
        seconds=round(time.monotonic() - begin, 1),
        courses=courses,
    )


def _all(ground: Ground, status: Status, halt: Callable[[], None]) -> Iterator[Course]:
    """The courses of all orchestrators, measured one after the other."""
    who = [make(ground) for make in ORCHESTRATORS]
    with prepared(ground, who, status):
        for one in who:
            halt()
            try:
                with status.step(one.name):
                    yield Race(ground, one, status, halt).run()
            finally:
                with status.step(f"remove the app from {one.name}"):
                    one.remove()


@contextmanager
def prepared(ground: Ground, who: Sequence[Orchestrator], status: Status) -> Iterator[None]:
    """Copy the app's files and image to every machine; remove them and the apps afterwards."""
    names = list(ground.machines)
    refuse_without_programs(ground)
    engines = dict(zip(names, each(names, lambda name: _engine(ground, name)), strict=True))
    try:
        with status.step("files and images on the machines"):
            each(names, lambda name: _put(ground, name))
            # Remove what an interrupted run left behind.
            for one in who:
                one.remove()
            each(names, lambda name: ground.run(name, f"docker pull --quiet {IMAGE}", 120))
        yield
    finally:
        with status.step("clean up the machines"):
            each(names, lambda name: _tidy(ground, name, *engines[name]))


def refuse_without_programs(ground: Ground) -> None:
    """Raise PrerequisiteError with the missing programs of a machine."""
    line = f"for p in {' '.join(PROGRAMS)}; do command -v $p >/dev/null || echo $p; done"
    for name, machine in ground.machines.items():
        if missing := machine.run(["sh", "-c", line], sudo=True).split():
            raise PrerequisiteError(
                f"{name} lacks {', '.join(missing)}", hint="invoke lab-destroy, then invoke lab-up"
            )


def _engine(ground: Ground, name: str) -> tuple[bool, bool]:
    """Whether a machine's Docker engine runs, and whether it has the image already."""
    ask = "systemctl is-active --quiet docker.service && echo yes || echo no"
    active = ground.machines[name].run(["sh", "-c", ask]).strip() == "yes"
    image = ["docker", "image", "inspect", "--format", "yes", IMAGE]
    return active, ground.machines[name].run(image, sudo=True, ok=(0, 1)).strip() == "yes"


def _put(ground: Ground, name: str) -> None:
    """Copy the app's files to a machine, and the manifests as kube.yaml."""
    files = {path.name: path for path in sorted((ground.exercise / "app").iterdir())}
    files["kube.yaml"] = ground.exercise / "manifests" / "orchestrators.yaml"
    for file, path in files.items():
        ground.machines[name].put(path.read_text(), f"{FOLDER}/{file}")
    network.back(ground.machines[name], AWAY)


def _tidy(ground: Ground, name: str, active: bool, image: bool) -> None:
    """Restore a machine's network, engine and images, and remove the app's files."""
    machine = ground.machines[name]
    network.back(machine, AWAY)
    with contextlib.suppress(LabError):
        if not image:
            machine.run(["docker", "image", "rm", "--force", IMAGE], sudo=True)
        if not active:
            machine.run(["systemctl", "stop", "docker.service"], sudo=True)
    machine.run(["rm", "-rf", FOLDER], sudo=True)


def write(found: Comparison, folder: Path) -> list[Path]:
    """Write the comparison as JSON and HTML into a folder; return the files."""
    forms = {
        "orchestrators.json": document(found.data()) + "\n",
        "orchestrators.html": page.page(found),
    }
    for name, content in forms.items():
        write_aside(folder / name, content, mode=0o644)
    return [folder / name for name in forms]


__all__ = ["ORCHESTRATORS", "Comparison", "compare", "course", "text", "write"]
