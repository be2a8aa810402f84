"""A grade in every format: text, JSON, JUnit, Gradescope, CSV and a web page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lab.cluster.client import Cluster
from lab.errors import LabError
from lab.exercises.catalogue import Exercise
from lab.exercises.grading import AT_ONCE, MARKS, Check, Report
from lab.output import document
from lab.pages import diagram, html
from lab.parallel import each
from lab.state import write_aside

Object = Mapping[str, Any]
# Objects that Kubernetes creates in every namespace.
BUILTIN = {("ConfigMap", "kube-root-ca.crt")}
GRADESCOPE = "results.json"


@dataclass(frozen=True)
class Evidence:
    """The objects and events of an exercise's namespace, without the contents of Secrets."""

    objects: tuple[Object, ...] = ()
    events: tuple[Object, ...] = ()


def gather(cluster: Cluster, exercises: Sequence[Exercise]) -> dict[str, Evidence]:
    """The evidence by exercise; empty if the cluster does not answer."""

    def one(exercise: Exercise) -> Evidence:
        try:
            kinds = ",".join(kind for kind in diagram.KINDS if kind != "PersistentVolume")
            place = ("--namespace", exercise.name)
            found = cluster.get(kinds, *place)
            events = cluster.get("events", "--sort-by=.lastTimestamp", *place)
        except LabError:
            return Evidence()
        return Evidence(tuple(presentable(found)), tuple(events))

    names = [exercise.name for exercise in exercises]
    return dict(zip(names, each(exercises, one, AT_ONCE), strict=True))


def presentable(objects: Sequence[dict[str, Any]]) -> list[Object]:
    """Objects without the contents of Secrets, and without those that every namespace has."""
    kept = [item for item in objects if diagram.key(item) not in BUILTIN]
    return [_closed(item) if item["kind"] == "Secret" else item for item in kept]


def _closed(secret: dict[str, Any]) -> Object:
    """A Secret without contents and annotations: `kubectl apply` copies contents into one."""
    metadata = {key: value for key, value in secret["metadata"].items() if key != "annotations"}
    rest = {key: value for key, value in secret.items() if key not in ("data", "stringData")}
    return {**rest, "metadata": metadata}


def write(
    report: Report, evidence: Mapping[str, Evidence], folder: Path, student: str
) -> list[Path]:
    """Write every format into a folder and return the files.

    A check that could not be made must cost no points. Gradescope gets no file then, and reports a
    failure of the grader.
    """
    forms = {
        "report.txt": report.text() + "\n",
        "report.json": document(report.data()) + "\n",
        "junit.xml": report.junit,
        "grades.csv": grades(report, student),
        "report.html": page(report, evidence, student),
    }
    (folder / GRADESCOPE).unlink(missing_ok=True)
    if all(check.status != "error" for check in report.checks):
        forms[GRADESCOPE] = gradescope(report)
    for name, text in forms.items():
        write_aside(folder / name, text, mode=0o644)
    return [folder / name for name in forms]


def gradescope(report: Report) -> str:
    """Gradescope's results.json, as its autograder documentation describes it."""
    tests = [
        {
            "name": f"{check.exercise}: {check.title}",
            "score": check.score,
            "max_score": check.points,
            "status": check.status,
            "output": check.message,
            "visibility": "visible",
        }
        for check in report.checks
    ]
    # Shown above all tests.
    output = "\n".join(f"left out: {lack}" for lack in report.left_out.values())
    return json.dumps({"score": report.score, "output": output, "tests": tests}, indent=2) + "\n"


def grades(report: Report, student: str) -> str:
    """A header and one line for a grade book: the student, the points of each exercise, the sum.

    An exercise that was left out has an empty column, so that all students have the same columns.
    The column is also empty if a check of the exercise could not be made, which costs no points.
    """
    parts = split(report)
    columns = sorted({*parts, *report.left_out})
    made = {
        name: part
        for name, part in parts.items()
        if all(check.status != "error" for check in part.checks)
    }
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["student", *columns, "total", "of"])
    scores = [made[name].score if name in made else "" for name in columns]
    total = sum(part.score for part in made.values())
    writer.writerow([student, *scores, total, sum(part.points for part in made.values())])
    return text.getvalue()


def split(report: Report) -> dict[str, Report]:
    """One report for each exercise, in the order of the checks."""
    found: dict[str, list[Check]] = {}
    for check in report.checks:
        found.setdefault(check.exercise, []).append(check)
    return {name: Report(tuple(checks)) for name, checks in found.items()}


def page(report: Report, evidence: Mapping[str, Evidence], student: str) -> str:
    """One self-contained HTML page: every check, a diagram of the objects, objects and events."""
    parts = [
        f"<h1>{escape(student)}: {report.score} of {report.points} points</h1>",
        _summary(report),
    ]
    for name, part in split(report).items():
        found = evidence.get(name, Evidence())
        parts.append(f'<h2 id="{escape(name)}">{escape(name)}</h2>')
        parts.append(_checks(part.checks))
        if found.objects:
            parts += [diagram.draw(found.objects), _objects(found)]
        else:
            parts.append("<p>The namespace has no objects.</p>")
    body = "\n".join(parts)
    return html.page(f"Grade of {student}", body)


def _summary(report: Report) -> str:
    rows = []
    for name, part in split(report).items():
        rows.append(
            f'<tr><td><a href="#{escape(name)}">{escape(name)}</a></td>'
            f'<td class="points">{part.score}/{part.points}</td></tr>'
        )
    for name, lack in report.left_out.items():
        rows.append(f"<tr><td>{escape(name)}</td><td>left out: {escape(lack)}</td></tr>")
    return f"<table><tr><th>exercise</th><th class=points>points</th></tr>{''.join(rows)}</table>"


def _checks(checks: Sequence[Check]) -> str:
    rows = []
    for check in checks:
        message = f"<pre>{escape(check.message)}</pre>" if check.message else ""
        rows.append(
            f'<tr><td class="mark {check.status}">{MARKS[check.status]}</td>'
            f"<td>{escape(check.title)}{message}</td>"
            f'<td class="points">{check.score}/{check.points}</td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"


def _objects(evidence: Evidence) -> str:
    parts = []
    for item in evidence.objects:
        kind, name = diagram.key(item)
        text = json.dumps(item, indent=1)
        parts.append(
            f"<details><summary>{escape(kind)} {escape(name)}</summary>"
            f"<pre>{escape(text)}</pre></details>"
        )
    lines = [
        f"{event.get('lastTimestamp') or event.get('eventTime') or ''} {event.get('reason')} "
        f"{event['involvedObject'].get('kind')}/{event['involvedObject'].get('name')}: "
        f"{event.get('message')}"
        for event in evidence.events
    ]
    events = f"<details><summary>events</summary><pre>{escape(chr(10).join(lines))}</pre></details>"
    return "".join([*parts, events if lines else ""])
