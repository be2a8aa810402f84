"""The exercises' programs with Pulumi's mocks: their objects and exports."""

import ast
import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import mocks

from infra import __main__ as entry
from lab.exercises import catalogue

ROOT = Path(__file__).parents[3]
WORKLOADS = ROOT / "infra" / "workloads"
EXERCISES = sorted(path.parent.name.replace("_", "-") for path in WORKLOADS.glob("*/program.py"))
Object = dict[str, Any]
# Kinds without a namespace. Their names begin with the exercise's, so that they are unique.
CLUSTER_WIDE = ("Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding")
# The key by which Pulumi marks a secret.
SECRET = "4dabf18193072939515e22adb298388d"
# Values that a cluster adds to the inputs, by kind and name, for programs that export them.
CHOSEN: dict[tuple[str, str], Object] = {
    ("Pod", "myapp-pod"): {"nodeName": "worker-1"},
    ("Pod", "packed"): {"nodeName": "worker-1"},
    ("Service", "my-service"): {"clusterIP": "10.96.0.7"},
    ("Service", "web"): {"clusterIP": "10.96.0.8"},
    ("Service", "my-service-nodeport"): {
        "ports": [{"protocol": "TCP", "port": 80, "targetPort": 9376, "nodePort": 30123}]
    },
}


class Recorder(mocks.Mocks):
    """Records every resource; returns its inputs, and the cluster's values if `live`."""

    def __init__(self, live: bool) -> None:
        self.live = live
        self.seen: list[Object] = []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, Object]:
        """The id of a resource and its outputs."""
        inputs: Object = args.inputs
        self.seen.append(inputs)
        if not self.live:
            return args.name, inputs
        spec = inputs.get("spec", {}) | CHOSEN.get((inputs["kind"], args.name), {})
        status = {"loadBalancer": {"ingress": [{"ip": "192.168.56.200"}]}}
        return args.name, inputs | {"spec": spec, "status": status}

    def call(self, args: mocks.MockCallArgs) -> tuple[Object, None]:
        """No program calls a function of a provider."""
        raise AssertionError(args.token)


