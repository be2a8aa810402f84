"""One virtual machine by Vagrant's libvirt provider, emulated where KVM does not work: the same
image, the same connection, Docker and Singularity usable in it."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from lab.connection import Remote
from tests.e2e.conftest import VirtualMachine

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
