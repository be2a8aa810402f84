"""A time line of a manifest from `kubectl apply` to a container that answers.

It merges watches and Events of the API server with the logs of kubelet, containerd and kube-proxy's
rules on the machines. All times are converted to the host's clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from lab import runner, wait
from lab.cluster import objects
from lab.cluster.client import Cluster
from lab.cluster.samples import workload
from lab.cluster.watch import News, watching
from lab.config import Lab, Settings
from lab.lifecycle import opened
from lab.lifecycle.lock import locked
from lab.machines.ssh import Remote, connections
from lab.observe.witnesses import (
    HOST,
    NAMESPACE,
    Entry,
    told_by_api,
    told_by_events,
    told_by_kubectl,
    told_by_machine,
)
from lab.output import Status, table
from lab.parallel import each

Object = dict[str, Any]
SCRIPT = "/usr/local/lib/lab/timeline.sh"
APPS = f"/apis/apps/v1/namespaces/{NAMESPACE}"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
WATCHED = (
    f"{APPS}/deployments",
    f"{APPS}/replicasets",
    f"{CORE}/services",
    f"{CORE}/pods",
    f"{CORE}/events",
    f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices",
)
# The start of a watch's entry -> the start of an entry of a component that reacted to it.
CAUSES = (
    ("stores Deployment", "deployment-controller: sees the Deployment"),
    ("stores Deployment", "has the answer to POST deployments"),
    ("stores Service", "has the answer to POST services"),
    ("deployment-controller: makes ReplicaSet", "replicaset-controller: counts"),
    ("replicaset-controller: makes pod", "sees a pod without a node"),
    ("binds the pod", "has scheduled the pod"),
    ("binds the pod", "sees a pod for its node"),
)


@dataclass(frozen=True)
class Timeline:
    """Entries in the order of time; `start` is the start of `kubectl apply` in Unix seconds."""

    start: float
    entries: tuple[Entry, ...]

    def data(self) -> dict[str, Any]:
        """The time line for JSON."""
        started = datetime.fromtimestamp(self.start, UTC).isoformat(timespec="milliseconds")
        entries = [
            {
                "ms": round((entry.time - self.start) * 1000, 1),
                **{key: value for key, value in vars(entry).items() if key != "time"},
            }
            for entry in self.entries
        ]
        return {"start": started, "entries": entries}

    def text(self) -> str:
        """The time line for a terminal, with times in milliseconds."""
        rows = [
            (
                f"{(entry.time - self.start) * 1000:6.0f}",
                entry.component,
                entry.machine,
                entry.what,
                entry.source,
            )
            for entry in self.entries
        ]
        return table(("ms", "component", "machine", "what", "known by"), rows)


def bounded(told: Sequence[Entry], others: Iterable[Entry]) -> list[Entry]:
    """The watches' entries in etcd's order, with times that no other entry contradicts.

    A watch event arrives some milliseconds after the change. The change happened before a later
    change's event arrived, and before a component reacted to it. Its time is the earliest of these.
    """
    others = list(others)
    earliest = float("inf")
    found = []
    for entry in reversed(told):
        effects = [effect for cause, effect in CAUSES if entry.what.startswith(cause)]
        acted = [one.time for one in others if one.what.startswith(tuple(effects))]
        earliest = min(earliest, entry.time, *acted)
        found.append(replace(entry, time=earliest))
    return found[::-1]


def merged(start: float, entries: Iterable[Entry]) -> Timeline:
    """Entries since `start` in the order of time. Repeated entries of a machine count once."""
    found: dict[tuple[str, str, str], Entry] = {}
    for entry in sorted(entries, key=lambda one: one.time):
        if entry.time >= start:
            found.setdefault((entry.component, entry.machine, entry.what), entry)
    return Timeline(start, tuple(found.values()))


def lateness(sent: float, told: float, received: float) -> float:
    """By how many seconds a machine's clock is ahead of the host's.

    `sent` and `received` are the host's clock before and after the request, `told` is the machine's
    answer. The result is 0 if the round trip may explain the difference, since containers share the
    host's clock.
    """
    difference = told - (sent + received) / 2
    return difference if abs(difference) > (received - sent) / 2 else 0.0


def run(settings: Settings, status: Status) -> Timeline:
    """Deploy a small Deployment with a Service, and record what every component does for it.

    Raises what `opened.running` raises, and DeadlineExceeded if the Service does not answer.
    """
    found = opened.running(settings)
    with locked(found.lab, "timeline", status):
        remotes = connections(found.lab)
        try:
            return _measure(found.lab, found.cluster, remotes, status)
        finally:
            with status.step("clean up"):
                found.cluster.remove_namespace(NAMESPACE, wait=False)
                each(remotes, _stop)
                for remote in remotes:
                    remote.close()


def _measure(lab: Lab, cluster: Cluster, remotes: Sequence[Remote], status: Status) -> Timeline:
    first = lab.machines[0].name
    with status.step("namespace, watches and clocks"):
        cluster.remove_namespace(NAMESPACE)
        cluster.create_namespace(NAMESPACE)
        late = dict(zip([remote.name for remote in remotes], each(remotes, _clock), strict=True))
        script = lab.root / "vagrant" / "timeline.sh"
        kubelets = [f"{machine.address}:10250" for machine in lab.machines]
        each(remotes, lambda remote: remote.script(script, "start", NAMESPACE, *kubelets))
        _account(cluster)
    way = "from `kubectl apply` to an answer of the Service"
    with watching(lab.state / "kubeconfig", WATCHED) as news, status.step(way):
        start = time.time()
        words = ("apply", "--namespace", NAMESPACE, "--filename", "-", "--v=6")
        applied = runner.run(
            [*cluster.command, *words],
            stdin=objects.listing(workload(1)).encode(),
            env={"TZ": "UTC"},
        )
        answer = wait.until(
            lambda: _answer(news, remotes),
            what="an answer of the Service",
            timeout=120,
            longest=0.1,
        )
        wait.until(lambda: _available(news), what="the Deployment", timeout=60)
    logs = each(remotes, lambda remote: _logs(remote, start + late[remote.name]))
    others = [
        Entry(start, "kubectl", HOST, "is started, to apply a manifest", "kubectl"),
        *told_by_kubectl(applied.stderr, datetime.now(UTC).year),
        *told_by_events(news, first),
        answer,
    ]
    for remote, log in zip(remotes, logs, strict=True):
        others += told_by_machine(log, remote.name, late[remote.name])
    return merged(start, [*bounded(list(told_by_api(news, first)), others), *others])


def _account(cluster: Cluster) -> None:
    """Wait for the namespace's ServiceAccount, without which the API server accepts no pod."""

    def there() -> list[Object] | None:
        found = cluster.get("serviceaccount", "default", "--namespace", NAMESPACE)
        return found or None

    wait.until(there, what="the namespace's ServiceAccount", timeout=60)


