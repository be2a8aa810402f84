"""The checks: they judge what is there, and tell `not deployed` from `could not look`."""

import http.client
import importlib
import inspect
import itertools
import json
import re
import subprocess
import urllib.error
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from websocket import ABNF

from infra.workloads import api, checks, conftest
from infra.workloads.api import Api, CannotCheck
from infra.workloads.capstone.test_capstone import tells, uses
from infra.workloads.checks import Cluster, answering, eventually, ready
from infra.workloads.mnist.test_mnist import in_shape
from infra.workloads.namespace import test_namespace as namespace
from infra.workloads.rollout.test_rollout import end_one, first_probe, tidy

WORKLOADS = Path(checks.__file__).parent
EXERCISES = sorted(path.parent.name for path in WORKLOADS.glob("*/exercise.toml"))
Words = tuple[str, ...]
REFUSED = "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host"


def checks_of(name: str) -> list[Any]:
    """The check functions of an exercise."""
    module = importlib.import_module(f"infra.workloads.{name}.test_{name}")
    return [value for key, value in vars(module).items() if key.startswith("test_")]


CHECKS = [
    pytest.param(check, id=f"{name}-{check.__name__}")
    for name in EXERCISES
    for check in checks_of(name)
]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which every look at it takes five seconds, and sleeping none."""
    ticks = itertools.count(0.0, 5.0)
    fake = SimpleNamespace(monotonic=lambda: next(ticks), sleep=lambda seconds: None)
    monkeypatch.setattr(checks, "time", fake)


class Empty(Cluster):
    """A cluster that answers and has nothing in it."""

    def read(self, kind: str, name: str = "", selector: str = "") -> tuple[int, Any]:
        """What the API server says of objects that are not there."""
        if name:
            return 404, {"kind": "Status", "message": f'{kind} "{name}" not found'}
        return 200, {"items": []}

    def kubectl(self, *words: str, stdin: str = "", timeout: float = 20) -> tuple[int, str]:
        """What kubectl says of them."""
        return 1, f"Error from server (NotFound): {' '.join(words[:3])} not found"


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers: neither kubectl nor its proxy reaches the cluster."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[0] == "kubectl"
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=REFUSED)

    monkeypatch.setattr(checks.subprocess, "run", run)
    monkeypatch.setattr(checks, "server", lambda: answering_with(502, REFUSED))


class AnyKind(dict[str, tuple[str, str, bool]]):
    """Whatever is asked for, the API has it."""

    def __contains__(self, kind: object) -> bool:
        return True

    def __missing__(self, kind: str) -> tuple[str, str, bool]:
        return ("api/v1", kind, True)


def answering_with(status: int, body: str) -> Api:
    """The API behind a proxy that always gives this answer; its kinds are known already."""
    made = Api.__new__(Api)
    made.__dict__["kinds"] = AnyKind()
    made._connection = cast(
        Any,
        SimpleNamespace(
            request=lambda *_: None,
            getresponse=lambda: SimpleNamespace(status=status, read=body.encode),
            close=lambda: None,
        ),
    )
    return made


def call(check: Any, cluster: Cluster) -> None:
    """Run a check as pytest would, on this cluster and with a host that reaches nothing."""
    given: dict[str, Any] = {
        "cluster": cluster,
        "fetch": lambda url: (404, "404 page not found"),
        "machines": [],
        "http_address": "http://127.0.0.1:8080",
        "name": "coffee",
    }
    needed = inspect.signature(check).parameters
    if "ended" in needed:
        given["ended"] = end_one(cluster)
    check(**{key: given[key] for key in needed})


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_fails_where_nothing_is_deployed(check: Any) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:
        call(check, Empty("pod"))
    message = str(caught.value)
    assert message.startswith("expected ") and "\nlook: " in message


@pytest.mark.parametrize("check", CHECKS)
def test_no_check_blames_the_student_when_the_cluster_is_away(check: Any, away: None) -> None:
    with pytest.raises(CannotCheck):
        call(check, Cluster("pod"))


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_a_title_and_points(check: Any) -> None:
    assert check.__doc__ and not check.__doc__.endswith(".")
    marks = [mark for mark in check.pytestmark if mark.name == "points"]
    assert len(marks) == 1 and marks[0].args[0] > 0


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_three_hints_and_the_first_gives_nothing_away(check: Any) -> None:
    (mark,) = (mark for mark in check.pytestmark if mark.name == "hints")
    assert len(mark.args) == 3 and len(set(mark.args)) == 3
    first = mark.args[0]
    # What is to be written stands in backticks; a command that looks is no answer.
    assert not re.search(r"`[^`]*[:=/][^`]*`", first), first


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("docker.io/library/busybox:1.37", "busybox"),
        ("docker.io/library/busybox@sha256:9db7b5", "busybox"),
        ("public.ecr.aws/docker/library/busybox:1.37", "busybox"),
        ("registry.lab:5000/mine:latest", "registry.lab:5000/mine"),
        ("registry.lab:5000/busybox", "registry.lab:5000/busybox"),
        (
            "registry.lab:5000/docker/library/busybox:1",
            "registry.lab:5000/docker/library/busybox",
        ),
    ],
)
def test_short_name_of_an_image(image: str, expected: str) -> None:
    assert checks.short(image) == expected


@pytest.mark.parametrize(
    ("image", "identity", "seen"),
    [
        ("docker.io/library/busybox:1.37", "sha256:aa", None),
        ("registry.lab:5000/busybox:latest", "sha256:bb", "saw registry.lab:5000/busybox"),
        ("busybox:0.0.0", "", "saw no running container"),
    ],
)
def test_the_image_that_really_runs(
    monkeypatch: pytest.MonkeyPatch, image: str, identity: str, seen: str | None
) -> None:
    # A container beside it that runs the right one does not count.
    beside = {"name": "a", "image": "docker.io/library/busybox:1.37", "imageID": "sha256:aa"}
    mine = {"name": "main", "image": image, "imageID": identity}
    pod = {
        "metadata": {"name": "myapp-pod"},
        "spec": {"containers": [{"name": "main"}, {"name": "a"}]},
        "status": {"containerStatuses": [beside, mine]},
    }
    monkeypatch.setattr(Cluster, "read", lambda *_: (200, pod))
    if seen is None:
        Cluster("pod").expect_image(pod, "busybox")
        return
    with pytest.raises(pytest.fail.Exception, match=f"`busybox` in container `main` .*, {seen}"):
        Cluster("pod").expect_image(pod, "busybox")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("get pods", "look: kubectl get pods -n pod"),
        (
            "exec client -- wget -qO- http://x",
            "look: kubectl exec client -n pod -- wget -qO- http://x",
        ),
    ],
)
def test_the_command_that_shows_more_can_be_pasted(words: str, expected: str) -> None:
    assert Cluster("pod").look(words) == expected


@pytest.mark.parametrize("problem", [FileNotFoundError(), subprocess.TimeoutExpired("kubectl", 20)])
def test_kubectl_that_does_not_run_is_no_lost_point(
    monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise problem

    monkeypatch.setattr(checks.subprocess, "run", run)
    with pytest.raises(CannotCheck):
        Cluster("pod").kubectl("get", "pods")


def test_a_missing_object_fails_and_says_where_to_look() -> None:
    with pytest.raises(pytest.fail.Exception) as caught:
        Empty("pod").get("pod", "myapp-pod")
    assert "expected pod `myapp-pod` in namespace `pod`, saw none" in str(caught.value)
    assert "look: kubectl get pod" in str(caught.value)


@pytest.mark.parametrize("status", [403, 500])
def test_an_answer_that_is_none_is_no_lost_point(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    refusing = answering_with(status, json.dumps({"message": "you may not"}))
    monkeypatch.setattr(checks, "server", lambda: refusing)
    for look in (lambda: Cluster("pod").get("pod", "a"), lambda: Cluster("pod").list("pods")):
        with pytest.raises(CannotCheck, match="you may not"):
            look()


def test_a_list_leaves_out_what_is_being_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [{"metadata": {"name": "a"}}, {"metadata": {"name": "b", "deletionTimestamp": "now"}}]
    monkeypatch.setattr(checks, "server", lambda: answering_with(200, json.dumps({"items": items})))
    assert [item["metadata"]["name"] for item in Cluster("pod").list("pods")] == ["a"]


def test_where_objects_are() -> None:
    listing = {
        "resources": [
            {"name": "nodes", "kind": "Node", "shortNames": ["no"], "namespaced": False},
            {"name": "pods", "kind": "Pod", "shortNames": ["po"], "namespaced": True},
            {"name": "pods/log", "kind": "Pod", "namespaced": True},
        ]
    }
    known = answering_with(200, json.dumps(listing))
    del known.__dict__["kinds"]
    assert known.path("pods", "mine") == "/api/v1/namespaces/mine/pods"
    assert known.path("po", "mine", "a/b") == "/api/v1/namespaces/mine/pods/a%2Fb"
    assert known.path("pod", "mine", selector="app=x") == (
        "/api/v1/namespaces/mine/pods?labelSelector=app%3Dx"
    )
    assert known.path("node", "mine", "one") == "/api/v1/nodes/one"
    with pytest.raises(CannotCheck, match="knows no tree"):
        known.path("tree", "mine")


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, True),
        ({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, False),
        ({"status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}}, False),
        ({"status": {"phase": "Running"}}, False),
        ({}, False),
    ],
)
def test_ready(pod: checks.Object, expected: bool) -> None:
    assert ready(pod) is expected


def test_eventually_gives_the_first_good_answer_or_the_last() -> None:
    late = iter([0, 0, 7, 8])
    assert eventually(lambda: next(late)) == 7
    looks: list[int] = []
    assert eventually(lambda: looks.append(1), seconds=20) is None
    assert 1 < len(looks) < 10


@pytest.mark.parametrize(("code", "expected"), [(200, True), (404, False), (0, False)])
def test_answering(code: int, expected: bool) -> None:
    assert bool(answering(lambda url: (code, "body"), "http://127.0.0.1")) is expected


@pytest.mark.parametrize(("fixture", "given"), [("machines", []), ("http_address", [None])])
def test_a_fixture_without_its_environment_is_an_error(
    monkeypatch: pytest.MonkeyPatch, fixture: str, given: list[None]
) -> None:
    for name in ("LAB_MACHINES", "LAB_HTTP_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CannotCheck, match="lab-env"):
        getattr(conftest, fixture).__wrapped__(*given)


@pytest.mark.parametrize("starts", [True, False])
def test_an_ingress_may_have_to_start(monkeypatch: pytest.MonkeyPatch, starts: bool) -> None:
    """As after a restored snapshot: nodes are Ready a moment before Traefik listens."""
    monkeypatch.setenv("LAB_HTTP_PORT", "8080")
    address = vars(conftest)["http_address"].__wrapped__
    looks: list[str] = []

    def fetch(url: str) -> tuple[int, str]:
        looks.append(url)
        if starts and len(looks) > 2:
            return 404, ""
        raise CannotCheck("the lab's Ingress does not answer")

    if starts:
        assert address(fetch) == "http://127.0.0.1:8080"
        assert looks == ["http://127.0.0.1:8080/"] * 3
    else:
        with pytest.raises(CannotCheck, match="Ingress"):
            address(fetch)


def test_what_comes_and_goes_does_not_last(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(checks.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(checks.time, "sleep", lambda _: None)
    looks = iter([True, True, False])
    assert not checks.lasts(lambda: next(looks), seconds=5)
    assert checks.lasts(lambda: True, seconds=5)


def test_a_container_that_ends_does_not_run() -> None:
    """Its pod is Ready for a moment after each start."""
    looks = itertools.cycle(["True", "False"])

    def get(kind: str, name: str) -> checks.Object:
        return {"status": {"conditions": [{"type": "Ready", "status": next(looks)}]}}

    cluster = cast(Cluster, SimpleNamespace(get=get, look=lambda words: words))
    test_pod_runs, *_ = checks_of("pod")
    with pytest.raises(AssertionError, match="to stay so"):
        test_pod_runs(cluster)


EXIT_3 = {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}
NO_SHELL = {"status": "Failure", "message": "exec: no such file"}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([b"\x01", b"\x01one ", b"\x02two", b'\x03{"status": "Success"}'], (0, "one two")),
        ([b"\x02no", b"\x03" + json.dumps(EXIT_3).encode()], (3, "no")),
        ([b"\x03" + json.dumps(NO_SHELL).encode()], (1, "exec: no such file")),
        # Gone in the middle: nobody says how it ended.
        ([b"\x01half"], (1, "half")),
    ],
)
def test_what_a_command_in_a_container_says(
    messages: list[bytes], expected: tuple[int, str]
) -> None:
    frames = iter([*((ABNF.OPCODE_BINARY, one) for one in messages), (ABNF.OPCODE_CLOSE, b"")])
    connection = cast(Any, SimpleNamespace(recv_data=lambda: next(frames)))
    assert api._heard(connection) == expected


def test_a_command_in_a_pod_that_is_not_there() -> None:
    assert Empty("pod").run_in("client", "true") == (1, "there is no pod `client`")
    assert Empty("pod").logs("client") == ""


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({"port": 80, "targetPort": 9376}, (80, 9376)),
        ({"port": 80, "targetPort": "http"}, (80, 9376)),
        ({"port": 80, "targetPort": "https"}, (80, 0)),
        ({"port": 9376}, (9376, 9376)),
    ],
)
def test_where_a_services_port_leads(port: dict[str, Any], expected: tuple[int, int]) -> None:
    containers = [{"ports": [{"containerPort": 9376, "name": "http"}, {"containerPort": 1}]}, {}]
    assert checks.ports_of({"ports": [port]}, containers) == [expected]
    assert checks.ports_of({"type": "ExternalName"}, containers) == []


def test_where_volumes_are_mounted() -> None:
    """Kubernetes keeps a slash at the end, and it means nothing."""
    mounts = [{"mountPath": "/etc/settings/", "name": "a"}, {"mountPath": "/data", "name": "b"}]
    assert checks.mounts_of({"volumeMounts": mounts}) == {"/etc/settings": "a", "/data": "b"}
    assert checks.mounts_of({}) == {}


class Server(Cluster):
    """A namespace with a quota of five pods, whose API server answers so to a pod that is tried."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__("namespace")
        self.answer = code, said

    def kubectl(self, *words: str, stdin: str = "", timeout: float = 20) -> tuple[int, str]:
        return self.answer

    def get(self, kind: str, name: str) -> checks.Object:
        given = {"requests": namespace.REQUESTS, "limits": namespace.LIMITS}
        return {"spec": {"hard": {"pods": "5"}, "containers": [{"resources": given}]}}


