"""What a student does with a running lab: deploy an exercise, check it, take it away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab import wait
from lab.cluster import health, registry
from lab.config import Lab
from lab.errors import ConfigError, PrerequisiteError, ResourceError
from lab.exercises import catalogue, grading, mutants, report
from lab.exercises.catalogue import Exercise
from lab.images.catalogue import brings
from lab.lifecycle.lock import locked
from lab.lifecycle.opened import Opened, opened, running
from lab.output import Status
from lab.parallel import each
from lab.toolchain.release import reachable

# Every exercise. Invoke takes a flag that it does not know for the name that it misses.
ALL = "--all"
# Pulumi programs that run at the same time.
AT_ONCE = 8


@dataclass(frozen=True)
class Selection:
    """Exercises of a running lab.

    `left_out` are those that the lab is not ready for, with what it lacks for each.
    """

    exercises: tuple[Exercise, ...]
    left_out: dict[str, str]
    opened: Opened


def deploy(lab: Lab, names: Sequence[str], status: Status) -> None:
    """Bring exercises up, several at once.

    Raises CommandError with Pulumi's words when that fails.
    """
    chosen = select(lab, names, status)
    stacks = chosen.opened.stacks(status)
    with locked(chosen.opened.lab, f"exercise-up {' '.join(names)}", status):
        _change(chosen.exercises, "exercise", stacks.up, status)


def preview(lab: Lab, name: str, status: Status) -> str:
    """What `deploy` would change, in Pulumi's words. Raises ConfigError for ALL."""
    if name == ALL:
        raise ConfigError("exercise-preview takes one exercise", hint="invoke exercise-list")
    chosen = select(lab, [name], status)
    return chosen.opened.stacks(status).preview(name)


def withdraw(lab: Lab, names: Sequence[str], status: Status) -> None:
    """Take exercises away again, several at once; one that is not there is no error.

    What they need to be deployed they do not need now.
    """
    named = _named(lab, names)
    found = running(lab)
    stacks = found.stacks(status)
    with locked(found.lab, f"exercise-down {' '.join(names)}", status):
        _change(named, "remove", stacks.destroy, status)


def _change(
    chosen: Sequence[Exercise], verb: str, change: Callable[[str], None], status: Status
) -> None:
    """Change the stack of each exercise, several at once, each a step of the story."""

    def one(exercise: Exercise) -> None:
        with status.step(f"{verb} `{exercise.name}`"):
            change(exercise.name)

    each(chosen, one, wait.at_once(AT_ONCE))


def deployed(lab: Lab) -> set[str]:
    """The names of the exercises whose stacks hold resources."""
    stacks = opened(lab).stacks(Status())
    names = [exercise.name for exercise in catalogue.discover(lab.root)]
    return {name for name in names if stacks.resources(name)}


def check(lab: Lab, names: Sequence[str], status: Status) -> grading.Report:
    """Check exercises."""
    return _judge(select(lab, names, status))


def _judge(chosen: Selection) -> grading.Report:
    made = grading.grade(chosen.opened.lab.root, chosen.exercises, chosen.opened.environment)
    return replace(made, left_out=chosen.left_out)


def grade(
    lab: Lab, name: str, folder: Path, student: str, status: Status
) -> tuple[grading.Report, list[Path]]:
    """Check, and write the report in every form into `folder`; the report and the files."""
    chosen = select(lab, [name], status)
    made = _judge(chosen)
    evidence = report.gather(chosen.opened.cluster, chosen.exercises)
    return made, report.write(made, evidence, folder, student or chosen.opened.lab.name)


def try_mutants(lab: Lab, names: Sequence[str], status: Status) -> list[mutants.Outcome]:
    """Try the wrong answers to exercises."""
    chosen = select(lab, names, status)
    with locked(chosen.opened.lab, f"mutants {' '.join(names)}", status):
        return mutants.Laboratory(chosen.opened, status).run(chosen.exercises)


def select(lab: Lab, names: Sequence[str], status: Status) -> Selection:
    """The exercises of these names, or for ALL those that the lab is ready for.

    Raises NotFoundError for an unknown name, PrerequisiteError for a named exercise that needs more
    machines or an image that is still to be made, and what `running` raises.
    """
    every = ALL in names
    named = _named(lab, names)
    found = running(lab)
    chosen, left_out = [], {}
    for exercise in named:
        try:
            lack, hint = lacking(found, exercise)
        except ResourceError as error:
            # A registry that is down is no reason to leave all the others out.
            if not every:
                raise
            lack, hint = f"exercise `{exercise.name}`: {error.message}", error.hint
        if not lack:
            chosen.append(exercise)
        elif every:
            left_out[exercise.name] = lack
            status.say(f"left out: {lack} ({hint})")
        else:
            raise PrerequisiteError(lack, hint=hint)
    return Selection(tuple(chosen), left_out, found)


def _named(lab: Lab, names: Sequence[str]) -> list[Exercise]:
    if ALL in names:
        return catalogue.discover(lab.root)
    return [catalogue.find(lab.root, name) for name in names]


def lacking(opened: Opened, exercise: Exercise) -> tuple[str, str]:
    """What a lab lacks for an exercise, and what to do about it; empty when it is ready for it.

    Raises ResourceError when the registry does not answer.
    """
    lab = opened.lab
    have = len(lab.machines)
    if exercise.nodes > have:
        lack = f"exercise `{exercise.name}` needs {exercise.nodes} machines, the lab has {have}"
        return lack, f"invoke lab-up --workers {exercise.nodes - 1}"
    if exercise.image and not registry.digest(lab, exercise.image):
        return f"exercise `{exercise.name}` needs the image {exercise.image}", "invoke mnist-up"
    if exercise.pulls and not obtainable(opened, exercise.pulls):
        host = exercise.pulls.partition("/")[0]
        lack = f"exercise `{exercise.name}` needs the image {exercise.pulls}: {lab.distribution} "
        lack += f"does not bring it, and {host} cannot be reached"
        return lack, "invoke lab-up --lab second --distribution kubeadm"
    return "", ""


def obtainable(opened: Opened, image: str) -> bool:
    """Whether nodes have an image, given without a tag, or can pull it."""
    return (
        brings(opened.lab.distribution, image)
        or health.has_image(opened.cluster, image)
        or reachable(f"https://{image.partition('/')[0]}")
    )
