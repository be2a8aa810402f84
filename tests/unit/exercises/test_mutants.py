"""Mutants: changes by JSON Patch, each in its own namespace, judged by the failed checks."""

from __future__ import annotations

import contextlib
import copy
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.client import Cluster
from lab.config import Lab
from lab.exercises import catalogue, mutants
from lab.exercises.grading import Check
from lab.exercises.mutants import Mutant, Outcome
from lab.lifecycle.opened import Opened
from lab.output import Status
from tests.unit.conftest import ROOT

EXERCISES = catalogue.discover(ROOT)
POD: dict[str, Any] = {
    "kind": "Pod",
    "metadata": {"name": "a", "namespace": "pod", "labels": {"app/name": "x"}},
    "spec": {"containers": [{"name": "c", "image": "busybox"}]},
}


@pytest.mark.parametrize(
    ("change", "path", "expected"),
    [
        ({"op": "replace", "value": "b"}, "/metadata/name", ("metadata", "name", "b")),
        ({"op": "add", "value": 1}, "/spec/priority", ("spec", "priority", 1)),
        ({"op": "remove"}, "/metadata/labels/app~1name", ("metadata", "labels", {})),
        ({"op": "add", "value": 7}, "/spec/containers/-", ("spec", "containers", 7)),
        ({"op": "remove"}, "/spec/containers/0", ("spec", "containers", [])),
    ],
)
def test_a_patch_changes_an_object(
    change: dict[str, Any], path: str, expected: tuple[str, str, Any]
) -> None:
    item: Any = copy.deepcopy(POD)
    mutants.patch(item, {**change, "path": path})
    part, field, value = expected
    found = item[part][field]
    assert (found[-1] if isinstance(found, list) and found else found) == value


@pytest.mark.parametrize("op", ["replace", "remove"])
def test_a_patch_of_a_missing_field_is_an_error(op: str) -> None:
    with pytest.raises(KeyError):
        mutants.patch(copy.deepcopy(POD), {"op": op, "path": "/spec/volumes", "value": 1})


def test_a_patch_of_a_missing_object_is_an_error() -> None:
    change = {"object": "Pod/b", "op": "remove", "path": ""}
    with pytest.raises(KeyError, match="Pod/b"):
        mutants.documents(Mutant("pod", "x", patch=(change,)), [POD], "n")


def test_mutants_add_and_remove_objects_without_changing_the_manifests() -> None:
    change = {"object": "Pod/a", "op": "remove", "path": ""}
    add = "kind: Pod\nmetadata: {name: b, namespace: pod}\n"
    made = mutants.documents(Mutant("pod", "x", patch=(change,), add=add), [POD], "mutant-1")
    assert [mutants.title(item) for item in made] == ["Pod/b"]
    assert made[0]["metadata"]["namespace"] == "mutant-1"
    assert POD["metadata"]["namespace"] == "pod"


def test_every_name_of_an_exercise_moves_to_the_new_namespace() -> None:
    claim = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "volumes-are-fun", "namespace": "volumes-other"},
        "spec": {"volumeName": "volumes-host"},
    }
    moved = mutants.moved(claim, "volumes", "mutant-7")
    assert moved["metadata"] == {"name": "volumes-are-fun", "namespace": "mutant-7-other"}
    assert moved["spec"]["volumeName"] == "mutant-7-host"
    volume = {"kind": "PersistentVolume", "metadata": {"name": "volumes-host"}}
    assert mutants.moved(volume, "volumes", "mutant-7")["metadata"]["name"] == "mutant-7-host"
    binding = {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "scheduling-second"},
        "subjects": [{"name": "second", "namespace": "scheduling"}],
    }
    assert mutants.moved(binding, "scheduling", "m")["subjects"][0]["namespace"] == "m"
    pod = {"kind": "Pod", "metadata": {"name": "p", "namespace": "scheduling"}}
    pod["spec"] = {"schedulerName": "scheduling-packer"}
    assert mutants.moved(pod, "scheduling", "m")["spec"]["schedulerName"] == "m-packer"
    settings = {"kind": "ConfigMap", "metadata": {"name": "packer", "namespace": "scheduling"}}
    settings["data"] = {"config": "schedulerName: scheduling-packer # not rescheduling-x"}
    text = mutants.moved(settings, "scheduling", "m")["data"]["config"]
    assert text == "schedulerName: m-packer # not rescheduling-x"
    ingress = {"kind": "Ingress", "metadata": {"name": "menu", "namespace": "i"}}
    ingress |= {"spec": {"rules": [{"http": {}}, {"host": "own.example"}]}}
    hosts = [rule["host"] for rule in mutants.moved(ingress, "i", "m")["spec"]["rules"]]
    assert hosts == ["m.localhost", "own.example"]


