"""What a real run of a lab must show, whichever way Kubernetes got on its machines.

The list is `items.ITEMS`: each says what is expected of this lab and what is seen of it, and the
two must be the same. Some need something to look at, `probe.objects`, which is deployed meanwhile.
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

# Seconds for what was deployed to serve, and for every item together to become right.
PATIENCE = 120


@dataclass(frozen=True)
class Outcome:
    """One item's answer: what was expected and seen, as it is printed."""

    id: str
    title: str
    expected: str
    seen: str

    @property
    def passed(self) -> bool:
        """Whether the lab is as it must be."""
        return self.expected == self.seen


@dataclass(frozen=True)
class Conformance:
    """The outcome of the whole list."""

    outcomes: tuple[Outcome, ...]

    def data(self) -> list[dict[str, Any]]:
        """The outcomes for JSON."""
        return [{**asdict(one), "passed": one.passed} for one in self.outcomes]

    def text(self) -> str:
        """One line an item, and under a failed one what was expected and seen."""
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
        """The outcomes as CI services read them."""
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
        """Raises ChecksFailed when an item is not as it must be."""
        if failed := [one.id for one in self.outcomes if not one.passed]:
            raise answered(ChecksFailed(f"the lab is not as it must be: {', '.join(failed)}"))


def run(opened: Opened, status: Status) -> Conformance:
    """Look at every item of a lab that is up; what was deployed for it is removed again.

    A question that cannot be asked is an item that is not as expected, and tells the reason.
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
    """Look until it is as expected, or the deadline has passed (of the monotonic clock)."""
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
    """True when all of the probe serves. Raises ResourceError that names a pod that does not."""
    pods = scene.get("pods", "--namespace", NAMESPACE)
    for pod in pods:
        if conditions(pod).get("Ready") != "True":
            raise ResourceError(f"pod {name(pod)}: {complaint(pod)}")
    if len(pods) <= len(scene.lab.machines):
        raise ResourceError(f"{len(pods)} of {len(scene.lab.machines) + 1} pods exist")
    return True


def _plain(value: object) -> str:
    """A value as it is printed and compared."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
