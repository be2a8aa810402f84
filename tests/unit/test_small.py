"""Grading, exercises, stacks, waits, errors and output: the small pure halves."""

from __future__ import annotations

import errno
import io
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invoke import Result
from invoke.exceptions import CommandTimedOut

from infra.workloads import checks
from lab import (
    checkout,
    cluster,
    errors,
    exercises,
    grading,
    machines,
    output,
    runner,
    selftest,
    stacks,
    state,
    wait,
)
from lab.config import Lab
from lab.connection import Remote
from lab.errors import CommandError, DeadlineExceeded, ResourceError
from lab.grading import Check, Report
from lab.parallel import each
from lab.version import versions
from tests.unit.conftest import ROOT

XML = """<testsuites><testsuite>
<testcase classname="infra.workloads.daemon_set.test_daemon_set" name="test_one[a]" time="1.5">
<properties>
<property name="points" value="2"/><property name="title" value="One"/>
<property name="status" value="failed"/><property name="message" value="no such pod"/>
<property name="hints" value="[&quot;Look.&quot;]"/>
</properties><failure message="x">long</failure></testcase>
</testsuite></testsuites>"""


def report(*statuses: str) -> Report:
    checks = (Check("pod", f"test_{i}", f"c{i}", 2, s, "") for i, s in enumerate(statuses))
    return Report(tuple(checks))


def test_a_check_of_pytests_report() -> None:
    expected = Check("daemon-set", "test_one", "One", 2, "failed", "no such pod", ("Look.",), 1.5)
    assert grading.parse(XML) == [expected]


def test_checks_that_do_not_end_cost_the_others_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are an error of their exercise, and stand in the report with the others."""
    stuck, good = (exercises.find(ROOT, name) for name in ("mnist", "pod"))

    def run(argv: list[str], **_: Any) -> runner.Result:
        if "junit_suite_name=mnist" in argv:
            raise DeadlineExceeded("`pytest` did not end within 1800 s")
        (xml,) = (word.partition("=")[2] for word in argv if word.startswith("--junitxml="))
        Path(xml).write_text(XML)
        return runner.Result(1, "", "")

    monkeypatch.setattr(runner, "run", run)
    found = grading.grade(replace(lab, root=ROOT), Path("/tools"), [stuck, good])
    assert [(check.exercise, check.status, check.points) for check in found.checks] == [
        ("mnist", "error", 0),
        ("daemon-set", "failed", 2),
    ]
    with pytest.raises(ResourceError, match="did not end within 1800 s"):
        found.raise_for_errors()


def test_hints_are_shown_as_far_as_they_are_asked_for() -> None:
    check = Check("pod", "test_x", "X", 1, "failed", "expected this", ("faint", "clear", "whole"))
    for hints in range(4):
        shown = Report((check,)).text(hints).splitlines()[2:-1]
        assert shown == [f"          hint: {hint}" for hint in check.hints[:hints]]


def test_scores() -> None:
    mixed = report("passed", "failed", "error")
    assert (mixed.score, mixed.points) == (2, 6)
    assert mixed.data()["checks"][0]["score"] == 2
    assert mixed.text().splitlines()[-1] == "2 of 6 points"


def test_a_check_that_could_not_be_made_is_no_lost_point() -> None:
    report("passed").raise_for_status()
    with pytest.raises(errors.ChecksFailed, match="1 of 2 checks failed"):
        report("passed", "failed").raise_for_status()
    with pytest.raises(errors.ResourceError, match="could not be made"):
        report("failed", "error").raise_for_status()
    report("passed", "failed").raise_for_errors()
    with pytest.raises(errors.ResourceError, match="could not be made") as caught:
        report("failed", "error").raise_for_errors()
    assert caught.value.answered


def test_exercises_in_the_lectures_order() -> None:
    found = exercises.discover(ROOT)
    assert [item.name for item in found][:5] == [
        "pod",
        "replicaset",
        "deployment",
        "service",
        "ingress",
    ]
    for item in found:
        assert item.checks, item.name
        for part in ("program.py", "README.md", "manifests"):
            assert (item.folder / part).exists(), f"{item.name}/{part}"


def test_an_exercise_that_does_not_exist() -> None:
    with pytest.raises(errors.NotFoundError, match="did you mean `deployment`") as caught:
        exercises.find(ROOT, "depolyment")
    assert caught.value.exit_code == 6


def test_the_environment_means_this_lab_only(lab: Lab) -> None:
    variables = stacks.environment(lab, Path("/tools"))
    assert variables["KUBECONFIG"] == str(lab.state / "kubeconfig")
    assert variables["KUBECACHEDIR"] == str(lab.state / "kube-cache")
    assert f"--cache-dir={lab.state}/kube-cache" in cluster.client(lab, Path("/tools"))
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
    with pytest.raises(ResourceError, match="the checkpoint of stack `pod` is torn") as torn:
        stacks.Stacks(lab, Path("/tools"), output.Status(io.StringIO())).deleted("pod")
    assert torn.value.hint == f"cp {kept}.bak {kept}"


def test_a_full_disk_in_a_machine_is_no_lost_connection() -> None:
    """SFTP says `Failure` for it, and nothing else: here for a file that cannot be made."""

    def refuse(*_: str) -> None:
        raise OSError("Failure")

    remote = Remote("worker-1", Path("/ssh_config"))
    sftp = SimpleNamespace(open=refuse, remove=refuse)
    vars(remote)["_connection"] = SimpleNamespace(sftp=lambda: sftp)
    with pytest.raises(ResourceError, match="worker-1 cannot write /etc/hosts: Failure; its disk"):
        remote.put("", "/etc/hosts")


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

    def kubectl(_: Lab, tools: Path, *words: str, timeout: float) -> str:
        answer = there["n" if "--namespace" in words else ""]
        if answer.startswith("error"):
            raise CommandError(words, 1, answer)
        return answer

    monkeypatch.setattr(stacks.cluster, "kubectl", kubectl)
    assert not stack.deleted("n")
    for answer in ("service/s\n", "", """error: the server doesn't have a resource type "x\""""):
        there["n"] = answer
        assert stack.deleted("n")
    there["n"] = "error: connection refused"
    with pytest.raises(CommandError, match="refused"):
        stack.deleted("n")


