"""The comparison as a table with one row for each scene and one column for each orchestrator."""

from __future__ import annotations

from collections.abc import Callable

from lab.orchestrators.course import Comparison, Course, Scene
from lab.output import table

Row = tuple[str, ...]


def rows(found: Comparison) -> tuple[Row, list[Row]]:
    """The heading and the rows."""
    heading = ("", *(f"{one.orchestrator} {one.version}" for one in found.courses))
    return heading, [
        (question, *(answer(course) for course in found.courses))
        for question, answer in QUESTIONS.items()
    ]


def text(found: Comparison) -> str:
    """The comparison for a terminal: one small table for each scene."""
    heading, lines = rows(found)
    # A terminal is too narrow for one column of sentences per orchestrator.
    blocks = [
        f"{question}\n" + table(("by", "seen"), list(zip(heading[1:], cells, strict=True)))
        for question, *cells in lines
    ]
    return "\n\n".join([*blocks, caption(found)])


def markdown(found: Comparison) -> str:
    """The comparison for the documentation."""
    heading, lines = rows(found)
    shown = [heading, tuple("---" for _ in heading), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown) + f"\n\n{caption(found)}\n"


def caption(found: Comparison) -> str:
    """When and where the numbers were measured."""
    return (
        f"Measured on {found.date} in {found.seconds:.0f} s: {found.place}. "
        "A client sent about twenty requests a second and waited at most one second for an answer."
    )


def _first(course: Course) -> str:
    return _seconds(course.scene("deploy").seconds)


def _kill(course: Course) -> str:
    scene = course.scene("kill")
    if scene.seconds is None:
        return f"stays dead (watched for {scene.watched:.0f} s){_lost(scene)}"
    return f"answers again after {_seconds(scene.seconds)}{_lost(scene)}"


def _scale(course: Course) -> str:
    scene = course.scene("scale")
    if scene.seconds is None:
        number = "one copy" if scene.copies == 1 else f"{scene.copies} copies"
        return f"no: {number} after {scene.watched:.0f} s{_lost(scene)}"
    return f"{_seconds(scene.seconds)}{_lost(scene)}"


def _update(course: Course) -> str:
    scene = course.scene("update")
    number = "the only copy" if scene.copies == 1 else f"{scene.copies} copies"
    if scene.seconds is None:
        return f"not done after {scene.watched:.0f} s{_lost(scene)}"
    return f"{number} after {_seconds(scene.seconds)}{_lost(scene)}"


def _away(course: Course) -> str:
    scene = course.scene("away")
    if course.machines == 1:
        if scene.copies:
            return f"answered although the machine had no network{_lost(scene)}"
        return f"no answer (watched for {scene.watched:.0f} s){_lost(scene)}"
    if scene.seconds is None:
        return f"not recovered after {scene.watched:.0f} s{_lost(scene)}"
    return f"the last lost request after {_seconds(scene.seconds)}{_lost(scene)}"


def _replaced(course: Course) -> str:
    if course.machines == 1:
        return "there is no other machine"
    found = [scene for scene in course.scenes if scene.name == "replaced"]
    return f"after {_seconds(found[0].seconds)}" if found else "no"


def _back(course: Course) -> str:
    scene = course.scene("back")
    what = "answers again" if course.machines == 1 else "ready again"
    return f"{what} after {_seconds(scene.seconds)}"


def _anywhere(course: Course) -> str:
    return "answers" if course.anywhere else "no answer"


QUESTIONS: dict[str, Callable[[Course], str]] = {
    "from the command to the first answer": _first,
    "the program is killed": _kill,
    "from 1 copy to 3": _scale,
    "another version": _update,
    "a request to another machine": _anywhere,
    "a machine with a copy is gone": _away,
    "a new copy on another machine": _replaced,
    "the machine is back": _back,
}


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _lost(scene: Scene) -> str:
    return f"; {scene.lost} of {scene.asked} requests lost"
