"""Rules about objects that must match each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from lab.lint import tree
from lab.lint.given import Given
from lab.lint.objects import File, Object, Pod
from lab.lint.rule import ERROR, WARNING, Found, rule
from lab.lint.tree import Node

# The most claim templates of one StatefulSet. Lint compares each claim with each volume.
MOST_TEMPLATES = 3
UNITS = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    **{unit: 1e3 ** (i + 1) for i, unit in enumerate("kMGTPE")},
    **{f"{unit}i": 1024.0 ** (i + 1) for i, unit in enumerate("KMGTPE")},
}
DEPLOYMENT = """
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: web
    spec:
      selector:
        matchLabels:
          app: web
      template:
        metadata:
          labels:
            app: web
        spec:
          containers:
            - name: web
              image: nginx:1.26
              ports:
                - containerPort: 80
                  name: http
"""
PROBE = """\
              readinessProbe:
                httpGet:
                  path: /
                  port: 80
"""
SERVICE = (
    DEPLOYMENT
    + """\
    ---
    apiVersion: v1
    kind: Service
    metadata:
      name: web
    spec:
      selector:
        app: web
      ports:
        - port: 80
          targetPort: 80
"""
)
CLAIM = """
    apiVersion: v1
    kind: PersistentVolume
    metadata:
      name: disk
    spec:
      storageClassName: manual
      capacity:
        storage: 1Gi
      accessModes: [ReadWriteOnce]
      hostPath:
        path: /data
    ---
    apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: data
    spec:
      storageClassName: manual
      accessModes: [ReadWriteOnce]
      resources:
        requests:
          storage: 1Gi
