"""The YAML under infra/: references between objects, and images that every lab has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import images, manifests
from lab.exercises import catalogue
from lab.images.catalogue import CLUSTER_IMAGES, STUDENT_IMAGES
from lab.toolchain.lock import read_lock

ROOT = Path(__file__).parents[3]
Object = dict[str, Any]
# Files that are applied together: the baseline, and the manifests of each exercise.
SETS = {"cluster": ROOT / "infra" / "cluster"} | {
    path.parent.name: path for path in sorted((ROOT / "infra" / "workloads").glob("*/manifests"))
}
KINDS_WITH_PODS = ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet")


def texts(name: str) -> list[str]:
    """The files of a set."""
    return [path.read_text() for path in sorted(SETS[name].glob("*.yaml"))]


def objects(name: str) -> list[Object]:
    """The documents of all files of a set."""
    return [document for text in texts(name) for document in yaml.safe_load_all(text)]


def namespace(item: Object) -> str:
    """The namespace of an object; empty for one of the whole cluster."""
    return str(item["metadata"].get("namespace", ""))


def pods(name: str) -> Iterator[tuple[str, Object]]:
    """Namespace and pod, or pod template, of every object with pods."""
    for item in objects(name):
        if item["kind"] == "Pod":
            yield namespace(item), item
        elif item["kind"] in (*KINDS_WITH_PODS, "Job"):
            yield namespace(item), item["spec"]["template"]


@pytest.mark.parametrize("name", SETS)
def test_every_object_is_unique(name: str) -> None:
    keys = [(item["kind"], namespace(item), item["metadata"]["name"]) for item in objects(name)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", SETS)
def test_the_files_create_their_namespaces(name: str) -> None:
    found = objects(name)
    made = {item["metadata"]["name"] for item in found if item["kind"] == "Namespace"}
    assert {namespace(item) for item in found} <= made | {"", "kube-system"}


@pytest.mark.parametrize("name", SETS)
def test_images_are_in_every_node(name: str) -> None:
    versions = {tool: item.version for tool, item in locked().items()}
    known = {image.reference(versions) for image in (*CLUSTER_IMAGES, *STUDENT_IMAGES)}
    known |= {reference.removeprefix("docker.io/library/") for reference in known}
    # An exercise's own image must exist before its deployment.
    known |= {item.image for item in catalogue.discover(ROOT) if item.folder == SETS[name].parent}
    # The text is searched, since local-path's helper pod is YAML inside of YAML.
    used = {image for text in texts(name) for image in re.findall(r"\bimage: (\S+)", text)}
    assert used - known == set()


def locked() -> Any:
    """The lock file's tools."""
    return read_lock(ROOT / "toolchain" / "lock.toml", "linux-amd64")


def test_exercises_images_are_the_labs_student_images() -> None:
    references = {image.name.removeprefix("docker.io/library/") for image in STUDENT_IMAGES}
    assert {images.BUSYBOX, images.NGINX} <= references


@pytest.mark.parametrize("name", SETS)
def test_selectors_match_their_templates(name: str) -> None:
    for item in objects(name):
        if item["kind"] in KINDS_WITH_PODS:
            labels = item["spec"]["template"]["metadata"]["labels"]
            assert item["spec"]["selector"]["matchLabels"].items() <= labels.items(), item


@pytest.mark.parametrize("name", SETS)
def test_services_have_a_declared_target_port(name: str) -> None:
    """The target of the lecture's service is 9376, where none of its pods listens."""
    for item in objects(name):
        if item["kind"] != "Service":
            continue
        selector = item["spec"]["selector"].items()
        behind = [
            pod["spec"]["containers"]
            for where, pod in pods(name)
            if where == namespace(item)
            and selector <= pod.get("metadata", {}).get("labels", {}).items()
        ]
        assert behind, f"no pods behind {item['metadata']['name']}"
        for containers in behind:
            ports = [port for container in containers for port in container.get("ports", [])]
            declared = {port.get("name") for port in ports} | {p["containerPort"] for p in ports}
            assert {port["targetPort"] for port in item["spec"]["ports"]} <= declared, item


@pytest.mark.parametrize("name", SETS)
def test_backends_of_ingresses_are_services(name: str) -> None:
    services = {
        (item["metadata"]["name"], port["port"])
        for item in objects(name)
        if item["kind"] == "Service"
        for port in item["spec"]["ports"]
    }
    for item in objects(name):
        if item["kind"] == "Ingress":
            for rule in item["spec"]["rules"]:
                for path in rule["http"]["paths"]:
                    backend = path["backend"]["service"]
                    assert (backend["name"], backend["port"]["number"]) in services


def test_bindings_refer_to_existing_roles_and_accounts() -> None:
    found = objects("cluster")
    there = {(item["kind"], namespace(item), item["metadata"]["name"]) for item in found}
    builtin = {"system:auth-delegator", "extension-apiserver-authentication-reader"}
    for item in found:
        if not item["kind"].endswith("RoleBinding"):
            continue
        role = item["roleRef"]
        where = namespace(item) if role["kind"] == "Role" else ""
        assert role["name"] in builtin or (role["kind"], where, role["name"]) in there, item
        for subject in item["subjects"]:
            assert ("ServiceAccount", subject["namespace"], subject["name"]) in there, item
    for where, pod in pods("cluster"):
        assert ("ServiceAccount", where, pod["spec"]["serviceAccountName"]) in there


@pytest.mark.parametrize(
    ("kind", "annotation"),
    [
        ("StorageClass", "storageclass.kubernetes.io/is-default-class"),
        ("IngressClass", "ingressclass.kubernetes.io/is-default-class"),
    ],
)
def test_there_is_one_default(kind: str, annotation: str) -> None:
    annotations = [i["metadata"]["annotations"] for i in objects("cluster") if i["kind"] == kind]
    assert [found.get(annotation) for found in annotations] == ["true"]


def test_addons_request_few_resources() -> None:
    """A student's laptop may have only two cores."""
    requests = [
        container["resources"]["requests"]
        for _, pod in pods("cluster")
        for container in pod["spec"]["containers"]
    ]
    assert sum(int(request["cpu"].removesuffix("m")) for request in requests) <= 200
    assert sum(int(request["memory"].removesuffix("Mi")) for request in requests) <= 400


@pytest.mark.parametrize(
    ("version", "kind", "expected"),
    [
        ("v1", "Namespace", "kubernetes:core/v1:Namespace"),
        ("apps/v1", "Deployment", "kubernetes:apps/v1:Deployment"),
        ("metallb.io/v1beta1", "IPAddressPool", "kubernetes:metallb.io/v1beta1:IPAddressPool"),
    ],
)
def test_a_token_names_version_and_kind(version: str, kind: str, expected: str) -> None:
    assert manifests.token({"apiVersion": version, "kind": kind}) == expected


def test_documents_fill_in_values(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text('# a comment without an object\n---\nspec: ["@POOL@"]\n---\nname: second\n')
    first, second = manifests.documents(path, {"POOL": "192.168.56.200-192.168.56.239"})
    assert first == {"spec": ["192.168.56.200-192.168.56.239"]}
    assert second == {"name": "second"}
