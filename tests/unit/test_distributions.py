"""The configuration that kubeadm and k3s are given."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lab.config import Lab
from lab.connection import Remote
from lab.distributions import distribution, k3s, kubeadm
from lab.distributions.k3s import K3s
from lab.distributions.kubeadm import Kubeadm
from lab.errors import CommandError

VERSIONS = {"kubernetes": "1.34.4", "coredns": "1.12.4", "etcd": "3.6.7", "flannel": "0.26.7"}


def kinds(lab: Lab, systemd_cgroup: bool = True) -> dict[str, dict[str, object]]:
    parts = kubeadm.initial(
        lab, lab.machines[0], "abcdef.0123456789abcdef", VERSIONS, systemd_cgroup
    )
    return {str(part["kind"]): part for part in parts}


def test_the_distribution_of_a_lab(lab: Lab) -> None:
    assert isinstance(distribution(lab, VERSIONS), Kubeadm)
    assert isinstance(distribution(replace(lab, distribution="k3s"), {}), K3s)


def test_control_plane(lab: Lab) -> None:
    found = kinds(lab)
    init = found["InitConfiguration"]
    assert init["localAPIEndpoint"] == {"advertiseAddress": "192.168.56.11", "bindPort": 6443}
    assert init["nodeRegistration"]["name"] == "control-plane-1"  # type: ignore[index]
    cluster = found["ClusterConfiguration"]
    assert cluster["kubernetesVersion"] == "v1.34.4"
    assert cluster["networking"] == {"podSubnet": "10.244.0.0/16", "serviceSubnet": "10.96.0.0/16"}
    assert "127.0.0.1" in cluster["apiServer"]["certSANs"]  # type: ignore[index]
    assert found["KubeProxyConfiguration"]["mode"] == "nftables"


def test_cgroup_driver(lab: Lab) -> None:
    assert kinds(lab, True)["KubeletConfiguration"]["cgroupDriver"] == "systemd"
    assert kinds(lab, False)["KubeletConfiguration"]["cgroupDriver"] == "cgroupfs"


def test_worker(lab: Lab) -> None:
    (part,) = kubeadm.joining(lab.machines[1], "192.168.56.11:6443", "t.oken", "ab12")
    token = part["discovery"]["bootstrapToken"]
    assert token["caCertHashes"] == ["sha256:ab12"]
    assert token["apiServerEndpoint"] == "192.168.56.11:6443"
    assert part["nodeRegistration"]["kubeletExtraArgs"] == [
        {"name": "node-ip", "value": "192.168.56.21"}
    ]


def test_documents_are_json_apart() -> None:
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
    assert "server" not in settings


def test_k3s_agent(lab: Lab) -> None:
    settings = k3s.agent(lab.machines[2], "secret", lab.machines[0])
    assert settings["server"] == "https://192.168.56.11:6443"
    assert settings["node-name"] == "worker-2"
    assert "cluster-cidr" not in settings


def test_k3s_asks_the_labs_registry_first() -> None:
    mirrors = k3s.registries()["mirrors"]
    for name in ("docker.io", "registry.lab:5000"):
        assert mirrors[name] == {"endpoint": ["http://registry.lab:5000"]}


class Restarted(Remote):
    """A machine that was stopped: all is installed, and the API server takes a while to answer."""

    def __init__(self, refusals: int) -> None:
        super().__init__("control-plane-1", Path("none"))
        self.refusals = refusals

    def run(
        self,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        timeout: int = 60,
        ok: Sequence[int] = (0,),
    ) -> str:
        if "/readyz" not in argv:
            return ""
        self.refusals -= 1
        if self.refusals >= 0:
            raise CommandError(argv, 1, "connection refused", where=self.name)
        return "ok"

    def script(self, path: Path, *arguments: str, timeout: int = 60) -> str:
        return ""

    def put(self, content: str, path: str, mode: str = "0644") -> None:
        pass


@pytest.mark.parametrize("name", ["kubeadm", "k3s"])
def test_start_ends_when_the_api_server_answers(lab: Lab, name: str) -> None:
    (lab.root / "vagrant").mkdir()
    (lab.root / "vagrant" / "flannel.yaml").write_text("")
    machine = Restarted(refusals=2)
    distribution(replace(lab, distribution=name), VERSIONS).start(machine)
    assert machine.refusals < 0
