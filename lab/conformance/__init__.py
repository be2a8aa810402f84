"""The requirements for a running lab, regardless of its distribution.

The list is `items.ITEMS`. Each item returns what is expected of this lab and what is seen, and the
two must be equal. Some items need objects in the cluster, `probe.objects`, which a run deploys.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from lab import wait
from lab.cluster.objects import complaint, conditions
from lab.conformance.items import ITEMS, Item, Scene, name
from lab.conformance.probe import NAMESPACE, objects
from lab.errors import ChecksFailed, DeadlineExceeded, LabError, ResourceError, answered
from lab.lifecycle.opened import Opened
from lab.machines.ssh import connections
from lab.output import Status
from lab.pages import junit

# Seconds for the probe to serve, and for all items together to pass.
PATIENCE = 120


@dataclass(frozen=True)
class Outcome:
    """The result of one item: what was expected and what was seen, as text."""

    id: str
    title: str
    expected: str
    seen: str

    @property
    def passed(self) -> bool:
        """Whether the lab meets the requirement."""
        return self.expected == self.seen


@dataclass(frozen=True)
class Conformance:
    """The results of the whole list."""

    outcomes: tuple[Outcome, ...]

    def data(self) -> list[dict[str, Any]]:
        """The results for JSON."""
        return [{**asdict(one), "passed": one.passed} for one in self.outcomes]

    def text(self) -> str:
        """One line for each item; below a failed one, what was expected and what was seen."""
        lines = []
        for one in self.outcomes:
            lines.append(f"{'✓' if one.passed else '✗'} {one.id}: {one.title}")
            if not one.passed:
                lines += [f"    expected: {one.expected}", f"    seen:     {one.seen}"]
        passed = sum(one.passed for one in self.outcomes)
        return "\n".join(
            [*lines, f"{passed} of {len(self.outcomes)} items of the conformance list"]
        )

    @property
    def junit(self) -> str:
        """The results in JUnit's format."""
        cases = [
            junit.Case(NAMESPACE, one.id)
            if one.passed
            else junit.Case(
                NAMESPACE, one.id, "failure", f"expected {one.expected}, seen {one.seen}"
            )
            for one in self.outcomes
        ]
        return junit.document(NAMESPACE, cases)

    def raise_for_status(self) -> None:
        """Raise ChecksFailed when an item failed."""
        if failed := [one.id for one in self.outcomes if not one.passed]:
            raise answered(
                ChecksFailed(f"the lab fails items of the conformance list: {', '.join(failed)}")
            )


def run(opened: Opened, status: Status) -> Conformance:
    """Test every item on a running lab; removes the probe that it deploys.

    An item that cannot be tested fails, with the reason.
    """
    lab, cluster = opened.lab, opened.cluster
    scene = Scene(lab, cluster, tuple(connections(lab)))
    try:
        with status.step("conformance"):
            cluster.apply(objects())
            try:
                wait.until(lambda: _deployed(scene), what="the probe", timeout=PATIENCE)
            except DeadlineExceeded as error:
                status.say(error.message)
            deadline = time.monotonic() + PATIENCE
            asked = [item for item in ITEMS if item.needed(lab)]
            return Conformance(tuple(ask(item, scene, deadline) for item in asked))
    finally:
        for remote in scene.machines:
            remote.close()
        cluster.remove_namespace(NAMESPACE, timeout=PATIENCE)


def ask(item: Item, scene: Scene, deadline: float) -> Outcome:
    """Test an item until it passes, or until the deadline (of the monotonic clock)."""
    last = Outcome(item.id, item.title, "an answer", "none")

    def look() -> Outcome | None:
        nonlocal last
        try:
            expected, seen = item.look(scene)
            last = Outcome(item.id, item.title, _plain(expected), _plain(seen))
        except LabError as error:
            last = Outcome(item.id, item.title, "an answer", error.message)
        return last if last.passed else None

    try:
        return wait.until(look, what=item.id, timeout=deadline - time.monotonic())
    except DeadlineExceeded:
        return last


def _deployed(scene: Scene) -> bool:
    """True when the whole probe serves. Raises ResourceError with a pod that does not."""
    pods = scene.get("pods", "--namespace", NAMESPACE)
    for pod in pods:
        if conditions(pod).get("Ready") != "True":
            raise ResourceError(f"pod {name(pod)}: {complaint(pod)}")
    if len(pods) <= len(scene.lab.machines):
        raise ResourceError(f"{len(pods)} of {len(scene.lab.machines) + 1} pods exist")
    return True


def _plain(value: object) -> str:
    """A value as text, which is printed and compared."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
