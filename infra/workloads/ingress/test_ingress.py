"""Checks of exercise `ingress`."""

import pytest

from infra.workloads.checks import Cluster, Fetch, answering, eventually

NAMESPACE = "ingress"


@pytest.mark.points(1)
def test_paths_lead_to_services(cluster: Cluster) -> None:
    """The Ingress maps /coffee and /tea to the services of these names"""
    rules = cluster.get("ingress", "menu", NAMESPACE)["spec"].get("rules", [])
    paths = {
        path["path"].rstrip("/"): path["backend"]["service"]["name"]
        for rule in rules
        for path in rule.get("http", {}).get("paths", [])
    }
    assert paths == {"/coffee": "coffee", "/tea": "tea"}, (
        f"expected /coffee and /tea to lead to their services, saw {paths}\n"
        "look: kubectl describe ingress menu -n ingress"
    )


@pytest.mark.points(2)
@pytest.mark.parametrize("name", ["coffee", "tea"])
def test_path_answers(cluster: Cluster, fetch: Fetch, http_address: str, name: str) -> None:
    """The path answers on the host, from its own service"""
    cluster.get("service", name, NAMESPACE)
    url = f"{http_address}/{name}/"

    code, body = eventually(lambda: answering(fetch, url)) or fetch(url)
    assert (code, body.strip()) == (200, f"This is {name}"), (
        f"expected `This is {name}` from {url}, saw {code} {body[:200]!r}\nlook: curl -v {url}"
    )


@pytest.mark.points(1)
def test_other_paths_do_not(cluster: Cluster, fetch: Fetch, http_address: str) -> None:
    """A path that no rule names is not found"""
    cluster.get("ingress", "menu", NAMESPACE)
    code, _ = fetch(f"{http_address}/water/")
    assert code == 404, (
        f"expected 404 from {http_address}/water/, saw {code}\n"
        "look: kubectl describe ingress menu -n ingress"
    )
