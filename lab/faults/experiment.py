"""Experiments: stop one component of Kubernetes, and observe what works without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lab.cluster import objects
from lab.cluster.objects import endpoints
from lab.cluster.samples import PORT, service, sleeper
from lab.config import Lab, Machine, Settings
from lab.distributions import distribution
from lab.errors import ChecksFailed, LabError, NotFoundError, PrerequisiteError, answered
from lab.faults.bench import Bench, Finding, Part
from lab.lifecycle import opened
from lab.lifecycle.lock import locked
from lab.output import Status, table

Object = dict[str, Any]
PARTS: Mapping[str, Part] = {
    "scheduler": Part(
        "kube-scheduler",
        "https://127.0.0.1:10259/healthz",
        False,
        "its static pod's manifest is moved out of /etc/kubernetes/manifests",
    ),
    "controller-manager": Part(
        "kube-controller-manager",
        "https://127.0.0.1:10257/healthz",
        False,
        "its static pod's manifest is moved out of /etc/kubernetes/manifests",
    ),
    "kubelet": Part("kubelet", "http://127.0.0.1:10248/healthz", True, "systemctl stop kubelet"),
    "kube-proxy": Part(
        "kube-proxy",
        "http://127.0.0.1:10256/healthz",
        True,
        "its process is frozen (SIGSTOP), and killed (SIGKILL) at the end",
    ),
}


@dataclass(frozen=True)
class Outcome:
    """The result of an experiment."""

    name: str
    part: Part
    machine: str
    findings: tuple[Finding, ...]

    @property
    def right(self) -> bool:
        """Whether every expectation was met."""
        return all(finding.right for finding in self.findings)

    def data(self) -> dict[str, Any]:
        """The outcome for JSON."""
        return {
            "name": self.name,
            "component": self.part.program,
            "machine": self.machine,
            "stopped": self.part.how,
            "right": self.right,
            "findings": [
                {**vars(finding), "seconds": round(finding.seconds, 1)} for finding in self.findings
            ],
        }

    def text(self) -> str:
        """The outcome for a terminal: a row for every expectation."""
        rows = [
            ("✓" if one.right else "✗", one.expected, one.seen, f"{one.seconds:.1f}")
            for one in self.findings
        ]
        return "\n".join(
            [
                f"{self.part.program} on {self.machine}: {self.part.how}",
                table(("", "expected", "seen", "seconds"), rows),
            ]
        )

    def raise_for_status(self) -> None:
        """Raise ChecksFailed if an expectation was not met."""
        if wrong := [finding for finding in self.findings if not finding.right]:
            message = f"{len(wrong)} of {len(self.findings)} expectations were not met"
            raise answered(ChecksFailed(message))


def plan(lab: Lab, name: str) -> tuple[Part, Machine]:
    """The component of an experiment in this lab, and the machine on which it is stopped.

    Raises NotFoundError for an unknown name, and PrerequisiteError if the lab has no such component
    or no worker.
    """
    if name not in PARTS:
        raise NotFoundError(f"unknown experiment `{name}`; choose one of {', '.join(PARTS)}")
    part = PARTS[name]
    if distribution(lab).one_process:
        if name != "kubelet":
            raise PrerequisiteError(
                f"{part.program} cannot be stopped alone: {lab.distribution} runs it in the same "
                "process as other components",
                hint="invoke lab-up --lab second --distribution kubeadm",
            )
        unit = distribution(lab).units["worker"]
        part = Part(unit, part.health, True, f"systemctl stop {unit}")
    if lab.control_planes > 1 and not part.worker:
        raise PrerequisiteError(
            f"another control plane takes over from {part.program}, so its absence has no effect",
            hint="set control_planes = 1 and run: invoke lab-up --lab second",
        )
    machines = [machine for machine in lab.machines if (machine.role == "worker") == part.worker]
    if not machines:
        raise PrerequisiteError(
            f"the experiment stops {part.program} on a worker, and the lab has none",
            hint="invoke lab-up --workers 1",
        )
    # The first control plane, or the last worker, on which the fewest other things depend.
    return part, machines[-1] if part.worker else machines[0]


# Probes return words if an object has the expected state, and None otherwise.


def waiting(pod: Object) -> str | None:
    """Probe for a pod that no scheduler has handled."""
    phase, node = pod["status"].get("phase"), pod["spec"].get("nodeName")
    return None if node or phase != "Pending" else "Pending, on no node"


def running(pod: Object) -> str | None:
    """Probe for a Ready pod."""
    if objects.conditions(pod).get("Ready") != "True":
        return None
    return f"Running on {pod['spec']['nodeName']}"


def lost(node: Object) -> str | None:
    """Probe for a node that is not Ready."""
    state = objects.conditions(node).get("Ready")
    return None if state == "True" else f"Ready is {state}"


def counted(deployment: Object, pods: Sequence[Object]) -> str | None:
    """Probe for a Deployment whose status counts more pods than exist."""
    said, there = deployment["status"].get("readyReplicas", 0), len(pods)
    return f"{there} pod(s), but the status says {said}" if there < said else None


def replaced(pods: Sequence[Object], wanted: int) -> str | None:
    """Probe for a Deployment whose pods are all Ready."""
    ready = [pod for pod in pods if running(pod)]
    return f"{len(ready)} pods ready" if len(ready) == wanted else None


def addresses(slices: Sequence[Object]) -> set[str]:
    """The addresses that receive a Service's traffic."""
    return {address for item in slices for address, is_ready in endpoints(item).items() if is_ready}