def test_a_baseline_that_somebody_deleted_from(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [
        {"kind": kind.capitalize(), "metadata": {"name": name, "namespace": namespace}}
        for namespace, names in cluster.ADDONS["kubeadm"].items()
        for kind, name in (one.split("/") for one in names)
    ]
    for item in items:
        item["kind"] = {"Daemonset": "DaemonSet"}.get(str(item["kind"]), item["kind"])
    monkeypatch.setattr(cluster, "get", lambda *_: items)
    assert cluster.complete(lab, Path())
    items.pop()
    assert not cluster.complete(lab, Path())

    def late(*_: object) -> None:
        raise DeadlineExceeded("the API server is late")

    monkeypatch.setattr(cluster, "get", late)
    assert not cluster.complete(lab, Path())


def test_kubeconfig_reaches_the_cluster_through_loopback(lab: Lab) -> None:
    """Its context and user are no other lab's: several kubeconfigs may be read as one."""
    text = (
        "server: https://192.168.56.11:6443\ncurrent-context: kubernetes-admin@lab\n"
        "    user: kubernetes-admin\n"
    )
    made = cluster.for_host(text, lab)
    assert "server: https://127.0.0.1:6443" in made
    assert "current-context: lab-lab\n    user: lab-lab\n" in made


def test_a_new_node_has_no_lease_yet() -> None:
    node = {
        "status": {"conditions": [{"type": "Ready", "lastHeartbeatTime": "2026-11-23T10:00:00Z"}]}
    }
    assert cluster.sign_of_life(node, None).second == 0
    lease = {"spec": {"renewTime": "2026-11-23T10:00:07.123456Z"}}
    assert cluster.sign_of_life(node, lease).second == 7


def test_a_node_must_have_been_heard_of_since(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Records of before a restore say Ready of machines that have not started yet."""
    now = datetime.now(UTC)
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": f"{now:%FT%TZ}"}
    nodes = [
        {"kind": "Node", "metadata": {"name": item.name}, "status": {"conditions": [ready]}}
        for item in lab.machines
    ]
    monkeypatch.setattr(cluster, "get", lambda *_: nodes)
    assert cluster.nodes_ready(lab, tmp_path)
    with pytest.raises(ResourceError, match="control-plane-1 gave its last sign of life"):
        cluster.nodes_ready(lab, tmp_path, since=now + timedelta(seconds=1))
    # The signs of slow machines are rarer.
    old = {**ready, "lastHeartbeatTime": f"{now - timedelta(seconds=42):%FT%TZ}"}
    nodes[:] = [{**node, "status": {"conditions": [old]}} for node in nodes]
    with pytest.raises(ResourceError, match="its last sign of life 4"):
        cluster.nodes_ready(lab, tmp_path)
    monkeypatch.setattr(cluster.wait, "limit", lambda seconds: 6 * seconds)
    assert cluster.nodes_ready(lab, tmp_path)


def test_what_a_workload_lacks() -> None:
    agent = {"kind": "DaemonSet", "status": {"desiredNumberScheduled": 3, "numberReady": 2}}
    assert cluster.lacking(agent) == "2 of 3 pods ready"
    assert cluster.lacking({"kind": "DaemonSet"}) == "0 of 0 pods ready"
    ready = [{"type": "Available", "status": "True"}]
    status = {"conditions": ready, "readyReplicas": 1}
    web = {"kind": "Deployment", "spec": {"replicas": 1}, "status": status}
    assert cluster.lacking(web) == ""
    # CoreDNS, with one replica, is "Available" before its pod has started.
    assert cluster.lacking({**web, "status": {"conditions": ready}}) == "0 of 1 pods ready"
    assert cluster.lacking({**web, "status": {}}) == "0 of 1 pods ready"


def test_an_ingress_controller_needs_an_address() -> None:
    service = {"kind": "Service", "status": {"loadBalancer": {}}}
    assert cluster.lacking(service) == "no address yet"
    service["status"] = {"loadBalancer": {"ingress": [{"ip": "192.168.56.11"}]}}
    assert cluster.lacking(service) == ""


@pytest.mark.parametrize("distribution", ["k3s", "kubeadm"])
def test_a_baseline_is_there_when_ingresses_can_be_reached(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, distribution: str
) -> None:
    """k3s' load balancer has pods of its own, which come last."""
    asked: list[str] = []

    def available(lab: Lab, tools: Path, namespace: str, workload: str) -> bool:
        asked.append(workload)
        return True

    monkeypatch.setattr(cluster, "available", available)
    monkeypatch.setattr(cluster, "metrics_served", lambda *_: True)
    cluster.wait_addons(replace(lab, distribution=distribution), Path())
    assert ("service/traefik" in asked) is (distribution == "k3s")
    assert "deployment/traefik" in asked


def test_a_wait_returns_what_it_waited_for() -> None:
    answers = iter([None, None, "there"])
    assert wait.until(lambda: next(answers), what="it", timeout=5, interval=0.001) == "there"


def test_a_wait_ends_with_the_last_reason() -> None:
    def probe() -> None:
        raise errors.ResourceError("1 of 3 pods ready")

    with pytest.raises(errors.DeadlineExceeded, match="the pods did not happen within 0 s: 1 of 3"):
        wait.until(probe, what="the pods", timeout=0.01, interval=0.001)


def test_files_are_written_aside_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    assert state.write_aside(path, "one")
    assert not state.write_aside(path, "one")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["file"]
    assert state.remembered(path, lambda: "two") == "one"
    assert state.remembered(tmp_path / "new", lambda: "three") == "three"


def test_exit_codes_are_these() -> None:
    assert list(errors.exit_codes()) == [0, 1, 2, 3, 4, 5, 6, 7, 9, 70]


def test_an_error_reads_what_why_and_next() -> None:
    error = errors.NotFoundError("lab `a` does not exist", hint="invoke lab-up")
    assert str(error) == "error: lab `a` does not exist\nhint: invoke lab-up"


def test_a_failed_command_can_be_pasted() -> None:
    error = errors.CommandError(["ls", "a b"], 2, "no\n" * 30, where="worker-1")
    assert error.message.startswith("`ls 'a b'` on worker-1 ended with code 2")
    assert error.message.count("| no") == 15


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    try:
        raise RuntimeError("unforeseen")
    except RuntimeError as cause:
        bug = errors.LabBug.wrap(cause, tmp_path / ".lab")
    assert bug.exit_code == 70
    assert bug.log
    told = bug.log.read_text()
    assert told.startswith(versions().text()) and "Traceback" in told


def test_a_bug_whose_log_cannot_be_written_tells_everything(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    try:
        raise RuntimeError("unforeseen")
    except RuntimeError as cause:
        bug = errors.LabBug.wrap(cause, tmp_path / "file" / ".lab")
    assert bug.exit_code == 70
    assert versions().text() in bug.message and "Traceback" in bug.message


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "df -h '{}'"),
        (errno.EROFS, "findmnt --target '{}'"),
        (errno.EACCES, "ls -ld '{}'"),
        (errno.EDQUOT, "quota"),
    ],
)
def test_what_the_host_refuses_is_no_bug(tmp_path: Path, number: int, hint: str) -> None:
    """The hint can be typed as it is, also where the file was not made."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    refused = errors.refusal(OSError(number, "no", str(folder / "new" / "file")))
    assert refused and refused.exit_code == 3
    assert refused.message == f"this host refuses {folder}/new/file: no"
    assert refused.hint == hint.format(folder)
    nameless = errors.refusal(OSError(number, "no"))
    assert nameless and (nameless.message, nameless.hint) == ("this host refuses: no", "")


def test_a_folder_that_may_not_be_entered_is_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's may lie in one; root may enter all of them."""

    def exists(path: Path) -> bool:
        if path.name == "docker":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return os.path.exists(path)

    monkeypatch.setattr(Path, "exists", exists)
    assert state.existing(tmp_path / "docker") == tmp_path
    assert state.existing(tmp_path / "a" / "b") == tmp_path
    assert state.existing(tmp_path) == tmp_path


