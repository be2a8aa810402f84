"""Checks of exercise `ingress`."""

import pytest

from infra.workloads.checks import Cluster, Fetch, answering, eventually, paths_of, ready, selected


@pytest.mark.points(1)
@pytest.mark.hints(
    "An Ingress has rules: a path of the URL, and what is behind it.",
    "`kubectl describe ingress menu` shows each path with its backend.",
    "Two `paths` of type Prefix: /coffee to the service `coffee`, /tea to the service `tea`.",
)
def test_paths_lead_to_services(cluster: Cluster) -> None:
    """The Ingress maps /coffee and /tea to the services of these names"""
    paths = paths_of(cluster.get("ingress", "menu"))
    assert paths == {"/coffee": "coffee", "/tea": "tea"}, (
        f"expected /coffee and /tea to lead to their services, saw {paths}\n"
        f"{cluster.look('describe ingress menu')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A request goes from the Ingress to a Service to a pod: look where it ends.",
    "503 means a Service without endpoints, 404 a path that no rule or no page is for.",
    "The pods serve `/NAME/` on port 80, their label is `app: NAME`, the Service selects it.",
)
@pytest.mark.parametrize("name", ["coffee", "tea"])
def test_path_answers(cluster: Cluster, fetch: Fetch, http_address: str, name: str) -> None:
    """The path answers on the host, from its own service"""
    selector = cluster.get("service", name)["spec"].get("selector", {})
    url = f"{http_address}/{name}/"
    code, body = eventually(lambda: answering(fetch, url)) or fetch(url)
    assert (code, body.strip()) == (200, f"This is {name}"), (
        f"expected `This is {name}` from {url}, saw {code} {body[:200]!r}\nlook: curl -v {url}"
    )
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    pods = cluster.list("pods", labels) if labels else []
    assert pods, (
        f"expected the Service `{name}` to find its pods by a selector, saw none\n"
        f"{cluster.look(f'describe service {name}')}"
    )
    for pod in pods:
        cluster.expect_image(pod, "nginx")

    def agree() -> bool:
        return selected(cluster, name, filter(ready, cluster.list("pods", labels)))

    assert eventually(agree), (
        f"expected the endpoints of `{name}` to be the ready pods that its selector finds\n"
        f"{cluster.look('get endpointslices,pods -o wide --show-labels')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "An Ingress need not have an answer for everything.",
    "Look for a rule or a default backend that takes every path.",
    "No path `/`, and no `defaultBackend`.",
)
def test_other_paths_do_not(cluster: Cluster, fetch: Fetch, http_address: str) -> None:
    """A path that no rule names is not found"""
    cluster.get("ingress", "menu")
    code, _ = fetch(f"{http_address}/water/")
    assert code == 404, (
        f"expected 404 from {http_address}/water/, saw {code}\n"
        f"{cluster.look('describe ingress menu')}"
    )
