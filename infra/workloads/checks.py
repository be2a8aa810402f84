"""What checks are made of: a view of the live cluster, and waiting with a limit."""

from __future__ import annotations

import base64
import http
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode

import pytest

from infra import slowness
from infra.workloads.api import CannotCheck, server

T = TypeVar("T")
Object = dict[str, Any]
# GET an address from the host: status code and body; code 0 and the reason when nobody answers.
Fetch = Callable[[str], tuple[int, str]]
# Who writes endpoints by the Service's selector, as their label says; others write by hand.
ENDPOINTS_BY_SELECTOR = "endpointslice-controller.k8s.io"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
REVISION = "deployment.kubernetes.io/revision"
# In bytes.
MOST_OF_A_LOG = 100_000
UNREACHABLE = ("was refused", "Unable to connect", "i/o timeout", "no such host", "TLS handshake")


class Cluster:
    """A read-mostly view of one namespace of the cluster."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *words: str, stdin: str = "", timeout: float = 20) -> tuple[int, str]:
        """Exit code and output (both streams) of one kubectl call; of the namespace, by default."""
        try:
            done = subprocess.run(
                ["kubectl", "--namespace", self.namespace, *words],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise CannotCheck(f"kubectl: {error}") from error
        output = done.stdout + done.stderr
        if done.returncode and any(words in output for words in UNREACHABLE):
            raise CannotCheck(f"the cluster does not answer: {output.strip()}")
        return done.returncode, output

    def look(self, words: str) -> str:
        """The line of a message that says which command shows more."""
        # What stands behind `--` is for the program in the pod.
        command, dashes, inside = words.partition(" -- ")
        return f"look: kubectl {command} -n {self.namespace}{dashes}{inside}"

    def read(self, kind: str, name: str = "", selector: str = "") -> tuple[int, Any]:
        """HTTP status and document of one object, or of all of a kind; as `Api.read` raises."""
        api = server()
        return api.read(api.path(kind, self.namespace, name, selector))

    def get(self, kind: str, name: str) -> Object:
        """One object; fails the check when it does not exist."""
        if found := self.find(kind, name):
            return found
        pytest.fail(
            f"expected {kind} `{name}` in namespace `{self.namespace}`, saw none\n"
            f"{self.look(f'get {kind}')}",
            pytrace=False,
        )

    def find(self, kind: str, name: str) -> Object | None:
        """One object, or None where there is none of this name."""
        status, answer = self.read(kind, name)
        if status == http.HTTPStatus.NOT_FOUND:
            return None
        if status != http.HTTPStatus.OK:
            raise CannotCheck(str(answer["message"]))
        found: Object = answer
        return found

    def list(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind, those being deleted left out."""
        status, answer = self.read(kind, selector=selector)
        if status != http.HTTPStatus.OK:
            raise CannotCheck(str(answer["message"]))
        items: list[Object] = answer["items"]
        return [item for item in items if "deletionTimestamp" not in item["metadata"]]

    def logs(self, pod: str, container: str = "", lines: int = 0, since: str = "") -> str:
        """What a pod's container (the first, by default) printed: at most 100 kB of it, its last
        `lines` where their number is given, nothing where it never ran. `since` is a time as the
        API writes it, in UTC: what was printed before is left out."""
        container = container or self.first_container(pod)
        if not container:
            return ""
        options = {"container": container, "limitBytes": MOST_OF_A_LOG}
        options |= {"tailLines": lines, "sinceTime": since}
        query = urlencode({key: value for key, value in options.items() if value})
        api = server()
        status, text = api.ask(f"{api.path('pod', self.namespace, pod)}/log?{query}")
        return text if status == http.HTTPStatus.OK else ""

    def delete(self, kind: str, name: str, now: bool = False) -> None:
        """Have an object deleted, at once (`now`) or with the notice that it asks for.

        It may be gone already. Does not wait for its end, and with `now` the API server forgets it
        before its kubelet has ended it. Raises CannotCheck when the cluster refuses.
        """
        api = server()
        wishes: Object = {"propagationPolicy": "Background"}
        if now:
            wishes["gracePeriodSeconds"] = 0
        status, answer = api.read(api.path(kind, self.namespace, name), "DELETE", wishes)
        if status >= http.HTTPStatus.BAD_REQUEST and status != http.HTTPStatus.NOT_FOUND:
            raise CannotCheck(str(answer["message"]))

    def create(self, kind: str, item: Object) -> None:
        """Have an object made. Raises CannotCheck when the cluster refuses."""
        api = server()
        status, answer = api.read(api.path(kind, self.namespace), "POST", item)
        if status >= http.HTTPStatus.BAD_REQUEST:
            raise CannotCheck(str(answer["message"]))

    def run_in(self, pod: str, *command: str, container: str = "") -> tuple[int, str]:
        """Run a command in a pod's container, the first by default; exit code and output."""
        container = container or self.first_container(pod)
        if not container:
            return 1, f"there is no pod `{pod}`"
        return server().execute(self.namespace, pod, container, command)

    def first_container(self, pod: str) -> str:
        """Its name; empty where there is no such pod."""
        found = self.find("pod", pod)
        return str(found["spec"]["containers"][0]["name"]) if found else ""

    def expect_image(self, pod: Object, image: str) -> None:
        """Fail the check unless a pod's first container runs this image, e.g. `busybox`: it is the
        one that is asked and listened to, whatever runs beside it.

        The name is the one by which the node's runtime knows what really runs.
        """
        name = pod["metadata"]["name"]
        first = pod["spec"]["containers"][0]["name"]

        def running() -> str | None:
            states = self.get("pod", name)["status"].get("containerStatuses", [])
            found = (one for one in states if one["name"] == first and one.get("imageID"))
            return next((short(one["image"]) for one in found), None)

        seen = eventually(running)
        if seen != image:
            pytest.fail(
                f"expected the image `{image}` in container `{first}` of pod `{name}`, "
                f"saw {seen or 'nothing that runs'}\n"
                f"{self.look(f'describe pod {name}')}",
                pytrace=False,
            )