def test_warnings_around_a_pod_that_is_tried() -> None:
    pod = json.dumps(Server(0, "").get("pod", "client"), indent=4)
    said = f"Warning: before\n{pod}\nWarning: would violate PodSecurity {{}}"
    namespace.test_defaults_are_given(Server(0, said))


@pytest.mark.parametrize(
    ("requested", "refuses"), [("pods=1,requests.memory=1Gi", True), ("pods=1", False)]
)
def test_a_quota_that_is_full_need_not_have_memory(requested: str, refuses: bool) -> None:
    server = Server(1, f"pods x is forbidden: exceeded quota: quota, requested: {requested}, used")
    if refuses:
        namespace.test_quota_refuses_too_much(server)
        return
    with pytest.raises(AssertionError, match="requested: pods=1"):
        namespace.test_quota_refuses_too_much(server)


class Slices(Cluster):
    """A Service with one endpoint, written by somebody, and one of a pod that is ending."""

    def __init__(self, address: str, by: str) -> None:
        super().__init__("one")
        self.address, self.by = address, by

    def list(self, kind: str, selector: str = "") -> list[checks.Object]:
        leaving = {"ready": False, "serving": True, "terminating": True}
        endpoints = [
            {"addresses": [self.address]},
            {"addresses": ["10.0.0.3"], "conditions": leaving},
        ]
        return [{"metadata": {"labels": {checks.MANAGED_BY: self.by}}, "endpoints": endpoints}]


