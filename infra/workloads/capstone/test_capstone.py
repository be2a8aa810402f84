"""Checks of exercise `capstone`."""

import re
from collections.abc import Iterable
from urllib.parse import quote

import pytest

from infra.workloads.checks import (
    Cluster,
    Fetch,
    Object,
    eventually,
    paths_of,
    ready_pods,
    sources_of,
    successor,
    text_of,
)

# What may stand behind a password.
END = r"""($|[\s"';|&<>()@\\])"""


def office(cluster: Cluster) -> str:
    """The name of a ready pod of `admin`; fails when there is none."""
    pods = eventually(lambda: ready_pods(cluster, "deployment", "admin"))
    assert pods, f"expected a ready pod of `admin`, saw none\n{cluster.look('get pods')}"
    name: str = pods[0]["metadata"]["name"]
    return name


def login(cluster: Cluster) -> tuple[str, str]:
    """User and password as the Secret `admin` has them now."""
    secret = cluster.get("secret", "admin")
    return text_of(cluster, secret, "user"), text_of(cluster, secret, "password")


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
    shown = any(
        ("configMap", "shop") in sources_of(volume)
        for pod in ready_pods(cluster, "deployment", "shop")
        for volume in pod["spec"].get("volumes", [])
    )
    assert shown, (
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
    """The Secret's password opens the office, and is written nowhere else"""
    pod = office(cluster)
    seen = eventually(lambda: page(cluster, pod))
    assert seen, (
        "expected user and password of the Secret `admin` to open http://admin/admin/, "
        f"saw that they do not\n{cluster.look('describe deployment,service admin')}"
    )
    spec = cluster.get("deployment", "admin")["spec"]["template"]["spec"]
    assert uses(spec, "admin"), (
        "expected the pods of `admin` to have the Secret `admin` as files or variables, saw that "
        f"they do not\n{cluster.look('describe deployment admin')}"
    )
    user, password = login(cluster)
    containers = [*spec["containers"], *spec.get("initContainers", ())]
    places = {"Deployment": any(tells(container, user, password) for container in containers)}
    places |= {
        f"ConfigMap `{one['metadata']['name']}`": written(password, one.get("data", {}).values())
        for one in cluster.list("configmaps")
    }
    found = [place for place, there in places.items() if there]
    assert password and not found, (
        "expected the password in the Secret `admin` alone, saw "
        f"{'it in the ' + ' and the '.join(found) if password else 'that it is empty'}\n"
        f"{cluster.look('get deployment,configmaps -o yaml')}"
    )
    cluster.expect_image(cluster.get("pod", pod), "busybox")


def uses(spec: Object, secret: str) -> bool:
    """Whether a pod has a Secret, as files or as variables of a container."""
    variables = []
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        keys = [one.get("valueFrom", {}).get("secretKeyRef") for one in container.get("env", ())]
        wholes = [one.get("secretRef") for one in container.get("envFrom", ())]
        variables += [one["name"] for one in (*keys, *wholes) if one]
    files = [source for volume in spec.get("volumes", ()) for source in sources_of(volume)]
    return secret in variables or ("secret", secret) in files


def tells(container: Object, user: str, password: str) -> bool:
    """Whether a container has a password written down, for its program or in its environment."""
    values = [one.get("value", "") for one in container.get("env", ())]
    words = (*container.get("command", ()), *container.get("args", ()))
    return written(password, (*values, *words)) or given(user, password, words)


def given(user: str, password: str, command: Iterable[str]) -> bool:
    """Whether a command has a password as a word of its own, behind the user's name or behind
    `httpd -m`, which encrypts it."""
    before = "|".join(re.escape(word) for word in (user, "-m") if word)
    pair = rf"""(?<!\S)["']?({before})["']?\s+["']?{re.escape(password)}{END}"""
    return re.search(pair, " ".join(command)) is not None


def written(password: str, texts: Iterable[str]) -> bool:
    """Whether one of these texts has a password in it.

    The word may be an ordinary one: it is a password where it stands alone, or behind a colon.
    """
    alone = re.compile(rf"(^|[:=\"'])\s*{re.escape(password)}{END}", re.MULTILINE)
    return any(alone.search(text) for text in texts)


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