Run = Callable[..., tuple[list[Object], Object]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run an exercise's program; return its objects and its exports."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def running(name: str, live: bool = False, **settings: str) -> tuple[list[Object], Object]:
        recorder = Recorder(live)
        mocks.set_mocks(recorder, project="lecture-lab", stack=name)
        pulumi.runtime.set_all_config({f"lecture-lab:{key}": settings[key] for key in settings})
        exported: Object = {}
        values: Object = {}
        monkeypatch.setattr(pulumi, "export", exported.__setitem__)

        @pulumi.runtime.test
        def program() -> pulumi.Output[None]:
            entry.deploy(name)
            return pulumi.Output.all(**exported).apply(values.update)

        program()
        return recorder.seen, values

    yield running
    pulumi.runtime.set_all_config({})
    loop.close()


def plain(value: Any) -> Any:
    """A value with whole numbers as int, which Pulumi passes as float, and unpacked secrets."""
    if isinstance(value, dict):
        if SECRET in value:
            return plain(value["value"])
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def by_name(objects: list[Object]) -> dict[tuple[str, str, str], Object]:
    """Objects by kind, namespace and name, without Pulumi's own annotations."""
    found = {}
    for item in objects:
        metadata = item["metadata"]
        key = item["kind"], metadata.get("namespace", ""), metadata["name"]
        found[key] = plain(item)
    for item in found.values():
        notes = item["metadata"].pop("annotations", {})
        if kept := {key: notes[key] for key in notes if not key.startswith("pulumi.com/")}:
            item["metadata"]["annotations"] = kept
    return found


def folder(name: str) -> Path:
    """An exercise's folder, which has no dashes since it is a Python package."""
    return WORKLOADS / name.replace("-", "_")


def manifests(name: str) -> list[Object]:
    """The documents of an exercise's manifests."""
    files = sorted((folder(name) / "manifests").glob("*.yaml"))
    return [document for path in files for document in yaml.safe_load_all(path.read_text())]


@pytest.mark.parametrize("name", EXERCISES)
def test_program_and_manifests_are_the_same_objects(run: Run, name: str) -> None:
    made, _ = run(name)
    wanted = by_name(manifests(name))
    assert by_name(made) == wanted
    assert len(made) == len(wanted)


@pytest.mark.parametrize("name", EXERCISES)
def test_objects_are_in_the_exercises_namespaces(run: Run, name: str) -> None:
    made, _ = run(name)
    spaces = {item["metadata"]["name"] for item in made if item["kind"] == "Namespace"}
    assert name in spaces and all(space == name or space.startswith(f"{name}-") for space in spaces)
    for item in made:
        metadata = item["metadata"]
        if item["kind"] in CLUSTER_WIDE:
            assert metadata["name"] == name or metadata["name"].startswith(f"{name}-")
        else:
            assert metadata.get("namespace") in spaces


@pytest.mark.parametrize("name", EXERCISES)
def test_a_preview_works_without_the_clusters_values(run: Run, name: str) -> None:
    """A preview of a new stack once raised KeyError for values that the cluster chooses."""
    _, exported = run(name)
    assert exported


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pod", {"pod": "myapp-pod", "node": "worker-1"}),
        ("replicaset", {"replicaset": "myapp-rs", "replicas": 3}),
        ("deployment", {"deployment": "hello-deployment", "message": "Hello Kubernetes!"}),
        (
            "service",
            {"cluster_ip": "10.96.0.7", "node_port": 30123, "load_balancer": "192.168.56.200"},
        ),
        ("ingress", {"paths": ["/coffee/", "/tea/"]}),
        ("multi-container-pod", {"pod": "web-and-writer", "containers": ["web", "writer"]}),
        ("volumes", {"claims": ["diary", "host"], "volume": "volumes-host"}),
        ("namespace", {"own": "http://web", "other": "http://web.namespace-other"}),
        ("capstone", {"paths": ["/shop/", "/admin/"]}),
        ("daemonset", {"daemonset": "hello-ds", "message": "Hello from"}),
        ("statefulset", {"names": ["web-0.web", "web-1.web"]}),
        ("job", {"pieces": 4, "schedule": "*/5 * * * *"}),
        ("scheduling", {"scheduler": "scheduling-packer", "packed_on": "worker-1"}),
        ("machinery", {"deployment": "web", "cluster_ip": "10.96.0.8"}),
        ("orchestrators", {"copies": 2, "text": "v1", "patience": 5}),
        ("rollout", {"deployment": "web", "version": "1", "image": "nginx:1.26"}),
    ],
)
def test_a_program_exports_its_values(run: Run, name: str, expected: Object) -> None:
    assert plain(run(name, live=True)[1]) == expected


def test_another_message_changes_only_the_pods(run: Run) -> None:
    first = by_name(run("deployment")[0])
    second = by_name(run("deployment", message="Hello Kubernetes! I am updated!!")[0])
    key = ("Deployment", "deployment", "hello-deployment")
    containers = second[key]["spec"]["template"]["spec"]["containers"]
    assert containers[0]["command"][2] == "echo Hello Kubernetes! I am updated!! && sleep 3600"
    containers[0]["command"] = ["sh", "-c", "echo Hello Kubernetes! && sleep 3600"]
    assert first == second


@pytest.mark.parametrize(
    ("key", "value", "place", "expected"),
    [
        ("version", "2", "template/spec/containers/0/env/0/value", "2"),
        ("tag", "1.62", "template/spec/containers/0/image", "nginx:1.62"),
        ("readiness", "false", "template/spec/containers/0/readinessProbe", None),
        ("drain", "0", "template/spec/containers/0/lifecycle", None),
        ("drain", "3", "template/spec/containers/0/lifecycle/preStop/exec/command/1", "3"),
        ("unavailable", "2", "strategy/rollingUpdate/maxUnavailable", 2),
        ("strategy", "Recreate", "strategy", {"type": "Recreate"}),
    ],
)
def test_settings_change_the_rollout(
    run: Run, key: str, value: str, place: str, expected: object
) -> None:
    found = by_name(run("rollout", **{key: value})[0])[("Deployment", "rollout", "web")]["spec"]
    for part in place.split("/"):
        found = found[int(part)] if isinstance(found, list) else found.get(part)
    assert found == expected


def test_every_exercise_has_a_program_and_the_cluster_too() -> None:
    assert set(entry.programs()) == {"cluster", *(e.name for e in catalogue.discover(ROOT))}


