"""Tasks deploy and remove exercises, and a smoke test cleans up. No Pulumi, no machines."""

from __future__ import annotations

import contextlib
import errno
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.cluster import stacks
from lab.cluster.client import Cluster
from lab.config import Lab
from lab.conformance import smoke
from lab.errors import ConfigError, PrerequisiteError, ResourceError
from lab.exercises import catalogue, practice
from lab.exercises.grading import Report
from lab.host import choices
from lab.lifecycle import bringup, opened, operations
from lab.lifecycle.opened import Opened
from lab.observe import logs
from lab.output import Status
from tests.unit.conftest import ROOT


@pytest.fixture
def alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A running lab of one machine. Its registry does not have the homework's image."""
    monkeypatch.setattr(practice, "running", lambda lab: Opened(lab, Path()))
    monkeypatch.setattr(practice.registry, "digest", lambda *_: "")
    return replace(lab, root=ROOT, name="practice", workers=0)


@pytest.fixture(autouse=True)
def unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(practice, "locked", lambda *_: contextlib.nullcontext())


@pytest.mark.parametrize("there", [True, False])
def test_destroy_of_a_lab_without_a_record_of_machines(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """An early failure of lab-up leaves such a lab. lab-destroy may search its containers later."""

    def silent(lab: Lab) -> bool:
        raise ResourceError("`docker ps` ended with 1:\n  | Cannot connect to the Docker daemon")

    monkeypatch.setattr(operations.containers, "remove", silent)
    monkeypatch.setattr(operations.libvirt, "remove", lambda lab: False)
    if there:
        lab.state.mkdir(parents=True)
    story = io.StringIO()
    operations.destroy(lab, Status(story))
    first, second = story.getvalue().splitlines()
    assert first == f"lab `{lab.name}` " + (
        "had no machines" if there else "does not exist: nothing to destroy"
    )
    assert second.endswith("(Cannot connect to the Docker daemon); then: invoke lab-destroy")
    assert not lab.state.exists()


@pytest.mark.parametrize(
    ("names", "every", "said"),
    [(["pod"], False, "pod"), (["pod", "job"], False, "pod job"), ([], True, "--all")],
)
def test_the_wanted_exercises_are_shown_as_typed(names: list[str], every: bool, said: str) -> None:
    assert str(practice.wanted(names, every=every)) == said


@pytest.mark.parametrize(("names", "every"), [([], False), (["pod"], True)])
def test_names_and_all_exclude_each_other(names: list[str], every: bool) -> None:
    with pytest.raises(ConfigError, match="give the names of exercises, or --all"):
        practice.wanted(names, every=every)


def test_an_exercise_that_cannot_be_deployed_can_be_removed(
    alone: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user may have deployed it while the lab had more machines."""
    gone: list[str] = []
    monkeypatch.setattr(stacks.Stacks, "destroy", lambda self, name: gone.append(name))
    status = Status(io.StringIO())
    with pytest.raises(PrerequisiteError):
        practice.deploy(alone, practice.Wanted(("scheduling",)), status)
    practice.withdraw(alone, practice.Wanted(("scheduling",)), status)
    assert gone == ["scheduling"]
    practice.withdraw(alone, practice.Wanted(every=True), status)
    assert set(gone) == {exercise.name for exercise in catalogue.discover(ROOT)}


NODE = {"status": {"images": [{"names": ["registry.k8s.io/kube-scheduler@sha256:12"]}, {}]}}


@pytest.mark.parametrize(
    ("distribution", "nodes", "outside", "ready"),
    [
        # kubeadm runs its own scheduler from this image.
        ("kubeadm", [], False, True),
        ("k3s", [{"status": {}}], True, True),
        # A node pulled it earlier, or a user imported it.
        ("k3s", [{"status": {}}, NODE], False, True),
        ("k3s", [{"status": {}}], False, False),
    ],
)
def test_an_exercise_is_left_out_if_nodes_cannot_pull_its_image(
    alone: Lab,
    monkeypatch: pytest.MonkeyPatch,
    distribution: str,
    nodes: list[dict[str, Any]],
    outside: bool,
    ready: bool,
) -> None:
    """Its pod would wait until the deployment times out."""
    lab = replace(alone, distribution=distribution, workers=1)
    asked: list[str] = []

    def reachable(url: str) -> bool:
        asked.append(url)
        return outside

    monkeypatch.setattr(Cluster, "get", lambda *_: nodes)
    monkeypatch.setattr(practice, "reachable", reachable)
    story = io.StringIO()
    chosen = practice.select(lab, practice.Wanted(every=True), Status(story))
    named = "exercise `scheduling` needs the image registry.k8s.io/kube-scheduler: k3s does not "
    named += "bring it, and registry.k8s.io cannot be reached"
    assert ("scheduling" in {one.name for one in chosen.exercises}) is ready
    assert chosen.left_out.get("scheduling", named) == named
    assert (f"left out: {named}" in story.getvalue()) is not ready
    assert set(asked) <= {"https://registry.k8s.io"}
    if not ready:
        with pytest.raises(PrerequisiteError, match="cannot be reached") as caught:
            practice.select(lab, practice.Wanted(("scheduling",)), Status(story))
        assert caught.value.hint == "invoke lab-up --lab second --distribution kubeadm"


def test_destroy_of_a_stack_settles_interrupted_changes_first(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint does not say whether the resource exists, and Pulumi would leave it."""
    done: list[str] = []
    state = {"checkpoint": {"latest": {"resources": [{"custom": True}]}}}
    stack = stacks.Stacks(lab, Path(), Status(io.StringIO()))
    for name, answer in {"exists": True, "_state": state}.items():
        monkeypatch.setattr(stacks.Stacks, name, lambda self, _, answer=answer: answer)
    for name in ("release", "settle"):
        monkeypatch.setattr(stacks.Stacks, name, lambda self, _, name=name: done.append(name))
    monkeypatch.setattr(stacks.Stacks, "_pulumi", lambda self, *words, **_: done.append(words[0]))
    stack.destroy("pod")
    assert done == ["release", "settle", "destroy"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of a smoke test. Stubs replace the functions."""
    seen: list[str] = []

    def note(name: str, answer: Any = None) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            seen.append(name)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    found = SimpleNamespace(junit="")
    monkeypatch.setattr(bringup, "up", note("up"))
    monkeypatch.setattr(operations, "destroy", note("destroy"))
    monkeypatch.setattr(logs, "collect", note("logs"))
    monkeypatch.setattr(smoke.conformance, "run", note("conformance", found))
    for name, answer in {
        "deployed": {"pod"},
        "deploy": ResourceError("the disk is full"),
        "check": Report(()),
        "withdraw": None,
    }.items():
        monkeypatch.setattr(practice, name, note(name, answer))
    monkeypatch.setattr(opened, "running", note("running", (None, None)))
    return seen


@pytest.mark.parametrize("file", ["", choices.FILE])
def test_a_smoke_test_removes_only_what_it_created(
    lab: Lab, tmp_path: Path, calls: list[str], file: str
) -> None:
    """A stopped lab, or one whose last lab-up failed, existed before the smoke test."""
    if file:
        lab.state.mkdir(parents=True)
        (lab.state / file).write_text("{}")
    with pytest.raises(ResourceError, match="the disk is full"):
        smoke.run(lab, [], tmp_path / "out", Status(io.StringIO()))
    assert calls[-1] == ("withdraw" if file else "destroy")
    assert ("destroy" in calls) is not bool(file)


def test_a_smoke_test_removes_its_lab_even_if_collecting_logs_fails(
    lab: Lab, tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(*_: Any, **__: Any) -> None:
        lab.state.mkdir(parents=True)
        (lab.state / choices.FILE).write_text("{}")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bringup, "up", made)
    monkeypatch.setattr(logs, "collect", full)
    with pytest.raises(OSError, match="No space left"):
        smoke.run(lab, [], tmp_path / "out", Status(io.StringIO()))
    assert calls[-1] == "destroy"
