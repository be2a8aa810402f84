"""Kubernetes: the exercise's manifests on the lab's cluster, in the run's own namespace."""

from __future__ import annotations

from typing import Any

import yaml

from lab import wait
from lab.cluster import health
from lab.cluster.objects import conditions
from lab.errors import ResourceError
from lab.orchestrators.ground import CLIENT, IMAGE, NAME, Ground

Object = dict[str, Any]
NAMESPACE = f"{NAME}-compared"
WEB = ("--selector", "app=web", "--namespace", NAMESPACE)


def objects(text: str, script: str, node: str) -> list[Object]:
    """The manifests in the run's namespace, with one copy, and a client pod on a node."""
    made: list[Object] = list(yaml.safe_load_all(text))
    for item in made:
        if item["kind"] == "Namespace":
            item["metadata"]["name"] = NAMESPACE
        else:
            item["metadata"]["namespace"] = NAMESPACE
        if item["kind"] == "Deployment":
            item["spec"]["replicas"] = 1
    # Kubernetes sets a Service's address as a variable in every pod that is created after it.
    command = ["sh", "-c", script, "client", "$(WEB_SERVICE_HOST):80"]
    client = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": CLIENT, "namespace": NAMESPACE},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "client", "image": IMAGE, "command": command}],
        },
    }
    return [*made, client]


class Kubernetes:
    """The Deployment and its Service."""

    name = "Kubernetes"
    single = False

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.machine = ground.first

    def version(self) -> str:
        """The cluster's version."""
        return self.ground.lab.kubernetes

    def deploy(self) -> tuple[float, float]:
        """Apply the manifests; send requests to the Service's address from the first machine."""
        folder = self.ground.exercise
        text = (folder / "manifests" / "orchestrators.yaml").read_text()
        script = (folder / "app" / "client.sh").read_text()
        *made, client = objects(text, script, self.machine)
        at = self.ground.clock(self.machine)
        self._apply(made)
        (service,) = self._get("service", "web", "--namespace", NAMESPACE)
        first = self.ground.first_answer(self.machine, f"echo {service['spec']['clusterIP']}:80")
        self._apply([client])
        return at, first

    def kill(self) -> float:
        """Kill the program like a crash on its machine; return the clock before."""
        pod = self._pods()[0]
        identity = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        at = self.ground.clock(self.machine)
        self.ground.run(
            pod["spec"]["nodeName"],
            # The first process of a container has the lowest PID in its cgroup.
            f"kill -9 $(grep -ls {identity} /proc/[0-9]*/cgroup"
            " | cut -d / -f 3 | sort -n | head -n 1)",
        )
        return at

    def mend(self) -> None:
        """Do nothing, since the kubelet restarts the container."""

    def scale(self, copies: int) -> tuple[float, str]:
        """Run `kubectl scale`; return the clock before and no message."""
        at = self.ground.clock(self.machine)
        self._kubectl("scale", "deployment", "web", f"--replicas={copies}")
        return at, ""

    def update(self, text: str) -> float:
        """Change the text in the template, which replaces the copies one after the other."""
        at = self.ground.clock(self.machine)
        self._kubectl("set", "env", "deployment", "web", f"TEXT={text}")
        return at

    def log(self) -> str:
        """The log of the client's pod."""
        return self._kubectl("logs", CLIENT)

    def victim(self) -> str:
        """A worker with a copy; of several the one with the fewest pods of other Deployments."""
        nodes: list[str] = [pod["spec"]["nodeName"] for pod in self._pods()]
        names = sorted(set(nodes) - {self.machine})
        if not names:
            raise ResourceError("no copy of the Deployment runs on another machine")
        others = [
            pod["spec"].get("nodeName")
            for pod in self._get("pods", "--all-namespaces")
            if pod["metadata"].get("ownerReferences", [{}])[0].get("kind") == "ReplicaSet"
        ]
        return min(names, key=others.count)

    def anywhere(self) -> bool:
        """Whether a machine without a copy answers at the Service's node port."""
        (service,) = self._get("service", "web", "--namespace", NAMESPACE)
        with_copy = {pod["spec"]["nodeName"] for pod in self._pods()}
        other = next(one.name for one in self.ground.lab.machines if one.name not in with_copy)
        port = service["spec"]["ports"][0]["nodePort"]
        return self.ground.answers(self.machine, f"{other}:{port}")

    def port(self) -> int:
        """Not needed, since there are other machines."""
        raise NotImplementedError

    def whole(self) -> bool:
        """Whether every node is Ready."""
        return bool(health.nodes_ready(self.ground.lab, self.ground.cluster))

    def remove(self) -> None:
        """Remove the namespace and everything in it."""
        self.ground.cluster.remove_namespace(NAMESPACE, wait=False)

        def gone() -> bool | None:
            words = ("get", "namespace", NAMESPACE, "--ignore-not-found")
            found = self.ground.cluster.kubectl(*words)
            return None if found.strip() else True

        wait.until(gone, what=f"the removal of namespace {NAMESPACE}", timeout=60)

    def _apply(self, made: list[Object]) -> None:
        self.ground.cluster.apply(made, NAMESPACE)

    def _pods(self) -> list[Object]:
        """The copies that are Ready and not being deleted."""
        return [
            pod
            for pod in self._get("pods", *WEB)
            if conditions(pod).get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
        ]

    def _get(self, *words: str) -> list[Object]:
        return self.ground.cluster.get(*words)

    def _kubectl(self, *words: str) -> str:
        place = ("--namespace", NAMESPACE)
        return self.ground.cluster.kubectl(*words, *place)
