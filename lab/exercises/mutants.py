"""Mutants: wrong answers that test the checks. Each must fail its own checks and no others.

A mutant is the manifests of an exercise with one mistake. Its changes are operations of JSON Patch
(RFC 6902: add, remove, replace; paths are JSON Pointers, RFC 6901), and each names its object.
Every mutant gets its own namespace, so that many run at once. The unchanged manifests run first and
must pass every check.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import re
import secrets
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.workloads.api import SOCKET, Api, CannotCheck
from lab import wait
from lab.cluster import objects
from lab.errors import ChecksFailed, CommandError, LabError, ResourceError, answered
from lab.exercises import grading
from lab.exercises.catalogue import Exercise
from lab.lifecycle.opened import Opened
from lab.output import Status
from lab.parallel import each

Object = dict[str, Any]
REFERENCE = "reference"
PREFIX = "mutant-"
# Kinds of the exercises' objects that have no namespace.
WIDE = "namespaces,persistentvolumes,clusterroles,clusterrolebindings"
AT_ONCE = 8
# The factor for the checks' timeouts. Mutants settle before they are checked, so no check needs its
# whole time.
PATIENCE = "0.3"
# The API's paths of a namespace's workloads.
WORKLOADS = (
    "/api/v1/namespaces/{}/pods",
    *(
        f"/apis/apps/v1/namespaces/{{}}/{kind}"
        for kind in ("deployments", "replicasets", "statefulsets", "daemonsets")
    ),
)
# The reasons of waiting containers that will not start without a change.
STUCK = {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
}


@dataclass(frozen=True)
class Mutant:
    """A wrong answer.

    The checks in `fails` must fail; those in `also` may. `patch` has the changes, and `add` is YAML
    of further objects. `neighbour` deploys everything in another namespace than the checked one.
    `rejected` means that the API server refuses some of the objects.
    """

    exercise: str
    name: str
    fails: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    patch: tuple[Mapping[str, Any], ...] = ()
    add: str = ""
    neighbour: bool = False
    rejected: bool = False


@dataclass(frozen=True)
class Outcome:
    """The result of a mutant. `problem` is empty if exactly the right checks are in `failed`."""

    mutant: Mutant
    failed: tuple[str, ...]
    problem: str

    def data(self) -> dict[str, Any]:
        """The outcome for JSON."""
        names = {"exercise": self.mutant.exercise, "mutant": self.mutant.name}
        return {**names, "failed": list(self.failed), "problem": self.problem}


def read(exercise: Exercise) -> list[Mutant]:
    """The mutants of an exercise, the unchanged manifests first."""
    tables: list[dict[str, Any]] = tomllib.loads((exercise.folder / "mutants.toml").read_text())[
        "mutant"
    ]
    for table in tables:
        table |= {key: tuple(table[key]) for key in ("fails", "also", "patch") if key in table}
    return [Mutant(exercise.name, REFERENCE), *(Mutant(exercise.name, **t) for t in tables)]


@cache
def manifests(exercise: Exercise) -> list[Object]:
    """The documents of an exercise's manifests. The cache reads them once for all mutants."""
    paths = sorted((exercise.folder / "manifests").glob("*.yaml"))
    return [item for path in paths for item in yaml.safe_load_all(path.read_text()) if item]


def documents(mutant: Mutant, given: Sequence[Object], namespace: str) -> list[Object]:
    """The objects of a mutant in `namespace`. Raises KeyError if a change names no given object."""
    made = copy.deepcopy(list(given))
    made += [item for item in yaml.safe_load_all(mutant.add) if item]
    for change in mutant.patch:
        target = next((item for item in made if title(item) == change["object"]), None)
        if target is None:
            raise KeyError(f"{mutant.exercise}: {mutant.name}: no {change['object']}")
        if change["path"]:
            patch(target, change)
        else:
            made.remove(target)
    return [moved(item, mutant.exercise, namespace) for item in made]


def title(item: Object) -> str:
    """Kind and name, e.g. Pod/myapp-pod."""
    return f"{item['kind']}/{item['metadata']['name']}"


def patch(item: Any, change: Mapping[str, Any]) -> None:
    """Apply one operation of JSON Patch. Raises KeyError or IndexError for an unknown path."""
    *parents, last = change["path"].lstrip("/").split("/")
    for part in parents:
        item = item[_key(item, part)]
    key = _key(item, last)
    if change["op"] == "add" and isinstance(item, list):
        item.insert(len(item) if last == "-" else key, change["value"])
    elif change["op"] == "add":
        item[key] = change["value"]
    elif change["op"] == "replace":
        item[key]
        item[key] = change["value"]
    elif change["op"] == "remove":
        del item[key]
    else:
        raise KeyError(f"no operation {change['op']}")