def test_what_no_host_refuses_is_a_bug() -> None:
    assert errors.refusal(OSError(errno.EINVAL, "Invalid argument")) is None
    assert errors.refusal(RuntimeError("unforeseen")) is None


def test_table() -> None:
    text = output.table(("name", "state"), [("a", "up"), ("long", None)])
    assert text.splitlines() == ["NAME   STATE", "a      up", "long   -"]


def test_steps_tell_their_time_and_their_failure() -> None:
    stream = io.StringIO()
    status = output.Status(stream)
    with status.step("good"):
        status.note("not shown: no terminal")
    with pytest.raises(ValueError, match="bad"), status.step("broken"):
        raise ValueError("bad")
    good, broken = stream.getvalue().splitlines()
    assert good.startswith("✓ good")
    assert broken.startswith("✗ broken")
    assert list(status.times) == ["good"]


def test_a_lab_is_its_values_wherever_they_came_from(lab: Lab) -> None:
    typed = replace(lab, origins={"machines.workers": "flag"})
    remembered = replace(lab, origins={"machines.workers": "default"})
    assert cluster.fingerprint(typed) == cluster.fingerprint(remembered)
    assert cluster.fingerprint(typed) != cluster.fingerprint(replace(lab, workers=1))


class Slow:
    """A connection on which a command says something and does not end."""

    def run(self, *_: object, **__: object) -> None:
        said = Result(stdout="preparing", stderr="kubelet is not healthy\n")
        raise CommandTimedOut(said, timeout=5)