"""


@rule(
    ERROR,
    "A selector that misses its own pods",
    concept="A Deployment, ReplicaSet, DaemonSet or StatefulSet counts the pods that its selector "
    "finds. Its pods get their labels from its template, so the template needs each label of the "
    "selector. Otherwise the API server refuses the object.",
    fix="give the template's labels the same names and values as `selector.matchLabels`",
    bad=DEPLOYMENT.replace("labels:\n            app: web", "labels:\n            app: site"),
    good=DEPLOYMENT,
)
def selector_mismatch(given: Given) -> Iterator[Found]:
    for pod in given.pods:
        selector = tree.get(pod.owner.node, "spec", "selector")
        wanted = tree.strings(selector, "matchLabels")
        if pod.owner.is_a("Pod", "Job", "CronJob") or selector is None:
            continue
        for name, value in wanted.items():
            if (has := pod.labels.get(name)) != value:
                found = f"has `{name}: {has}`" if has is not None else f"has no label `{name}`"
                message = f"{pod.owner.title} selects `{name}: {value}`, its template {found}"
                yield Found(pod.owner.file, selector.start, message)


@rule(
    ERROR,
    "A Service without pods",
    concept="A Service finds its pods by their labels, in its own namespace. A Service without "
    "pods accepts no connections. Lint checks this only if the files have pods of that namespace.",
    fix="give the Service's selector the labels of the pods",
    bad=SERVICE.replace(
        "selector:\n        app: web\n      ports", "selector:\n        app: site\n      ports"
    ),
    good=SERVICE,
)
def service_selector(given: Given) -> Iterator[Found]:
    for service, selector, chosen in given.services:
        near = given.neighbours.get(service.namespace)
        if near and not chosen:
            node = tree.get(service.node, "spec", "selector") or service.node
            labels = ", ".join(f"{name}: {value}" for name, value in selector.items())
            message = f"{service.title} selects `{labels}`, which no pod in these files has"
            yield Found(service.file, node.start, message, _nearest(selector, near))


@rule(
    WARNING,
    "A port that no container declares",
    concept="`targetPort` is the port on which the program in the container listens. Containers "
    "declare their ports in `containerPort`. The declaration only informs readers, but a number "
    "that no container declares is usually a mistake, as 9376 in the lecture's example.",
    fix="write the port on which the program listens, and declare it in the container",
    bad=SERVICE.replace("targetPort: 80", "targetPort: 9376"),
    good=SERVICE,
)
def service_port(given: Given) -> Iterator[Found]:
    for service, node, target, ports in _targets(given):
        if target.isdigit() and target not in {number for number, _ in ports}:
            known = ", ".join(sorted({number for number, _ in ports if number}))
            fix = f"the pods declare {known}" if known else ""
            message = f"{service.title} sends to port {target}, which no container declares"
            yield Found(service.file, node.start, message, fix)


@rule(
    ERROR,
    "A port name that no container declares",
    concept="`targetPort` may be the name of a container's port. If no container has a port of "
    "that name, the Service has no endpoints.",
    fix="give the container's port that name, or write the number",
    bad=SERVICE.replace("targetPort: 80", "targetPort: web"),
    good=SERVICE.replace("targetPort: 80", "targetPort: http"),
)
def service_port_name(given: Given) -> Iterator[Found]:
    for service, node, target, ports in _targets(given):
        if not target.isdigit() and target not in {name for _, name in ports}:
            known = ", ".join(sorted({f"`{name}`" for _, name in ports if name}))
            fix = f"the pods name {known}" if known else ""
            message = f"{service.title} sends to port `{target}`, a name that no container declares"
            yield Found(service.file, node.start, message, fix)


@rule(
    WARNING,
    "A probe of a port that is not declared",
    concept="A probe asks a port of the container whether the program is alive or ready. If no "
    "program listens there, every probe fails. Then the pod never becomes ready, or the kubelet "
    "restarts the container again and again. A number may be a port of another container in the "
    "pod, because they share an address. A name must be a port of this container.",
    fix="probe a port that the container declares",
    bad=DEPLOYMENT + PROBE.replace("80", "8080"),
    good=DEPLOYMENT + PROBE,
)
def probe_port(given: Given) -> Iterator[Found]:
    for pod in given.pods:
        numbers = {number for number, _ in pod.ports}
        for container in pod.containers():
            ports = [
                tree.text(port, name)
                for port in tree.items(container, "ports")
                for name in ("containerPort", "name")
            ]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                for way in ("httpGet", "tcpSocket", "grpc"):
                    node = tree.get(container, probe, way, "port")
                    # A container without declared ports may listen on any port.
                    if node and ports and (asked := tree.text(node)) not in {*ports, *numbers}:
                        known = ", ".join(dict.fromkeys(filter(None, ports)))
                        message = f"{probe} asks port {asked}, which the container does not declare"
                        yield Found(pod.owner.file, node.start, message, f"it declares {known}")


@rule(
    ERROR,
    "A claim and a volume that do not fit",
    concept="A PersistentVolumeClaim gets a volume of its own class, with at least its size and "
    "with its access modes. If no volume fits, the claim waits forever, or the default class "
    "creates another volume for it. If claim and volume have different classes, lint reports the "
    "claim only if it names the volume. A volume with a `claimRef` is reserved for the claim of "
    "that name, whatever the class.",
    fix="give claim and volume the same class and modes, and the volume at least the claim's size",
    bad=CLAIM.replace("storage: 1Gi\n", "storage: 2Gi\n").replace(
        "storage: 2Gi", "storage: 1Gi", 1
    ),
    good=CLAIM,
)
def claim_mismatch(given: Given) -> Iterator[Found]:
    offered = list(_volumes(given))
    volumes = [volume for volume in offered if not volume.reserved]
    # A reserved volume binds to the claim that it names, whatever the class.
    reserved = {volume.reserved for volume in offered}
    claims = [claim for claim in _claims(given) if claim.own not in reserved]
    lonely, taken = [], set[int]()
    for claim in claims:
        fitting = {id(volume) for volume in volumes if claim.fits(volume)}
        taken |= fitting
        if not fitting:
            lonely.append(claim)
    free = [volume for volume in volumes if id(volume) not in taken]
    for claim in lonely if free else ():
        # Report the volume for which the user most likely wrote the claim.
        meant = [volume for volume in free if claim.may_mean(volume)]
        if meant:
            volume = min(meant, key=lambda volume: len(list(claim.against(volume))))
            reasons = ", ".join(claim.against(volume))
            message = f"{claim.title} does not fit {volume.title}: {reasons}"
            yield Found(claim.file, claim.node.start, message)


@rule(
    WARNING,
    "A claim that gets the default class",
    concept="A claim without `storageClassName` gets the cluster's default class, if there is "
    "one. That class creates a volume for it. A PersistentVolume without `storageClassName` has no "
    "class. So the two never bind, even if sizes and modes fit and the claim names the volume.",
    fix='write `storageClassName: ""` in the claim, which means no class',
    bad=CLAIM.replace("      storageClassName: manual\n", ""),
    good=CLAIM.replace("manual", '""'),
)
def default_class(given: Given) -> Iterator[Found]:
    claims = list(_claims(given))
    taken: dict[int, tuple[_Storage, _Storage]] = {}
    for volume in _volumes(given):
        # A reserved volume binds to the claim that it names, whatever the class.
        if volume.of_class or volume.reserved:
            continue
        fitting = [claim for claim in claims if claim.fits(volume)]
        # A claim that names the volume is for it; so is one that has no class on purpose.
        meant = [claim for claim in fitting if claim.name] or fitting
        if all(claim.classless for claim in meant):
            taken |= {id(claim): (claim, volume) for claim in meant}
    for claim, volume in taken.values():
        message = f"{claim.title} gets the default class, {volume.title} has none"
        yield Found(claim.file, claim.node.start, message)


@cache
def quantity(text: str) -> float | None:
    """A quantity such as 500m or 2Gi as a number; None for any other text."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([numkMGTPE]?i?)", text)
    return float(found[1]) * UNITS[found[2]] if found and found[2] in UNITS else None