def _key(item: Any, part: str) -> Any:
    plain = part.replace("~1", "/").replace("~0", "~")
    return int(plain) if isinstance(item, list) and plain.isdigit() else plain


def moved(item: Object, old: str, new: str) -> Object:
    """An object in another namespace. An object without a namespace gets another name.

    A name that is `old`, or that begins with `old` and a dash, begins with `new` instead. A rule of
    an Ingress without a host gets the namespace's host name, so that several share one address.
    """

    def renamed(name: str) -> str:
        return new + name.removeprefix(old) if name == old or name.startswith(f"{old}-") else name

    item = copy.deepcopy(item)
    metadata, spec = item["metadata"], item.get("spec", {})
    if "namespace" in metadata:
        metadata["namespace"] = renamed(metadata["namespace"])
    else:
        metadata["name"] = renamed(metadata["name"])
    for holder in (spec, spec.get("template", {}).get("spec", {})):
        for key in ("volumeName", "priorityClassName", "schedulerName"):
            if key in holder:
                holder[key] = renamed(holder[key])
    if item["kind"] == "ConfigMap":
        # The configuration of a second scheduler contains the scheduler's name.
        word = re.compile(rf"(?<![\w-]){re.escape(old)}(?=-\w)")
        item["data"] = {key: word.sub(new, text) for key, text in item["data"].items()}
    for subject in item.get("subjects", []):
        subject["namespace"] = renamed(subject["namespace"])
    if item["kind"] == "Ingress":
        for rule in spec.get("rules", []):
            rule.setdefault("host", f"{new}.localhost")
    return item


def judge(mutant: Mutant, checks: Iterable[grading.Check]) -> Outcome:
    """The outcome of a mutant: whether exactly the right checks failed."""
    checks = list(checks)
    failed = tuple(dict.fromkeys(check.name for check in checks if check.status != "passed"))
    errors = [check for check in checks if check.status == "error"]
    missed = [name for name in mutant.fails if name not in failed]
    wrong = [name for name in failed if name not in (*mutant.fails, *mutant.also)]
    problem = "; ".join(
        [
            *(f"{check.name} could not be made: {check.message}" for check in errors),
            *(f"{name} should have failed" for name in missed),
            *(f"{name} should have passed: {_message(checks, name)}" for name in wrong),
        ]
    )
    return Outcome(mutant, failed, problem)


def _message(checks: Sequence[grading.Check], name: str) -> str:
    lines = [line for check in checks if check.name == name for line in check.message.splitlines()]
    return lines[0] if lines else ""


def settled(items: Sequence[Object]) -> bool:
    """Whether every workload has reached its final state, good or bad."""
    return all(_settled(item) for item in items)


def _settled(item: Object) -> bool:
    status = item.get("status", {})
    if item["kind"] != "Pod":
        if status.get("observedGeneration") != item["metadata"].get("generation"):
            return False
        made = status.get("currentNumberScheduled", status.get("replicas", 0))
        wanted = status.get("desiredNumberScheduled", item["spec"].get("replicas", 0))
        # A StatefulSet starts its pods one by one. It starts no further pod while one is not ready.
        return item["kind"] == "StatefulSet" or bool(made == wanted)
    conditions = objects.conditions(item)
    if status.get("phase") in ("Succeeded", "Failed") or conditions.get("Ready") == "True":
        return True
    states = [state.get("state", {}) for state in status.get("containerStatuses", [])]
    reasons = {state.get("waiting", {}).get("reason") for state in states}
    return conditions.get("PodScheduled") == "False" or bool(reasons & STUCK)