def test_a_command_that_does_not_end_tells_its_last_words(tmp_path: Path) -> None:
    machine = Remote("worker-1", tmp_path)
    machine.__dict__["_connection"] = Slow()
    with pytest.raises(errors.DeadlineExceeded) as caught:
        machine.run(["kubeadm", "init"], timeout=5)
    assert str(caught.value).splitlines() == [
        "error: `kubeadm init` on worker-1 did not end within 5 s",
        "  | kubelet is not healthy",
        "hint: invoke lab-logs",
    ]


def test_a_suite_that_does_not_exist() -> None:
    with pytest.raises(errors.ConfigError, match=r"no suite `unti`; there are: lint, .* homework"):
        selftest.run(ROOT, "unti")


def test_suites_that_run_beside_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them are told, and the one that needs a lab is for when they are green."""
    attached: list[str] = []
    codes = {"mypy": 1}

    def run(command: list[str], **_: object) -> runner.Result:
        return runner.Result(codes.get(command[2], 0), f"{command[2]} {command[-1]}\n", "")

    def attach(command: list[str], cwd: Path) -> int:
        attached.append(command[-1])
        return 0

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(runner, "attach", attach)
    assert selftest.run(ROOT) == 1
    assert "== unit\npytest tests/unit\n" in capsys.readouterr().out
    assert attached == []
    codes.clear()
    assert selftest.run(ROOT) == 0
    assert attached == ["tests/e2e"]


def test_slow_machines_have_longer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "_emulation", 1.0)
    monkeypatch.setattr(wait.time, "sleep", lambda _: None)
    emulated = replace(lab, provider="libvirt")
    assert machines.emulation(lab, kvm=False) == machines.emulation(emulated, kvm=True) == 1
    wait.expect(machines.emulation(emulated, kvm=False))
    assert wait.limit(10) == 60
    clock = iter([0.0, *range(5, 100)])
    monkeypatch.setattr(wait.time, "monotonic", lambda: next(clock))
    with pytest.raises(DeadlineExceeded, match="did not happen within 6 s"):
        wait.until(lambda: None, what="it", timeout=1)


@pytest.mark.parametrize(
    ("seconds", "factor"),
    [(0.002, 1), (wait.USUAL, 1), (0.007, 1), (0.0075, 2.5), (0.03, 10), (0.9, 20)],
)
def test_limits_grow_on_slow_hosts_alone(
    seconds: float, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A usual host, also beside other work, keeps its limits; none of them grows without bound."""
    assert wait.slowness(seconds) == pytest.approx(factor)
    monkeypatch.setattr(wait, "host_slowness", lambda: wait.slowness(seconds))
    assert wait.limit(10) == pytest.approx(10 * factor)
    assert wait.slow() == (factor > 1)


