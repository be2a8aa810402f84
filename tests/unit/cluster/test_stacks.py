"""Pulumi's stacks: environment, locks, checkpoints."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from infra.workloads import checks
from lab import output, wait
from lab.cluster import stacks
from lab.cluster.client import Cluster, cluster_of
from lab.config import Lab
from lab.errors import CommandError, ResourceError
from lab.parallel import each


def test_the_environment_means_this_lab_only(lab: Lab) -> None:
    variables = stacks.environment(lab, Path("/tools"))
    assert variables["KUBECONFIG"] == str(lab.state / "kubeconfig")
    assert variables["KUBECACHEDIR"] == str(lab.state / "kube-cache")
    assert f"--cache-dir={lab.state}/kube-cache" in cluster_of(lab, Path("/tools")).command
    assert variables["PULUMI_BACKEND_URL"] == f"file://{lab.state}/pulumi"
    assert variables["PATH"].startswith("/tools:")
    assert variables["PYTHONUTF8"] == "1"
    assert variables["LAB_ADDRESS_POOL"] == "192.168.56.200-192.168.56.239"
    assert variables["LAB_API_ADDRESS"] == "192.168.56.11"


def test_pulumi_finds_the_plugins_of_the_tools(lab: Lab, tmp_path: Path) -> None:
    """In a folder of its own name that is no link; eight exercises may come at the same time."""
    name = "plugins/resource-kubernetes-v4.25.0/pulumi-resource-kubernetes"
    found = stacks.pulumi_home(lab) / name
    for tools in (tmp_path / "old", tmp_path / "new", tmp_path / "new"):
        program = tools / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(tools.name)
        each([tools] * 8, lambda folder: stacks.link_plugins(lab, folder))
        assert found.read_text() == tools.name
        assert not found.parent.is_symlink()
        assert [path.name for path in stacks.pulumi_home(lab).iterdir()] == ["plugins"]
    assert stacks.environment(lab, tmp_path)["PULUMI_HOME"] == str(stacks.pulumi_home(lab))


def test_programs_and_checks_are_as_patient_as_the_machines_are_slow(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> tuple[str, float]:
        slowness = stacks.environment(lab, Path("/tools"))["LAB_SLOWNESS"]
        monkeypatch.setenv("LAB_SLOWNESS", slowness)
        return slowness, checks.patience()

    monkeypatch.delenv("LAB_PATIENCE", raising=False)
    assert found() == ("1", 1)
    monkeypatch.setattr(wait, "_emulation", 6.0)
    assert found() == ("6", 6)
    monkeypatch.setenv("LAB_PATIENCE", "2")
    assert found() == ("6", 2)


@pytest.mark.parametrize(
    ("lock", "expected"),
    [
        # Another program, which has got its number since.
        (json.dumps({"pid": os.getpid(), "hostname": os.uname().nodename}), False),
        (json.dumps({"pid": 2**22 + 1, "hostname": os.uname().nodename}), False),
        (json.dumps({"pid": 1, "hostname": "elsewhere"}), True),
        ('{"pid": ', False),
        ("[]", False),
        ('{"pid": "x", "hostname": "y"}', False),
    ],
)
def test_locks_of_pulumi(lock: str, expected: bool) -> None:
    assert stacks.alive(lock) is expected


def test_a_torn_checkpoint_tells_the_way_back(lab: Lab) -> None:
    kept = lab.state / "pulumi/.pulumi/stacks" / stacks.PROJECT / "pod.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"version": 3, "check')
    with pytest.raises(ResourceError, match="the checkpoint of stack `pod` is damaged") as torn:
        stacks.Stacks(lab, Path("/tools"), output.Status(io.StringIO())).deleted("pod")
    assert torn.value.hint == f"cp {kept}.bak {kept}"


def test_creations_that_were_cut_off() -> None:
    inputs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n"},
    }
    core = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    operations = [
        {"type": "creating", "resource": {"inputs": inputs}},
        {"type": "creating", "resource": {"inputs": core}},
        {"type": "creating", "resource": {"inputs": {"kubeconfig": "x"}}},
        {"type": "deleting", "resource": {"inputs": inputs}},
    ]
    found = stacks.pending_creations({"checkpoint": {"latest": {"pending_operations": operations}}})
    assert found == [("Deployment.v1.apps", "n", "d"), ("Namespace", "", "n")]
    assert stacks.pending_creations({"checkpoint": {"latest": None}}) == []


@pytest.mark.parametrize(
    ("deployment", "nothing"),
    [
        (None, True),
        ({"manifest": {}}, True),
        ({"resources": [], "pending_operations": []}, True),
        ({"resources": [{"custom": True}]}, False),
        # What a killed `pulumi up` had begun may be there.
        ({"pending_operations": [{"type": "creating"}]}, False),
    ],
)
def test_a_stack_that_holds_nothing_needs_no_pulumi(deployment: object, nothing: bool) -> None:
    assert stacks.empty({"checkpoint": {"latest": deployment}}) is nothing


def test_pulumis_errors_are_not_hidden_by_its_warnings() -> None:
    said = [
        "  kubernetes:core/v1:Pod (myapp):",
        "    error: the server is away",
        *["    warning: x"] * 20,
    ]
    told = CommandError(["pulumi", "up"], 255, stacks.told("\n".join(said)))
    assert "error: the server is away" in str(told) and "warning" not in str(told)


@pytest.mark.parametrize(
    ("said", "tries"),
    [
        ("error: unable to load schema information: (Client.Timeout exceeded while awaiting)", 3),
        ("error: request canceled (Client.Timeout or context cancellation while reading body)", 3),
        ('error: Get "https://127.0.0.1/openapi/v2?timeout=32s": context deadline exceeded', 3),
        ("error: resource x was not successfully created: etcdserver: request timed out", 3),
        ("error: unable to load schema information: connection refused", 1),
    ],
)
def test_only_a_cluster_that_is_late_is_asked_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, said: str, tries: int
) -> None:
    calls: list[str] = []

    def pulumi(_: stacks.Stacks, *words: str, **__: object) -> str:
        calls.append(words[0])
        if len(calls) < 3:
            raise CommandError(["pulumi", *words], 255, said)
        return ""

    monkeypatch.setattr(stacks.Stacks, "_pulumi", pulumi)
    for step in ("create", "release", "settle", "deleted"):
        monkeypatch.setattr(stacks.Stacks, step, lambda *_: None)
    deployed = stacks.Stacks(lab, Path("/tools"), output.Status(io.StringIO()))
    if tries == 3:
        deployed.up("pod")
    else:
        with pytest.raises(CommandError, match="refused"):
            deployed.up("pod")
    assert calls == ["up"] * tries


def test_a_checkpoints_objects_as_kubectl_takes_them(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def item(api: str, kind: str, **metadata: str) -> dict[str, object]:
        return {"custom": True, "outputs": {"apiVersion": api, "kind": kind, "metadata": metadata}}

    resources = [
        {"custom": False},
        {"custom": True, "outputs": {"kubeconfig": "x"}},
        item("v1", "Namespace", name="n"),
        item("v1", "Service", name="s", namespace="n"),
        item("apps/v1", "Deployment", name="d", namespace="n"),
    ]
    state = {"checkpoint": {"latest": {"resources": resources}}}
    expected = {"": ["Namespace/n"], "n": ["Service/s", "Deployment.v1.apps/d"]}
    assert stacks.objects(state) == expected
    assert stacks.objects({"checkpoint": {"latest": None}}) == {}
    there = {"": "namespace/n\n", "n": "service/s\ndeployment.apps/d\n"}
    stack = stacks.Stacks(lab, Path("/tools"), output.Status(io.StringIO()))
    monkeypatch.setattr(stacks.Stacks, "_state", lambda *_: state)

    def kubectl(_: Cluster, *words: str, timeout: float) -> str:
        answer = there["n" if "--namespace" in words else ""]
        if answer.startswith("error"):
            raise CommandError(words, 1, answer)
        return answer

    monkeypatch.setattr(Cluster, "kubectl", kubectl)
    assert not stack.deleted("n")
    for answer in ("service/s\n", "", """error: the server doesn't have a resource type "x\""""):
        there["n"] = answer
        assert stack.deleted("n")
    there["n"] = "error: connection refused"
    with pytest.raises(CommandError, match="refused"):
        stack.deleted("n")