def without_scheduler(bench: Bench) -> None:
    """Pods without a node stay Pending; pods with a node start and run."""
    bench.prepare(1)
    with bench.away("static/kube-scheduler"):
        bench.apply(sleeper("late"))
        bench.stays("a new pod stays Pending", lambda: waiting(bench.one("pod", "late")), 5)
        bench.apply(sleeper("bound", bench.machine.name))
        bench.see(
            "a pod that names its own node runs",
            lambda: running(bench.one("pod", "bound")),
            30,
        )
    bench.see("the Pending pod runs", lambda: running(bench.one("pod", "late")), 60)


def without_controllers(bench: Bench) -> None:
    """No controller replaces pods or updates status. The scheduler and the kubelets still work."""
    bench.prepare(2)
    with bench.away("static/kube-controller-manager"):
        victim = bench.pods()[0]["metadata"]["name"]
        bench.kubectl("delete", "pod", victim, "--now", timeout=30)
        bench.stays(
            "a deleted pod is not replaced, and the status still counts it",
            lambda: counted(bench.one("deployment", "web"), bench.pods()),
            6,
        )
        bench.apply(sleeper("late"))
        bench.see("a pod created by hand runs", lambda: running(bench.one("pod", "late")), 30)
    bench.see("the pod is replaced", lambda: replaced(bench.pods(), 2), 90)


def without_kubelet(bench: Bench) -> None:
    """The node becomes NotReady, while its containers continue to run."""
    here, other = bench.machine.name, bench.lab.machines[0].name
    bench.prepare(1, here)
    address = bench.pods()[0]["status"]["podIP"]
    label = "kubernetes.io/service-name=web"

    def served() -> bool:
        return address in addresses(bench.get("endpointslices", "--selector", label))

    def answers() -> str | None:
        return bench.fetched(other, f"{address}:{PORT}")

    with bench.away(f"unit/{bench.part.program}"):
        bench.see("its container answers", answers, 10)
        bench.see("the node is NotReady", lambda: lost(bench.one("node", here)), 120)
        bench.see(
            "the pod is removed from its Service",
            lambda: None if served() else "no address left",
            30,
        )
        bench.see("its container still answers", answers, 10)
    bench.see(
        "the node is Ready again",
        lambda: None if lost(bench.one("node", here)) else "Ready is True",
        60,
    )
    bench.see(
        "the pod is back in its Service", lambda: f"lists {address}" if served() else None, 60
    )


def without_proxy(bench: Bench) -> None:
    """A new Service gets no rules on this machine; existing rules still work."""
    here, other = bench.machine.name, bench.lab.machines[0].name
    bench.prepare(2)
    (before,) = proxies(bench)
    state = before["status"]["containerStatuses"][0]

    def answers(machine: str, name: str) -> str | None:
        return bench.fetched(machine, bench.one("service", name)["spec"]["clusterIP"])

    def unknown() -> str | None:
        address = bench.one("service", "late")["spec"]["clusterIP"]
        if address in bench.run(here, "nft", "list", "table", "ip", "kube-proxy"):
            return None
        return None if answers(here, "late") else "no rule, no answer"

    def restarted() -> str | None:
        (pod,) = proxies(bench)
        now = pod["status"]["containerStatuses"][0]
        return (
            f"restart {now['restartCount']}"
            if now["restartCount"] > state["restartCount"]
            else None
        )

    bench.see("the Service answers on this machine", lambda: answers(here, "web"), 20)
    with bench.away(f"task/{state['containerID'].rpartition('/')[2]}"):
        bench.stays("the Service still answers", lambda: answers(here, "web"), 3)
        bench.apply(service("late"))
        bench.see("a new Service answers on another machine", lambda: answers(other, "late"), 20)
        bench.stays("the new Service has no rules on this machine", unknown, 3)
    bench.see("the kubelet starts a new kube-proxy", restarted, 60)
    bench.see("the new Service answers on this machine", lambda: answers(here, "late"), 60)


def proxies(bench: Bench) -> list[Object]:
    """The pod of kube-proxy on the machine."""
    place = ("--namespace", "kube-system", "--selector", "k8s-app=kube-proxy")
    chosen = ("--field-selector", f"spec.nodeName={bench.machine.name}")
    return bench.get("pods", *place, *chosen)


PROCEDURES: Mapping[str, Callable[[Bench], None]] = {
    "scheduler": without_scheduler,
    "controller-manager": without_controllers,
    "kubelet": without_kubelet,
    "kube-proxy": without_proxy,
}


def run(settings: Settings, name: str, status: Status) -> Outcome:
    """Run an experiment, and wait until the cluster is healthy again, also after an error.

    Raises what `plan` raises, and DeadlineExceeded if a component does not recover.
    """
    found = opened.opened(settings)
    part, machine = plan(found.lab, name)
    with locked(found.lab, f"experiment {name}", status):
        bench = Bench(found, status, part, machine)
        try:
            with status.step("wait until the cluster is healthy"):
                bench.put_back()
                bench.settle()
            try:
                PROCEDURES[name](bench)
            finally:
                with status.step("wait until the cluster is healthy again"):
                    bench.settle()
                    with suppress(LabError):
                        bench.clear()
        finally:
            bench.close()
    return Outcome(name, part, machine.name, tuple(bench.findings))
