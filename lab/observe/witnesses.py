"""The sources of a time line: translate watches, Events and logs into one line each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from lab.cluster import objects
from lab.cluster.objects import Object, endpoints
from lab.cluster.watch import News

NAMESPACE = "machinery-timeline"
API, CONTROLLERS, SCHEDULER = "kube-apiserver", "kube-controller-manager", "kube-scheduler"
# The component that an Event names -> the program that contains it.
PROGRAMS = {
    "default-scheduler": SCHEDULER,
    "deployment-controller": CONTROLLERS,
    "replicaset-controller": CONTROLLERS,
    "kubelet": "kubelet",
}
HOST = "the host"
RULES_UNIT = "lab-timeline"
# Patterns of a component's log -> the time line's text, completed by the pattern's groups.
WORDS = {
    CONTROLLERS: (
        (r'"Adding deployment"', "deployment-controller: sees the Deployment"),
        (r'"Too few replicas"', "replicaset-controller: counts too few pods"),
    ),
    SCHEDULER: (
        (r'"Add event for unscheduled pod"', "sees a pod without a node"),
        (r'"Attempting to schedule pod"', "begins to compare the nodes"),
        (r'"Attempting to bind pod to node".* node="([^"]+)"', "has chosen {}"),
        (
            r'"Successfully bound pod to node".* evaluatedNodes=(\d+) feasibleNodes=(\d+)',
            "has scheduled the pod: {} nodes evaluated, {} feasible",
        ),
    ),
    "kubelet": (
        (r'"SyncLoop ADD" source="api"', "sees a pod for its node"),
        (r"MountVolume.SetUp succeeded", "has mounted the pod's volume (its token)"),
        (r'"Creating PodSandbox for pod"', "asks containerd for a sandbox"),
        (r'"Creating container in pod"', "asks containerd for the container"),
        (
            r'"SyncLoop \(PLEG\).*ContainerStarted',
            "sees in its next check that a container has started",
        ),
        (r'"SyncLoop \(probe\)" probe="readiness" status="ready"', "has probed: it is ready"),
    ),
}


@dataclass(frozen=True)
class Entry:
    """An action of a component: its time in Unix seconds, its machine, and its source."""

    time: float
    component: str
    machine: str
    what: str
    source: str


def revision(item: Object) -> int:
    """The object's resourceVersion as a number."""
    return int(item["metadata"]["resourceVersion"])


def in_order(news: Iterable[News]) -> list[News]:
    """Watch events in etcd's order, which may differ from the order of their arrival."""
    return sorted(news, key=lambda one: revision(one.item))


def told_by_api(news: Iterable[News], control_plane: str) -> Iterator[Entry]:
    """Entries from the objects' changes. An object's kind and change identify the component."""
    before: dict[tuple[str, str], Object] = {}
    for one in in_order(news):
        kind, name = one.item["kind"], one.item["metadata"]["name"]
        teller = TELLERS.get(kind)
        if teller and one.change != "DELETED":
            for component, what in teller(one.item, before.get((kind, name))):
                machine = control_plane
                if component == "kubelet":
                    machine = one.item["spec"]["nodeName"]
                source = f"watch, revision {revision(one.item)}"
                yield Entry(one.time, component, machine, what, source)
        before[kind, name] = one.item


Told = Iterator[tuple[str, str]]


def _deployment(item: Object, before: Object | None) -> Told:
    if before is None:
        yield API, f"stores Deployment {item['metadata']['name']}"
    elif turned(item, before, "Available"):
        yield CONTROLLERS, "deployment-controller: the Deployment is Available"


def _service(item: Object, before: Object | None) -> Told:
    if before is None:
        address = item["spec"]["clusterIP"]
        yield API, f"stores Service {item['metadata']['name']}, and gives it {address}"


def _replicaset(item: Object, before: Object | None) -> Told:
    if before is None:
        yield CONTROLLERS, f"deployment-controller: makes ReplicaSet {item['metadata']['name']}"


