"""The conformance list: what each item makes of what a cluster says, and how an answer is told."""

from __future__ import annotations

import io
import json
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import conformance
from lab.cluster import objects, registry
from lab.cluster.client import Cluster, cluster_of
from lab.config import Lab
from lab.conformance import Conformance, Outcome, items, probe
from lab.conformance.items import ITEMS, Item, Scene
from lab.errors import ChecksFailed, CommandError, ResourceError
from lab.lifecycle.opened import Opened
from lab.output import Status
from tests.unit.conftest import Scripted
from tests.unit.test_docs import ROOT, rows

DIGEST = "sha256:ab"


def node(name: str, address: str, ready: str = "True", **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "annotations": {"flannel.alpha.coreos.com/public-ip": address, **annotations},
        },
        "spec": {"podCIDR": "10.244.1.0/24"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": ready}],
            "nodeInfo": {"kubeletVersion": "v1.35.4"},
        },
    }


def pod(name: str, machine: str, address: str = "10.244.1.2") -> dict[str, Any]:
    image = f"registry.lab:5000/library/busybox@{DIGEST}"
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": machine},
        "status": {
            "podIP": address,
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "web", "imageID": image},
                {"name": "hub", "imageID": image},
            ],
        },
    }


class Told(Scripted):
    """A machine that answers every command with one text."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name)
        self.text = text

    def answer(self, argv: Sequence[str]) -> str:
        return self.text


def scene(lab: Lab, objects: dict[str, Any], says: str = "") -> Scene:
    """A lab whose cluster has these objects by kind, and whose machines and pods say one thing."""

    class Staged(Scene):
        def get(self, *words: str) -> list[dict[str, Any]]:
            found = objects.get(words[0], [])
            return list(found) if isinstance(found, list) else [found]

        def inside(self, pod: str, line: str) -> str:
            return says

    remotes = tuple(Told(machine.name, says) for machine in lab.machines)
    return Staged(lab, cluster_of(lab, Path("tools")), remotes)


def same(answer: tuple[object, object]) -> bool:
    expected, seen = answer
    return expected == seen


def all_nodes(lab: Lab, **changed: str) -> list[dict[str, Any]]:
    return [node(one.name, changed.get(one.role, one.address)) for one in lab.machines]


def test_nodes_at_another_address_or_not_ready(lab: Lab) -> None:
    assert same(items.nodes(scene(lab, {"nodes": all_nodes(lab)})))
    behind_nat = scene(lab, {"nodes": all_nodes(lab, worker="10.0.2.15")})
    assert not same(items.nodes(behind_nat)) and not same(items.flannel(behind_nat))
    first, *others = all_nodes(lab)
    first["status"]["conditions"][0]["status"] = "False"
    _, seen = items.nodes(scene(lab, {"nodes": [first, *others]}))
    assert seen == {"worker-1": "192.168.56.21", "worker-2": "192.168.56.22"}


def test_versions_are_those_of_the_source(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"gitVersion": "v1.35.4"}
    monkeypatch.setattr(Cluster, "kubectl", lambda *words, **named: json.dumps(told))
    stage = scene(lab, {"nodes": all_nodes(lab)})
    assert same(items.versions(stage))
    told["gitVersion"] = "v1.34.2+k3s1"
    assert not same(items.versions(stage))
    assert not same(items.versions(replace(stage, lab=replace(lab, kubernetes="1.21.2+k3s1"))))


def test_control_planes_and_members(lab: Lab) -> None:
    lab = replace(lab, control_planes=3, workers=0)
    addresses = ["192.168.56.11", "192.168.56.12", "192.168.56.13"]
    members = [pod(f"etcd-{i}", "", address) for i, address in enumerate(addresses)]
    assert same(items.control_planes(scene(lab, {"nodes": all_nodes(lab)})))
    assert same(items.etcd_members(scene(lab, {"pods": members})))
    assert not same(items.etcd_members(scene(lab, {"pods": members[1:]})))
    k3s = replace(lab, distribution="k3s")
    noted = [
        node(one.name, one.address, **{"etcd.k3s.cattle.io/node-address": one.address})
        for one in lab.machines
    ]
    assert same(items.etcd_members(scene(k3s, {"nodes": noted})))
    assert not same(items.etcd_members(scene(k3s, {"nodes": all_nodes(lab)})))


def test_networks(lab: Lab) -> None:
    service = {"spec": {"clusterIP": "10.96.0.1"}}
    objects: dict[str, Any] = {"nodes": all_nodes(lab), "service": service}
    expected, seen = items.networks(scene(lab, objects))
    assert expected == {"outside": [], "API": "10.96.0.1", "DNS": "10.96.0.10"}
    assert seen == {"outside": [], "API": "10.96.0.1", "DNS": "10.96.0.1"}
    objects["nodes"][0]["spec"]["podCIDR"] = "10.42.0.0/24"
    _, seen = items.networks(scene(lab, objects))
    assert seen == {"outside": ["10.42.0.0/24"], "API": "10.96.0.1", "DNS": "10.96.0.1"}


def test_images_come_from_the_labs_registry(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pods = [pod(f"probe-{one.name}", one.name) for one in lab.machines]
    monkeypatch.setattr(registry, "digest", lambda *words: DIGEST)
    assert same(items.pulls("hub", scene(lab, {"pods": pods})))
    assert not same(items.pulls("hub", scene(lab, {"pods": pods[1:]})))
    monkeypatch.setattr(registry, "digest", lambda *words: "sha256:cd")
    assert not same(items.pulls("hub", scene(lab, {"pods": pods})))


def test_pods_reach_each_other(lab: Lab) -> None:
    pods = [pod(f"probe-{one.name}", one.name) for one in lab.machines]
    everyone = "worker-1\ncontrol-plane-1\nworker-2\n"
    assert same(items.pod_network(scene(lab, {"pods": pods}, everyone)))
    assert not same(items.pod_network(scene(lab, {"pods": pods}, "control-plane-1\nnone\nnone")))
    assert same(items.names(scene(lab, {"pods": pods}, "worker-2")))
    assert not same(items.names(scene(lab, {"pods": pods}, "wget: bad address")))


@pytest.mark.parametrize(
    ("distribution", "addresses", "said", "right"),
    [
        ("kubeadm", ["192.168.56.200"], "worker-1", True),
        ("kubeadm", ["192.168.56.200"], "curl: (7) refused", False),
        ("kubeadm", ["192.168.56.11"], "worker-1", False),
        ("kubeadm", [], "worker-1", False),
        ("k3s", ["192.168.56.22", "192.168.56.21", "192.168.56.11"], "worker-1", True),
        ("k3s", ["192.168.56.11"], "worker-1", False),
    ],
)
def test_load_balancer(
    lab: Lab, distribution: str, addresses: list[str], said: str, right: bool
) -> None:
    told = {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}}
    stage = scene(replace(lab, distribution=distribution), {"service": {"status": told}}, said)
    assert same(items.load_balancer(stage)) is right


def test_units(lab: Lab) -> None:
    expected, seen = items.units(scene(replace(lab, distribution="k3s"), {}, "active"))
    assert expected["worker-1"] == "k3s-agent active enabled"  # type: ignore[index]
    assert seen["control-plane-1"] == "k3s active active"  # type: ignore[index]


def test_default_storage_class(lab: Lab) -> None:
    key = "storageclass.kubernetes.io/is-default-class"
    one = {"metadata": {"name": "local-path"}, "provisioner": "rancher.io/local-path"}
    assert not same(items.storage_class(scene(lab, {"storageclasses": [one]})))
    one["metadata"]["annotations"] = {key: "true"}  # type: ignore[index]
    assert same(items.storage_class(scene(lab, {"storageclasses": [one]})))


def test_a_question_is_asked_again_until_the_answer_is_right(lab: Lab) -> None:
    answers: Iterator[tuple[object, object] | Exception]
    answers = iter([("a", "b"), ResourceError("not yet"), ("a", "a"), ("a", "c")])

    def look(scene: Scene) -> tuple[object, object]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    item = Item("x", "an item", look)
    assert conformance.ask(item, scene(lab, {}), time.monotonic() + 10).passed


def test_the_last_answer_is_told(lab: Lab) -> None:
    def refused(scene: Scene) -> tuple[object, object]:
        raise CommandError(["kubectl"], 1, "connection refused")

    item = Item("x", "an item", refused)
    outcome = conformance.ask(item, scene(lab, {}), time.monotonic())
    assert not outcome.passed
    assert "connection refused" in outcome.seen
    wrong = Item("y", "another", lambda scene: ({"b": 1, "a": 2}, {"a": 2}))
    outcome = conformance.ask(wrong, scene(lab, {}), time.monotonic())
    assert (outcome.expected, outcome.seen) == ('{"a": 2, "b": 1}', '{"a": 2}')


def test_a_failed_item_tells_what_was_expected_and_seen() -> None:
    found = Conformance((Outcome("a", "first", "1", "1"), Outcome("b", "second", "1", "<2>")))
    text = found.text()
    assert "✓ a: first\n✗ b: second\n    expected: 1\n    seen:     <2>" in text
    assert "1 of 2 items" in text
    (suite,) = ElementTree.fromstring(found.junit)
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    (failure,) = suite.iter("failure")
    assert failure.get("message") == "expected 1, seen <2>"
    with pytest.raises(ChecksFailed, match="b"):
        found.raise_for_status()
    Conformance(found.outcomes[:1]).raise_for_status()


def test_the_probe_is_removed_whatever_happens(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def kubectl(_: Cluster, *words: str, **named: Any) -> str:
        asked.append(words[0])
        if words[0] == "apply":
            raise CommandError(["kubectl"], 1, "refused")
        return ""

    monkeypatch.setattr(Cluster, "kubectl", kubectl)
    with pytest.raises(CommandError, match="refused"):
        conformance.run(Opened(lab, Path("tools")), Status(io.StringIO()))
    assert asked == ["apply", "delete"]


def test_the_probe_is_what_is_asked_for() -> None:
    objects = probe.objects()
    assert next(item["kind"] for item in objects) == "Namespace"
    assert all(
        item["metadata"].get("namespace", "conformance") == "conformance" for item in objects
    )
    (daemon,) = (item for item in objects if item["kind"] == "DaemonSet")
    images = {one["name"]: one["image"] for one in daemon["spec"]["template"]["spec"]["containers"]}
    assert images == {"web": "registry.lab:5000/library/busybox:1.37", "hub": "busybox:1.37"}


def test_a_pod_complains_in_the_kubelets_words() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "docker.io/rancher/pause: no such host"}
    status: dict[str, Any] = {
        "phase": "Pending",
        "containerStatuses": [{"image": "x", "state": {"waiting": waiting}}],
    }
    told = "ImagePullBackOff: docker.io/rancher/pause: no such host"
    assert objects.complaint({"status": status}) == told
    status["containerStatuses"] = [
        {"image": "x", "state": {"waiting": {"reason": "PodInitializing"}}}
    ]
    assert objects.complaint({"status": status}) == "Pending"
    status["conditions"] = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]
    assert objects.complaint({"status": status}) == "0/1 nodes"


def test_the_list_is_documented() -> None:
    told = [(row[0].strip("`"), row[1]) for row in rows(ROOT / "docs/conformance.md", "item")]
    assert told == [(item.id, item.title) for item in ITEMS]
