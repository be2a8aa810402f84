"""Checks of exercise `multi-container-pod`."""

from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from infra.workloads.checks import Cluster, Object, eventually, mounts_of, short

POD = "web-and-writer"
IMAGES = {"web": "nginx", "writer": "busybox"}
PROBES = ("livenessProbe", "readinessProbe")


def states(cluster: Cluster) -> dict[str, Object]:
    """The state of each of the pod's containers, by name."""
    status = cluster.get("pod", POD)["status"]
    return {state["name"]: state for state in status.get("containerStatuses", [])}


def container(cluster: Cluster, name: str) -> Object:
    """What the pod's spec says of one container."""
    containers: list[Object] = cluster.get("pod", POD)["spec"]["containers"]
    found = {item["name"]: item for item in containers}
    assert name in found, (
        f"expected a container `{name}` in pod `{POD}`, saw {', '.join(found)}\n"
        f"{cluster.look(f'describe pod {POD}')}"
    )
    return found[name]


def page(cluster: Cluster, path: str = "") -> str | None:
    """What the web server says to the writer at the pod's own address."""
    address = cluster.get("pod", POD)["status"].get("podIP")
    url = f"http://{address}/{path}"
    code, output = cluster.run_in(POD, "wget", "-qO-", "-T", "3", url, container="writer")
    return None if code else output.strip()


@pytest.mark.points(2)
@pytest.mark.hints(
    "A pod is Ready when all of its containers are.",
    "READY in `kubectl get pods` counts containers; `kubectl describe pod` says more of each.",
    "Two entries under `containers`, named `web` and `writer`; the page must be there for `web`.",
)
def test_both_containers_are_ready(cluster: Cluster) -> None:
    """The pod has the containers `web` and `writer`, and both are ready"""

    def readiness() -> dict[str, bool]:
        return {name: state["ready"] for name, state in states(cluster).items()}

    wanted = dict.fromkeys(IMAGES, True)
    eventually(lambda: readiness() == wanted)
    seen = readiness()
    assert seen == wanted, (
        f"expected the containers web and writer, both ready, saw {seen}\n"
        f"{cluster.look(f'describe pod {POD}')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "The containers of a pod need not be of one image.",
    "The cluster is asked which image really runs, whatever its name in the spec.",
    "`image: nginx:1.26` for `web`, `image: busybox:1.37` for `writer`.",
)
def test_images(cluster: Cluster) -> None:
    """The container `web` is an nginx, `writer` a busybox"""

    def running() -> dict[str, str]:
        found = states(cluster).items()
        return {name: short(state["image"]) for name, state in found if state.get("imageID")}

    eventually(lambda: len(running()) == len(IMAGES))
    seen = running()
    assert seen == IMAGES, (
        f"expected web to run nginx and writer to run busybox, saw {seen or 'nothing that runs'}\n"
        f"{cluster.look(f'describe pod {POD}')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "Each container has a file system of its own; only what is mounted in both is the same.",
    "Compare the volumes' names under the `volumeMounts` of both containers.",
    "One `emptyDir`, mounted at /usr/share/nginx/html in `web` and at /pages in `writer`.",
)
def test_files_are_shared(cluster: Cluster) -> None:
    """What `writer` puts into the shared folder, `web` serves"""
    mounts = mounts_of(container(cluster, "writer"))
    assert "/pages" in mounts, (
        f"expected a volume at /pages in `writer`, saw {sorted(mounts)}\n"
        f"{cluster.look(f'get pod {POD} -o yaml')}"
    )
    name = f"check-{uuid4().hex}"
    write = f"echo {name} > /pages/{name}"
    cluster.run_in(POD, "sh", "-c", write, container="writer")
    try:
        seen = eventually(lambda: page(cluster, name), 3)
    finally:
        cluster.run_in(POD, "rm", "-f", f"/pages/{name}", container="writer")
    assert seen == name, (
        "expected `web` to serve a file that was put into /pages of `writer`, "
        f"saw {seen or 'nothing'}\n{cluster.look(f'exec {POD} -c web -- ls /usr/share/nginx/html')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "The writer's work is never done.",
    "Ask the web server twice, some seconds apart.",
    "A loop in `writer`: write the time into /pages/index.html, sleep for a second, again.",
)
def test_page_is_rewritten(cluster: Cluster) -> None:
    """The page that `web` serves is a new one every second"""
    first = page(cluster)
    assert first and eventually(lambda: page(cluster) != first, 10), (
        f"expected a page that changes every second, saw {first or 'none'}\n"
        f"{cluster.look(f'exec {POD} -c writer -- wget -qO- http://localhost')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "Two programs on one computer need no address to talk to each other.",
    "`kubectl logs` needs to be told which container; what should `writer` print?",
    "In the loop of `writer`: `wget -qO- http://localhost`, so that the answer is in its log.",
)
def test_writer_asks_localhost(cluster: Cluster) -> None:
    """The writer gets the page from localhost, and logs it"""
    container(cluster, "writer")
    code, output = cluster.run_in(
        POD, "wget", "-qO-", "-T", "3", "http://localhost", container="writer"
    )
    assert code == 0, (
        f"expected `web` to answer http://localhost in `writer`, saw {output.strip()[:200]!r}\n"
        f"{cluster.look(f'exec {POD} -c writer -- wget -qO- http://localhost')}"
    )

    def tail() -> str:
        return cluster.logs(POD, "writer", 200)

    assert eventually(lambda: output.strip() in tail(), 10), (
        f"expected the page {output.strip()[:200]!r} in the log of `writer`, "
        f"saw {tail()[-200:]!r}\n"
        f"{cluster.look(f'logs {POD} -c writer')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "Who shares a network has the same address and the same name.",
    "Ask both containers for their `hostname`.",
    "Both containers stand in the spec of the one pod `web-and-writer`.",
)
def test_one_network(cluster: Cluster) -> None:
    """Both containers are in one network, under one name"""
    container(cluster, "writer")
    ask = ("sh", "-c", "hostname && readlink /proc/self/ns/net")

    def answer(name: str) -> str:
        code, output = cluster.run_in(POD, *ask, container=name)
        return f"code {code}" if code else " ".join(output.split())

    # What ends at once may be gone before it was heard.
    seen = {name: eventually(partial(answer, name), 3) for name in IMAGES}
    assert len(set(seen.values())) == 1 and "net:" in str(seen["web"]), (
        f"expected the same name and network in both containers, saw {seen}\n"
        f"{cluster.look(f'exec {POD} -c web -- hostname')}"
    )


