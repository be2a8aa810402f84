"""Readers of Kubernetes objects; all of them are pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

Object = dict[str, Any]


def listing(objects: Sequence[Mapping[str, Any]]) -> str:
    """Several objects as one JSON document for `kubectl apply --filename -`."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


def conditions(item: Mapping[str, Any]) -> dict[str, str]:
    """An object's conditions by type, e.g. {"Ready": "True"}."""
    found = item.get("status", {}).get("conditions") or []
    return {condition["type"]: condition["status"] for condition in found}


def sign_of_life(node: dict[str, Any], lease: dict[str, Any] | None) -> datetime:
    """The time of a node's last heartbeat, from its lease or its reported status.

    A new node gets its lease after ten seconds.
    """
    times = [item["lastHeartbeatTime"] for item in node["status"]["conditions"]]
    times += [lease["spec"]["renewTime"]] if lease else []
    return max(map(datetime.fromisoformat, times))


def lacking(item: Mapping[str, Any]) -> str:
    """What a Deployment, a DaemonSet or a Service of type LoadBalancer still lacks.

    Empty when it serves.
    """
    status = item.get("status", {})
    if item["kind"] == "Service":
        return "" if status.get("loadBalancer", {}).get("ingress") else "no address yet"
    if item["kind"] == "DaemonSet":
        wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
        return "" if wanted and ready == wanted else f"{ready} of {wanted} pods ready"
    # A Deployment whose only replica may be unavailable is "Available" without any pod.
    wanted, ready = item["spec"]["replicas"], status.get("readyReplicas", 0)
    serves = conditions(item).get("Available") == "True" and ready >= wanted
    return "" if serves else f"{ready} of {wanted} pods ready"


def complaint(pod: Mapping[str, Any]) -> str:
    """Why a pod is not Ready, in the words of the kubelet or the scheduler."""
    status = pod.get("status", {})
    for container in status.get("initContainerStatuses", []) + status.get("containerStatuses", []):
        state = container.get("state", {}).get("waiting", {})
        if state.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return f"{state['reason']}: {state.get('message', container['image'])}"
    said = [one["message"] for one in status.get("conditions") or [] if one.get("message")]
    return "; ".join(dict.fromkeys(said)) or str(status.get("phase", "unknown"))


def endpoints(item: Object) -> dict[str, bool]:
    """Address -> whether it is ready, of an EndpointSlice."""
    return {
        address: bool(one.get("conditions", {}).get("ready"))
        for one in item.get("endpoints") or []
        for address in one["addresses"]
    }
