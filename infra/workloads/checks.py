"""The parts of checks: a view of the live cluster, and waiting with a time limit."""

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
# GET an address from the host: status code and body; code 0 and the reason without an answer.
Fetch = Callable[[str], tuple[int, str]]
# The label of endpoints that a controller made from the Service's selector.
ENDPOINTS_BY_SELECTOR = "endpointslice-controller.k8s.io"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
REVISION = "deployment.kubernetes.io/revision"
# The limit of a log in bytes.
MOST_OF_A_LOG = 100_000
UNREACHABLE = ("was refused", "Unable to connect", "i/o timeout", "no such host", "TLS handshake")


class Cluster:
    """A read-mostly view of one namespace of the cluster."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *words: str, stdin: str = "", timeout: float = 20) -> tuple[int, str]:
        """Exit code and output (both streams) of a kubectl command in the namespace.

        `timeout` is in seconds. Raises CannotCheck without kubectl or without a cluster.
        """
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
        """The last line of a message: the command that shows more."""
        # Words after `--` are the command in the pod.
        command, dashes, inside = words.partition(" -- ")
        return f"look: kubectl {command} -n {self.namespace}{dashes}{inside}"

    def read(self, kind: str, name: str = "", selector: str = "") -> tuple[int, Any]:
        """HTTP status and document of one object, or of all of a kind. Raises as `Api.read`."""
        api = server()
        return api.read(api.path(kind, self.namespace, name, selector))

    def get(self, kind: str, name: str) -> Object:
        """One object. Fails the check if it does not exist."""
        if found := self.find(kind, name):
            return found
        pytest.fail(
            f"expected {kind} `{name}` in namespace `{self.namespace}`, saw none\n"
            f"{self.look(f'get {kind}')}",
            pytrace=False,
        )

    def find(self, kind: str, name: str) -> Object | None:
        """One object, or None if there is none of this name."""
        status, answer = self.read(kind, name)
        if status == http.HTTPStatus.NOT_FOUND:
            return None
        if status != http.HTTPStatus.OK:
            raise CannotCheck(str(answer["message"]))
        found: Object = answer
        return found

    def list(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind, without those being deleted."""
        status, answer = self.read(kind, selector=selector)
        if status != http.HTTPStatus.OK:
            raise CannotCheck(str(answer["message"]))
        items: list[Object] = answer["items"]
        return [item for item in items if "deletionTimestamp" not in item["metadata"]]

    def logs(self, pod: str, container: str = "", lines: int = 0, since: str = "") -> str:
        """The log of a pod's container, by default of the first; empty if it never ran.

        It has at most 100 kB, and the last `lines` if their number is given. `since` is a UTC time
        in the API's format, which leaves out earlier lines.
        """
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
        """Delete an object, at once (`now`) or with its grace period.

        A missing object is no error. The call does not wait for the object's end. With `now`, the
        API server removes a pod before the kubelet has stopped it. Raises CannotCheck if the API
        server rejects the request.
        """
        api = server()
        wishes: Object = {"propagationPolicy": "Background"}
        if now:
            wishes["gracePeriodSeconds"] = 0
        status, answer = api.read(api.path(kind, self.namespace, name), "DELETE", wishes)
        if status >= http.HTTPStatus.BAD_REQUEST and status != http.HTTPStatus.NOT_FOUND:
            raise CannotCheck(str(answer["message"]))

    def create(self, kind: str, item: Object) -> None:
        """Create an object. Raises CannotCheck if the API server rejects it."""
        api = server()
        status, answer = api.read(api.path(kind, self.namespace), "POST", item)
        if status >= http.HTTPStatus.BAD_REQUEST:
            raise CannotCheck(str(answer["message"]))

    def run_in(self, pod: str, *command: str, container: str = "") -> tuple[int, str]:
        """Run a command in a pod's container, by default the first; return exit code and output."""
        container = container or self.first_container(pod)
        if not container:
            return 1, f"there is no pod `{pod}`"
        return server().execute(self.namespace, pod, container, command)

    def first_container(self, pod: str) -> str:
        """The name of a pod's first container; empty without such a pod."""
        found = self.find("pod", pod)
        return str(found["spec"]["containers"][0]["name"]) if found else ""

    def expect_image(self, pod: Object, image: str) -> None:
        """Fail the check unless a pod's first container runs this image, e.g. `busybox`.

        Checks use the first container, and others may run next to it. The node's runtime reports
        the image's name, which may differ from the pod's spec.
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
                f"saw {seen or 'no running container'}\n"
                f"{self.look(f'describe pod {name}')}",
                pytrace=False,
            )


def short(image: str) -> str:
    """An image's name as in the lecture, without Docker Hub's host, tag and digest.

    The folder of official images is removed, too. Other registries mirror it as `docker/library`.
    In the lab's own registry that folder stays, since every student can push to it.
    """
    folder, slash, last = image.partition("@")[0].removeprefix("docker.io/").rpartition("/")
    host, _, place = folder.partition("/")
    if folder == "library" or (place == "docker/library" and not host.startswith("registry.lab")):
        folder, slash = "", ""
    return f"{folder}{slash}{last.partition(':')[0]}"


def text_of(cluster: Cluster, secret: Object, key: str) -> str:
    """A Secret's text under a key, without space around it.

    Fails the check for other bytes. They appear if a student writes text under `data`, which takes
    base64.
    """
    found = base64.b64decode(secret.get("data", {}).get(key, ""))
    try:
        return found.decode().strip()
    except UnicodeDecodeError:
        name = secret["metadata"]["name"]
        pytest.fail(
            f"expected text under `{key}` in the Secret `{name}`, saw bytes that are not text "
            "(`data` takes base64, `stringData` takes text)\n"
            f"{cluster.look(f'get secret {name} -o yaml')}",
            pytrace=False,
        )


def mounts_of(container: Object) -> dict[str, str]:
    """A mapping from a container's mount paths, without a final slash, to their volumes."""
    mounts = container.get("volumeMounts", [])
    return {mount["mountPath"].rstrip("/"): mount["name"] for mount in mounts}


