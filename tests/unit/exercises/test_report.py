"""Grades in every format, and the diagram of the objects."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.exercises import report
from lab.exercises.grading import Check, Report
from lab.exercises.report import Evidence
from lab.pages import diagram

HOSTILE = "<script>alert('x')</script> & \"more\""


def item(kind: str, name: str, **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": parts.pop("labels", {})}
    if owner := parts.pop("owner", None):
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1]}]
    return {"kind": kind, "metadata": metadata, **parts}


WEB = [
    item("Deployment", "web", spec={"replicas": 1}, status={"readyReplicas": 1}),
    item("ReplicaSet", "web-1", spec={"replicas": 1}, owner=("Deployment", "web")),
    item("ReplicaSet", "web-0", spec={"replicas": 0}, owner=("Deployment", "web")),
    item(
        "Pod",
        "web-1-x",
        labels={"app": "web"},
        owner=("ReplicaSet", "web-1"),
        spec={
            "containers": [{"envFrom": [{"configMapRef": {"name": "settings"}}]}],
            "volumes": [
                {"secret": {"secretName": "password"}},
                {"persistentVolumeClaim": {"claimName": "data"}},
            ],
        },
        status={"conditions": [{"type": "Ready", "status": "True"}]},
    ),
    item("Service", "web", spec={"selector": {"app": "web"}}),
    item("Service", "nobody", spec={"selector": {"app": "other"}}),
    item(
        "Ingress",
        "door",
        spec={"rules": [{"http": {"paths": [{"backend": {"service": {"name": "web"}}}]}}]},
    ),
    item("ConfigMap", "settings"),
    item("Secret", "password", data={"key": "c2VjcmV0"}),
    item("PersistentVolumeClaim", "data", spec={}, status={"phase": "Bound"}),
    item("EndpointSlice", "web-abc"),
]


@pytest.fixture
def graded() -> Report:
    return Report(
        (
            Check("pod", "test_a", "Runs", 2, "passed", ""),
            Check("pod", "test_b", HOSTILE, 1, "failed", f"expected x, saw {HOSTILE}"),
            Check("service", "test_c", "Answers", 3, "passed", ""),
        ),
        "<testsuites/>",
    )


def test_references_between_objects_are_found() -> None:
    names = {(a[1], b[1]) for a, b in diagram.references(WEB) if a[0] != "Deployment"}
    assert names == {
        ("web-1", "web-1-x"),
        ("web", "web-1-x"),
        ("door", "web"),
        ("web-1-x", "settings"),
        ("web-1-x", "password"),
        ("web-1-x", "data"),
    }


def test_the_diagram_is_xml_with_every_relevant_object() -> None:
    root = ElementTree.fromstring(diagram.draw(WEB))
    titles = {title.text for title in root.iter("{http://www.w3.org/2000/svg}title")}
    assert "Deployment web" in titles and "Service nobody" in titles
    # The diagram leaves out old revisions and objects that controllers derive.
    assert not {"ReplicaSet web-0", "EndpointSlice web-abc"} & titles
    arrows = list(root.iter("{http://www.w3.org/2000/svg}path"))
    assert len(arrows) == 7


def test_a_diagram_of_no_objects_or_hostile_names_is_xml() -> None:
    ElementTree.fromstring(diagram.draw([]))
    ElementTree.fromstring(diagram.draw([item("Pod", HOSTILE)]))


@pytest.mark.parametrize(
    ("kind", "spec", "status", "expected"),
    [
        ("Pod", {}, {"phase": "Succeeded"}, "good"),
        ("Pod", {}, {"phase": "Pending"}, "bad"),
        ("StatefulSet", {"replicas": 2}, {"readyReplicas": 1}, "bad"),
        ("DaemonSet", {}, {"desiredNumberScheduled": 3, "numberReady": 3}, "good"),
        ("PersistentVolumeClaim", {}, {"phase": "Pending"}, "bad"),
        ("Service", {}, {}, ""),
    ],
)
def test_an_object_is_good_bad_or_neutral(kind: str, spec: Any, status: Any, expected: str) -> None:
    assert diagram.state(item(kind, "x", spec=spec, status=status)) == expected


def test_the_contents_of_secrets_are_not_shown() -> None:
    others = [item("ConfigMap", "kube-root-ca.crt", data={"ca": "x"}), item("Secret", "applied")]
    # `kubectl apply` copies the manifest into an annotation.
    applied = json.dumps({"kind": "Secret", "stringData": {"key": "hunter2"}})
    others[1]["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied": applied}
    shown = report.presentable([*WEB, *others])
    assert "c2VjcmV0" not in json.dumps(shown) and "hunter2" not in json.dumps(shown)
    assert ("Secret", "applied") in {diagram.key(one) for one in shown}
    assert ("ConfigMap", "kube-root-ca.crt") not in {diagram.key(one) for one in shown}
    assert "data" in WEB[8]


def test_every_format_is_written(graded: Report, tmp_path: Path) -> None:
    files = report.write(graded, {"pod": Evidence(tuple(WEB))}, tmp_path / "out", "ada")
    assert {path.name for path in files} == {
        "report.txt",
        "report.json",
        "junit.xml",
        "grades.csv",
        "report.html",
        "results.json",
    }
    assert all(path.read_text() for path in files)


def test_the_grade_book_has_a_column_for_each_exercise(graded: Report) -> None:
    header, row = csv.reader(io.StringIO(report.grades(graded, 'Ada "A", Lovelace')))
    assert header == ["student", "pod", "service", "total", "of"]
    assert row == ['Ada "A", Lovelace', "2", "3", "5", "6"]


def test_every_format_names_the_exercises_that_were_left_out(
    graded: Report, tmp_path: Path
) -> None:
    """Otherwise the totals of two students differ without a visible reason."""
    lack = "exercise `machinery` needs 2 machines, the lab has 1"
    made = replace(graded, left_out={"machinery": lack})
    report.write(made, {}, tmp_path, "ada")
    for form in ("report.txt", "report.json", "report.html", "results.json"):
        assert lack in (tmp_path / form).read_text(), form
    header, row = csv.reader(io.StringIO((tmp_path / "grades.csv").read_text()))
    assert header == ["student", "machinery", "pod", "service", "total", "of"]
    assert row == ["ada", "", "2", "3", "5", "6"]


def test_gradescope_gets_the_points_of_every_check(graded: Report) -> None:
    results = json.loads(report.gradescope(graded))
    assert results["score"] == 5
    assert [test["score"] for test in results["tests"]] == [2, 0, 3]
    assert sum(test["max_score"] for test in results["tests"]) == 6
    assert {test["status"] for test in results["tests"]} == {"passed", "failed"}


def test_gradescope_gets_no_result_if_a_check_could_not_be_made(
    graded: Report, tmp_path: Path
) -> None:
    report.write(graded, {}, tmp_path, "ada")
    broken = Check("pod", "test_d", "D", 1, "error", "no answer")
    files = report.write(Report((*graded.checks, broken), "<testsuites/>"), {}, tmp_path, "ada")
    assert tmp_path / "results.json" not in files
    assert not (tmp_path / "results.json").exists()


def test_the_page_is_self_contained_and_escapes_all_texts(graded: Report) -> None:
    event = {"reason": HOSTILE, "message": HOSTILE, "involvedObject": {"kind": "Pod", "name": "a"}}
    evidence = {"pod": Evidence(tuple(report.presentable(WEB)), (event,))}
    page = report.page(graded, evidence, HOSTILE)
    assert "<script" not in page and "c2VjcmV0" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "5 of 6 points" in page and "<svg" in page and "The namespace has no objects." in page


def test_an_exercise_that_could_not_be_checked_costs_no_points() -> None:
    passed, error = (
        Check(name, "test_a", "A", 2, status, "")
        for name, status in (("pod", "passed"), ("job", "error"))
    )
    header, row = csv.reader(io.StringIO(report.grades(Report((passed, error)), "ada")))
    assert header == ["student", "job", "pod", "total", "of"]
    assert row == ["ada", "", "2", "2", "2"]
