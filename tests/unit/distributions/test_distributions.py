"""The configuration of kubeadm and k3s, and the order of their installation."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import config, wait
from lab.config import Lab
from lab.distributions import DISTRIBUTIONS, distribution, k3s, kubeadm, units
from lab.distributions.base import Installer
from lab.distributions.k3s import K3s
from lab.distributions.kubeadm import Kubeadm
from lab.errors import CommandError, DeadlineExceeded, ResourceError
from lab.machines import cgroups
from lab.machines.cgroups import Cgroups
from tests.unit.conftest import Scripted
from tests.unit.distributions import k3s_keys

VERSIONS = {"kubernetes": "1.35.4", "coredns": "1.14.4", "etcd": "3.6.14", "flannel": "0.27.4"}
V1, V2 = Cgroups(1, "cgroupfs"), Cgroups(2, "systemd")


def kinds(lab: Lab, groups: Cgroups = V2) -> dict[str, dict[str, Any]]:
    parts = kubeadm.initial(lab, lab.machines[0], "abcdef.0123456789abcdef", "0f", VERSIONS, groups)
    return {str(part["kind"]): part for part in parts}


def installer(lab: Lab) -> Installer:
    return distribution(lab).install(lab, VERSIONS)


def test_the_configuration_knows_every_distribution() -> None:
    assert (config.AUTO, *DISTRIBUTIONS) == config.DISTRIBUTIONS
    assert all(name == record.name for name, record in DISTRIBUTIONS.items())


def test_the_lab_selects_the_installer_of_its_distribution(lab: Lab) -> None:
    assert isinstance(distribution(lab).install(lab, VERSIONS), Kubeadm)
    other = replace(lab, distribution="k3s")
    assert isinstance(distribution(other).install(other, {}), K3s)


def test_control_plane(lab: Lab) -> None:
    found = kinds(lab)
    init = found["InitConfiguration"]
    assert init["localAPIEndpoint"] == {"advertiseAddress": "192.168.56.11", "bindPort": 6443}
    assert init["nodeRegistration"]["name"] == "control-plane-1"
    cluster = found["ClusterConfiguration"]
    assert cluster["kubernetesVersion"] == "v1.35.4"
    assert cluster["networking"] == {"podSubnet": "10.244.0.0/16", "serviceSubnet": "10.96.0.0/16"}
    assert "127.0.0.1" in cluster["apiServer"]["certSANs"]
    assert cluster["encryptionAlgorithm"] == "ECDSA-P256"
    assert found["KubeProxyConfiguration"]["mode"] == "nftables"


def test_cgroup_driver(lab: Lab) -> None:
    assert kinds(lab, V2)["KubeletConfiguration"]["cgroupDriver"] == "systemd"
    assert kinds(lab, V1)["KubeletConfiguration"]["cgroupDriver"] == "cgroupfs"


def test_a_kubelet_accepts_cgroup_v1_only_with_a_setting(lab: Lab) -> None:
    assert kinds(lab, V1)["KubeletConfiguration"]["failCgroupV1"] is False
    assert "failCgroupV1" not in kinds(lab, V2)["KubeletConfiguration"]


def test_worker(lab: Lab) -> None:
    (part,) = kubeadm.joining(lab.machines[1], "192.168.56.11:6443", "t.oken", "ab12", "0f")
    token = part["discovery"]["bootstrapToken"]
    assert token["caCertHashes"] == ["sha256:ab12"]
    assert token["apiServerEndpoint"] == "192.168.56.11:6443"
    assert part["nodeRegistration"]["kubeletExtraArgs"] == [
        {"name": "node-ip", "value": "192.168.56.21"}
    ]
    assert "controlPlane" not in part


def test_a_further_control_plane_decrypts_the_certificates_of_the_first_one(lab: Lab) -> None:
    lab = replace(lab, control_planes=3)
    (part,) = kubeadm.joining(lab.machines[1], "192.168.56.11:6443", "t.oken", "ab12", "0f")
    assert part["controlPlane"] == {
        "localAPIEndpoint": {"advertiseAddress": "192.168.56.12", "bindPort": 6443},
        "certificateKey": "0f",
    }
    assert kinds(lab)["InitConfiguration"]["certificateKey"] == "0f"


def test_documents_are_separate_json_texts() -> None:
    text = kubeadm.documents([{"kind": "A"}, {"kind": "B"}])
    assert [json.loads(part)["kind"] for part in text.split("---")] == ["A", "B"]


def test_tokens_have_kubeadms_format_and_differ() -> None:
    tokens = {kubeadm.new_token() for _ in range(20)}
    assert len(tokens) == 20
    assert all(re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token) for token in tokens)


def test_k3s_server(lab: Lab) -> None:
    settings = k3s.server(lab, lab.machines[0], "secret")
    assert settings["node-ip"] == settings["advertise-address"] == "192.168.56.11"
    assert settings["cluster-dns"] == "10.96.0.10"
    assert settings["write-kubeconfig-mode"] == "0600"
    assert not {"server", "cluster-init"} & settings.keys()


def test_k3s_agent(lab: Lab) -> None:
    settings = k3s.agent(lab, lab.machines[2], "secret")
    assert settings["server"] == "https://192.168.56.11:6443"
    assert settings["node-name"] == "worker-2"
    assert "cluster-cidr" not in settings


def test_three_k3s_servers_share_an_etcd(lab: Lab) -> None:
    lab = replace(lab, control_planes=3)
    first, second, third, *_ = (k3s.server(lab, machine, "secret") for machine in lab.machines)
    assert first["cluster-init"] is True and "server" not in first
    for settings in (second, third):
        assert settings["server"] == "https://192.168.56.11:6443"
        assert "cluster-init" not in settings
    # k3s requires the same values on every server.
    for key in ("token", "cluster-cidr", "service-cidr", "cluster-dns"):
        assert first[key] == second[key] == third[key]


@pytest.mark.parametrize("age", ["old", "new"])
def test_k3s_knows_every_key(lab: Lab, age: str) -> None:
    """An old release exits at an unknown key. A new one ignores it."""
    lab = replace(lab, control_planes=3)
    for machine in lab.machines:
        assert k3s.server(lab, machine, "").keys() <= k3s_keys.SERVER[age]
        assert k3s.agent(lab, machine, "").keys() <= k3s_keys.AGENT[age]


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.21.2+k3s1", False), ("1.34.2+k3s1", False), ("1.35.0+k3s1", True), ("?", False)],
)
def test_a_kubelet_gets_the_setting_for_cgroup_v1_from_1_35_on(
    lab: Lab, version: str, expected: bool
) -> None:
    settings = k3s.agent(replace(lab, kubernetes=version), lab.machines[1], "")
    assert ("fail-cgroupv1=false" in settings["kubelet-arg"]) is expected


def test_k3s_pulls_from_the_labs_registry_first_and_then_from_the_rooms(lab: Lab) -> None:
    mirrors = k3s.registries(lab)["mirrors"]
    for name in ("docker.io", "registry.lab:5000"):
        assert mirrors[name] == {"endpoint": ["http://registry.lab:5000"]}
    room = replace(lab, registry_mirror="https://10.0.0.1:8444")
    mirrors = k3s.registries(room)["mirrors"]
    assert mirrors["docker.io"]["endpoint"] == ["http://registry.lab:5000", "https://10.0.0.1:8444"]
    assert mirrors["registry.lab:5000"] == {"endpoint": ["http://registry.lab:5000"]}


class Recording(Scripted):
    """A machine that records its scripts in `order`, and keeps its files in `files`."""

    def __init__(self, name: str, order: list[str], files: dict[str, str]) -> None:
        super().__init__(name)
        self.order, self.files = order, files

    def answer(self, argv: Sequence[str]) -> str:
        if argv[0] == "cat":
            return self.files.get(argv[1], "")
        return "active\n" if argv[0] == "systemctl" else "ok"

    def script(self, path: Path, *arguments: str, timeout: int = 60) -> str:
        self.order.append(" ".join([path.name, self.name, *arguments]))
        return "ab12"

    def put(self, content: str | bytes, path: str, mode: str = "0644", owner: str = "root") -> None:
        assert isinstance(content, str)
        self.files[path] = content


def three(lab: Lab, name: str) -> tuple[Lab, list[str], list[Recording]]:
    """A lab with three control planes and a worker, its scripts in order, and its machines."""
    lab = replace(lab, control_planes=3, workers=1, distribution=name)
    (lab.root / "vagrant").mkdir()
    (lab.root / "vagrant" / "k3s.sh").write_text("start")
    order: list[str] = []
    files = {k3s.AGENT_TOKEN: "K10ab::server:secret\n"}
    return lab, order, [Recording(machine.name, order, dict(files)) for machine in lab.machines]


def test_k3s_joins_servers_first_and_agents_by_the_token_with_the_cas_digest(lab: Lab) -> None:
    lab, order, machines = three(lab, "k3s")
    K3s(lab).join(machines[0], machines[1:])
    healthy = [
        "kubelet.sh control-plane-2 k3s 300",
        "kubelet.sh control-plane-3 k3s 300",
        "kubelet.sh worker-1 k3s-agent 300",
    ]
    started = [line.replace("kubelet.sh", "k3s.sh") for line in healthy]
    # Each machine is healthy before the next one starts.
    assert order == [line for pair in zip(started, healthy, strict=True) for line in pair]
    token = json.loads(machines[3].files[k3s.CONFIG])["token"]
    assert token == "K10ab::server:secret"
    # lab-up joins the machines of a changed lab again. It does not restart a running unit, but
    # checks its health, because a unit that keeps restarting is "activating" as well.
    order.clear()
    K3s(lab).join(machines[0], machines[1:])
    assert order == healthy
    order.clear()
    (lab.root / "vagrant" / "k3s.sh").write_text("start otherwise")
    K3s(lab).join(machines[0], machines[1:])
    assert len(order) == 6


def test_kubeadm_joins_control_planes_one_by_one(lab: Lab) -> None:
    lab, order, machines = three(lab, "kubeadm")
    Kubeadm(lab, VERSIONS).join(machines[0], machines[1:])
    assert order == [
        "kubeadm-discovery.sh control-plane-1",
        "kubeadm-companions.sh control-plane-1",
        "kubeadm-join.sh control-plane-2",
        "kubelet.sh control-plane-2 kubelet 60",
        "kubeadm-join.sh control-plane-3",
        "kubelet.sh control-plane-3 kubelet 60",
        "kubeadm-join.sh worker-1",
        "kubelet.sh worker-1 kubelet 60",
    ]
    assert "controlPlane" not in machines[3].files["/etc/lab/kubeadm.json"]


class Restarted(Scripted):
    """A machine after a stop. All is installed, and the API server refuses some requests first."""

    def __init__(self, refusals: int) -> None:
        super().__init__("control-plane-1")
        self.refusals = refusals

    def answer(self, argv: Sequence[str]) -> str:
        if cgroups.FILE in argv:
            return "LAB_CGROUP_VERSION=2\nLAB_CGROUP_DRIVER=systemd\n"
        if "node" in argv:
            return f"node/{self.name}"
        if "/readyz" not in argv:
            return ""
        self.refusals -= 1
        if self.refusals >= 0:
            raise CommandError(argv, 1, "connection refused", where=self.name)
        return "ok"

    def script(self, path: Path, *arguments: str, timeout: int = 60) -> str:
        return ""

    def put(self, content: str | bytes, path: str, mode: str = "0644", owner: str = "root") -> None:
        pass


@pytest.mark.parametrize("name", ["kubeadm", "k3s"])
def test_start_returns_once_the_api_server_answers(lab: Lab, name: str) -> None:
    (lab.root / "vagrant").mkdir()
    for script in ("flannel.yaml", "k3s.sh"):
        (lab.root / "vagrant" / script).write_text("")
    machine = Restarted(refusals=2)
    installer(replace(lab, distribution=name)).start(machine)
    assert machine.refusals < 0


def test_a_single_control_plane_has_no_leader_election(lab: Lab) -> None:
    def arguments(planes: int) -> dict[str, str]:
        made = replace(lab, control_planes=planes)
        parts = kubeadm.initial(made, made.machines[0], "token", "key", VERSIONS, V2)
        manager, scheduler = (
            parts[1][name]["extraArgs"] for name in ("controllerManager", "scheduler")
        )
        assert manager == scheduler
        return {one["name"]: one["value"] for one in manager}

    assert arguments(1) == {"leader-elect": "false"}
    assert arguments(3)["leader-elect-lease-duration"] == "15s"


def test_timeouts_of_components_grow_on_slow_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """On usual machines, they are the defaults of the components."""
    usual = kubeadm.limits(kubeadm.SERVER_LIMITS)
    assert {"name": "etcd-healthcheck-timeout", "value": "2s"} in usual
    assert {"name": "election-timeout", "value": "1000"} in kubeadm.limits(kubeadm.ETCD_LIMITS, "")
    monkeypatch.setattr(wait, "_emulation", 6.0)
    slow = {one["name"]: one["value"] for one in kubeadm.limits(kubeadm.LEADER_LIMITS)}
    assert slow["leader-elect-lease-duration"] == "90s"
    assert slow["leader-elect-renew-deadline"] == "60s"


class Fails(Restarted):
    """A machine on which the script `script` fails."""

    def __init__(self, script: str) -> None:
        super().__init__(0)
        self.failing = script
        self.written: list[str] = []

    def put(self, content: str | bytes, path: str, mode: str = "0644", owner: str = "root") -> None:
        self.written.append(path)

    def script(self, path: Path, *arguments: str, timeout: int = 60) -> str:
        if path.name == self.failing:
            output = "kubelet exited: invalid configuration\nk3s ended"
            raise CommandError([path.name], 1, output, where=self.name, hint="invoke lab-logs")
        return ""


@pytest.mark.parametrize(
    ("name", "script"), [("k3s", "k3s.sh"), ("k3s", "kubelet.sh"), ("kubeadm", "kubelet.sh")]
)
def test_start_fails_when_the_unit_exits(lab: Lab, name: str, script: str) -> None:
    """The API server alone proves nothing, because it answers between two starts of the unit."""
    (lab.root / "vagrant").mkdir()
    for file in ("flannel.yaml", "k3s.sh"):
        (lab.root / "vagrant" / file).write_text("")
    made = installer(replace(lab, distribution=name))
    machine = Fails(script)
    with pytest.raises(CommandError, match="invalid configuration") as caught:
        made.start(machine)
    # Without the mark, the next lab-up starts the unit again.
    assert k3s.STARTED not in machine.written
    # The hint for k3s offers kubeadm as another way to a cluster.
    assert ("lab-up --distribution kubeadm" in caught.value.hint) is (name == "k3s")
    assert "invoke lab-logs" in caught.value.hint


def shown(active: str, restarts: int) -> str:
    return f"ActiveState={active}\nNRestarts={restarts}\n"


@pytest.mark.parametrize(
    ("before", "now", "runs"),
    [
        (shown("active", 0), shown("active", 0), True),
        # k3s may lose one election on a busy host.
        (shown("active", 3), shown("activating", 4), True),
        (shown("active", 3), shown("active", 5), False),
        (shown("active", 3), shown("activating", 5), False),
        (shown("active", 0), shown("failed", 0), False),
        # A start by hand resets the number of restarts.
        (shown("active", 7), shown("active", 0), True),
    ],
)
def test_whether_a_unit_keeps_running(before: str, now: str, runs: bool) -> None:
    assert units.keeps_running(units.parse(before), units.parse(now)) is runs


class Looping(Scripted):
    """A machine whose unit restarts once before each check; its journal has the reason."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.restarts = -1
        self.asked: set[str] = set()

    def answer(self, argv: Sequence[str]) -> str:
        if argv[0] == "journalctl":
            return "level=fatal kubelet exited: invalid configuration\n"
        self.restarts += 1
        self.asked.add(argv[-1])
        return shown("active", self.restarts)


class Busy(Scripted):
    def answer(self, argv: Sequence[str]) -> str:
        raise DeadlineExceeded("it is busy")


def test_a_unit_that_exits_repeatedly_ends_the_wait(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = replace(lab, distribution="k3s")
    plane, worker = Busy("control-plane-1"), Looping("worker-1")
    monkeypatch.setattr(units, "INTERVAL", 0.0)
    watch = units.Watch(lab, [plane, worker], distribution(lab))

    def not_ready() -> None:
        raise ResourceError("worker-1 is not Ready")

    with pytest.raises(ResourceError, match="k3s-agent on worker-1 exits again") as caught:
        wait.until(not_ready, what="every node", timeout=60, interval=0.001, unless=watch)
    assert "| level=fatal kubelet exited: invalid configuration" in caught.value.message
    assert "--distribution kubeadm" in caught.value.hint
    assert (worker.restarts, worker.asked) == (units.MOST_RESTARTS, {"k3s-agent"})


def test_units_are_not_checked_at_every_probe(lab: Lab) -> None:
    worker = Looping("worker-1")
    watch = units.Watch(lab, [worker], distribution(lab))
    for _ in range(5):
        watch()
    assert (worker.restarts, worker.asked) == (0, {"kubelet"})
