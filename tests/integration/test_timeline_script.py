"""What makes components say more while a time line is measured, on a machine in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.machine import Folder

PAIRS = {
    "kubeadm": "etc/kubernetes/pki/apiserver-kubelet-client",
    "k3s": "var/lib/rancher/k3s/server/tls/client-kube-apiserver",
}


@pytest.fixture
def machine(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.stand_in("systemd-run", 'echo "$@" >>@systemd-run.log')
    made.stand_in("curl", 'echo "$@" >>@curl.log')
    return made


@pytest.mark.parametrize("distribution", PAIRS)
def test_components_of_a_control_plane_say_more(machine: Folder, distribution: str) -> None:
    """With the certificate of the API server's own, which kubelets obey."""
    pair = PAIRS[distribution]
    machine.write(f"{pair}.key", "")
    words = ("start", "machinery-timeline", "192.168.56.11:10250", "192.168.56.21:10250")
    assert machine.run("timeline.sh", *words).returncode == 0
    asked = machine.read("curl.log").splitlines()
    assert [line.split()[-1].split("/")[2] for line in asked] == [
        "127.0.0.1:10257",
        "127.0.0.1:10259",
        "192.168.56.11:10250",
        "192.168.56.21:10250",
    ]
    for line in asked:
        assert f"--cert {machine.root}/{pair}.crt --key {machine.root}/{pair}.key" in line
        assert "--request PUT --data 4" in line
    # The end of the recording makes them silent again, also when it is not asked for.
    assert "ExecStopPost=-" in machine.read("systemd-run.log")
    assert "level 0 192.168.56.11:10250" in machine.read("systemd-run.log")


def test_a_worker_has_no_such_certificate(machine: Folder) -> None:
    assert machine.run("timeline.sh", "start", "machinery-timeline", "x:10250").returncode == 0
    assert machine.read("curl.log") == ""


def test_k3s_log_of_containerd_is_read(machine: Folder) -> None:
    machine.stand_in("journalctl", "echo '{}'")
    log = '{"cniVersion":"1.0.0"}time="2026-11-30T22:00:00Z" level=info msg="x"\n'
    machine.write("var/lib/rancher/k3s/agent/containerd/containerd.log", log)
    done = machine.run("timeline.sh", "read", "machinery-timeline", "0")
    assert (done.returncode, done.stdout) == (0, log)