def _clock(remote: Remote) -> float:
    """By how many seconds a machine's clock is ahead of the host's."""
    remote.run(["true"])
    sent = time.time()
    told = float(remote.run(["date", "+%s.%N"]))
    return lateness(sent, told, time.time())


def _answer(news: Sequence[News], remotes: Sequence[Remote]) -> Entry | None:
    """The first answer of the Service to a request from its pod's machine."""
    pods = [one.item for one in news if one.item["kind"] == "Pod"]
    services = [one.item for one in news if one.item["kind"] == "Service"]
    if not (pods and services and objects.conditions(pods[-1]).get("Ready") == "True"):
        return None
    node, address = pods[-1]["spec"]["nodeName"], services[-1]["spec"]["clusterIP"]
    remote = next(remote for remote in remotes if remote.name == node)
    said = remote.run(["curl", "-s", "--max-time", "1", f"http://{address}"], ok=range(256))
    if not said.strip():
        return None
    return Entry(time.time(), "curl", node, f"the Service answers: {said.strip()}", "curl")


def _available(news: Sequence[News]) -> bool | None:
    found = [one.item for one in news if one.item["kind"] == "Deployment"]
    return objects.conditions(found[-1]).get("Available") == "True" or None if found else None


def _stop(remote: Remote) -> None:
    """Stop the recording. If none was started, the script may be missing."""
    remote.run([SCRIPT, "stop"], sudo=True, ok=range(256))


def _logs(remote: Remote, since: float) -> str:
    """A machine's recordings and logs since this time in Unix seconds."""
    return remote.run([SCRIPT, "read", NAMESPACE, str(int(since))], sudo=True)
