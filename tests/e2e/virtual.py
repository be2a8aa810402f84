"""A virtual machine by Vagrant's libvirt provider, and what it answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import config, runner
from lab.lifecycle import bringup, opened
from lab.machines.driver import Machines, remove
from lab.machines.ssh import Remote
from lab.output import Status
from tests.e2e.nested import run_a_node
from tests.e2e.support import scrub_virtual

# Of lab-up, all but Kubernetes: emulated, that alone takes minutes (tests/slow/test_vm.py).
STEPS = (
    bringup.install_prerequisites,
    bringup.remember_choices,
    bringup.make_node_image,
    bringup.start_machines,
    bringup.prepare_machines,
)
# By cgroups of version 1 all of libvirt's machines get as much of the processors as all containers:
# too much for one that nobody waits for, while the first lab's tests wait for theirs.
GROUP = Path("/sys/fs/cgroup/cpu/machine")
USUAL, LITTLE = 1024, 128
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
IMAGE = "docker://registry.lab:5000/library/busybox"
# The lecture's busybox, by both.
BUSYBOX = {
    "docker": ("docker", "run", "--rm", "busybox"),
    "singularity": (
        *("env", "APPTAINER_TMPDIR=/var/tmp"),
        *("singularity", "--quiet", "exec", "--no-https", IMAGE),
    ),
}


@dataclass(frozen=True)
class VirtualMachine:
    """A lab of one virtual machine, the connection to it, and what it answered.

    `busybox` is what was printed in the lecture's image, by Docker and by Singularity; `answers`
    are those to QUESTIONS, `nested` those about a node in a container on this machine.
    """

    machines: Machines
    remote: Remote
    busybox: Mapping[str, str]
    answers: Mapping[str, str]
    nested: Mapping[str, str]


def boot(checkout: Path) -> VirtualMachine:
    """Make a virtual machine, with the lab's registry, and ask it everything."""
    # Emulated, a kernel of two processors may have to start twice: docs/known-issues.md.
    chosen = {"name": "vm", "provider": "libvirt", "machines.workers": 0, "machines.cpus": 1}
    lab = config.load(checkout, chosen, environ={})
    scrub_virtual(lab.name)
    status = Status()
    up = bringup.Bringup.of(lab, opened.toolchain_of(lab, status), status)
    weigh(LITTLE)
    try:
        for step in STEPS:
            step(up)
        remote = up.remotes[0]
        busybox = {
            name: remote.run([*command, "echo", "from", name], timeout=240)
            for name, command in BUSYBOX.items()
        }
        answers = asked(remote)
        return VirtualMachine(up.machines, remote, busybox, answers, run_a_node(up, remote))
    except BaseException:
        if (lab.state / "machines.json").exists():
            remove(up.lab, status)
        raise
    finally:
        up.pool.shutdown(wait=False)


def weigh(share: int) -> None:
    """What libvirt's machines get of the processors where others want them, in cpu.shares."""
    if GROUP.parent.exists():
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        runner.run([*sudo, "mkdir", "--parents", GROUP])
        runner.run([*sudo, "tee", GROUP / "cpu.shares"], stdin=str(share).encode())


def asked(remote: Remote) -> dict[str, str]:
    """All answers of a machine, by one connection: emulated, each would take two seconds."""
    lines = [f"echo '{MARK} {name}'\n({line})" for name, line in QUESTIONS.items()]
    told = remote.run(["sh", "-ec", "\n".join(lines)], timeout=240)
    parts = (part.partition("\n") for part in told.split(f"{MARK} ")[1:])
    return {name: answer for name, _, answer in parts}