@pytest.mark.parametrize(
    ("address", "by", "expected"),
    [
        ("10.0.0.1", checks.ENDPOINTS_BY_SELECTOR, True),
        ("10.0.0.2", checks.ENDPOINTS_BY_SELECTOR, False),
        # The right address, by hand: it stays when the pod has gone.
        ("10.0.0.1", "me", False),
    ],
)
def test_endpoints_by_selector(address: str, by: str, expected: bool) -> None:
    pods = [{"status": {"podIP": "10.0.0.1"}}]
    assert checks.selected(Slices(address, by), "web", pods) is expected


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (
            {"command": ["sh", "-c", 'echo "/admin:$(cat /login/user):$(cat /login/password)"']},
            False,
        ),
        ({"command": ["httpd", "-h", "/www"], "args": ["-p", "80"]}, False),
        ({"command": ["sh", "-c", 'echo "/admin:boss:admin" >/etc/httpd.conf']}, True),
        ({"args": ["PASSWORD=admin"]}, True),
        ({"args": ["printf '/admin:teacher:admin\\n'>/tmp/httpd.conf"]}, True),
        ({"args": ["(echo /admin:teacher:admin)>/tmp/httpd.conf"]}, True),
        ({"args": ["echo /admin:teacher:admin>/tmp/httpd.conf"]}, True),
        ({"args": ["wget http://teacher:admin@localhost/"]}, True),
        ({"env": [{"name": "PASSWORD", "value": "admin"}]}, True),
        ({"env": [{"name": "LOGIN", "value": "/admin:teacher:admin"}]}, True),
        ({"args": ["printf '/admin:%s:%s\\n' teacher admin > /tmp/httpd.conf"]}, True),
        ({"args": ['echo "/admin:teacher:$(httpd -m admin)" > /tmp/httpd.conf']}, True),
        ({"command": ["login", "teacher", "admin"]}, True),
        ({"command": ["sh", "-c", "set -- 'teacher' \"admin\"; echo /admin:$1:$2"]}, True),
        ({"args": ["mkdir -m 755 admin; echo a teacher of the admin"]}, False),
        ({"env": [{"name": "PLACE", "value": "/www/admin"}]}, False),
        ({"env": [{"name": "PASSWORD", "valueFrom": {}}]}, False),
    ],
)
def test_a_password_that_is_written_down(container: dict[str, Any], expected: bool) -> None:
    """It is an ordinary word, which is in paths and names as well."""
    assert tells(container, "teacher", "admin") is expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": [{}], "volumes": [{"name": "a", "secret": {"secretName": "admin"}}]}, True),
        (
            {
                "containers": [{}],
                "volumes": [{"projected": {"sources": [{"secret": {"name": "admin"}}]}}],
            },
            True,
        ),
        ({"containers": [{"envFrom": [{"secretRef": {"name": "admin"}}]}]}, True),
        (
            {
                "containers": [{}],
                "initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "admin"}}}]}],
            },
            True,
        ),
        # Another one's, and a ConfigMap of this name.
        ({"containers": [{}], "volumes": [{"configMap": {"name": "admin"}}]}, False),
        ({"containers": [{"envFrom": [{"secretRef": {"name": "other"}}]}]}, False),
        ({"containers": [{"env": [{"name": "PASSWORD", "value": "admin"}]}]}, False),
    ],
)
def test_a_secret_that_is_used(spec: dict[str, Any], expected: bool) -> None:
    assert uses(spec, "admin") is expected


