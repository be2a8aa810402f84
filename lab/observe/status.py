"""The state of a lab, queried from machines, cluster and Pulumi at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.cluster import health, objects
from lab.config import Settings
from lab.errors import LabError
from lab.exercises import catalogue
from lab.lifecycle.opened import opened
from lab.machines.driver import Machines
from lab.output import Status, table


def look(settings: Settings) -> dict[str, Any]:
    """Machines, nodes, add-ons and exercises of a lab. Raises NotFoundError without a lab."""
    found = opened(settings)
    resolved, cluster, stacks = found.lab, found.cluster, found.stacks(Status())
    with ThreadPoolExecutor() as pool:
        machines = pool.submit(Machines(resolved, Status()).states)
        nodes = pool.submit(_ask, lambda: cluster.get("nodes"))
        addons = pool.submit(_ask, lambda: health.addons(cluster, found.distribution.baseline))
    return {
        "lab": {
            "name": resolved.name,
            "provider": resolved.provider,
            "distribution": resolved.distribution,
            "kubernetes": resolved.kubernetes,
            "subnet": str(resolved.subnet),
            "ports": vars(resolved.ports),
            "origins": dict(resolved.origins),
        },
        "machines": [
            {
                "name": machine.name,
                "role": machine.role,
                "address": machine.address,
                "state": machines.result().get(machine.name, "not_created"),
            }
            for machine in resolved.machines
        ],
        "nodes": [
            {
                "name": node["metadata"]["name"],
                "ready": objects.conditions(node).get("Ready") == "True",
                "version": node["status"]["nodeInfo"]["kubeletVersion"],
            }
            for node in nodes.result()
        ],
        "addons": [
            {
                "name": item["metadata"]["name"],
                "available": not objects.lacking(item),
            }
            for item in addons.result()
        ],
        "exercises": [
            {"name": item.name, "resources": stacks.resources(item.name)}
            for item in catalogue.discover(settings.root)
        ],
    }


def text(state: Mapping[str, Any]) -> str:
    """The state for a terminal: a table for each kind."""
    lab, nodes = state["lab"], {node["name"]: node for node in state["nodes"]}
    machines = [
        (
            machine["name"],
            machine["role"],
            machine["address"],
            machine["state"],
            _readiness(nodes.get(machine["name"])),
        )
        for machine in state["machines"]
    ]
    addons = [(item["name"], "yes" if item["available"] else "no") for item in state["addons"]]
    deployed = [(item["name"], item["resources"]) for item in state["exercises"]]
    return "\n\n".join(
        [
            f"lab {lab['name']}: {lab['provider']}, {lab['distribution']} {lab['kubernetes']}, "
            f"network {lab['subnet']}, http://127.0.0.1:{lab['ports']['http']}",
            table(("machine", "role", "address", "state", "node"), machines),
            table(("add-on", "available"), addons),
            table(("exercise", "resources"), deployed),
        ]
    )


def _readiness(node: Mapping[str, Any] | None) -> str:
    if node is None:
        return ""
    return f"{'Ready' if node['ready'] else 'NotReady'} {node['version']}"


def _ask(question: Any) -> list[dict[str, Any]]:
    """The cluster's objects; none if it is down, since a status reports that without an error."""
    try:
        answer: list[dict[str, Any]] = question()
    except LabError:
        return []
    return answer
