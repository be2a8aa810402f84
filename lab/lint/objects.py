"""Kubernetes objects in files, and their pods."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from lab.lint import tree
from lab.lint.source import Source
from lab.lint.tree import Mapping, Node, Scalar, Sequence, Tree

# Kind -> the path of its pod template. A Pod is its own template.
TEMPLATES = {
    "Pod": (),
    **dict.fromkeys(
        (
            "DaemonSet",
            "Deployment",
            "Job",
            "ReplicaSet",
            "ReplicationController",
            "StatefulSet",
        ),
        ("spec", "template"),
    ),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
_COMMENT = re.compile(r"(?<!\S)#.*")
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
# A document without any of these fields is not an object but another program's, e.g. Compose's.
HALLMARKS = {"apiversion", "kind", "metadata", "spec"}


@dataclass(frozen=True)
class File:
    """A text and its tree."""

    source: Source
    tree: Tree

    def scalar_at(self, index: int) -> Scalar | None:
        """The scalar that contains a character; None outside of scalars."""
        i = bisect_right(self._starts, index) - 1
        return self.tree.scalars[i] if i >= 0 and index < self.tree.scalars[i].end else None

    @cached_property
    def objects(self) -> tuple[Object, ...]:
        """Every object of the file, in order."""
        return tuple(item for document in self.tree.documents for item in objects(self, document))

    @cached_property
    def foreign(self) -> bool:
        """Whether the file is YAML of another program: no document resembles an object.

        Next to a real object, such a document is a fragment cut off by a `---`.
        """
        documents = [item for item in self.tree.documents if not _is_empty(item)]
        ours = any(map(_resembles, documents))
        return bool(documents) and not ours and not self.tree.failure

    @cached_property
    def seen(self) -> int:
        """End of the last line that the parser read; the rest of the text is unknown."""
        return self.source.start(self.source.place(self.tree.read)[0] + 1)

    def in_comment(self, index: int) -> bool:
        """Whether a character outside of scalars is in a comment."""
        i = bisect_right(self._comments, (index, len(self.source.text))) - 1
        return i >= 0 and index < self._comments[i][1]

    def runs(self, scalar: Scalar) -> bool:
        """Whether a scalar is a word of a container's command."""
        return scalar.start in self._commands

    def last(self, node: Node) -> int:
        """The index after a node's last character. The parser's mark is the next node's start."""
        if isinstance(node, Scalar) or self.source.text[node.start] in "[{":
            return node.end
        if isinstance(node, Sequence):
            return max((self.last(item) for item in node.items), default=node.end)
        return max((self.last(item) for _, item in node.pairs), default=node.end)

    def commented(self, start: int, end: int) -> bool:
        """Whether a comment begins between two characters."""
        first, after = (bisect_left(self._comments, (place, 0)) for place in (start, end))
        return first < after

    @cached_property
    def _comments(self) -> list[tuple[int, int]]:
        """The starts and ends of comments. A `#` inside a scalar does not begin one."""
        spans, position = [], 0
        while found := _COMMENT.search(self.source.text, position):
            scalar = self.scalar_at(found.start())
            if scalar is None:
                spans.append(found.span())
            position = scalar.end if scalar else found.end()
        return spans

    @cached_property
    def _starts(self) -> list[int]:
        return [scalar.start for scalar in self.tree.scalars]

    @cached_property
    def _commands(self) -> set[int]:
        return {
            item.start
            for mapping in self.tree.mappings
            for key, node in mapping.pairs
            if key.text in ("command", "args") and isinstance(node, Sequence)
            for item in node.items
        }


@dataclass(frozen=True)
class Object:
    """One Kubernetes object. `api` and `kind` also come from fields in the wrong case."""

    file: File
    node: Mapping
    api: Scalar | None
    kind: Scalar | None

    @property
    def title(self) -> str:
        """The object's kind and name, for a message."""
        kind = self.kind.text if self.kind else "object"
        return f"{kind} `{name}`" if (name := tree.text(self.node, "metadata", "name")) else kind

    @property
    def namespace(self) -> str:
        """The object's namespace; `default` if it names none."""
        return tree.text(self.node, "metadata", "namespace") or "default"

    def is_a(self, *kinds: str) -> bool:
        """Whether the object has one of these kinds."""
        return self.kind is not None and self.kind.text in kinds


@dataclass(frozen=True)
class Pod:
    """The pod of an object. The object is a Pod or has a pod template."""

    owner: Object
    template: Mapping
    spec: Mapping

    @cached_property
    def labels(self) -> dict[str, str]:
        """The pod's labels."""
        return tree.strings(self.template, "metadata", "labels")

    def containers(self, *lists: str) -> Iterator[Mapping]:
        """The pod's containers, from every list or from the named ones."""
        for name in lists or CONTAINERS:
            for item in tree.items(self.spec, name):
                if isinstance(item, Mapping):
                    yield item

    @cached_property
    def ports(self) -> tuple[tuple[str, str], ...]:
        """Number and name of every port that the containers declare."""
        return tuple(
            (tree.text(port, "containerPort"), tree.text(port, "name"))
            for container in self.containers()
            for port in tree.items(container, "ports")
        )


def _is_empty(document: Node) -> bool:
    return isinstance(document, Scalar) and document.kind == "null"


def _resembles(document: Node) -> bool:
    """Whether a document has one of an object's fields, in any case."""
    pairs = document.pairs if isinstance(document, Mapping) else ()
    return not HALLMARKS.isdisjoint(key.text.lower() for key, _ in pairs)


def objects(file: File, node: Node) -> Iterator[Object]:
    """The objects of a document. A List yields its items."""
    if not isinstance(node, Mapping):
        return
    names = {key.text.lower(): item for key, item in node.pairs}
    api, kind = names.get("apiversion"), names.get("kind")
    found = Object(
        file,
        node,
        api if isinstance(api, Scalar) else None,
        kind if isinstance(kind, Scalar) else None,
    )
    if found.is_a("List"):
        for item in tree.items(node, "items"):
            yield from objects(file, item)
    else:
        yield found


def pod_of(item: Object) -> Pod | None:
    """The pod of an object; None for a kind without a pod, or without a pod spec."""
    if item.kind is None or item.kind.text not in TEMPLATES:
        return None
    template = tree.get(item.node, *TEMPLATES[item.kind.text])
    spec = tree.get(template, "spec")
    if isinstance(template, Mapping) and isinstance(spec, Mapping):
        return Pod(item, template, spec)
    return None