def test_text_under_a_secrets_data_is_the_students_mistake() -> None:
    """Eight letters are base64 as well, of bytes that are no text."""
    secret = {"metadata": {"name": "admin"}, "data": {"good": "Y2hhbGsK", "bad": "admin123"}}
    assert checks.text_of(Cluster("capstone"), secret, "good") == "chalk"
    assert checks.text_of(Cluster("capstone"), secret, "none") == ""
    with pytest.raises(pytest.fail.Exception, match="`stringData` takes text"):
        checks.text_of(Cluster("capstone"), secret, "bad")


def test_a_path_of_an_ingress_may_be_left_out() -> None:
    backend = {"service": {"name": "web"}}
    ingress = {"spec": {"rules": [{"http": {"paths": [{"backend": backend}]}}]}}
    assert checks.paths_of(ingress) == {"": "web"}


@pytest.mark.parametrize(
    ("probe", "seconds"),
    [
        ({}, 30),
        ({"periodSeconds": 1}, 20),
        ({"initialDelaySeconds": 15, "periodSeconds": 10}, 45),
        # The check's pod lives for a minute.
        ({"initialDelaySeconds": 90}, 55),
    ],
)
def test_a_probe_that_begins_late_is_waited_for(probe: dict[str, int], seconds: float) -> None:
    assert first_probe({"spec": {"containers": [{"readinessProbe": probe}]}}) == seconds