def short(image: str) -> str:
    """An image's name as in the lecture: without Docker Hub's host, tag and digest, and without
    the folder of an official image, which other registries have a copy of as `docker/library`; to
    the lab's own everybody can push."""
    folder, slash, last = image.partition("@")[0].removeprefix("docker.io/").rpartition("/")
    host, _, place = folder.partition("/")
    if folder == "library" or (place == "docker/library" and not host.startswith("registry.lab")):
        folder, slash = "", ""
    return f"{folder}{slash}{last.partition(':')[0]}"


def text_of(cluster: Cluster, secret: Object, key: str) -> str:
    """What a Secret has under a key, without space around it; fails the check where that is no
    text: who writes text under `data` gets other bytes, because that is base64."""
    found = base64.b64decode(secret.get("data", {}).get(key, ""))
    try:
        return found.decode().strip()
    except UnicodeDecodeError:
        name = secret["metadata"]["name"]
        pytest.fail(
            f"expected text under `{key}` in the Secret `{name}`, saw bytes that are none: `data` "
            f"takes base64, `stringData` takes text\n{cluster.look(f'get secret {name} -o yaml')}",
            pytrace=False,
        )


def mounts_of(container: Object) -> dict[str, str]:
    """Path in a container, without a slash at its end -> the volume that is mounted there."""
    mounts = container.get("volumeMounts", [])
    return {mount["mountPath"].rstrip("/"): mount["name"] for mount in mounts}


def sources_of(volume: Object) -> set[tuple[str, str]]:
    """The ConfigMaps and Secrets that a volume shows: `configMap` or `secret`, and the name."""
    found = {
        (kind, source[kind].get("name") or source[kind].get("secretName"))
        for source in (volume, *volume.get("projected", {}).get("sources", []))
        for kind in ("configMap", "secret")
        if kind in source
    }
    return found


def owned_by(item: Object, owner: Object) -> bool:
    """Whether an object was made by another one, and is kept by it."""
    wanted = owner["metadata"]["uid"]
    owners = item["metadata"].get("ownerReferences") or []
    return any(one["uid"] == wanted and one.get("controller") for one in owners)


def ready_pods(cluster: Cluster, kind: str, name: str) -> list[Object]:
    """The Ready ones of `kept_pods`."""
    return [pod for pod in kept_pods(cluster, kind, name) if ready(pod)]


def kept_pods(cluster: Cluster, kind: str, name: str) -> list[Object]:
    """The pods that a controller keeps, a Deployment through its ReplicaSets."""
    owner = cluster.get(kind, name)
    keepers = replicasets_of(cluster, owner) if kind == "deployment" else [owner]
    pods = cluster.list("pods")
    return [pod for pod in pods if any(owned_by(pod, keeper) for keeper in keepers)]


def replicasets_of(cluster: Cluster, deployment: Object) -> list[Object]:
    """The ReplicaSets that a Deployment keeps, of every revision."""
    return [item for item in cluster.list("replicasets") if owned_by(item, deployment)]


def successor(cluster: Cluster, deployment: str, old: str) -> str | None:
    """The name of a Ready pod of a Deployment that is not the old one."""
    names = [pod["metadata"]["name"] for pod in ready_pods(cluster, "deployment", deployment)]
    return next((name for name in names if name != old), None)


