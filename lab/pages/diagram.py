"""A picture of the objects in a namespace and their references.

The columns from left to right contain the owners of pods, the pods, and the objects around them.
The arrows are the objects' own references: owners, selectors, backends and volumes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from lab.cluster.objects import conditions
from lab.pages import html

Object = Mapping[str, Any]
Key = tuple[str, str]
COLUMNS: Sequence[Sequence[str]] = (
    ("Deployment", "CronJob"),
    ("ReplicaSet", "StatefulSet", "DaemonSet", "Job"),
    ("Pod",),
    ("Service", "ConfigMap", "Secret", "PersistentVolumeClaim"),
    ("Ingress", "PersistentVolume"),
)
KINDS = tuple(kind for column in COLUMNS for kind in column)
# Pixels: the size of a box, and the distance from one box to the next.
WIDTH, HEIGHT, ACROSS, DOWN = 170, 40, 220, 54
STYLE = (
    ".box{fill:#f4f6f8;stroke:#5b6b7b}.good{fill:#e5f4e8;stroke:#2e7d4f}"
    ".bad{fill:#fbe9e7;stroke:#b3402e}.arrow{fill:none;stroke:#8a97a5}"
    "text{font:12px system-ui,sans-serif;fill:#1d2733}.kind{fill:#5b6b7b;font-size:10px}"
)


def key(item: Object) -> Key:
    """Kind and name, which are unique in a namespace."""
    return item["kind"], item["metadata"]["name"]


def draw(objects: Iterable[Object]) -> str:
    """The picture as an SVG element, without objects of kinds that have no column."""
    shown = [item for item in objects if item["kind"] in KINDS and not _empty(item)]
    columns = [sorted(key(item) for item in shown if item["kind"] in kinds) for kinds in COLUMNS]
    places = {
        name: (number * ACROSS, row * DOWN)
        for number, column in enumerate(filter(None, columns))
        for row, name in enumerate(column)
    }
    width = max([x for x, _ in places.values()], default=0) + WIDTH + 2
    height = max([y for _, y in places.values()], default=0) + HEIGHT + 2
    parts = [_arrow(places[a], places[b]) for a, b in references(shown)]
    parts += [_box(item, *places[key(item)]) for item in shown]
    return html.svg(width, height, STYLE, "".join(parts), "-1 -1")


def references(objects: Sequence[Object]) -> list[tuple[Key, Key]]:
    """Pairs of existing objects of which the first refers to the second."""
    there = {key(item) for item in objects}
    found = [pair for item in objects for pair in _references(item, objects) if set(pair) <= there]
    return list(dict.fromkeys(found))


def _references(item: Object, objects: Sequence[Object]) -> Iterator[tuple[Key, Key]]:
    this, spec = key(item), item.get("spec") or {}
    for owner in item["metadata"].get("ownerReferences") or []:
        yield (owner["kind"], owner["name"]), this
    if item["kind"] == "Service" and (selector := spec.get("selector")):
        for other in objects:
            labels = other["metadata"].get("labels") or {}
            if other["kind"] == "Pod" and selector.items() <= labels.items():
                yield this, key(other)
    elif item["kind"] == "Ingress":
        for rule in spec.get("rules") or []:
            for path in (rule.get("http") or {}).get("paths") or []:
                yield this, ("Service", path["backend"].get("service", {}).get("name", ""))
    elif item["kind"] == "Pod":
        for name in _used(spec):
            yield this, name
    elif item["kind"] == "PersistentVolumeClaim":
        yield this, ("PersistentVolume", spec.get("volumeName", ""))


def _used(spec: Object) -> Iterator[Key]:
    """The objects that a pod takes its files and variables from."""
    for volume in spec.get("volumes") or []:
        yield "ConfigMap", volume.get("configMap", {}).get("name", "")
        yield "Secret", volume.get("secret", {}).get("secretName", "")
        claim = volume.get("persistentVolumeClaim", {}).get("claimName", "")
        yield "PersistentVolumeClaim", claim
    for container in spec.get("containers") or []:
        sources = [*(container.get("envFrom") or [])]
        sources += [one.get("valueFrom") or {} for one in container.get("env") or []]
        for source in sources:
            for word in ("configMap", "secret"):
                for end in ("Ref", "KeyRef"):
                    kind = word[0].upper() + word[1:]
                    yield kind, (source.get(word + end) or {}).get("name", "")


def state(item: Object) -> str:
    """The class of an object's box: good, bad, or empty for kinds without a state."""
    status, spec = item.get("status") or {}, item.get("spec") or {}
    kind = item["kind"]
    if kind == "Pod":
        served = conditions(item).get("Ready") == "True" or status.get("phase") == "Succeeded"
        return "good" if served else "bad"
    if kind in ("Deployment", "ReplicaSet", "StatefulSet"):
        return "good" if status.get("readyReplicas", 0) == spec.get("replicas", 1) else "bad"
    if kind == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        return "good" if wanted and status.get("numberReady", 0) == wanted else "bad"
    if kind in ("PersistentVolumeClaim", "PersistentVolume"):
        return "good" if status.get("phase") == "Bound" else "bad"
    return ""


def _empty(item: Object) -> bool:
    """Whether the object is a ReplicaSet of an older revision, kept for a rollback."""
    return item["kind"] == "ReplicaSet" and (item.get("spec") or {}).get("replicas") == 0


def _box(item: Object, x: int, y: int) -> str:
    kind, name = key(item)
    short = name if len(name) <= 25 else f"{name[:12]}…{name[-12:]}"
    return (
        f'<g transform="translate({x} {y})"><title>{escape(f"{kind} {name}")}</title>'
        f'<rect class="{state(item) or "box"}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
        f'<text class="kind" x="8" y="15">{escape(kind)}</text>'
        f'<text x="8" y="31">{escape(short)}</text></g>'
    )


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = start, end
    if x1 < x2:
        x1 += WIDTH
    else:
        x2 += WIDTH
    y1, y2, middle = y1 + HEIGHT // 2, y2 + HEIGHT // 2, (x1 + x2) // 2
    tip = 5 if x1 < x2 else -5
    return (
        f'<path class="arrow" d="M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}'
        f'm{-tip} -4l{tip} 4l{-tip} 4"/>'
    )