def test_an_unknown_stack_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(pulumi.RunError) as caught:
        entry.deploy("nginx")
    message = str(caught.value)
    assert message.count("\n") == 0
    assert all(name in message for name in ("`nginx`", "cluster", *EXERCISES))


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_is_complete(name: str) -> None:
    checks = f"test_{folder(name).name}.py"
    needed = ["README.md", "exercise.toml", "program.py", checks, "manifests", "mutants.toml"]
    assert [item for item in needed if not (folder(name) / item).exists()] == []


def imports(path: Path) -> set[str]:
    """The modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_infra_never_imports_lab() -> None:
    for path in (ROOT / "infra").rglob("*.py"):
        assert not {name for name in imports(path) if name.split(".")[0] == "lab"}, path


@pytest.mark.parametrize("name", EXERCISES)
def test_exercises_do_not_import_each_other(name: str) -> None:
    others = tuple(f"infra.workloads.{folder(other).name}" for other in EXERCISES if other != name)
    for path in folder(name).glob("*.py"):
        assert not {item for item in imports(path) if item.startswith(others)}, path


@pytest.mark.parametrize("name", EXERCISES)
def test_readme_has_the_same_parts_and_its_own_names(name: str) -> None:
    text = (folder(name) / "README.md").read_text()
    exercise = catalogue.find(ROOT, name)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings[0] == f"# {exercise.title}"
    wanted = ["The point", "What you should see", "What was corrected", "Clean up"]
    assert [part for part in wanted if f"## {part}" not in headings] == []
    assert exercise.slide in text
    for command in (
        f"pulumi up --stack {name}",
        f"invoke check {name}",
        f"invoke exercise-down {name}",
        f"kubectl apply -f infra/workloads/{folder(name).name}/manifests/",
    ):
        assert command in text
    assert set(re.findall(r"--stack ([a-z-]+)", text)) == {name}
    assert set(re.findall(r"\binvoke ([a-z-]+)", text)) <= {
        task.replace("_", "-") for task in tasks_defined()
    }


def tasks_defined() -> set[str]:
    """The functions of tasks.py, read without importing it."""
    tree = ast.parse((ROOT / "tasks.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


REFUSED = "The connection to the server 127.0.0.1:6443 was refused - is it the right host?\n"
BUSY = "[+]ping ok\n[-]etcd-readiness failed: reason withheld\nreadyz check failed\n"


@pytest.mark.parametrize(
    ("slowness", "said", "questions"), [("1", REFUSED, 1), ("1", BUSY, 3), ("6", REFUSED, 3)]
)
def test_a_busy_cluster_is_retried(
    monkeypatch: pytest.MonkeyPatch, slowness: str, said: str, questions: int
) -> None:
    """It answers the third request. A refused connection fails at once, unless it is slow."""
    asked = answers(monkeypatch, slowness, said, fails=2)
    with pytest.raises(pulumi.RunError) if questions == 1 else nullcontext():
        entry.need_cluster()
    assert len(asked) == questions


def test_a_cluster_that_stays_busy_times_out_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answers(monkeypatch, "1", BUSY, fails=100)
    with pytest.raises(pulumi.RunError, match=r"\[-\]etcd-readiness failed.*next: invoke lab-up"):
        entry.need_cluster()
    assert len(asked) == 3  # half a minute of this clock


def answers(monkeypatch: pytest.MonkeyPatch, slowness: str, said: str, fails: int) -> list[str]:
    """A cluster whose first `fails` requests fail with kubectl's error `said`, after 10 s each."""
    for name, value in {
        "KUBECONFIG": "k",
        "LAB_API_ADDRESS": "a",
        "LAB_SLOWNESS": slowness,
    }.items():
        monkeypatch.setenv(name, value)
    asked: list[str] = []

    def run(*words: Any, **options: Any) -> SimpleNamespace:
        asked.append(said)
        failed = len(asked) <= fails
        return SimpleNamespace(returncode=int(failed), stderr=said if failed else "")

    monkeypatch.setattr(entry, "subprocess", SimpleNamespace(run=run))
    clock = SimpleNamespace(monotonic=lambda: 10.0 * len(asked), sleep=lambda seconds: None)
    monkeypatch.setattr(entry, "time", clock)
    return asked
