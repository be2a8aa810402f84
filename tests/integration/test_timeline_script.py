"""vagrant/timeline.sh raises the log level of components, here on a machine in a folder."""

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
def test_a_control_plane_raises_log_levels(machine: Folder, distribution: str) -> None:
    """The requests use the API server's own client certificate, which kubelets accept."""
    pair = PAIRS[distribution]
    machine.write(f"{pair}.key", "")
    words = ("start", "machinery-timeline", "192.168.56.11:10250", "192.168.56.21:10250")
    assert machine.run("timeline.sh", *words).returncode == 0
    requests = machine.read("curl.log").splitlines()
    assert [line.split()[-1].split("/")[2] for line in requests] == [
        "127.0.0.1:10257",
        "127.0.0.1:10259",
        "192.168.56.11:10250",
        "192.168.56.21:10250",
    ]
    for line in requests:
        assert f"--cert {machine.root}/{pair}.crt --key {machine.root}/{pair}.key" in line
        assert "--request PUT --data 4" in line
    # systemd lowers the level again when the recording ends for any reason.
    assert "ExecStopPost=-" in machine.read("systemd-run.log")
    assert "level 0 192.168.56.11:10250" in machine.read("systemd-run.log")


def test_a_worker_has_no_certificate_and_sends_no_request(machine: Folder) -> None:
    assert machine.run("timeline.sh", "start", "machinery-timeline", "x:10250").returncode == 0
    assert machine.read("curl.log") == ""


def test_the_script_reads_k3s_log_of_containerd(machine: Folder) -> None:
    machine.stand_in("journalctl", "echo '{}'")
    log = '{"cniVersion":"1.0.0"}time="2026-11-30T22:00:00Z" level=info msg="x"\n'
    machine.write("var/lib/rancher/k3s/agent/containerd/containerd.log", log)
    done = machine.run("timeline.sh", "read", "machinery-timeline", "0")
    assert (done.returncode, done.stdout) == (0, log)