def _pod(item: Object, before: Object | None) -> Told:
    name, spec = item["metadata"]["name"], item["spec"]
    if before is None:
        yield CONTROLLERS, f"replicaset-controller: makes pod {name}, on no node yet"
        before = {"spec": {}, "status": {}}
    if spec.get("nodeName") and not before["spec"].get("nodeName"):
        yield SCHEDULER, f"binds the pod to {spec['nodeName']}"
    if turned(item, before, "PodReadyToStartContainers"):
        yield "kubelet", "reports: the pod has its sandbox"
    if started(item) and not started(before):
        yield "kubelet", f"reports: the container runs, the pod has {item['status']['podIP']}"
    if turned(item, before, "Ready"):
        yield "kubelet", "reports: the pod is Ready"


def _slice(item: Object, before: Object | None) -> Told:
    who = "endpointslice-controller"
    if before is None:
        yield CONTROLLERS, f"{who}: makes EndpointSlice {item['metadata']['name']}"
    old = endpoints(before or {})
    for address, ready in endpoints(item).items():
        if old.get(address) != ready:
            yield CONTROLLERS, f"{who}: lists {address}, {'ready' if ready else 'not ready'}"


TELLERS = {
    "Deployment": _deployment,
    "Service": _service,
    "ReplicaSet": _replicaset,
    "Pod": _pod,
    "EndpointSlice": _slice,
}


def turned(item: Object, before: Object, condition: str) -> bool:
    """Whether a condition is now True and was not before."""
    old, new = (objects.conditions(one).get(condition) for one in (before, item))
    return new == "True" and old != "True"


def started(pod: Object) -> bool:
    """Whether every container of a pod runs according to its status."""
    states = pod["status"].get("containerStatuses") or []
    return bool(states) and all("running" in one["state"] for one in states)


def told_by_events(news: Iterable[News], control_plane: str) -> Iterator[Entry]:
    """Entries from Events. Their own times are whole seconds, so the time of arrival is used."""
    for one in news:
        item = one.item
        if item["kind"] == "Event" and one.change == "ADDED":
            source = item.get("source") or {}
            who = item.get("reportingComponent") or source.get("component") or ""
            machine = source.get("host") or control_plane
            what = f"event {item['reason']}: {item['message']}"
            yield Entry(one.time, PROGRAMS.get(who, who), machine, what, "event")


# A sandbox's metadata in the formats of containerd 1 and 2. Version 2 separates fields by one or
# two spaces.
SANDBOX = re.compile(
    r"RunPodSandbox for (?:&PodSandboxMetadata{[^}]*?Namespace:(?P<old>[^,}]*),[^}]*}"
    r'|name:"[^"]*".*? namespace:"(?P<new>[^"]*)")(?P<end>.*)'
)


@dataclass
class Containers:
    """Translates containerd's log for the pods of one namespace, whose ids it learns from it."""

    namespace: str
    _sandboxes: set[str] = field(default_factory=set)
    _containers: set[str] = field(default_factory=set)

    def tell(self, message: str) -> str:
        """The time line's text for a message; empty for an unrelated message."""
        if found := SANDBOX.match(message):
            if self.namespace != (found["old"] or found["new"]):
                return ""
            if identity := re.search(r'returns sandbox id "(\w+)"', found["end"]):
                self._sandboxes.add(identity[1])
                return "has made the sandbox: the pod's network, held by `pause`"
            return "" if "failed" in found["end"] else "is asked for a sandbox"
        if found := re.match(r'CreateContainer within sandbox "(\w+)" for (.*)', message):
            if found[1] not in self._sandboxes:
                return ""
            if identity := re.search(r'returns container id "(\w+)"', found[2]):
                self._containers.add(identity[1])
                return "has made the container out of its image"
            return "is asked for the container"
        if found := re.match(r'StartContainer for "(\w+)"(.*)', message):
            if found[1] not in self._containers:
                return ""
            return "has started the container" if "successfully" in found[2] else ""
        return ""


LOGFMT = re.compile(r'time="([^"]+)" level=\w+ msg="((?:[^"\\]|\\.)*)"')


def containerd_line(line: str) -> tuple[float, str] | None:
    """Time (Unix seconds) and message of a line of containerd's log; None for other lines."""
    found = LOGFMT.match(line)
    if not found:
        return None
    # Python parses microseconds, but containerd writes nanoseconds.
    stamp = re.sub(r"(\.\d{6})\d+", r"\1", found[1])
    return datetime.fromisoformat(stamp).timestamp(), re.sub(r"\\(.)", r"\1", found[2])