def test_a_probe_that_says_nothing_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever raises all the time is given up before the limit; one answer between is enough."""
    clock = iter(range(1000))
    monkeypatch.setattr(wait.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(wait.time, "sleep", lambda _: None)
    answers = iter([None, *[ResourceError("refused")] * 4, None, *[ResourceError("gone")] * 50])

    def probe() -> bool | None:
        if isinstance(answer := next(answers), ResourceError):
            raise answer
        return answer

    with pytest.raises(DeadlineExceeded, match="it cannot be seen for 20 s: gone"):
        wait.until(probe, what="it", timeout=500, silence=20)


def test_files_for_machines_with_carriage_returns(tmp_path: Path) -> None:
    texts = {
        "vagrant/machine/install": b"#!/bin/sh\r\ntrue\r\n",
        "vagrant/machine.sh": b"#!/bin/sh\ntrue\n",
        "infra/workloads/mnist/app/main.py": b"import os\r\n",
        "infra/workloads/pod/manifests/pod.yaml": b"kind: Pod\r\n",
        "docs/ci.md": b"text\r\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text)
    assert checkout.with_carriage_returns(tmp_path) == [
        "infra/workloads/mnist/app/main.py",
        "vagrant/machine/install",
    ]
    assert checkout.with_carriage_returns(ROOT) == []
