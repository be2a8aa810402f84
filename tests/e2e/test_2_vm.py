"""One virtual machine by Vagrant's libvirt provider, emulated where KVM does not work: the same
image, the same connection, Docker and Singularity usable in it."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from lab.connection import Remote
from tests.e2e.conftest import ROOT, Invoke, VirtualMachine
from tests.unit.test_docs import rows

pytestmark = pytest.mark.e2e


@pytest.fixture
def virtual(booting: Future[VirtualMachine]) -> VirtualMachine:
    """The machine, without Kubernetes, up and connected."""
    return booting.result()


@pytest.fixture
def machine(virtual: VirtualMachine) -> Remote:
    return virtual.remote


def test_a_virtual_machine(machine: Remote) -> None:
    assert machine.run(["cat", "/proc/1/comm"]).strip() == "systemd"
    assert machine.run(["systemd-detect-virt"]).strip() in ("qemu", "kvm")
    assert machine.run(["hostname"]).strip() == "control-plane-1"
    assert machine.run(["stat", "-fc", "%T", "/sys/fs/cgroup"]).strip() == "cgroup2fs"


def test_its_address(virtual: VirtualMachine) -> None:
    (expected,) = virtual.machines.lab.machines
    assert expected.address in virtual.remote.run(["ip", "-brief", "-4", "address"])


def test_only_the_labs_key_opens_it(machine: Remote) -> None:
    keys = machine.run(["cat", "/etc/lab/authorized_keys"]).splitlines()
    assert len(keys) == 1
    machine.run(["test", "!", "-e", "/home/vagrant/.ssh/authorized_keys"])


MARK = "== question"
# What both kinds of machine are asked. Rows of the table in docs/machines.md are those that differ.
QUESTIONS = {
    "virtualisation": "systemd-detect-virt",
    "kernel": "uname -r",
    "cgroup": "stat -fc %T /sys/fs/cgroup",
    "processors": "nproc",
    "root": "findmnt -no FSTYPE /",
    "cards": "ls -d /sys/class/net/e* | wc -l",
    "resolver": "grep nameserver /etc/resolv.conf",
    "services": "systemctl list-unit-files --state=enabled --no-legend --plain"
    ' | awk \'$1 != "kubelet.service" && $1 != "lab-registry.service" { print $1 }\'',
    "packages": "dpkg-query -W",
    "modules": "test -d /lib/modules/$(uname -r) && echo its own || echo none",
    "release": "cat /etc/os-release",
    "users": "cat /etc/passwd /etc/group && id vagrant && sudo -l",
    "ssh": "sudo sshd -T | grep -v '^hostkeyagent' | sort && wc -l </etc/lab/authorized_keys",
    "docker": "docker info --format '{{.ServerVersion}} {{.Driver}} {{.RegistryConfig.Mirrors}}'"
    " && cat /etc/docker/daemon.json",
    "containerd": "containerd --version"
    " && grep -vE 'OOM|oom|SystemdCgroup' /etc/containerd/config.toml",
    "singularity": "singularity --version && cat /etc/apptainer/apptainer.conf | sha256sum",
    "temporary": "findmnt -no FSTYPE /run",
    "forwarding": "cd /proc/sys/net/ipv4 && cat ip_forward conf/all/rp_filter",
    "shell": "echo $SHELL $HOME && umask",
    "name": "hostname",
    "first process": "cat /proc/1/comm",
    "time zone": "date +%Z",
}


def asked(remote: Remote) -> dict[str, str]:
    """All answers of a machine, by one connection: emulated, each would take two seconds."""
    lines = [f"echo '{MARK} {name}'\n({line})" for name, line in QUESTIONS.items()]
    told = remote.run(["sh", "-ec", "\n".join(lines)], timeout=120)
    parts = (part.partition("\n") for part in told.split(f"{MARK} ")[1:])
    return {name: answer for name, _, answer in parts}


def test_how_it_differs_from_a_container(machine: Remote, invoke: Invoke) -> None:
    """In what docs/machines.md says, and in nothing else that is asked."""
    container = Remote("control-plane-1", invoke.checkout / ".lab" / invoke.lab / "ssh_config")
    answers = [asked(container), asked(machine)]
    container.close()
    different = {name for name in QUESTIONS if answers[0][name] != answers[1][name]}
    told = {row[0].strip("`") for row in rows(ROOT / "docs" / "machines.md", "what")}
    # A host may have what the virtual machine has.
    assert different | {"cgroup", "processors"} == told, {
        name: [answer[name] for answer in answers] for name in different ^ told
    }
    extra = set(answers[0]["packages"].split("\n")) - set(answers[1]["packages"].split("\n"))
    assert not extra


def test_the_lectures_busybox(machine: Remote) -> None:
    """`docker run busybox`, and the same image by Singularity, out of the lab's registry."""
    run = ["docker", "run", "--rm", "busybox", "echo", "from docker"]
    assert machine.run(run, timeout=240).strip() == "from docker"
    image = "docker://registry.lab:5000/library/busybox"
    execute = ["singularity", "--quiet", "exec", "--no-https", image, "echo", "from singularity"]
    words = ["env", "APPTAINER_TMPDIR=/var/tmp", *execute]
    assert machine.run(words, timeout=240).strip() == "from singularity"