def present_replicaset(cluster: Cluster, name: str) -> Object | None:
    """The ReplicaSet of a Deployment's present revision."""
    deployment = cluster.get("deployment", name)
    revision = deployment["metadata"].get("annotations", {}).get(REVISION)
    for item in replicasets_of(cluster, deployment):
        if item["metadata"].get("annotations", {}).get(REVISION) == revision:
            return item
    return None


def ports_of(service: Object, containers: Iterable[Object]) -> list[tuple[int, int]]:
    """Port and target of each port of a Service's spec.

    A target may be the name of a port of these containers, 0 where none has it; left out, it is the
    port itself.
    """
    named = {
        port["name"]: port["containerPort"]
        for container in containers
        for port in container.get("ports", [])
        if "name" in port
    }
    found = []
    for port in service.get("ports", []):
        target = port.get("targetPort", port["port"])
        found.append((port["port"], named.get(target, 0) if isinstance(target, str) else target))
    return found


def selected(cluster: Cluster, service: str, pods: Iterable[Object]) -> bool:
    """Whether a Service's ready endpoints are these pods, found by its selector and not written
    down; what is written down need not say that it is ready."""
    found = {
        (address, piece["metadata"].get("labels", {}).get(MANAGED_BY))
        for piece in slices_of(cluster, service)
        for endpoint in piece.get("endpoints") or []
        if endpoint.get("conditions", {}).get("ready") is not False
        for address in endpoint["addresses"]
    }
    return {(pod["status"]["podIP"], ENDPOINTS_BY_SELECTOR) for pod in pods} == found


def slices_of(cluster: Cluster, service: str) -> list[Object]:
    """The EndpointSlices of a Service."""
    return cluster.list("endpointslices", f"kubernetes.io/service-name={service}")


def endpoints_of(cluster: Cluster, service: str) -> dict[str, Object]:
    """The addresses behind a Service, each with its conditions."""
    return {
        address: endpoint.get("conditions", {})
        for piece in slices_of(cluster, service)
        for endpoint in piece.get("endpoints") or []
        for address in endpoint["addresses"]
    }


def events_of(cluster: Cluster, uid: str) -> list[Object]:
    """The events of one object; another one may have had the same name."""
    return [one for one in cluster.list("events") if one["involvedObject"].get("uid") == uid]


@contextmanager
def made_for_a_moment(cluster: Cluster, pod: Object) -> Iterator[str]:
    """The name of a pod that is there while the block lasts, in place of one left by a check that
    was cut off. Raises CannotCheck when it cannot be made."""
    name: str = pod["metadata"]["name"]
    gone(cluster, "pod", name)
    cluster.create("pod", pod)
    try:
        yield name
    finally:
        cluster.delete("pod", name, now=True)


def gone(cluster: Cluster, kind: str, name: str) -> None:
    """Take an object away that a check left behind, and wait for its end."""
    if cluster.find(kind, name):
        cluster.delete(kind, name, now=True)
        eventually(lambda: cluster.find(kind, name) is None)


def answer_of(machine: Any, command: str) -> str:
    """What a command prints on a machine."""
    return str(machine.run(command).stdout)


def paths_of(ingress: Object) -> dict[str, str | None]:
    """URL path, without a slash at its end -> the Service that an Ingress sends it to."""
    return {
        path.get("path", "").rstrip("/"): path["backend"].get("service", {}).get("name")
        for rule in ingress["spec"].get("rules", [])
        for path in rule.get("http", {}).get("paths", [])
    }


def ready(pod: Object) -> bool:
    """Whether a pod runs and is Ready."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def patience() -> float:
    """How many times longer than usual checks wait.

    By itself as much as the lab's machines are slower; LAB_PATIENCE overrides that, to make it
    shorter where many wrong answers are tried.
    """
    return float(os.environ.get("LAB_PATIENCE", slowness()))


def eventually(probe: Callable[[], T | None], seconds: float = 20) -> T | None:
    """The first answer of `probe` that is true, or its last one when the time is over.

    The pause between two looks grows from 0.1 to 0.5 s.
    """
    deadline = time.monotonic() + seconds * patience()
    pause = 0.1
    while True:
        answer = probe()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(pause)
        pause = min(pause * 1.3, 0.5)


def lasts(probe: Callable[[], Any], seconds: float = 2) -> bool:
    """Whether `probe` is true at every look for so long: what starts and ends again is not."""
    deadline = time.monotonic() + seconds
    while probe():
        if time.monotonic() > deadline:
            return True
        time.sleep(0.2)
    return False


def answering(fetch: Fetch, url: str) -> tuple[int, str] | None:
    """The answer from an address when it is a good one."""
    found = fetch(url)
    return found if found[0] == 200 else None
