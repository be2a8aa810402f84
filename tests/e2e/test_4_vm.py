"""One virtual machine by Vagrant's libvirt provider, emulated where KVM does not work: the same
image, the same connection, Docker and Singularity usable in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import boxes, config, host, lifecycle, prerequisites
from lab.config import Lab
from lab.connection import Remote
from lab.containers import run_arguments
from lab.host import Host
from lab.images import Builder
from lab.machines import Machines, libvirt_settings, rendering
from lab.output import Status

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Setting:
    """A lab of one virtual machine on this host."""

    lab: Lab
    facts: Host
    status: Status


@pytest.fixture(scope="module")
def setting(checkout: Path) -> Setting:
    flags = {"name": "vm", "provider": "libvirt", "machines.workers": 0}
    lab = config.load(checkout, flags, {})
    status = Status()
    toolchain = lifecycle.toolchain_of(lab, status)
    facts = host.gather(toolchain.cache)
    if missing := prerequisites.missing(lab, facts):
        prerequisites.install(missing, facts, status)
    prerequisites.start_libvirt(facts, status)
    return Setting(lifecycle.settle(lab, facts, toolchain), facts, status)


@pytest.fixture(scope="module")
def machine(setting: Setting) -> Iterator[Remote]:
    """The machine, without Kubernetes, up and connected."""
    lab, facts, status = setting.lab, setting.facts, setting.status
    toolchain = lifecycle.toolchain_of(lab, status)
    arguments = run_arguments(facts.missing_capabilities)
    image = Builder(lab.root, toolchain, arguments, status).machine()
    box = boxes.make(lab.root, toolchain.cache, image, status)
    machines = Machines(lab, status)
    machines.make_key()
    settings = libvirt_settings(lab, box, kvm=facts.kvm)
    machines.render(rendering(lab, settings, cpus=0 if facts.kvm else 1))
    try:
        machines.start(image)
        machines.connect()
        remote = Remote("control-plane-1", lab.state / "ssh_config")
        yield remote
        remote.close()
    finally:
        machines.remove()


def test_a_virtual_machine(machine: Remote) -> None:
    assert machine.run(["cat", "/proc/1/comm"]).strip() == "systemd"
    assert machine.run(["systemd-detect-virt"]).strip() in ("qemu", "kvm")
    assert machine.run(["hostname"]).strip() == "control-plane-1"
    assert machine.run(["stat", "-fc", "%T", "/sys/fs/cgroup"]).strip() == "cgroup2fs"


def test_its_address(machine: Remote, setting: Setting) -> None:
    (expected,) = setting.lab.machines
    assert expected.address in machine.run(["ip", "-brief", "-4", "address"])


def test_only_the_labs_key_opens_it(machine: Remote) -> None:
    keys = machine.run(["cat", "/etc/lab/authorized_keys"]).splitlines()
    assert len(keys) == 1
    machine.run(["test", "!", "-e", "/home/vagrant/.ssh/authorized_keys"])


def test_docker_and_singularity(machine: Remote) -> None:
    """An image of busybox, built by Docker, run by Docker and by Singularity."""
    build = (
        "mkdir image && cp /usr/bin/busybox image/ 2>/dev/null || cp /bin/sh image/busybox;"
        " cd image && for lib in $(ldd busybox | grep -oE '/[^ ]+'); do"
        " mkdir -p .$(dirname $lib) && cp $lib .$lib; done;"
        " printf 'FROM scratch\\nCOPY . /\\nENTRYPOINT [\"/busybox\"]\\n' >Dockerfile &&"
        " docker build --quiet --tag mine . && docker save --output ../mine.tar mine"
    )
    machine.run(["sh", "-c", build], timeout=240)
    run = ["docker", "run", "--rm", "mine", "-c", "echo from docker"]
    assert machine.run(run, timeout=240).strip() == "from docker"
    convert = ["singularity", "build", "mine.sif", "docker-archive:mine.tar"]
    machine.run(["env", "APPTAINER_TMPDIR=/var/tmp", *convert], timeout=240)
    execute = ["singularity", "exec", "mine.sif", "/busybox", "-c", "echo from singularity"]
    assert machine.run(execute, timeout=240).strip() == "from singularity"
