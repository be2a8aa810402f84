"""Work with exercises in a running lab: deploy, check, grade and remove them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab import wait
from lab.cluster import health, registry
from lab.config import Settings
from lab.errors import ConfigError, PrerequisiteError, ResourceError
from lab.exercises import catalogue, grading, mutants, report
from lab.exercises.catalogue import Exercise
from lab.lifecycle.lock import locked
from lab.lifecycle.opened import Opened, opened, running
from lab.output import Status
from lab.parallel import each
from lab.toolchain.release import reachable

# Pulumi programs that run at the same time, unless the lab's machines are slow.
AT_ONCE = 8


@dataclass(frozen=True)
class Wanted:
    """The exercises that a user names; `every` stands for all that the lab is ready for."""

    names: tuple[str, ...] = ()
    every: bool = False

    def __str__(self) -> str:
        return "--all" if self.every else " ".join(self.names)

    def exercises(self, root: Path) -> list[Exercise]:
        """The exercises of the checkout `root`. Raises NotFoundError for an unknown name."""
        if self.every:
            return catalogue.discover(root)
        return [catalogue.find(root, name) for name in self.names]


def wanted(names: Sequence[str], *, every: bool) -> Wanted:
    """The exercises that a user typed: names or --all. Raises ConfigError for both or neither."""
    if every == bool(names):
        raise ConfigError(
            "give the names of exercises, or --all" + (", and not both" if every else ""),
            hint="invoke exercise-list",
        )
    return Wanted(tuple(names), every)


@dataclass(frozen=True)
class Selection:
    """Exercises of a running lab.

    `left_out` maps the exercises that the lab is not ready for to what it lacks.
    """

    exercises: tuple[Exercise, ...]
    left_out: dict[str, str]
    opened: Opened


def deploy(settings: Settings, what: Wanted, status: Status) -> None:
    """Deploy exercises, several at once. Raises CommandError with Pulumi's output on failure."""
    chosen = select(settings, what, status)
    stacks = chosen.opened.stacks(status)
    with locked(chosen.opened.lab, f"exercise-up {what}", status):
        _change(chosen.exercises, "exercise", stacks.up, status)


def preview(settings: Settings, name: str, status: Status) -> str:
    """What `deploy` would change, as Pulumi prints it."""
    chosen = select(settings, Wanted((name,)), status)
    return chosen.opened.stacks(status).preview(name)


def withdraw(settings: Settings, what: Wanted, status: Status) -> None:
    """Remove exercises, several at once; skips those that are not deployed.

    Requirements for deploying are not checked.
    """
    named = what.exercises(settings.root)
    found = running(settings)
    stacks = found.stacks(status)
    with locked(found.lab, f"exercise-down {what}", status):
        _change(named, "remove", stacks.destroy, status)


def _change(
    chosen: Sequence[Exercise], verb: str, change: Callable[[str], None], status: Status
) -> None:
    """Change the stack of each exercise, several at once, each as a step of its own."""

    def one(exercise: Exercise) -> None:
        with status.step(f"{verb} `{exercise.name}`"):
            change(exercise.name)

    each(chosen, one, wait.at_once(AT_ONCE))


def deployed(settings: Settings) -> set[str]:
    """The names of the exercises whose stacks have resources."""
    stacks = opened(settings).stacks(Status())
    names = [exercise.name for exercise in catalogue.discover(settings.root)]
    return {name for name in names if stacks.resources(name)}


def check(settings: Settings, what: Wanted, status: Status) -> grading.Report:
    """Check exercises."""
    return _judge(select(settings, what, status))


def _judge(chosen: Selection) -> grading.Report:
    made = grading.grade(chosen.opened.lab.root, chosen.exercises, chosen.opened.environment)
    return replace(made, left_out=chosen.left_out)


def grade(
    settings: Settings, what: Wanted, folder: Path, student: str, status: Status
) -> tuple[grading.Report, list[Path]]:
    """Check exercises and write the report in every format into `folder`; the report, the files.

    `student` is the name on the report, by default the lab's name.
    """
    chosen = select(settings, what, status)
    made = _judge(chosen)
    evidence = report.gather(chosen.opened.cluster, chosen.exercises)
    return made, report.write(made, evidence, folder, student or chosen.opened.lab.name)


def try_mutants(settings: Settings, what: Wanted, status: Status) -> list[mutants.Outcome]:
    """Try the wrong answers to exercises."""
    chosen = select(settings, what, status)
    with locked(chosen.opened.lab, f"mutants {what}", status):
        return mutants.Laboratory(chosen.opened, status).run(chosen.exercises)


def select(settings: Settings, what: Wanted, status: Status) -> Selection:
    """The exercises that a user wants; with --all, those that the lab is ready for.

    Raises NotFoundError for an unknown name, PrerequisiteError for a named exercise that lacks
    machines or an image, and what `running` raises.
    """
    named = what.exercises(settings.root)
    found = running(settings)
    chosen, left_out = [], {}
    for exercise in named:
        try:
            lack, hint = lacking(found, exercise)
        except ResourceError as error:
            # A registry that is down does not concern the other exercises.
            if not what.every:
                raise
            lack, hint = f"exercise `{exercise.name}`: {error.message}", error.hint
        if not lack:
            chosen.append(exercise)
        elif what.every:
            left_out[exercise.name] = lack
            status.say(f"left out: {lack} ({hint})")
        else:
            raise PrerequisiteError(lack, hint=hint)
    return Selection(tuple(chosen), left_out, found)


def lacking(opened: Opened, exercise: Exercise) -> tuple[str, str]:
    """What a lab lacks for an exercise, and the next command; both empty when it is ready.

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
        opened.distribution.image.brings(image)
        or health.has_image(opened.cluster, image)
        or reachable(f"https://{image.partition('/')[0]}")
    )
