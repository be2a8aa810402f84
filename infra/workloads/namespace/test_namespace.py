"""Checks of exercise `namespace`."""

import json

import pytest

from infra.workloads.checks import Cluster, Object, eventually, ready

REQUESTS = {"cpu": "10m", "memory": "16Mi"}
LIMITS = {"cpu": "200m", "memory": "64Mi"}


def other(cluster: Cluster) -> Cluster:
    """The second namespace."""
    return Cluster(f"{cluster.namespace}-other")


def ask(cluster: Cluster, url: str) -> str:
    """What the pod `client` is answered at an address; fails when that is not nginx's page."""
    client = cluster.get("pod", "client")

    def answer() -> str | None:
        code, output = cluster.run_in("client", "wget", "-qO-", "-T", "3", url)
        return None if code else output.strip()

    seen = eventually(answer)
    assert seen, (
        f"expected an answer from {url} in pod `client`, saw none\n"
        f"{cluster.look('get services,endpointslices')}"
    )
    cluster.expect_image(client, "busybox")
    return seen


def try_pod(cluster: Cluster, resources: Object) -> tuple[int, str]:
    """What the API server would make of a pod with these resources: nothing is kept of it."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "would-be"},
        "spec": {"containers": [{"name": "main", "image": "busybox:1.37", "resources": resources}]},
    }
    words = ("create", "--dry-run=server", "--output=json", "--filename=-")
    return cluster.kubectl(*words, stdin=json.dumps(pod))


BIG = {"requests": {"cpu": "10m", "memory": "1Gi"}, "limits": {"cpu": "10m", "memory": "1Gi"}}


@pytest.mark.points(1)
@pytest.mark.hints(
    "A name needs to be unique only where it lies.",
    "`kubectl get services,pods` with `--all-namespaces` shows both of each.",
    "A Deployment and a Service `web` in each namespace, with pods labelled `app: web`.",
)
def test_same_names_in_both(cluster: Cluster) -> None:
    """Both namespaces have a Service `web` and a ready pod behind it"""
    for space in (cluster, other(cluster)):
        space.get("service", "web")

        def pods(space: Cluster = space) -> list[Object]:
            return [pod for pod in space.list("pods", "app=web") if ready(pod)]

        found = eventually(pods)
        assert found, (
            f"expected a ready pod labelled app=web in `{space.namespace}`, saw none\n"
            f"{space.look('get pods --show-labels')}"
        )
        space.expect_image(found[0], "nginx")


@pytest.mark.points(1)
@pytest.mark.hints(
    "A name without more means the one next door.",
    "Run `wget` in the pod `client`; which namespace does the page name?",
    "The pod `client` is in the first namespace, and the page of `web` there says its name.",
)
def test_short_name_is_the_own(cluster: Cluster) -> None:
    """The client's http://web is the one of its own namespace"""
    seen = ask(cluster, "http://web")
    wanted = f"This is web of {cluster.namespace}"
    assert seen == wanted, (
        f"expected `{wanted}` from http://web in pod `client`, saw {seen[:200]!r}\n"
        f"{cluster.look('get services,endpointslices')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A name can be made longer until it says which one is meant.",
    "A Service is called by its name, a dot, its namespace; `svc` may follow.",
    "`web` in the second namespace: a Service whose selector and port fit its pods.",
)
def test_long_name_is_the_others(cluster: Cluster) -> None:
    """The client reaches the other namespace by the longer name"""
    there = other(cluster).namespace
    url = f"http://web.{there}.svc"
    seen = ask(cluster, url)
    assert seen == f"This is web of {there}", (
        f"expected `This is web of {there}` from {url} in pod `client`, saw {seen[:200]!r}\n"
        f"{other(cluster).look('get services,endpointslices')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "Who says nothing can be given something.",
    "`kubectl describe limitrange` shows defaults; they are for pods that are made later.",
    "A LimitRange for `type: Container` with `default` and `defaultRequest`, before the pods.",
)
def test_defaults_are_given(cluster: Cluster) -> None:
    """A container that says nothing of resources gets those of the LimitRange"""
    client = cluster.get("pod", "client")
    code, output = try_pod(cluster, {})
    pods = {"client": client}
    if code == 0:
        # Warnings of kubectl and of the API server stand around it.
        pods["a new pod"], _ = json.JSONDecoder().raw_decode(output, output.index("{"))
    elif "exceeded quota" in output:
        # No further pod has a place: those that are there were given the same.
        code, pods = 0, {pod["metadata"]["name"]: pod for pod in cluster.list("pods")}
    seen = {name: pod["spec"]["containers"][0].get("resources", {}) for name, pod in pods.items()}
    wanted = {"requests": REQUESTS, "limits": LIMITS}
    assert code == 0 and all(found == wanted for found in seen.values()), (
        f"expected {wanted} in pod `client` and in every new pod, "
        f"saw {output.strip() if code else seen}\n{cluster.look('describe limitrange')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A namespace can have a limit: so much for all of its pods together, and no more.",
    "`kubectl describe quota` shows what is used, and what there is at most.",
    "A ResourceQuota `quota` with `hard: {pods: 5, requests.memory: 256Mi}`.",
)
def test_quota_refuses_too_much(cluster: Cluster) -> None:
    """The quota allows five pods, and refuses one that wants more memory than is left"""
    quota = cluster.get("resourcequota", "quota")
    hard = quota["spec"].get("hard", {})
    pods = hard.get("pods") or hard.get("count/pods")
    code, output = try_pod(cluster, BIG)
    # It tells of what is exceeded only: of the memory, and of the pods where there are five.
    refused = "exceeded quota: quota" in output and "memory=" in output
    seen = "that it does" if refused else output.strip()[:300] if code else "that it is taken"
    assert pods == "5" and refused, (
        f"expected 5 pods at most, saw {pods}, and that the quota refuses a pod with 1 GiB of "
        f"memory, saw {seen}\n{cluster.look('describe quota')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "What holds in one namespace need not hold in another.",
    "`kubectl get quota,limitrange` with `--all-namespaces` shows where they lie.",
    "No ResourceQuota and no LimitRange in the second namespace.",
)
def test_the_other_namespace_has_no_limits(cluster: Cluster) -> None:
    """What the quota refuses is allowed in the other namespace"""
    space = other(cluster)
    cluster.get("resourcequota", "quota")
    code, output = try_pod(space, BIG)
    assert code == 0, (
        f"expected that `{space.namespace}` takes a pod with 1 GiB of memory, "
        f"saw {output.strip()[:300]}\n{space.look('get quota,limitrange')}"
    )
