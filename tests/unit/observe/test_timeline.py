"""The time line: entries from each source, and their merge."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from lab.cluster import kubeconfig
from lab.cluster.watch import News
from lab.observe import timeline, witnesses
from lab.observe.timeline import Timeline
from lab.observe.witnesses import Containers, Entry

Object = dict[str, Any]
PLANE = "control-plane-1"


def item(kind: str, revision: int, **parts: Any) -> Object:
    metadata = {"name": kind.lower(), "resourceVersion": str(revision)}
    return {"kind": kind, "metadata": metadata, "spec": {}, "status": {}, **parts}


def true(*conditions: str) -> list[Object]:
    return [{"type": condition, "status": "True"} for condition in conditions]


def test_watch_events_are_sorted_by_their_revision() -> None:
    kinds = {12: "Pod", 10: "Deployment", 11: "ReplicaSet"}
    news = [News(1.0, "ADDED", item(kind, number)) for number, kind in kinds.items()]
    found = [one.item["kind"] for one in witnesses.in_order(news)]
    assert found == ["Deployment", "ReplicaSet", "Pod"]


def entry(when: float, what: str, component: str = "x") -> Entry:
    return Entry(when, component, PLANE, what, "log")


def test_a_late_watch_event_takes_the_time_of_its_effect() -> None:
    told = [entry(5.0, "stores Deployment web"), entry(3.0, "a"), entry(4.0, "binds the pod to w")]
    others = [entry(3.5, "sees a pod for its node"), entry(2.0, "something else")]
    assert [one.time for one in timeline.bounded(told, others)] == [3.0, 3.0, 3.5]
    others = [entry(2.5, "deployment-controller: sees the Deployment")]
    assert [one.time for one in timeline.bounded(told, others)] == [2.5, 3.0, 4.0]


def way_of_a_pod() -> list[News]:
    running: list[Object] = [{"state": {"running": {}}}]
    there = {"podIP": "10.244.1.2", "containerStatuses": running}
    place = {"nodeName": "worker-1"}
    bound = item("Pod", 5, spec=place)
    sandbox = item("Pod", 6, spec=place, status={"conditions": true("PodReadyToStartContainers")})
    conditions = true("PodReadyToStartContainers", "Ready")
    ready = item("Pod", 7, spec=place, status={**there, "conditions": conditions})
    endpoint = {"addresses": ["10.244.1.2"], "conditions": {"ready": True}}
    return [
        News(1.0, "ADDED", item("Deployment", 1)),
        News(1.1, "ADDED", item("Service", 2, spec={"clusterIP": "10.96.0.9"})),
        News(1.2, "ADDED", item("ReplicaSet", 3)),
        News(1.3, "ADDED", item("Pod", 4)),
        News(1.4, "MODIFIED", bound),
        News(1.5, "MODIFIED", sandbox),
        News(1.6, "MODIFIED", ready),
        News(1.7, "ADDED", item("EndpointSlice", 8, endpoints=[endpoint])),
        News(1.8, "MODIFIED", item("Deployment", 9, status={"conditions": true("Available")})),
        News(1.9, "MODIFIED", item("Deployment", 10, status={"conditions": true("Available")})),
        News(2.0, "DELETED", item("Pod", 11)),
    ]


def test_a_change_identifies_its_component() -> None:
    found = list(witnesses.told_by_api(way_of_a_pod(), PLANE))
    told = [(round(one.time, 1), one.component, one.machine) for one in found]
    controllers = "kube-controller-manager"
    assert told == [
        (1.0, "kube-apiserver", PLANE),
        (1.1, "kube-apiserver", PLANE),
        (1.2, controllers, PLANE),
        (1.3, controllers, PLANE),
        (1.4, "kube-scheduler", PLANE),
        (1.5, "kubelet", "worker-1"),
        (1.6, "kubelet", "worker-1"),
        (1.6, "kubelet", "worker-1"),
        (1.7, controllers, PLANE),
        (1.7, controllers, PLANE),
        (1.8, controllers, PLANE),
    ]
    assert "10.96.0.9" in found[1].what
    assert found[4].what == "binds the pod to worker-1"
    assert found[6].what.endswith("10.244.1.2")
    assert found[0].source == "watch, revision 1"


def test_a_pod_that_names_its_node_is_bound_at_once() -> None:
    news = [News(1.0, "ADDED", item("Pod", 4, spec={"nodeName": "worker-1"}))]
    assert len(list(witnesses.told_by_api(news, PLANE))) == 2


def event(**parts: Any) -> Object:
    return item("Event", 1, reason="Scheduled", message="done", **parts)


def test_events_have_the_time_of_their_arrival() -> None:
    first = event(reportingComponent="default-scheduler", source={})
    second = event(source={"component": "kubelet", "host": "worker-1"})
    news = [News(9.0, "ADDED", first), News(9.5, "ADDED", second), News(9.9, "MODIFIED", second)]
    found = list(witnesses.told_by_events(news, PLANE))
    assert found[0] == Entry(9.0, "kube-scheduler", PLANE, "event Scheduled: done", "event")
    assert [(one.time, one.component, one.machine) for one in found[1:]] == [
        (9.5, "kubelet", "worker-1")
    ]


METADATA = "&PodSandboxMetadata{Name:web-1,Uid:u,Namespace:machinery-timeline,Attempt:0,}"
# containerd 1 and 2. Version 2 separates fields by one or two spaces.
PODS = {
    "1": METADATA,
    "2": 'name:"web-1" uid:"u" namespace:"machinery-timeline"',
    "2, a second attempt": 'name:"web-1"  uid:"u"  namespace:"machinery-timeline"  attempt:1',
}
CONTAINERS = {"1": "&ContainerMetadata{Name:web,Attempt:0,}", "2": 'name:"web"'}


@pytest.mark.parametrize("version", PODS)
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("RunPodSandbox for POD", "is asked for a sandbox"),
        ('RunPodSandbox for POD returns sandbox id "5a"', "has made the sandbox"),
        ("RunPodSandbox for POD failed, error", ""),
        ('CreateContainer within sandbox "5a" for container CONTAINER', "is asked for the cont"),
        (
            'CreateContainer within sandbox "5a" for CONTAINER returns container id "c0"',
            "has made the container",
        ),
        ('StartContainer for "c0"', ""),
        ('StartContainer for "c0" returns successfully', "has started the container"),
        ("RunPodSandbox for OTHER", ""),
        ('RunPodSandbox for OTHER returns sandbox id "5b"', ""),
        ('CreateContainer within sandbox "5b" for container CONTAINER', ""),
        ('StartContainer for "c1" returns successfully', ""),
        ("ImageCreate event name:...", ""),
    ],
)
def test_containerds_log_is_filtered_by_ids(version: str, message: str, expected: str) -> None:
    def written(text: str) -> str:
        pod, container = PODS[version], CONTAINERS[version[0]]
        other = pod.replace("machinery-timeline", "default").replace("web-1", "machinery-timeline")
        text = text.replace("POD", pod).replace("OTHER", other)
        return text.replace("CONTAINER", container)

    containers = Containers("machinery-timeline")
    containers.tell(written('RunPodSandbox for POD returns sandbox id "5a"'))
    containers.tell(
        written('CreateContainer within sandbox "5a" for CONTAINER returns container id "c0"')
    )
    said = containers.tell(written(message))
    assert said.startswith(expected) if expected else said == ""


def test_a_line_of_containerd() -> None:
    line = r'time="1970-01-01T00:00:07.123456789Z" level=info msg="StartContainer for \"c0\""'
    assert witnesses.containerd_line(line) == (7.123456, 'StartContainer for "c0"')
    assert witnesses.containerd_line("I1124 17:00:00.000001 1 kubelet.go:1] hello") is None


@pytest.mark.parametrize(
    ("component", "message", "expected"),
    [
        (
            "kubelet",
            '"SyncLoop ADD" source="api" pods=["machinery-timeline/web-1"]',
            "sees a pod for its node",
        ),
        ("kubelet", '"SyncLoop ADD" source="api" pods=["default/web-1"]', ""),
        ("kubelet", '"Something else" pod="machinery-timeline/web-1"', ""),
        (
            "kube-scheduler",
            '"Successfully bound pod to node" pod="machinery-timeline/web-1" node="worker-1"'
            " evaluatedNodes=3 feasibleNodes=2",
            "has scheduled the pod: 3 nodes evaluated, 2 feasible",
        ),
        ("etcd", '"Hello" pod="machinery-timeline/web-1"', ""),
    ],
)
def test_logs_are_translated(component: str, message: str, expected: str) -> None:
    assert witnesses.logged(component, message) == expected


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("1970-01-01T00:00:07.250999123Z stderr F I0101 00:00:07.250000", 7.25),
        ("1970-01-02T00:00:00.000100000Z stderr F I0101 23:59:59.999900", 86400.0001),
        ("1970-01-01T00:00:07.500000000Z stdout F", 7.5),
    ],
)
def test_a_line_of_a_containers_log(stamp: str, expected: float) -> None:
    parsed = witnesses.container_line(f"{stamp} hello")
    assert parsed
    assert parsed[0] == pytest.approx(expected)
    assert parsed[1].endswith("hello")
    assert witnesses.container_line("hello") is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "add element ip kube-proxy no-endpoint-services { x }",
            "writes rules: the Service refuses",
        ),
        ("add element ip kube-proxy service-ips { x }", "writes rules: the Service's address"),
        (
            "add rule ip kube-proxy e dnat to 10.244.1.2:9376",
            "writes rules: to the pod, 10.244.1.2",
        ),
        ("add chain ip kube-proxy service-x", ""),
    ],
)
def test_packet_rules_are_translated(message: str, expected: str) -> None:
    said = witnesses.rules_line(message)
    assert said.startswith(expected) if expected else said == ""


def test_kubectls_log_names_the_objects_it_sends() -> None:
    log = (
        'I1124 17:30:00.250000  42 round_trippers.go:632] "Response" verb="POST" '
        'url="https://127.0.0.1:6443/apis/apps/v1/namespaces/x/deployments?fieldManager=k" '
        'status="201 Created" milliseconds=12\n'
        'I1124 17:30:00.100000  42 round_trippers.go:632] "Response" verb="GET" '
        'url="https://127.0.0.1:6443/api/v1/namespaces/x/services/web" '
        'status="404 Not Found" milliseconds=3\n'
    )
    (found,) = witnesses.told_by_kubectl(log, 2026)
    assert found.what == "has the answer to POST deployments: 201 Created, after 12 ms"
    assert found.time % 60 == 0.25


def record(unit: str, message: object, microseconds: int) -> str:
    fields = {"_SYSTEMD_UNIT": f"{unit}.service", "MESSAGE": message}
    return json.dumps({**fields, "__REALTIME_TIMESTAMP": str(microseconds)})


def test_a_machines_logs_are_converted_to_the_hosts_clock() -> None:
    sandbox = f'time="1970-01-01T00:00:05.5Z" level=info msg="RunPodSandbox for {METADATA}"'
    seen = '"SyncLoop ADD" source="api" pods=["machinery-timeline/w"]'
    adding = '"Adding deployment" deployment="machinery-timeline/web"'
    log = "\n".join(
        [
            record("containerd", sandbox, 5_600_000),
            record("kubelet", seen, 5_100_000),
            record("kubelet", [1, 2, 3], 5_200_000),
            record("lab-timeline", "x dnat to 10.244.1.2:9376", 6_000_000),
            sandbox,
            f"kube-controller-manager 1970-01-01T00:00:01.5Z stderr F {adding}",
            f"kube-controller-manager 1970-01-01T00:00:01.500000000Z stderr F {adding}",
            "an unknown line",
        ]
    )
    found = list(witnesses.told_by_machine(log, "worker-1", 0.1))
    assert [(round(one.time, 3), one.component) for one in found] == [
        (5.4, "containerd"),
        (5.0, "kubelet"),
        (5.9, "kube-proxy"),
        (5.4, "containerd"),
        (1.4, "kube-controller-manager"),
    ]
    assert {one.machine for one in found} == {"worker-1"}


@pytest.mark.parametrize(
    "before", ["", '{"cniVersion":"1.0.0","ips":[]}', '{"cniVersion":"1.0.0"}\n{"cniVersion":\n']
)
def test_output_of_a_cni_plugin_before_containerds_message(before: str) -> None:
    said = f"RunPodSandbox for {PODS['2']}".replace('"', r"\"")
    line = f'{before}time="1970-01-01T00:00:05.5Z" level=info msg="{said}"'
    (found,) = witnesses.told_by_machine(line, "worker-1", 0.0)
    assert (found.time, found.component) == (5.5, "containerd")
    assert found.what == "is asked for a sandbox"


def test_k3s_logs_for_all_components() -> None:
    pod = 'pod="machinery-timeline/web-1"'
    log = "\n".join(
        [
            record("k3s", f'I1130 22:00:00.1 7 s.go:1] "Attempting to schedule pod" {pod}', 1),
            record("k3s", 'I1130 22:00:00.1 7 c.go:1] "Too few replicas" replicaSet="x"', 2),
            record("k3s", f'"Too few replicas" {pod.replace("pod", "replicaSet")}', 3),
            record("k3s-agent", f'I1130 22:00:00.1 7 k.go:1] "SyncLoop ADD" source="api" {pod}', 4),
            record("kubelet", f'"Attempting to schedule pod" {pod}', 5),
        ]
    )
    found = list(witnesses.told_by_machine(log, PLANE, 0.0))
    assert [(one.component, one.source) for one in found] == [
        ("kube-scheduler", "k3s's log"),
        ("kube-controller-manager", "k3s's log"),
        ("kubelet", "k3s-agent's log"),
    ]


def test_entries_are_merged_without_repetitions() -> None:
    line = timeline.merged(
        10.0, [entry(10.5, "b"), entry(9.0, "old"), entry(10.2, "a"), entry(11, "b")]
    )
    assert [(one.time, one.what) for one in line.entries] == [(10.2, "a"), (10.5, "b")]


def test_a_time_line_as_text_and_as_data() -> None:
    line = Timeline(10.0, (Entry(10.25, "kubelet", "worker-1", "sees the pod", "log"),))
    assert line.text().splitlines()[1].split()[:3] == ["250", "kubelet", "worker-1"]
    assert line.data() == {
        "start": "1970-01-01T00:00:10.000+00:00",
        "entries": [
            {
                "ms": 250.0,
                "component": "kubelet",
                "machine": "worker-1",
                "what": "sees the pod",
                "source": "log",
            }
        ],
    }


@pytest.mark.parametrize(
    ("told", "expected"), [(10.02, 0.0), (10.09, 0.0), (12.05, 2.0), (9.05, -1.0)]
)
def test_a_difference_within_the_round_trip_is_zero(told: float, expected: float) -> None:
    assert timeline.lateness(10.0, told, 10.1) == pytest.approx(expected)


def test_a_kubeconfig_gives_server_and_credentials() -> None:
    def coded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    server = {"server": "https://127.0.0.1:6443", "certificate-authority-data": coded("CA")}
    user = {"client-certificate-data": coded("CERT"), "client-key-data": coded("KEY")}
    text = json.dumps({"clusters": [{"cluster": server}], "users": [{"user": user}]})
    assert kubeconfig.access(text) == kubeconfig.Access("127.0.0.1", 6443, "CA", "CERT", "KEY")
