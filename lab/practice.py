"""What a student does with a running lab: deploy an exercise, check it, take it away."""

from __future__ import annotations

from pathlib import Path

from lab import cluster, exercises, grading, mutants, report
from lab.config import Lab
from lab.errors import ResourceError
from lab.lifecycle import known, toolchain_of
from lab.lock import locked
from lab.output import Status
from lab.stacks import Stacks


def opened(lab: Lab) -> tuple[Lab, Path]:
    """A lab that was brought up, and the folder of its tools. Raises NotFoundError without one."""
    resolved = known(lab)
    return resolved, toolchain_of(resolved, Status()).bin_folder()


def running(lab: Lab) -> tuple[Lab, Path]:
    """Like `opened`. Raises ResourceError when its cluster does not answer."""
    resolved, tools = opened(lab)
    if not cluster.healthy(resolved, tools):
        raise ResourceError(
            f"the cluster of lab `{lab.name}` does not answer", hint="invoke lab-up"
        )
    return resolved, tools


def deploy(lab: Lab, name: str, status: Status) -> None:
    """Bring an exercise up. Raises CommandError with Pulumi's words when that fails."""
    exercise = exercises.find(lab.root, name)
    resolved, tools = running(lab)
    with locked(resolved, f"exercise-up {name}", status), status.step(f"exercise `{name}`"):
        Stacks(resolved, tools, status).up(exercise.name)
    status.say(f"next: invoke check {name}")


def preview(lab: Lab, name: str, status: Status) -> str:
    """What `deploy` would change, in Pulumi's words."""
    exercise = exercises.find(lab.root, name)
    resolved, tools = running(lab)
    return Stacks(resolved, tools, status).preview(exercise.name)


def withdraw(lab: Lab, name: str, status: Status) -> None:
    """Take an exercise away again; one that is not there is no error."""
    exercise = exercises.find(lab.root, name)
    resolved, tools = running(lab)
    with locked(resolved, f"exercise-down {name}", status), status.step(f"remove `{name}`"):
        Stacks(resolved, tools, status).destroy(exercise.name)


def check(lab: Lab, name: str) -> grading.Report:
    """Check one exercise, or every one for an empty name."""
    chosen = select(lab, name)
    resolved, tools = running(lab)
    return grading.grade(resolved, tools, chosen)


def grade(lab: Lab, name: str, folder: Path, student: str) -> tuple[grading.Report, list[Path]]:
    """Check, and write the report in every form into `folder`; the report and the files."""
    chosen = select(lab, name)
    resolved, tools = running(lab)
    made = grading.grade(resolved, tools, chosen)
    evidence = report.gather(resolved, tools, chosen)
    return made, report.write(made, evidence, folder, student or resolved.name)


def try_mutants(lab: Lab, name: str, status: Status) -> list[mutants.Outcome]:
    """Try the wrong answers of one exercise, or of every one for an empty name."""
    chosen = select(lab, name)
    resolved, tools = running(lab)
    return mutants.Laboratory(resolved, tools, status).run(chosen)


def select(lab: Lab, name: str) -> list[exercises.Exercise]:
    """The exercise of this name, or all for an empty one. Raises NotFoundError."""
    return [exercises.find(lab.root, name)] if name else exercises.discover(lab.root)