class Laboratory:
    """Runs mutants on a running cluster."""

    def __init__(self, opened: Opened, status: Status) -> None:
        self._opened = opened
        self._cluster = opened.cluster
        self._status = status
        # The cluster may still be deleting the namespaces of an earlier run.
        self._run = secrets.token_hex(2)
        self._numbers = itertools.count()
        # The socket of the proxy to the API, while `run` works.
        self._socket = Path()

    def run(self, exercises: Sequence[Exercise]) -> list[Outcome]:
        """Run every mutant of these exercises, several at once, heavy ones one by one.

        A busy machine may answer too late. So a mutant with a problem runs again alone, with the
        full timeouts of the checks. Returns the outcomes in the order of the exercises. Raises
        ResourceError for a deployed exercise that would answer instead of its mutants.
        """
        for exercise in exercises:
            self._refuse_rivals(exercise)
        tried = [(exercise, mutant) for exercise in exercises for mutant in read(exercise)]
        self._sweep()
        outcomes: dict[int, Outcome] = {}
        with self._cluster.proxy() as self._socket:
            for heavy, at_once in ((False, wait.at_once(AT_ONCE)), (True, 1)):
                group = [number for number, (one, _) in enumerate(tried) if one.heavy is heavy]
                found = each(group, lambda number: self._try(*tried[number], PATIENCE), at_once)
                outcomes |= dict(zip(group, found, strict=True))
            for number, (exercise, mutant) in enumerate(tried):
                if outcomes[number].problem:
                    outcomes[number] = self._try(exercise, mutant, "1")
        return [outcomes[number] for number in range(len(tried))]

    def _sweep(self) -> None:
        """Remove the objects of an interrupted run."""
        found = [title(item) for item in self._cluster.get(WIDE)]
        if old := [name for name in found if name.partition("/")[2].startswith(PREFIX)]:
            self._cluster.kubectl("delete", "--wait=false", *old, timeout=60)

    def _refuse_rivals(self, exercise: Exercise) -> None:
        """Refuse deployed Ingresses. One without a host answers for every host without a rule."""
        if any(item["kind"] == "Ingress" for item in manifests(exercise)):
            place = ("--namespace", exercise.name)
            if self._cluster.get("ingresses", *place):
                raise ResourceError(
                    f"exercise `{exercise.name}` is deployed and would answer for its mutants",
                    hint=f"invoke exercise-down {exercise.name}",
                )

    def _try(self, exercise: Exercise, mutant: Mutant, patience: str) -> Outcome:
        """Deploy a mutant into its own namespace, check it and remove it."""
        namespace = f"{PREFIX}{self._run}-{next(self._numbers)}"
        where = f"{namespace}-neighbour" if mutant.neighbour else namespace
        made = documents(mutant, manifests(exercise), where)
        variables = {**self._opened.environment, "LAB_NAMESPACE": namespace}
        variables[SOCKET] = str(self._socket)
        if mutant.name != REFERENCE:
            variables["LAB_PATIENCE"] = patience
        try:
            try:
                self._apply(mutant, made)
                self._settle(where)
                report = grading.grade(self._opened.lab.root, [exercise], variables)
                outcome = judge(mutant, report.checks)
            finally:
                gone = ("--wait=false", "--ignore-not-found", "--now")
                words = ("delete", "--filename", "-", *gone)
                self._cluster.kubectl(*words, stdin=objects.listing(made), timeout=60)
        except LabError as error:
            outcome = Outcome(mutant, (), error.message)
        mark = "✗" if outcome.problem else "✓"
        self._status.say(f"{mark} {mutant.exercise}: {mutant.name}")
        return outcome

    def _apply(self, mutant: Mutant, made: Sequence[Object]) -> None:
        try:
            self._cluster.apply(made)
        except CommandError as error:
            if not mutant.rejected:
                raise ResourceError(
                    f"mutant `{mutant.name}` of `{mutant.exercise}`: {error.message}"
                ) from error
        else:
            if mutant.rejected:
                raise ResourceError(
                    f"mutant `{mutant.name}` of `{mutant.exercise}`: not rejected by the API server"
                )

    def _settle(self, namespace: str) -> None:
        with contextlib.closing(Api(self._socket)) as api:

            def items(place: str) -> list[Object]:
                _, document = api.read(place.format(namespace))
                kind = document["kind"].removesuffix("List")
                return [{"kind": kind, **item} for item in document.get("items", [])]

            def still() -> bool | None:
                # Pods settle last, so one request is usually enough to see that some have not.
                return all(settled(items(place)) for place in WORKLOADS) or None

            try:
                wait.until(still, what="a mutant to settle", timeout=20, interval=0.5)
            except (LabError, CannotCheck):
                # Some mutants never settle, e.g. one whose probe always fails.
                return


def raise_for_status(outcomes: Sequence[Outcome]) -> None:
    """Raise ChecksFailed if the wrong checks failed for a mutant."""
    if bad := [outcome for outcome in outcomes if outcome.problem]:
        message = f"the checks judged {len(bad)} of {len(outcomes)} mutants wrongly"
        raise answered(ChecksFailed(message))


def table(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, str, str, str]]:
    """Rows of a table: exercise, mutant, the checks that failed, and the problem."""
    for outcome in outcomes:
        failed = ", ".join(outcome.failed)
        yield outcome.mutant.exercise, outcome.mutant.name, failed, outcome.problem