def sources_of(volume: Object) -> set[tuple[str, str]]:
    """The ConfigMaps and Secrets in a volume: `configMap` or `secret`, and the name."""
    found = {
        (kind, source[kind].get("name") or source[kind].get("secretName"))
        for source in (volume, *volume.get("projected", {}).get("sources", []))
        for kind in ("configMap", "secret")
        if kind in source
    }
    return found


def owned_by(item: Object, owner: Object) -> bool:
    """Whether `owner` is the controller of an object."""
    wanted = owner["metadata"]["uid"]
    owners = item["metadata"].get("ownerReferences") or []
    return any(one["uid"] == wanted and one.get("controller") for one in owners)


def ready_pods(cluster: Cluster, kind: str, name: str) -> list[Object]:
    """The Ready pods of a controller, as in `kept_pods`."""
    return [pod for pod in kept_pods(cluster, kind, name) if ready(pod)]


def kept_pods(cluster: Cluster, kind: str, name: str) -> list[Object]:
    """The pods of a controller. A Deployment owns them through its ReplicaSets."""
    owner = cluster.get(kind, name)
    keepers = replicasets_of(cluster, owner) if kind == "deployment" else [owner]
    pods = cluster.list("pods")
    return [pod for pod in pods if any(owned_by(pod, keeper) for keeper in keepers)]


def replicasets_of(cluster: Cluster, deployment: Object) -> list[Object]:
    """The ReplicaSets of a Deployment, of every revision."""
    return [item for item in cluster.list("replicasets") if owned_by(item, deployment)]


def successor(cluster: Cluster, deployment: str, old: str) -> str | None:
    """The name of a Ready pod of a Deployment that is not the old one."""
    names = [pod["metadata"]["name"] for pod in ready_pods(cluster, "deployment", deployment)]
    return next((name for name in names if name != old), None)


def present_replicaset(cluster: Cluster, name: str) -> Object | None:
    """The ReplicaSet of a Deployment's current revision; None if there is none yet."""
    deployment = cluster.get("deployment", name)
    revision = deployment["metadata"].get("annotations", {}).get(REVISION)
    for item in replicasets_of(cluster, deployment):
        if item["metadata"].get("annotations", {}).get(REVISION) == revision:
            return item
    return None


def ports_of(service: Object, containers: Iterable[Object]) -> list[tuple[int, int]]:
    """Port and target port of each port of a Service's spec.

    A target may be the name of a container's port, and is 0 if no container has that name. The
    default of a target is the port itself.
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
    """Whether a Service's ready endpoints are these pods, found by its selector.

    Endpoints that a student wrote by hand do not count. They may lack the condition `ready`, which
    means that they are ready.
    """
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
    """A mapping from the addresses of a Service's endpoints to their conditions."""
    return {
        address: endpoint.get("conditions", {})
        for piece in slices_of(cluster, service)
        for endpoint in piece.get("endpoints") or []
        for address in endpoint["addresses"]
    }


def events_of(cluster: Cluster, uid: str) -> list[Object]:
    """The events of one object by its uid, since an older object may have had the same name."""
    return [one for one in cluster.list("events") if one["involvedObject"].get("uid") == uid]


@contextmanager
def made_for_a_moment(cluster: Cluster, pod: Object) -> Iterator[str]:
    """Create a pod while the block runs; return its name.

    A pod of this name from an interrupted check is removed first. Raises CannotCheck if the API
    server rejects the pod.
    """
    name: str = pod["metadata"]["name"]
    gone(cluster, "pod", name)
    cluster.create("pod", pod)
    try:
        yield name
    finally:
        cluster.delete("pod", name, now=True)


def gone(cluster: Cluster, kind: str, name: str) -> None:
    """Remove an object that an interrupted check left behind, and wait for its end."""
    if cluster.find(kind, name):
        cluster.delete(kind, name, now=True)
        eventually(lambda: cluster.find(kind, name) is None)


def answer_of(machine: Any, command: str) -> str:
    """The output of a command on a machine."""
    return str(machine.run(command).stdout)


def paths_of(ingress: Object) -> dict[str, str | None]:
    """A mapping from an Ingress's URL paths, without a final slash, to their Services."""
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

    The default is the slowness of the lab's machines. LAB_PATIENCE overrides it, so that tests with
    many wrong answers take less time.
    """
    return float(os.environ.get("LAB_PATIENCE", slowness()))


def eventually(probe: Callable[[], T | None], seconds: float = 20) -> T | None:
    """The first true answer of `probe`, or its last answer after the time limit.

    The pause between two calls grows from 0.1 to 0.5 s.
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
    """Whether `probe` is true at every call for this many seconds."""
    deadline = time.monotonic() + seconds
    while probe():
        if time.monotonic() > deadline:
            return True
        time.sleep(0.2)
    return False


def answering(fetch: Fetch, url: str) -> tuple[int, str] | None:
    """The answer from an address if its status is 200, else None."""
    found = fetch(url)
    return found if found[0] == 200 else None