def check(name: str, status: str) -> Check:
    return Check("pod", name, name, 1, status, "expected this\nlook: there")


@pytest.mark.parametrize(
    ("statuses", "problem"),
    [
        ({"one": "failed", "two": "passed", "three": "passed"}, ""),
        ({"one": "failed", "two": "failed", "three": "passed"}, ""),
        ({"one": "passed", "two": "passed", "three": "passed"}, "one should have failed"),
        (
            {"one": "failed", "two": "passed", "three": "failed"},
            "three should have passed: expected this",
        ),
    ],
)
def test_exactly_the_right_checks_must_fail(statuses: dict[str, str], problem: str) -> None:
    mutant = Mutant("pod", "x", fails=("one",), also=("two",))
    checks = [check(name, status) for name, status in statuses.items()]
    assert mutants.judge(mutant, checks).problem == problem


def test_a_check_that_could_not_be_made_is_a_problem() -> None:
    outcome = mutants.judge(Mutant("pod", "x", fails=("one",)), [check("one", "error")])
    assert "one could not be made" in outcome.problem


READY = {"conditions": [{"type": "Ready", "status": "True"}]}
PENDING = {"conditions": [{"type": "PodScheduled", "status": "False"}]}
WAITING = {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}
STUCK = {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]}


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("Pod", READY, True),
        ("Pod", {"phase": "Failed"}, True),
        ("Pod", PENDING, True),
        ("Pod", STUCK, True),
        ("Pod", WAITING, False),
        ("Pod", {}, False),
        ("Deployment", {"observedGeneration": 1, "replicas": 2}, True),
        ("Deployment", {"observedGeneration": 1, "replicas": 1}, False),
        ("Deployment", {"replicas": 2}, False),
        (
            "DaemonSet",
            {"observedGeneration": 1, "currentNumberScheduled": 3, "desiredNumberScheduled": 3},
            True,
        ),
    ],
)
def test_a_workload_settles_in_a_good_or_bad_state(
    kind: str, status: dict[str, Any], expected: bool
) -> None:
    item = {"kind": kind, "metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": status}
    assert mutants.settled([item]) is expected


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_mutants_fit_their_exercise(exercise: catalogue.Exercise) -> None:
    """Each mutant names existing checks and changes something; each check has a mutant."""
    given = mutants.manifests(exercise)
    source = "".join(path.read_text() for path in exercise.checks)
    tried = mutants.read(exercise)[1:]
    assert len({mutant.name for mutant in tried}) == len(tried)
    for mutant in tried:
        made = mutants.documents(mutant, given, exercise.name)
        assert made != given or mutant.neighbour, mutant.name
        assert mutant.fails, mutant.name
        for name in (*mutant.fails, *mutant.also):
            assert f"def {name}(" in source, name
    caught = {name for mutant in tried for name in mutant.fails}
    assert caught == {line[4:].split("(")[0] for line in source.splitlines() if "def test_" in line}


def test_there_are_at_least_sixty_mutants() -> None:
    texts = [(exercise.folder / "mutants.toml").read_text() for exercise in EXERCISES]
    assert sum(len(tomllib.loads(text)["mutant"]) for text in texts) >= 60


def test_heavy_mutants_run_one_by_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    light, heavy = (catalogue.find(ROOT, name) for name in ("pod", "mnist"))
    assert heavy.heavy and not light.heavy
    now: list[str] = []
    most = {light.name: 0, heavy.name: 0}
    lock = threading.Lock()

    def try_(self: Any, exercise: catalogue.Exercise, mutant: Mutant, patience: str) -> Outcome:
        with lock:
            now.append(exercise.name)
            most[exercise.name] = max(most[exercise.name], len(now))
        time.sleep(0.01)
        with lock:
            now.remove(exercise.name)
        return Outcome(mutant, (), "")

    monkeypatch.setattr(mutants.Laboratory, "_try", try_)
    monkeypatch.setattr(mutants.Laboratory, "_sweep", lambda self: None)
    monkeypatch.setattr(mutants.Laboratory, "_refuse_rivals", lambda self, exercise: None)
    monkeypatch.setattr(Cluster, "proxy", lambda *_: contextlib.nullcontext(Path()))
    found = mutants.Laboratory(Opened(lab, Path()), Status()).run([heavy, light])
    assert most[heavy.name] == 1 and most[light.name] > 1
    assert [one.mutant for one in found] == [*mutants.read(heavy), *mutants.read(light)]
