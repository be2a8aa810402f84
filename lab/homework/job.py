"""A training as a Kubernetes Job: deploy it, follow its log, and remove it."""

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
# The exit code of a killed container, and the reason for a pod that no longer exists.
KILLED = 137
DELETED = "Deleted"
DAY = 24 * 3600


@dataclass(frozen=True)
class Ending:
    """The end of a Job: its time in Unix seconds, its exit code, and the runtime's reason."""

    at: float
    code: int
    reason: str


@dataclass
class Job:
    """The Job of a run. `clock` asks the machine for Unix seconds, `halt` raises an interrupt."""

    cluster: Cluster
    clock: Callable[[], float]
    halt: Callable[[], None]
    # Set before the namespace is removed, so that the log's follower waits for no further pod.
    away: threading.Event = field(default_factory=threading.Event)

    def run(
        self, objects: Sequence[dict[str, Any]], heard: Listener, limit: float
    ) -> tuple[float, Ending]:
        """Deploy a namespace and its Job, and wait for the Job's end.

        `limit` is in seconds. Returns the time of the request in Unix seconds, and the end. The
        namespace is removed afterwards, also after an error. Raises DeadlineExceeded after `limit`.
        """
        pool = ThreadPoolExecutor(1)
        try:
            self.cluster.apply(objects[:1])
            asked = self.clock()
            self.cluster.apply(objects[1:])
            # Follow the log in a thread, so that this one can react to an interrupt.
            future = pool.submit(self.follow, heard)
            wait.until(lambda: self._over(future), what="the Job's end", timeout=limit, longest=0.2)
            ended = asked, future.result()
        except BaseException:
            # An unreachable cluster cannot remove the namespace; the next run does it first.
            with contextlib.suppress(LabError):
                self._end(pool)
            raise
        self._end(pool)
        return ended

    def _end(self, pool: ThreadPoolExecutor) -> None:
        """Remove the namespace, and stop the log's follower."""
        self.away.set()
        try:
            self.remove()
        finally:
            pool.shutdown()

    def remove(self) -> None:
        """Remove the namespace and everything in it."""
        self.cluster.remove_namespace(NAME, timeout=120)

    def follow(self, heard: Listener) -> Ending:
        """Follow the Job's pods one after the other until the Job ends or runs out of memory."""
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
                    # A log may break off while the training continues.
                    timeout=DAY,
                    silence=SILENCE,
                    hint="invoke lab-up, then resume the training: invoke mnist-run job",
                )
            # A retry would run out of memory again.
            if not pod or reason == "OOMKilled":
                # The pod of a deleted Job may have reported SIGTERM before it vanished.
                deleted = code and not self._jobs()
                return Ending(self.clock(), code, DELETED if deleted else reason)

    def next_pod(self, followed: set[str]) -> str | None:
        """A started pod of the Job that was not followed yet; empty if the Job is over.

        Raises ResourceError with the reason why no pod has started yet.
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
    """Why a pod has not started."""
    for state in pod["status"].get("containerStatuses", []):
        if why := state["state"].get("waiting"):
            return f"{why.get('reason', '')} {why.get('message', '')}".strip()
    found = [
        str(item.get("message") or item.get("reason"))
        for item in pod["status"].get("conditions", [])
        if item["type"] == "PodScheduled" and item["status"] == "False"
    ]
    return "; ".join(found) or f"pod {pod['metadata']['name']} is {pod['status']['phase']}"
