"""A training as a Kubernetes Job: deployed, heard, and taken away again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from lab import runner, wait
from lab.cluster.client import Cluster
from lab.cluster.objects import conditions
from lab.errors import LabError, ResourceError
from lab.homework.listener import Listener
from lab.homework.ways import NAME, SILENCE

PLACE = ("--namespace", NAME)
# Exit code of what was killed, and the reason where nobody can be asked any more.
KILLED = 137
DELETED = "Deleted"
DAY = 24 * 3600


@dataclass(frozen=True)
class Ending:
    """How a Job ended: when (unix seconds), by which exit code, and what the runtime says of it."""

    at: float
    code: int
    reason: str


@dataclass
class Job:
    """The one Job of a run. `clock` asks the machine for unix seconds."""

    cluster: Cluster
    clock: Callable[[], float]
    halt: Callable[[], None]
    # Set when the namespace is being taken away: what follows the Job must not wait for more of it.
    away: threading.Event = field(default_factory=threading.Event)

    def run(
        self, objects: Sequence[dict[str, Any]], heard: Listener, limit: float
    ) -> tuple[float, Ending]:
        """Deploy a namespace and its Job, wait for its end; when it was asked for, and its end.

        Whatever happens, the namespace is gone afterwards.
        """
        pool = ThreadPoolExecutor(1)
        try:
            self.cluster.apply(objects[:1])
            asked = self.clock()
            self.cluster.apply(objects[1:])
            # Behind a thread, since an interrupt has to be noticed while a log is heard.
            future = pool.submit(self.follow, heard)
            wait.until(lambda: self._over(future), what="the Job's end", timeout=limit, longest=0.2)
            ended = asked, future.result()
        except BaseException:
            # Of a cluster that is gone nothing can be taken away; the next run does that first.
            with contextlib.suppress(LabError):
                self._end(pool)
            raise
        self._end(pool)
        return ended

    def _end(self, pool: ThreadPoolExecutor) -> None:
        """Take the namespace away, and let go what followed the Job."""
        self.away.set()
        try:
            self.remove()
        finally:
            pool.shutdown()

    def remove(self) -> None:
        """The namespace, with everything in it."""
        self.cluster.remove_namespace(NAME, timeout=120)

    def follow(self, heard: Listener) -> Ending:
        """Hear one pod of the Job after the other until it is over, or out of memory."""
        followed: set[str] = set()
        code, reason = KILLED, DELETED
        while True:
            pod = wait.until(
                lambda: self.next_pod(followed),
                what="the end of the Job, or a pod of it to start",
                timeout=180,
            )
            if pod and reason != "OOMKilled":
                followed.add(pod)
                self._hear(pod, heard)
                code, reason = wait.until(
                    lambda pod=pod: self.ending(pod),  # type: ignore[misc]
                    what=f"the end of pod {pod}",
                    # A log may break off while the training goes on.
                    timeout=DAY,
                    silence=SILENCE,
                    hint="invoke lab-up; then the same goes on: invoke mnist-run job",
                )
            # More of the same is in vain.
            if not pod or reason == "OOMKilled":
                # A pod whose Job was deleted may have been seen to end by SIGTERM before it went.
                deleted = code and not self._jobs()
                return Ending(self.clock(), code, DELETED if deleted else reason)

    def next_pod(self, followed: set[str]) -> str | None:
        """A pod of the Job that has begun and was not heard yet; empty when there is no more Job.

        Raises ResourceError that says why there is none yet.
        """
        if self.away.is_set():
            return ""
        pods = self.cluster.get("pods", *PLACE)
        for pod in pods:
            name = str(pod["metadata"]["name"])
            if name not in followed and pod["status"]["phase"] != "Pending":
                return name
        states = [conditions(job) for job in self._jobs()]
        if all("True" in (each.get("Complete"), each.get("Failed")) for each in states):
            return ""
        raise ResourceError("; ".join(map(waiting, pods)) or "the Job has no pod yet")

    def ending(self, pod: str) -> tuple[int, str] | None:
        """Exit code and reason of a pod's container; None while it runs."""
        only = ("--field-selector", f"metadata.name={pod}")
        found = self.cluster.get("pods", *PLACE, *only)
        if not found:
            return KILLED, DELETED
        for state in found[0]["status"].get("containerStatuses", []):
            if over := state["state"].get("terminated"):
                return int(over["exitCode"]), str(over.get("reason", ""))
        return None

    def _jobs(self) -> list[dict[str, Any]]:
        return self.cluster.get("jobs", *PLACE)

    def _hear(self, pod: str, heard: Listener) -> None:
        words = [*self.cluster.command, *PLACE, "logs", "--follow", pod]
        runner.run(words, timeout=DAY, on_line=lambda line: heard.hear(f"{line}\n"), ok=(0, 1))

    def _over(self, future: Future[Ending]) -> bool | None:
        self.halt()
        return future.done() or None


def waiting(pod: dict[str, Any]) -> str:
    """Why a pod has not begun."""
    for state in pod["status"].get("containerStatuses", []):
        if why := state["state"].get("waiting"):
            return f"{why.get('reason', '')} {why.get('message', '')}".strip()
    found = [
        str(item.get("message") or item.get("reason"))
        for item in pod["status"].get("conditions", [])
        if item["type"] == "PodScheduled" and item["status"] == "False"
    ]
    return "; ".join(found) or f"pod {pod['metadata']['name']} is {pod['status']['phase']}"