def test_a_server_that_speaks_no_http_is_the_students(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: Any, **__: Any) -> None:
        raise http.client.BadStatusLine("Hello from hello-d-1")

    monkeypatch.setattr(conftest.urllib.request.OpenerDirector, "open", answer)
    code, text = cast(Any, conftest.fetch).__wrapped__()("http://10.1.2.3:8080/")
    assert (code, text) == (0, "Hello from hello-d-1")


@pytest.mark.parametrize("reason", [ConnectionRefusedError(), ConnectionResetError()])
def test_the_way_into_the_lab_is_no_students_fault(
    reason: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_HTTP_PORT", "8080")

    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError(reason)

    monkeypatch.setattr(conftest.urllib.request.OpenerDirector, "open", refuse)
    fetch = cast(Any, conftest.fetch).__wrapped__()
    with pytest.raises(CannotCheck, match="Ingress"):
        fetch("http://127.0.0.1:8080/tea/")
    # A Service's own address is the student's.
    assert fetch("http://10.1.2.3:8080/")[0] == 0


class Kept(Cluster):
    """A complete Deployment with these ReplicaSets; what is deleted is noted."""

    def __init__(self, *names: str) -> None:
        super().__init__("rollout")
        self.names, self.deleted = names, list[str]()

    def get(self, kind: str, name: str) -> checks.Object:
        counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 4)
        status = {**counts, "observedGeneration": 1}
        return {
            "metadata": {"uid": "web", "generation": 1},
            "spec": {"replicas": 4},
            "status": status,
        }

    def list(self, kind: str, selector: str = "") -> list[checks.Object]:
        owners = [{"uid": "web", "controller": True}]
        return [{"metadata": {"name": name, "ownerReferences": owners}} for name in self.names]

    def delete(self, kind: str, name: str, now: bool = False) -> None:
        self.deleted.append(name)