def logged(component: str, message: str) -> str:
    """The time line's text for a component's message; empty for an unrelated message."""
    if f"{NAMESPACE}/" not in message:
        return ""
    for pattern, words in WORDS.get(component, ()):
        if found := re.search(pattern, message):
            return words.format(*found.groups())
    return ""


CRI = re.compile(r"([\d-]+)T([\d:]+\.\d{6})\d*Z \w+ \w (?:[IWEF]\d{4} (\S+) )?(.*)")


def container_line(line: str) -> tuple[float, str] | None:
    """Time (Unix seconds) and message of a line of a container's log; None for other lines.

    klog's own time in UTC has priority. The date comes from the runtime's time stamp.
    """
    found = CRI.match(line)
    if not found:
        return None
    day, written, own, message = found.groups()
    times = [datetime.fromisoformat(f"{day}T{one}+00:00") for one in (own, written) if one]
    # Around midnight, the two time stamps may be of different days.
    first, last = times[0].timestamp(), times[-1].timestamp()
    return (first if abs(last - first) < 60 else last), message


def rules_line(message: str) -> str:
    """The time line's text for a change of packet rules; empty for unimportant changes."""
    if re.search(r"add element .*\bno-endpoint-services\b", message):
        return "writes rules: the Service refuses, since it has no pod"
    if re.search(r"add element .*\bservice-ips\b", message):
        return "writes rules: the Service's address has a target"
    if found := re.search(r"dnat to ([\d.]+:\d+)", message):
        return f"writes rules: to the pod, {found[1]}"
    return ""


def told_by_machine(log: str, machine: str, late: float) -> Iterator[Entry]:
    """Entries from a machine's logs, whose clock is ahead by `late` seconds.

    `log` contains journal records (one JSON object a line), container logs with the component's
    name first, and containerd's own file. In that file, the JSON output of a CNI plugin may precede
    containerd's message. The journal's JSON escapes containerd's quotes by backslashes.
    """
    containers = Containers(NAMESPACE)
    for line in log.splitlines():
        name, _, rest = line.partition(" ")
        if name in WORDS:
            entry = _contained(name, rest)
        elif (begin := line.find('time="')) >= 0:
            entry = _containerd(line[begin:], containers)
        else:
            entry = _journalled(line, containers)
        if entry and entry[2]:
            when, component, what, source = entry
            yield Entry(when - late, component, machine, what, source)


Said = tuple[float, str, str, str] | None


def _contained(name: str, line: str) -> Said:
    parsed = container_line(line)
    return parsed and (parsed[0], name, logged(name, parsed[1]), f"{name}'s log")


def _containerd(line: str, containers: Containers) -> Said:
    parsed = containerd_line(line)
    return parsed and (parsed[0], "containerd", containers.tell(parsed[1]), "containerd's log")


def _journalled(line: str, containers: Containers) -> Said:
    try:
        record = json.loads(line)
        message = record["MESSAGE"]
    except (ValueError, TypeError, KeyError):
        return None
    if not isinstance(message, str):
        return None
    when = float(record["__REALTIME_TIMESTAMP"]) / 1e6
    unit = record.get("_SYSTEMD_UNIT", "").removesuffix(".service")
    if unit == RULES_UNIT:
        return when, "kube-proxy", rules_line(message), "nft monitor"
    if parsed := _containerd(message, containers):
        return parsed
    # k3s runs all components in one process and logs for all of them.
    for component in WORDS if unit.startswith("k3s") else ("kubelet",):
        if what := logged(component, message):
            return when, component, what, f"{unit}'s log"
    return None


def told_by_kubectl(stderr: str, year: int) -> Iterator[Entry]:
    """Entries for the objects that kubectl sent, from its log (--v=6, in UTC)."""
    pattern = re.compile(
        r'I(\d\d)(\d\d) (\S+) .*verb="(POST|PATCH)" url="([^"]+)" status="(\d[^"]*)"'
        r" milliseconds=(\d+)"
    )
    for found in filter(None, map(pattern.search, stderr.splitlines())):
        month, day, clock, verb, url, code, took = found.groups()
        when = datetime.fromisoformat(f"{year}-{month}-{day}T{clock}+00:00").timestamp()
        kind = urlsplit(url).path.rpartition("/")[2]
        what = f"has the answer to {verb} {kind}: {code}, after {took} ms"
        yield Entry(when, "kubectl", HOST, what, "kubectl --v=6")