def _targets(given: Given) -> Iterator[tuple[Object, Node, str, set[tuple[str, str]]]]:
    """Each Service's ports: the Service, the node, the target and the ports of its pods."""
    for service, _, chosen in given.services:
        ports = {port for pod in chosen for port in pod.ports}
        for item in tree.items(service.node, "spec", "ports") if chosen else ():
            node = tree.get(item, "targetPort") or tree.get(item, "port")
            if node and (target := tree.text(node)):
                yield service, node, target, ports


def _nearest(selector: Mapping[str, str], pods: list[Pod]) -> str:
    """The labels of a pod with the same names, or of any pod, for a message."""
    same = [pod for pod in pods if selector.keys() & pod.labels.keys()] or pods
    labels = ", ".join(f"{name}: {value}" for name, value in same[0].labels.items())
    return f"{same[0].owner.title} has `{labels}`" if labels else ""


def _volumes(given: Given) -> Iterator[_Storage]:
    """The storage that every volume offers."""
    for item in given.of("PersistentVolume"):
        name = tree.text(item.node, "metadata", "name")
        yield _Storage.of(item.file, item.node, item.title, name, "capacity")


def _claims(given: Given) -> Iterator[_Storage]:
    """The storage that every claim requests, including the claims of StatefulSets' templates."""
    wanted = ("resources", "requests")
    for item in given.of("PersistentVolumeClaim"):
        name = tree.text(item.node, "spec", "volumeName")
        yield _Storage.of(item.file, item.node, item.title, name, *wanted)
    for item in given.of("StatefulSet"):
        for node in tree.items(item.node, "spec", "volumeClaimTemplates")[:MOST_TEMPLATES]:
            if isinstance(node, tree.Mapping):
                title = f"claim `{tree.text(node, 'metadata', 'name')}` of {item.title}"
                name = tree.text(node, "spec", "volumeName")
                yield _Storage.of(item.file, node, title, name, *wanted)


class _Storage(NamedTuple):
    """The storage that a claim requests or that a volume offers.

    `node` is the spec. `own` is the object's own name, and `name` is the volume's: that of the
    volume itself, or the one that a claim names. `reserved` is the claim that a volume names.
    `classless` means that the spec does not mention a class at all.
    """

    file: File
    node: Node
    title: str
    name: str
    own: str
    reserved: str
    of_class: str
    classless: bool
    size: str
    amount: float
    modes: frozenset[str]

    @classmethod
    def of(cls, file: File, node: Node, title: str, name: str, *amounts: str) -> _Storage:
        """Read a claim or a volume. `amounts` is the path in the spec to the size."""
        spec = tree.get(node, "spec") or node
        size = tree.text(spec, *amounts, "storage")
        known = tree.get(spec, "storageClassName")
        return cls(
            file,
            spec,
            title,
            name,
            tree.text(node, "metadata", "name"),
            tree.text(spec, "claimRef", "name"),
            tree.text(spec, "storageClassName"),
            known is None or (isinstance(known, tree.Scalar) and known.kind == "null"),
            size,
            quantity(size) or 0,
            frozenset(map(tree.text, tree.items(spec, "accessModes"))),
        )

    def fits(self, volume: _Storage) -> bool:
        """Whether a claim may bind to a volume."""
        return next(self.against(volume), None) is None

    def may_mean(self, volume: _Storage) -> bool:
        """Whether a user may have written a claim for a volume.

        The claim names the volume, or the two do not have different classes.
        """
        classes = {self.of_class, volume.of_class} - {""}
        return len(classes) < 2 or (self.name == volume.name and bool(self.name))

    def against(self, volume: _Storage) -> Iterator[str]:
        """The reasons why a claim cannot bind to a volume, for a message."""
        if self.name and self.name != volume.name:
            yield f"the claim names volume `{self.name}`"
        if self.of_class != volume.of_class:
            mine, other = (
                f"`{name}`" if name else "none" for name in (self.of_class, volume.of_class)
            )
            yield f"its class is {mine}, the volume's {other}"
        if volume.amount and self.amount > volume.amount:
            yield f"it requests {self.size}, the volume has {volume.size}"
        if lacking := self.modes - volume.modes:
            yield f"the volume lacks {', '.join(sorted(lacking))}"