@pytest.mark.parametrize(
    ("left", "earlier", "deleted"),
    [
        (("old", "new"), set(), ["old"]),
        (("first", "old", "new"), {"first"}, ["old"]),
        # With a limit of one revision the restart took the place of the way back.
        (("old", "new"), {"first"}, []),
    ],
)
def test_the_way_back_stays(left: tuple[str, ...], earlier: set[str], deleted: list[str]) -> None:
    cluster = Kept(*left)
    tidy(cluster, {"metadata": {"name": "old"}}, earlier)
    assert cluster.deleted == deleted


GOOD_METRICS = {
    "options": {"lr": 1.0},
    "data": {"name": "MNIST"},
    "epochs": [{"accuracy": 0.97}],
    "steps": [[1, 2.3]],
}
NO_METRICS: dict[str, Any] = {"options": {}, "data": {}, "epochs": [], "steps": []}


@pytest.mark.parametrize(
    ("part", "given"),
    [
        ("options", None),
        ("options", ["lr"]),
        ("data", "MNIST"),
        ("epochs", 5),
        ("epochs", [0.97]),
        ("epochs", {"1": 0.9}),
        ("epochs", [{"accuracy": "97%"}]),
        ("steps", [0.1, 0.2]),
        ("steps", [[1, "x"]]),
    ],
)
def test_metrics_of_another_shape_are_none(part: str, given: Any) -> None:
    """What a student's own program writes is theirs to mend, and no error of the lab."""
    assert in_shape(GOOD_METRICS) == GOOD_METRICS
    assert in_shape(GOOD_METRICS | {part: given}) == GOOD_METRICS | {part: NO_METRICS[part]}
    assert in_shape({"complete": True}) == NO_METRICS | {"complete": True}