def port(probe: Object) -> Any:
    """The port that a probe of the web server knocks at."""
    return (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")


@pytest.mark.points(2)
@pytest.mark.hints(
    "Two questions are asked of a container: may it have visitors, and is it alive?",
    "They stand beside the container's `image`; each says whom to ask, and where.",
    "A `readinessProbe` with `httpGet` and a `livenessProbe` with `tcpSocket`, both at port 80.",
)
def test_web_has_probes(cluster: Cluster) -> None:
    """The container `web` is asked at its port whether it is ready, and whether it is alive"""
    web = container(cluster, "web")
    ports = web.get("ports", [])
    listening = {
        80,
        *(item["name"] for item in ports if item["containerPort"] == 80 and "name" in item),
    }
    seen = {kind: port(web.get(kind, {})) for kind in PROBES}
    assert set(seen.values()) <= listening, (
        f"expected a livenessProbe and a readinessProbe at port 80 of `web`, saw {seen}\n"
        f"{cluster.look(f'get pod {POD} -o yaml')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "A container says what it needs, and what it may take at most.",
    "`kubectl describe pod` shows Requests and Limits of each container, and the QoS Class.",
    "`resources` with `requests` (cpu 10m, memory 16Mi) and higher `limits`, in both containers.",
)
def test_requests_and_limits(cluster: Cluster) -> None:
    """Both containers have requests and higher limits, which makes the pod Burstable"""
    needs = {name: container(cluster, name).get("resources", {}) for name in IMAGES}
    said = {
        name: sorted(f"{kind}.{what}" for kind in found for what in found[kind])
        for name, found in needs.items()
    }
    wanted = {"limits.cpu", "limits.memory", "requests.cpu", "requests.memory"}
    quality = cluster.get("pod", POD)["status"].get("qosClass")
    assert quality == "Burstable" and all(wanted <= set(found) for found in said.values()), (
        "expected requests and limits of cpu and memory in both containers, and the QoS class "
        f"Burstable, saw {said} and {quality}\n{cluster.look(f'describe pod {POD}')}"
    )
