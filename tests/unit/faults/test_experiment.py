"""Experiments: components and machines, probes of objects, and findings."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from lab.cluster import samples
from lab.config import Lab
from lab.errors import ChecksFailed, NotFoundError, PrerequisiteError, ResourceError
from lab.faults import bench as benches
from lab.faults import experiment
from lab.faults.bench import Bench, Finding
from lab.faults.experiment import Outcome
from lab.lifecycle.opened import Opened
from lab.output import Status

Object = dict[str, Any]


@pytest.mark.parametrize(
    ("name", "machine"),
    [
        ("scheduler", "control-plane-1"),
        ("controller-manager", "control-plane-1"),
        ("kubelet", "worker-2"),
        ("kube-proxy", "worker-2"),
    ],
)
def test_a_component_is_stopped_on_its_machine(lab: Lab, name: str, machine: str) -> None:
    part, found = experiment.plan(lab, name)
    assert found.name == machine
    assert name in part.program


def test_an_unknown_experiment_is_rejected(lab: Lab) -> None:
    with pytest.raises(NotFoundError, match="scheduler, controller-manager, kubelet, kube-proxy"):
        experiment.plan(lab, "etcd")


@pytest.mark.parametrize("name", ["scheduler", "controller-manager", "kube-proxy"])
def test_components_of_k3s_cannot_be_stopped_alone(lab: Lab, name: str) -> None:
    with pytest.raises(PrerequisiteError, match="cannot be stopped alone: k3s") as caught:
        experiment.plan(replace(lab, distribution="k3s"), name)
    assert caught.value.message.count("\n") == 0


def test_the_kubelet_of_k3s_is_its_agent(lab: Lab) -> None:
    part, machine = experiment.plan(replace(lab, distribution="k3s"), "kubelet")
    assert (part.program, part.how) == ("k3s-agent", "systemctl stop k3s-agent")
    assert machine.name == "worker-2"


def test_several_control_planes_rule_out_some_experiments(lab: Lab) -> None:
    three = replace(lab, control_planes=3)
    with pytest.raises(PrerequisiteError, match="another control plane takes over from kube-sch"):
        experiment.plan(three, "scheduler")
    assert experiment.plan(three, "kubelet")[1].name == "worker-2"


def test_a_worker_is_needed(lab: Lab) -> None:
    alone = replace(lab, workers=0)
    with pytest.raises(PrerequisiteError, match="the lab has none"):
        experiment.plan(alone, "kubelet")
    assert experiment.plan(alone, "scheduler")[1].name == "control-plane-1"


def test_every_part_has_a_procedure() -> None:
    assert set(experiment.PROCEDURES) == set(experiment.PARTS)


def pod(phase: str, node: str = "", ready: str = "False") -> Object:
    conditions = [{"type": "Ready", "status": ready}]
    spec = {"nodeName": node} if node else {}
    return {"spec": spec, "status": {"phase": phase, "conditions": conditions}}


@pytest.mark.parametrize(
    ("given", "waits", "runs"),
    [
        (pod("Pending"), "Pending, on no node", None),
        (pod("Pending", "worker-1"), None, None),
        (pod("Running", "worker-1"), None, None),
        (pod("Running", "worker-1", "True"), None, "Running on worker-1"),
    ],
)
def test_probes_of_a_pod(given: Object, waits: str | None, runs: str | None) -> None:
    assert experiment.waiting(given) == waits
    assert experiment.running(given) == runs


@pytest.mark.parametrize(
    ("state", "expected"),
    [("True", None), ("Unknown", "Ready is Unknown"), ("False", "Ready is False")],
)
def test_a_node_that_is_not_ready_is_lost(state: str, expected: str | None) -> None:
    node = {"status": {"conditions": [{"type": "Ready", "status": state}]}}
    assert experiment.lost(node) == expected


def test_a_deployment_whose_status_is_out_of_date() -> None:
    deployment = {"status": {"readyReplicas": 2}}
    one = pod("Running", "worker-1", "True")
    assert experiment.counted(deployment, [one]) == "1 pod(s), but the status says 2"
    assert experiment.counted(deployment, [one, one]) is None
    assert experiment.replaced([one, one], 2) == "2 pods ready"
    assert experiment.replaced([one, pod("Pending")], 2) is None


def test_only_ready_addresses_receive_traffic() -> None:
    endpoints = [
        {"addresses": ["10.244.1.2"], "conditions": {"ready": True}},
        {"addresses": ["10.244.1.3"], "conditions": {"ready": False}},
    ]
    assert experiment.addresses([{"endpoints": endpoints}, {"endpoints": None}]) == {"10.244.1.2"}


def test_a_pod_names_its_node_only_if_requested() -> None:
    assert samples.sleeper("a", "worker-1")["spec"]["nodeName"] == "worker-1"
    assert "nodeName" not in samples.sleeper("a")["spec"]


@pytest.fixture
def bench(lab: Lab) -> Iterator[Bench]:
    """A bench whose component runs, so that it sends no command to a machine."""
    made = Bench(Opened(lab, lab.root), Status(io.StringIO()), *experiment.plan(lab, "scheduler"))
    yield made
    made.close()


def answers(*given: str | None) -> Callable[[], str | None]:
    left = list(given)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize(
    ("given", "seen", "right"),
    [
        ((None, "there"), "there", True),
        ((None,), "not within 0 s (no answer yet)", False),
    ],
)
def test_a_probe_succeeds_in_time_or_not(
    bench: Bench, given: tuple[str | None, ...], seen: str, right: bool
) -> None:
    bench.see("it is there", answers(*given), 0.3)
    (found,) = bench.findings
    assert (found.seen, found.right) == (seen, right)


@pytest.mark.parametrize(
    ("given", "seen", "right"),
    [
        (("still",), "still", True),
        ((None,), "not so", False),
        (("still", None), "no more after `still`", False),
    ],
)
def test_a_probe_succeeds_all_the_time_or_not(
    bench: Bench, given: tuple[str | None, ...], seen: str, right: bool
) -> None:
    bench.stays("it is so", answers(*given), 0.2)
    (found,) = bench.findings
    assert (found.seen, found.right) == (seen, right)
    assert not right or found.seconds >= 0.2


class Machine:
    """A machine that records its commands, and fails at one of them."""

    def __init__(self, fails: str = "") -> None:
        self.told: list[str] = []
        self._fails = fails

    def run(self, argv: list[str], **_: Any) -> str:
        self.told.append(argv[1])
        if argv[1] == self._fails:
            raise ResourceError("cut")
        return "000" if "away" in self.told and "back" not in self.told else "200"

    def close(self) -> None:
        """Do nothing, since no connection is open."""


@pytest.fixture
def machine(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    bench._remotes = {"control-plane-1": made}  # type: ignore[dict-item]
    monkeypatch.setattr(benches, "Remote", lambda *_: made)
    monkeypatch.setattr(benches, "HOLD", 0.01)
    return made


def seen(bench: Bench) -> list[tuple[str, bool]]:
    return [(finding.expected, finding.right) for finding in bench.findings]


def test_the_switch_is_reset_until_the_component_is_restored(
    bench: Bench, machine: Machine
) -> None:
    with bench.away("static/kube-scheduler"):
        bench.see("it is held", lambda: "yes" if machine.told.count("hold") > 1 else None, 5)
    told = [word for word in machine.told if word in ("away", "hold", "back")]
    assert told[0] == "away" and told.count("back") == 1
    assert seen(bench) == [
        ("kube-scheduler does not answer", True),
        ("it is held", True),
        ("kube-scheduler answers again", True),
    ]


def test_an_interrupt_restores_the_component(bench: Bench, machine: Machine) -> None:
    with pytest.raises(KeyboardInterrupt), bench.away("static/kube-scheduler"):
        raise KeyboardInterrupt
    assert "back" in machine.told


def test_a_failed_stop_restores_the_component(bench: Bench, machine: Machine) -> None:
    machine._fails = "away"
    with pytest.raises(ResourceError, match="cut"), bench.away("static/kube-scheduler"):
        raise AssertionError("the block must not run")
    assert machine.told == ["away", "back"]


def test_a_failed_reset_is_a_finding(bench: Bench, machine: Machine) -> None:
    machine._fails = "hold"
    with bench.away("static/kube-scheduler"):
        bench.see("it slips", lambda: bench._slipped or None, 5)
    assert ("kube-scheduler stays away", False) in seen(bench)


def outcome(*right: bool) -> Outcome:
    findings = tuple(Finding(f"expected {i}", f"seen {i}", i, r) for i, r in enumerate(right))
    return Outcome("kubelet", experiment.PARTS["kubelet"], "worker-2", findings)


def test_an_outcome_as_text_and_as_data() -> None:
    found = outcome(True, False)
    lines = found.text().splitlines()
    assert lines[0] == "kubelet on worker-2: systemctl stop kubelet"
    assert lines[2].split() == ["✓", "expected", "0", "seen", "0", "0.0"]
    assert lines[3].startswith("✗")
    data = found.data()
    assert data["right"] is False
    assert data["findings"][1] == {
        "expected": "expected 1",
        "seen": "seen 1",
        "seconds": 1,
        "right": False,
    }


def test_an_unmet_expectation_is_an_error() -> None:
    outcome(True, True).raise_for_status()
    with pytest.raises(ChecksFailed, match="1 of 2 expectations were not met") as caught:
        outcome(True, False).raise_for_status()
    assert caught.value.answered
