"""The bench for experiments: a namespace, the machines, and the findings.

A machine restores a stopped component even if this process is killed. `vagrant/experiment.sh` arms
a dead man's switch before it stops anything, and the bench resets it until the experiment ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab import wait
from lab.cluster import health
from lab.cluster.objects import Object, lacking
from lab.cluster.samples import workload
from lab.config import Machine
from lab.errors import DeadlineExceeded, LabError
from lab.lifecycle.opened import Opened
from lab.machines.ssh import Remote, connections, ssh_config
from lab.output import Status
from lab.parallel import each

NAMESPACE = "machinery-experiment"
SCRIPT = "/usr/local/lib/lab/experiment.sh"
# Seconds without a reset after which a machine restores the component, and between two resets.
SWITCH = 20
HOLD = 3


@dataclass(frozen=True)
class Part:
    """A component that can be stopped alone.

    `health` is the address of its health check on its machine, `worker` whether that machine is a
    worker. `how` describes how it is stopped.
    """

    program: str
    health: str
    worker: bool
    how: str


@dataclass(frozen=True)
class Finding:
    """An expectation, what was seen, and after how many seconds."""

    expected: str
    seen: str
    seconds: float
    right: bool


class Bench:
    """The place of an experiment: a namespace, the machines, and the list of findings."""

    def __init__(self, opened: Opened, status: Status, part: Part, machine: Machine) -> None:
        self.lab = opened.lab
        self.cluster = opened.cluster
        self.part = part
        self.machine = machine
        self.findings: list[Finding] = []
        self._status = status
        self._remotes = {remote.name: remote for remote in connections(self.lab)}
        self._slipped = ""

    def close(self) -> None:
        """Close the connections."""
        for remote in self._remotes.values():
            remote.close()

    # The cluster.

    def kubectl(self, *words: str, timeout: float = 15) -> str:
        """Run kubectl in the experiment's namespace; `timeout` is in seconds."""
        place = ("--namespace", NAMESPACE)
        return self.cluster.kubectl(*place, *words, timeout=timeout)

    def get(self, *words: str) -> list[Object]:
        """Objects of the experiment's namespace, without those being deleted."""
        found = self.cluster.get("--namespace", NAMESPACE, *words)
        return [item for item in found if "deletionTimestamp" not in item["metadata"]]

    def one(self, kind: str, name: str) -> Object:
        """One object. Raises CommandError if it does not exist."""
        return self.get(kind, name)[0]

    def pods(self) -> list[Object]:
        """The pods of `web`."""
        return self.get("pods", "--selector", "app=web")

    def apply(self, *objects: Object) -> None:
        """Apply objects."""
        self.cluster.apply(objects, NAMESPACE)

    def prepare(self, replicas: int, node: str = "") -> None:
        """Create the namespace again, deploy `web`, and wait until it is ready."""
        with self._status.step(f"namespace {NAMESPACE}, with a Deployment and a Service"):
            self.clear(wait_for_it=True)
            self.cluster.create_namespace(NAMESPACE)
            self.apply(*workload(replicas, node))
            wait.until(
                lambda: None if lacking(self.one("deployment", "web")) else True,
                what="the pods of `web`",
                timeout=90,
            )

    def clear(self, *, wait_for_it: bool = False) -> None:
        """Remove the namespace."""
        self.cluster.remove_namespace(NAMESPACE, wait=wait_for_it)

    # The machines.

    def run(self, machine: str, *argv: str) -> str:
        """The output of a command on a machine, with any exit code."""
        return self._remotes[machine].run(argv, sudo=True, ok=range(256), timeout=30)

    def fetched(self, machine: str, address: str) -> str | None:
        """The answer to a request from a machine to an address; None without an answer."""
        answer = self.run(machine, "curl", "-s", "--max-time", "2", f"http://{address}").strip()
        return f"`{answer}` answers" if answer else None

    def healthy(self) -> str | None:
        """Words if the component's health check succeeds, else None."""
        code = self._health()
        return "it answers" if code == "200" else None

    def silent(self) -> str | None:
        """Words if the component does not answer, else None."""
        return "no answer" if self._health() == "000" else None

    def _health(self) -> str:
        words = ("-sk", "--max-time", "2", "-o", "/dev/null", "-w", "%{http_code}")
        return self.run(self.machine.name, "curl", *words, self.part.health)

    def put_back(self) -> None:
        """Restore components that an interrupted experiment left stopped on any machine."""
        path = self.lab.root / "vagrant" / "experiment.sh"
        each(self._remotes.values(), lambda remote: remote.script(path, "back"))

    @contextmanager
    def away(self, what: str) -> Iterator[None]:
        """Stop the component while the block runs; restore it afterwards, also after an error.

        `what` is the script's name for it. Two findings record that it does not answer, and that it
        answers again.
        """
        remote, program = self._remotes[self.machine.name], self.part.program
        self._status.say(f"stop {program} on {self.machine.name}: {self.part.how}")
        self._status.say(f"if this task is killed, the machine restores it after {SWITCH} s")
        over = threading.Event()
        try:
            begin = time.monotonic()
            remote.run([SCRIPT, "away", what, str(SWITCH)], sudo=True)
            threading.Thread(target=self._hold, args=(over,), daemon=True).start()
            self.see(f"{program} does not answer", self.silent, 40, begin)
            yield
            if self._slipped:
                self._find(Finding(f"{program} stays away", self._slipped, 0, False))
        finally:
            over.set()
            begin = time.monotonic()
            with self._status.step(f"restore {program}"):
                remote.run([SCRIPT, "back"], sudo=True)
        self.see(f"{program} answers again", self.healthy, 90, begin)

    def _hold(self, over: threading.Event) -> None:
        """Reset the machine's switch regularly until `over` is set.

        A separate connection does this, so that the experiment can wait for other commands.
        """
        remote = Remote(self.machine.name, ssh_config(self.lab))
        while not over.wait(HOLD):
            try:
                remote.run([SCRIPT, "hold"], sudo=True, timeout=SWITCH)
            except LabError as error:
                if not over.is_set():
                    self._slipped = error.message
                break
        remote.close()

    # Findings.

    def see(
        self, expected: str, probe: Callable[[], str | None], within: float, begin: float = 0
    ) -> None:
        """Record whether `probe` succeeds within this many seconds from `begin` or now."""
        begin = begin or time.monotonic()
        try:
            seen, right = wait.until(probe, what=expected, timeout=within, interval=0.2), True
        except DeadlineExceeded as error:
            seen, right = f"not within {within:.0f} s ({error.message.rpartition(': ')[2]})", False
        self._find(Finding(expected, seen, time.monotonic() - begin, right))

    def stays(self, expected: str, probe: Callable[[], str | None], seconds: float) -> None:
        """Record whether `probe` succeeds at once and for this many seconds."""
        begin = time.monotonic()
        last = ""

        def look() -> tuple[str, bool] | None:
            nonlocal last
            said = probe()
            if said is None:
                return f"no more after `{last}`" if last else "not so", False
            last = said
            return (said, True) if time.monotonic() - begin >= seconds else None

        seen, right = wait.until(look, what=expected, timeout=seconds + 60, interval=0.5)
        self._find(Finding(expected, seen, time.monotonic() - begin, right))

    def _find(self, finding: Finding) -> None:
        self.findings.append(finding)
        mark = "✓" if finding.right else "✗"
        self._status.say(f"{mark} {finding.expected}: {finding.seen}  {finding.seconds:.1f} s")

    def settle(self) -> None:
        """Wait until the component and the cluster are healthy."""
        wait.until(self.healthy, what=f"an answer of {self.part.program}", timeout=120)
        health.wait_ready(self.lab, self.cluster)
