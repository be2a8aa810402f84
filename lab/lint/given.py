"""The input of the rules: all files that lint checks together, and what they contain."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from lab.lint import tree, typed
from lab.lint.objects import File, Object, Pod, pod_of
from lab.lint.schema import Schema


class Selection(NamedTuple):
    """A Service, its selector, and the pods that it finds."""

    service: Object
    selector: Mapping[str, str]
    pods: list[Pod]


# Labels that controllers add to their pods -> the kinds of the controllers, and the pattern of the
# value. `{}` in it is the controller's name.
JOB = (("Job",), "{}")
ADDED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "job-name": JOB,
    "batch.kubernetes.io/job-name": JOB,
    "batch.kubernetes.io/job-completion-index": (("Job", "CronJob"), r"\d+"),
    "statefulset.kubernetes.io/pod-name": (("StatefulSet",), r"{}-\d+"),
    "apps.kubernetes.io/pod-index": (("StatefulSet",), r"\d+"),
}


def _has(pod: Pod, label: str, value: str) -> bool:
    """Whether a pod has a label from its template or from its controller."""
    if pod.labels.get(label) == value:
        return True
    kinds, form = ADDED.get(label, ((), ""))
    name = re.escape(tree.text(pod.owner.node, "metadata", "name"))
    return pod.owner.is_a(*kinds) and bool(re.fullmatch(form.replace("{}", name), value))


@dataclass(frozen=True)
class Given:
    """Files and the schema. Without a schema, lint does not check fields."""

    files: tuple[File, ...]
    schema: Schema | None = None

    @cached_property
    def objects(self) -> tuple[Object, ...]:
        """Every object of every file."""
        return tuple(item for file in self.files for item in file.objects)

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        """Every Pod, and the pod of every object with a pod template."""
        return tuple(pod for item in self.objects if (pod := pod_of(item)))

    @cached_property
    def services(self) -> tuple[Selection, ...]:
        """The Services with a selector."""
        return tuple(
            Selection(item, selector, self._chosen(item.namespace, selector))
            for item in self.of("Service")
            # A Service of type ExternalName ignores its selector.
            if tree.text(item.node, "spec", "type") != "ExternalName"
            and (selector := tree.strings(item.node, "spec", "selector"))
        )

    @cached_property
    def neighbours(self) -> dict[str, list[Pod]]:
        """The pods of each namespace."""
        found: dict[str, list[Pod]] = {}
        for pod in self.pods:
            found.setdefault(pod.owner.namespace, []).append(pod)
        return found

    def _chosen(self, namespace: str, selector: Mapping[str, str]) -> list[Pod]:
        own = [pair for pair in selector.items() if pair[0] not in ADDED]
        few = min(
            (self._labelled.get((namespace, *pair), []) for pair in own),
            key=len,
            default=self.neighbours.get(namespace, []),
        )
        return [pod for pod in few if all(_has(pod, *pair) for pair in selector.items())]

    @cached_property
    def _labelled(self) -> dict[tuple[str, str, str], list[Pod]]:
        found: dict[tuple[str, str, str], list[Pod]] = {}
        for pod in self.pods:
            for pair in pod.labels.items():
                found.setdefault((pod.owner.namespace, *pair), []).append(pod)
        return found

    @cached_property
    def values(self) -> tuple[typed.Value, ...]:
        """Every value with its type."""
        return tuple(value for item in self.objects for value in typed.values(item, self.schema))

    def of(self, *kinds: str) -> Iterator[Object]:
        """The objects of these kinds."""
        return (item for item in self.objects if item.is_a(*kinds))
