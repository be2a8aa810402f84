"""Scripts of a machine fail at once when the kubelet's unit exits. systemd is a stand-in."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.machine import Folder


@pytest.fixture
def machine(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_the_script_waits_until_the_kubelet_is_healthy(machine: Folder) -> None:
    """The kubelet answers the third request."""
    machine.stand_in("curl", "echo >>@requests; [ $(wc -l <@requests) -ge 3 ]")
    assert machine.run("kubelet.sh", "k3s", "30").returncode == 0
    assert machine.calls() == []


@pytest.mark.parametrize(
    "meanwhile",
    ["echo 1 >@restarts", "echo activating >@active", "echo failed >@active"],
)
def test_the_script_fails_at_once_when_the_unit_exits(machine: Folder, meanwhile: str) -> None:
    machine.stand_in("curl", f"{meanwhile}; exit 7")
    begun = time.monotonic()
    done = machine.run("kubelet.sh", "k3s", "300")
    assert time.monotonic() - begun < 20
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "the last line",
        "k3s ended before kubelet was healthy",
    ]


def test_a_kubelet_without_an_answer_times_out(machine: Folder) -> None:
    machine.stand_in("curl", "exit 7")
    done = machine.run("kubelet.sh", "kubelet", "1")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "kubelet runs, but kubelet was not healthy within 1 s",
    )


def test_a_stopped_unit_is_started(machine: Folder) -> None:
    machine.write("active", "inactive")
    machine.started("echo active >@active")
    machine.stand_in("curl", "exit 0")
    assert machine.run("kubelet.sh", "kubelet", "30").returncode == 0
    assert machine.calls() == ["start kubelet"]


def test_the_script_fails_when_the_unit_does_not_start(machine: Folder) -> None:
    machine.write("active", "failed")
    machine.started("exit 1")
    machine.stand_in("curl", "exit 7")
    done = machine.run("kubelet.sh", "kubelet", "30")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "kubelet does not start")


WITH = "node/rootfs/usr/local/lib/lab/with-kubelet"


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_keeps_its_exit_code(machine: Folder, code: int) -> None:
    machine.stand_in("kubeadm", f'echo "$@" && exit {code}')
    done = machine.run(WITH, "kubeadm", "init", "--config", "file")
    assert (done.returncode, done.stdout) == (code, "init --config file\n")


def test_kubeadm_is_stopped_when_the_kubelet_exits_at_every_start(machine: Folder) -> None:
    """kubeadm itself would wait for minutes."""
    machine.stand_in("kubeadm", "echo 3 >@restarts; exec sleep 300")
    begun = time.monotonic()
    done = machine.run(WITH, "kubeadm", "init")
    assert time.monotonic() - begun < 20
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == ["the last line", "kubelet ends at every start"]


def test_restarts_before_the_command_do_not_count(machine: Folder) -> None:
    machine.write("restarts", "40")
    machine.stand_in(
        "systemctl", "case $1 in reset-failed) echo 0 >@restarts ;; show) cat @restarts ;; esac"
    )
    machine.stand_in("kubeadm", "sleep 1")
    assert machine.run(WITH, "kubeadm", "init").returncode == 0
