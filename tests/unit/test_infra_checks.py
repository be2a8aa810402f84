"""The checks: they judge what is there, and tell `not deployed` from `could not look`."""

import importlib
import inspect
import itertools
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.workloads import checks, conftest
from infra.workloads.checks import CannotCheck, Cluster, answering, eventually, ready

WORKLOADS = Path(checks.__file__).parent
EXERCISES = sorted(path.parent.name for path in WORKLOADS.glob("*/exercise.toml"))
Words = tuple[str, ...]
REFUSED = "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host"
MISSING = 'Error from server (NotFound): namespaces "pod" not found'


def checks_of(name: str) -> list[Any]:
    """The check functions of an exercise."""
    module = importlib.import_module(f"infra.workloads.{name}.test_{name}")
    return [value for key, value in vars(module).items() if key.startswith("test_")]


CHECKS = [
    pytest.param(check, id=f"{name}-{check.__name__}")
    for name in EXERCISES
    for check in checks_of(name)
]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which every look at it takes five seconds, and sleeping none."""
    ticks = itertools.count(0.0, 5.0)
    fake = SimpleNamespace(monotonic=lambda: next(ticks), sleep=lambda seconds: None)
    monkeypatch.setattr(checks, "time", fake)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    """Make every kubectl end with this code and output; an empty list is an empty list."""

    def given(code: int, output: str) -> None:
        def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            assert command[0] == "kubectl"
            return subprocess.CompletedProcess(command, code, stdout="", stderr=output)

        monkeypatch.setattr(checks.subprocess, "run", run)

    return given


class Empty(Cluster):
    """A cluster that answers and has nothing in it."""

    def kubectl(self, *words: str, stdin: str = "", timeout: float = 20) -> tuple[int, str]:
        """What kubectl says of objects that are not there."""
        if "--ignore-not-found" in words:
            return 0, ""
        if words[0] == "get" and (len(words) < 3 or words[2].startswith("--")):
            return 0, json.dumps({"items": []})
        return 1, f"Error from server (NotFound): {' '.join(words[:3])} not found"


def call(check: Any, cluster: Cluster) -> None:
    """Run a check as pytest would, on this cluster and with a host that reaches nothing."""
    given = {
        "cluster": cluster,
        "fetch": lambda url: (404, "404 page not found"),
        "machines": [],
        "http_address": "http://127.0.0.1:8080",
        "name": "coffee",
    }
    check(**{key: given[key] for key in inspect.signature(check).parameters})


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_fails_where_nothing_is_deployed(check: Any) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:
        call(check, Empty("pod"))
    message = str(caught.value)
    assert message.startswith("expected ") and "\nlook: " in message


@pytest.mark.parametrize("check", CHECKS)
def test_no_check_blames_the_student_when_the_cluster_is_away(
    check: Any, answers: Callable[[int, str], None]
) -> None:
    answers(1, REFUSED)
    with pytest.raises(CannotCheck):
        call(check, Cluster("pod"))


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_a_title_and_points(check: Any) -> None:
    assert check.__doc__ and not check.__doc__.endswith(".")
    marks = [mark for mark in check.pytestmark if mark.name == "points"]
    assert len(marks) == 1 and marks[0].args[0] > 0


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_three_hints_and_the_first_gives_nothing_away(check: Any) -> None:
    (mark,) = (mark for mark in check.pytestmark if mark.name == "hints")
    assert len(mark.args) == 3 and len(set(mark.args)) == 3
    first = mark.args[0]
    # What is to be written stands in backticks; a command that looks is no answer.
    assert not re.search(r"`[^`]*[:=/][^`]*`", first), first


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("docker.io/library/busybox:1.37", "busybox"),
        ("docker.io/library/busybox@sha256:9db7b5", "busybox"),
        ("registry.lab:5000/mine:latest", "registry.lab:5000/mine"),
        ("registry.lab:5000/busybox", "registry.lab:5000/busybox"),
    ],
)
def test_short_name_of_an_image(image: str, expected: str) -> None:
    assert checks.short(image) == expected


@pytest.mark.parametrize(
    ("image", "identity", "seen"),
    [
        ("docker.io/library/busybox:1.37", "sha256:aa", None),
        ("registry.lab:5000/busybox:latest", "sha256:bb", "saw registry.lab:5000/busybox"),
        ("busybox:0.0.0", "", "saw nothing that runs"),
    ],
)
def test_the_image_that_really_runs(
    monkeypatch: pytest.MonkeyPatch, image: str, identity: str, seen: str | None
) -> None:
    pod = {
        "metadata": {"name": "myapp-pod"},
        "status": {"containerStatuses": [{"image": image, "imageID": identity}]},
    }
    monkeypatch.setattr(Cluster, "kubectl", lambda *_, **__: (0, json.dumps(pod)))
    if seen is None:
        Cluster("pod").expect_image(pod, "busybox")
        return
    with pytest.raises(pytest.fail.Exception, match=f"to run the image `busybox`, {seen}"):
        Cluster("pod").expect_image(pod, "busybox")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("get pods", "look: kubectl get pods -n pod"),
        (
            "exec client -- wget -qO- http://x",
            "look: kubectl exec client -n pod -- wget -qO- http://x",
        ),
    ],
)
def test_the_command_that_shows_more_can_be_pasted(words: str, expected: str) -> None:
    assert Cluster("pod").look(words) == expected


@pytest.mark.parametrize("problem", [FileNotFoundError(), subprocess.TimeoutExpired("kubectl", 20)])
def test_kubectl_that_does_not_run_is_no_lost_point(
    monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise problem

    monkeypatch.setattr(checks.subprocess, "run", run)
    with pytest.raises(CannotCheck):
        Cluster("pod").get("pod", "myapp-pod")


def test_a_missing_object_fails_with_the_words_of_kubectl(
    answers: Callable[[int, str], None],
) -> None:
    answers(1, MISSING)
    with pytest.raises(pytest.fail.Exception) as caught:
        Cluster("pod").get("pod", "myapp-pod")
    assert MISSING in str(caught.value) and "look: kubectl get pod" in str(caught.value)


def test_a_list_leaves_out_what_is_being_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [{"metadata": {"name": "a"}}, {"metadata": {"name": "b", "deletionTimestamp": "now"}}]
    monkeypatch.setattr(Cluster, "kubectl", lambda *_, **__: (0, json.dumps({"items": items})))
    assert [item["metadata"]["name"] for item in Cluster("pod").list("pods")] == ["a"]


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, True),
        ({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, False),
        ({"status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}}, False),
        ({"status": {"phase": "Running"}}, False),
        ({}, False),
    ],
)
def test_ready(pod: checks.Object, expected: bool) -> None:
    assert ready(pod) is expected


def test_eventually_gives_the_first_good_answer_or_the_last() -> None:
    late = iter([0, 0, 7, 8])
    assert eventually(lambda: next(late)) == 7
    looks: list[int] = []
    assert eventually(lambda: looks.append(1), seconds=20) is None
    assert 1 < len(looks) < 10


@pytest.mark.parametrize(("code", "expected"), [(200, True), (404, False), (0, False)])
def test_answering(code: int, expected: bool) -> None:
    assert bool(answering(lambda url: (code, "body"), "http://127.0.0.1")) is expected


@pytest.mark.parametrize("fixture", ["machines", "http_address"])
def test_a_fixture_without_its_environment_is_an_error(
    monkeypatch: pytest.MonkeyPatch, fixture: str
) -> None:
    for name in ("LAB_MACHINES", "LAB_HTTP_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CannotCheck, match="lab-env"):
        getattr(conftest, fixture).__wrapped__()
