"""Checks of exercise `statefulset`."""

import re
from functools import partial

import pytest

from infra.workloads.checks import Cluster, Object, eventually, ready_pods

NAMES = ("web-0", "web-1")
PAGE = "/usr/share/nginx/html/index.html"


def owned(cluster: Cluster) -> dict[str, Object]:
    """The Ready pods that belong to the StatefulSet `web`, by name."""
    pods = ready_pods(cluster, "statefulset", "web")
    return {pod["metadata"]["name"]: pod for pod in pods}


def both(cluster: Cluster) -> dict[str, Object]:
    """The pods `web-0` and `web-1`; fails the check when they are not there, ready and alone."""
    eventually(lambda: sorted(owned(cluster)) == list(NAMES))
    pods = owned(cluster)
    assert sorted(pods) == list(NAMES), (
        f"expected the ready pods web-0 and web-1 of StatefulSet `web`, saw {sorted(pods)}\n"
        f"{cluster.look('get statefulset,pods')}"
    )
    return pods


@pytest.mark.points(2)
@pytest.mark.hints(
    "The pods of this kind of controller are numbered, not named at random.",
    "`kubectl get statefulset,pods`: if one does not start, its successors wait for it.",
    "`kind: StatefulSet`, named `web`, with `replicas: 2`.",
)
def test_stable_names(cluster: Cluster) -> None:
    """The pods are called web-0 and web-1"""
    both(cluster)


@pytest.mark.points(1)
@pytest.mark.hints(
    "A database's second copy may need the first one to start.",
    "`podManagementPolicy` has two values; one of them starts everything at once.",
    "`podManagementPolicy: OrderedReady`, or leave it out.",
)
def test_ordered_start(cluster: Cluster) -> None:
    """Pods start one after the other, each when the one before is ready"""
    policy = cluster.get("statefulset", "web")["spec"]["podManagementPolicy"]
    assert policy == "OrderedReady", (
        f"expected podManagementPolicy OrderedReady, saw {policy}\n"
        f"{cluster.look('get statefulset web -o yaml')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "The pods come from one template, and yet have different disks.",
    "`kubectl get pvc`: one claim for each pod, named after template and pod, and Bound.",
    "`volumeClaimTemplates` with a claim `data`, ReadWriteOnce; no volume in the pod's template.",
)
def test_one_volume_per_pod(cluster: Cluster) -> None:
    """Each pod has a volume of its own, through a claim that bears its name"""
    volumes = set()
    for name, pod in both(cluster).items():
        claims = [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["spec"].get("volumes", [])
            if "persistentVolumeClaim" in volume
        ]
        assert len(claims) == 1 and claims[0].endswith(f"-{name}"), (
            f"expected `{name}` to have one claim, called like it, saw {claims}\n"
            f"{cluster.look('get pvc')}"
        )
        claim = cluster.get("pvc", claims[0])
        assert claim["status"]["phase"] == "Bound", (
            f"expected `{claims[0]}` to be Bound, saw {claim['status']['phase']}\n"
            f"{cluster.look(f'describe pvc {claims[0]}')}"
        )
        volumes.add(claim["spec"]["volumeName"])
    assert len(volumes) == 2, (
        f"expected a volume for each pod, saw {', '.join(volumes)}\n{cluster.look('get pvc')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "Call a pod by its own name from inside the pod `client`.",
    "A Service without an address has names only: compare `clusterIP`, `selector`, `serviceName`.",
    "Service `web` with `clusterIP: None` and `app: web`; `serviceName: web` in the StatefulSet.",
)
def test_names_in_dns(cluster: Cluster) -> None:
    """The client reaches each pod by a DNS name of its own"""
    address = cluster.get("service", "web")["spec"].get("clusterIP")
    assert address == "None", (
        f"expected `web` to be headless, saw the address {address}\n{cluster.look('get service')}"
    )
    client = cluster.get("pod", "client")
    for name, pod in both(cluster).items():
        wget = ("wget", "-qO-", "-T", "3", f"http://{name}.web")

        def answer(wget: tuple[str, ...] = wget) -> str | None:
            code, output = cluster.run_in("client", *wget)
            return output if code == 0 else None

        # A DNS server may remember a deleted pod's address for half a minute.
        page = eventually(answer, 40)
        assert page and re.search(rf"(?<![\w-]){name}(?![\w-])", page), (
            f"expected a page with the name {name} from {wget[-1]} inside pod `client`, "
            f"saw {(page or cluster.run_in('client', *wget)[1])[:200]!r}\n"
            f"{cluster.look('exec client -- ' + ' '.join(wget))}"
        )
        cluster.expect_image(pod, "nginx")
    cluster.expect_image(client, "busybox")


@pytest.mark.points(3)
@pytest.mark.hints(
    "A container's own files go with it; a volume's stay.",
    "Look at the page before and after: is it on the volume, and does a start keep what is there?",
    "Mount `data` at /usr/share/nginx/html, and let a start add a line with `>>`.",
)
def test_deleted_pod_comes_back_with_its_data(cluster: Cluster) -> None:
    """A deleted pod comes back with its name and its data"""
    pod = (eventually(lambda: owned(cluster)) or {}).get("web-0")
    assert pod, f"expected the ready pod `web-0` to delete, saw none\n{cluster.look('get pods')}"
    before = page(cluster)
    assert before, (
        f"expected text in {PAGE} of `web-0`, saw none\n{cluster.look(f'exec web-0 -- cat {PAGE}')}"
    )
    cluster.delete("pod", "web-0")
    uid = pod["metadata"]["uid"]
    back = eventually(partial(successor, cluster, uid), 60)
    assert back, (
        "expected a new ready pod `web-0` within a minute, saw none\n"
        f"{cluster.look('get pods --watch')}"
    )
    after = page(cluster)
    assert after.startswith(before) and len(after) > len(before), (
        f"expected the page of `web-0` to go on after {before!r}, saw {after[:400]!r}\n"
        f"{cluster.look(f'exec web-0 -- cat {PAGE}')}"
    )


def page(cluster: Cluster) -> str:
    """The page of `web-0` as its container has it; empty where there is none."""
    code, output = cluster.run_in("web-0", "cat", PAGE)
    return output if code == 0 else ""


def successor(cluster: Cluster, uid: str) -> bool:
    """Whether `web-0` is ready and another pod than the one of this uid."""
    pod = owned(cluster).get("web-0")
    return pod is not None and pod["metadata"]["uid"] != uid
