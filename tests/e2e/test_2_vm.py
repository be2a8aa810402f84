"""One virtual machine by Vagrant's libvirt provider, emulated where KVM does not work: the same
image, the same connection, Docker and Singularity usable in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lab import runner, wait
from lab.host.facts import port_is_free
from lab.machines import cgroups
from lab.machines.boxes import POOL, Box
from lab.machines.libvirt import virsh
from lab.machines.ssh import Remote
from lab.platforms import this_platform
from tests.e2e.conftest import Beside
from tests.e2e.nested import ANSWER, MEMORY
from tests.e2e.support import ROOT, Invoke
from tests.e2e.virtual import BUSYBOX, QUESTIONS, VirtualMachine, asked
from tests.unit.test_docs import rows

pytestmark = pytest.mark.e2e


@pytest.fixture
def virtual(beside: Beside) -> VirtualMachine:
    """The machine, without Kubernetes, up and connected."""
    return beside.machine.result()


def test_a_virtual_machine(virtual: VirtualMachine) -> None:
    answers = {name: answer.strip() for name, answer in virtual.answers.items()}
    assert answers["first process"] == "systemd"
    assert answers["virtualisation"] in ("qemu", "kvm")
    assert answers["name"] == "control-plane-1"
    assert answers["cgroup"] == "cgroup2fs"


def test_its_address(virtual: VirtualMachine) -> None:
    (expected,) = virtual.machines.lab.machines
    assert expected.address in virtual.remote.run(["ip", "-brief", "-4", "address"])


def test_only_the_labs_key_opens_it(virtual: VirtualMachine) -> None:
    keys = virtual.remote.run(["cat", "/etc/lab/authorized_keys"]).splitlines()
    assert len(keys) == 1
    virtual.remote.run(["test", "!", "-e", "/home/vagrant/.ssh/authorized_keys"])


def test_the_lectures_busybox(virtual: VirtualMachine) -> None:
    """`docker run busybox`, and the same image by Singularity, out of the lab's registry."""
    said = {name: text.strip() for name, text in virtual.busybox.items()}
    assert said == {name: f"from {name}" for name in BUSYBOX}


def test_how_it_differs_from_a_container(virtual: VirtualMachine, invoke: Invoke) -> None:
    """In what docs/machines.md says, and in nothing else that is asked."""
    container = Remote("control-plane-1", invoke.state / "ssh_config")
    answers = [asked(container), virtual.answers]
    container.close()
    different = {name for name in QUESTIONS if answers[0][name] != answers[1][name]}
    told = {row[0].strip("`") for row in rows(ROOT / "docs" / "machines.md", "what")}
    # A host may have what the virtual machine has.
    assert different | {"cgroup", "processors"} == told, {
        name: [answer[name] for answer in answers] for name in different ^ told
    }
    extra = set(answers[0]["packages"].split("\n")) - set(answers[1]["packages"].split("\n"))
    assert not extra


def test_a_node_in_a_container_on_cgroup_v2(virtual: VirtualMachine) -> None:
    """On a host like those of students: its systemd and kubelet share a tree of their own."""
    told = dict(virtual.nested)
    assert told["pod"] == ANSWER
    assert (told["state"], told["failed"], told["restarts"]) == ("running", "", "0"), told
    groups = cgroups.parse(told["groups"])
    assert groups == cgroups.Cgroups(2, "systemd")
    assert "LAB_KUBELET_ARGS=" in told["groups"].splitlines()
    # Pods lie below the container's group, with their limits, and go with it.
    assert "No such file" in told["outside"]
    assert str(MEMORY) in told["memory"].split()
    assert told["left"] == ""


@pytest.mark.skipif(this_platform() != "linux-amd64", reason="the timers of a PC")
def test_its_kernel_does_not_wait_for_a_timer_nor_for_somebody(
    virtual: VirtualMachine, tmp_path: Path
) -> None:
    """Emulated beside other work a kernel may see no tick for a while: here it never sees one.

    Without its disk it gives up, and must start anew: then QEMU ends.
    """
    settings = json.loads((virtual.machines.lab.state / "machines.json").read_text())
    kernel = settings["libvirt"]["kernel"]
    words = Box("box", kernel).libvirt(kvm=False, key="ssh-ed25519 AAAA lab")["cmd_line"]
    console = tmp_path / "console"
    timers = "pc,accel=tcg,pit=off,hpet=off"
    qemu = ["qemu-system-x86_64", "-machine", timers, "-cpu", "max", "-m", "512", "-nic", "none"]
    qemu += ["-display", "none", "-no-reboot", "-serial", f"file:{console}"]
    sudo = [] if os.access(kernel, os.R_OK) else ["sudo", "-n"]
    runner.run([*sudo, *qemu, "-kernel", kernel, "-append", words], timeout=120)
    told = console.read_text(errors="replace")
    assert "timer doesn't work" not in told
    assert "Unable to mount root fs" in told


def test_a_lab_whose_folder_is_gone_can_be_destroyed(
    virtual: VirtualMachine, checkout: Path, tmp_path: Path
) -> None:
    """Without Vagrant's records the machine tells itself whose it is."""
    lab = Invoke(checkout, virtual.machines.lab.name)
    lab.state.rename(tmp_path / "state")
    done = lab("lab-destroy")
    (tmp_path / "state").rename(lab.state)
    assert f"removed the virtual machines of lab `{lab.lab}`" in done.err
    assert f"{lab.lab}-control-plane-1" not in virsh("list", "--all", "--name").split()
    assert f"lab-{lab.lab}" not in virsh("net-list", "--all", "--name").split()
    assert f"{lab.lab}-control-plane-1" not in virsh("vol-list", POOL)
    # Ports are forwarded by processes of their own.
    ports = virtual.machines.lab.ports
    forwarded = [port for port in (ports.api, ports.http, ports.registry) if port]
    wait.until(
        lambda: all(map(port_is_free, forwarded)) or None,
        what="the end of the forwards",
        timeout=10,
    )
