"""Checks of exercise `capstone`."""

import base64
import re
from urllib.parse import quote

import pytest

from infra.workloads.checks import (
    Cluster,
    Fetch,
    Object,
    eventually,
    paths_of,
    ready_pods,
    successor,
)


def office(cluster: Cluster) -> str:
    """The name of a ready pod of `admin`; fails when there is none."""
    pods = eventually(lambda: ready_pods(cluster, "deployment", "admin"))
    assert pods, f"expected a ready pod of `admin`, saw none\n{cluster.look('get pods')}"
    name: str = pods[0]["metadata"]["name"]
    return name


def login(cluster: Cluster) -> tuple[str, str]:
    """User and password as the Secret `admin` has them now."""
    data = cluster.get("secret", "admin").get("data", {})
    user, password = (base64.b64decode(data.get(key, "")).decode() for key in ("user", "password"))
    return user.strip(), password.strip()


def page(cluster: Cluster, pod: str) -> str | None:
    """The office's page by the Service's name, for who knows the password."""
    user, password = (quote(word, safe="") for word in login(cluster))
    url = f"http://{user}:{password}@admin/admin/"
    code, output = cluster.run_in(pod, "wget", "-qO-", "-T", "3", url)
    return None if code else output


@pytest.mark.points(1)
@pytest.mark.hints(
    "One address for the whole site, and a table of what is behind it.",
    "`kubectl describe ingress site` shows each path with its backend.",
    "Two `paths` of type Prefix: /shop to the service `shop`, /admin to the service `admin`.",
)
def test_paths_lead_to_services(cluster: Cluster) -> None:
    """The Ingress maps /shop and /admin to the services of these names"""
    paths = paths_of(cluster.get("ingress", "site"))
    assert paths == {"/shop": "shop", "/admin": "admin"}, (
        f"expected /shop and /admin to lead to their services, saw {paths}\n"
        f"{cluster.look('describe ingress site')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "A shop should be open even when one of its pods is gone.",
    "`kubectl get deployments` shows how many are wanted, and how many are ready.",
    "`replicas: 2` in the Deployment `shop`, of `image: nginx:1.26`.",
)
def test_shop_runs_twice(cluster: Cluster) -> None:
    """Two pods of the shop, or more, are ready"""
    eventually(lambda: len(ready_pods(cluster, "deployment", "shop")) >= 2)
    pods = ready_pods(cluster, "deployment", "shop")
    assert len(pods) >= 2, (
        f"expected 2 ready pods of `shop`, saw {len(pods)}\n{cluster.look('get deployments,pods')}"
    )
    for pod in pods:
        cluster.expect_image(pod, "nginx")


@pytest.mark.points(2)
@pytest.mark.hints(
    "A ConfigMap can be a folder of pages.",
    "Look at the folder in a pod: nginx serves what is below /usr/share/nginx/html.",
    "Mount the ConfigMap `shop`, whose key is `index.html`, at /usr/share/nginx/html/shop.",
)
def test_shop_shows_the_configmaps_page(cluster: Cluster, fetch: Fetch, http_address: str) -> None:
    """On the host, /shop/ answers with the page in the ConfigMap"""
    wanted = cluster.get("configmap", "shop").get("data", {}).get("index.html", "").strip()
    url = f"{http_address}/shop/"

    def same() -> bool:
        code, body = fetch(url)
        return (code, body.strip()) == (200, wanted)

    eventually(same)
    code, body = fetch(url)
    assert wanted and (code, body.strip()) == (200, wanted), (
        f"expected {wanted!r} from {url}, saw {code} {body[:200]!r}\nlook: curl -v {url}"
    )
    sources = [
        volume.get("configMap", {}).get("name")
        for pod in ready_pods(cluster, "deployment", "shop")
        for volume in pod["spec"]["volumes"]
    ]
    assert "shop" in sources, (
        "expected the pods of `shop` to mount the ConfigMap `shop`, saw that they do not\n"
        f"{cluster.look('describe deployment shop')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "Not everything on a site is for everybody.",
    "401 means that a password is asked for; 404 and 503 come from the way there.",
    "`httpd` with `-c` and a file that has one line, /admin:USER:PASSWORD.",
)
def test_office_asks_for_a_password(cluster: Cluster, fetch: Fetch, http_address: str) -> None:
    """On the host, /admin/ is refused to who has no password"""
    cluster.get("service", "admin")
    url = f"{http_address}/admin/"
    eventually(lambda: fetch(url)[0] == 401)
    code, body = fetch(url)
    assert code == 401, f"expected 401 from {url}, saw {code} {body[:200]!r}\nlook: curl -v {url}"


@pytest.mark.points(2)
@pytest.mark.hints(
    "A password belongs into an object made for it, and nowhere else.",
    "A volume of the Secret has one file for each key.",
    "Mount the Secret `admin` at /login; the command reads /login/user and /login/password.",
)
def test_secret_opens_the_office(cluster: Cluster) -> None:
    """The Secret's password opens the office, and is written in no Deployment"""
    pod = office(cluster)
    seen = eventually(lambda: page(cluster, pod))
    assert seen, (
        "expected user and password of the Secret `admin` to open http://admin/admin/, "
        f"saw that they do not\n{cluster.look('describe deployment,service admin')}"
    )
    containers = cluster.get("deployment", "admin")["spec"]["template"]["spec"]["containers"]
    password = login(cluster)[1]
    assert password and not any(tells(container, password) for container in containers), (
        "expected the password in the Secret `admin` alone, saw it in the Deployment\n"
        f"{cluster.look('get deployment admin -o yaml')}"
    )
    cluster.expect_image(cluster.get("pod", pod), "busybox")


def tells(container: Object, password: str) -> bool:
    """Whether a container has a password written down, for its program or in its environment."""
    words = [*container.get("command", ()), *container.get("args", ())]
    values = [one.get("value") for one in container.get("env", ())]
    # The word may be an ordinary one: it is a password where it stands alone, or behind a colon.
    alone = re.compile(rf"(^|[:=\"'])\s*{re.escape(password)}($|[\s\"';|&])", re.MULTILINE)
    return password in values or any(alone.search(word) for word in words)


@pytest.mark.points(3)
@pytest.mark.hints(
    "The office's page must not end with its pod.",
    "Delete the pod of `admin`: who opened the office, says the page of the next one?",
    "The claim `admin`, mounted at /www/admin, and a command that appends with `>>`.",
)
def test_office_remembers(cluster: Cluster) -> None:
    """What the office wrote is there after its pod was replaced"""
    claim = cluster.get("persistentvolumeclaim", "admin")
    assert claim["status"]["phase"] == "Bound", (
        f"expected the claim `admin` to be Bound, saw {claim['status']['phase']}\n"
        f"{cluster.look('describe persistentvolumeclaim admin')}"
    )
    old = office(cluster)
    cluster.delete("pod", old, now=True)

    new = eventually(lambda: successor(cluster, "admin", old), 60)
    assert new, f"expected a new pod in place of `{old}`, saw none\n{cluster.look('get pods')}"
    seen = eventually(lambda: page(cluster, new)) or ""
    assert old in seen and new in seen, (
        f"expected the page to name both `{old}` and `{new}`, saw {seen[-300:]!r}\n"
        f"{cluster.look('describe deployment admin')}"
    )
