"""VirtualBox's box where VirtualBox cannot run: Vagrant and its provider are the real ones, behind
VBoxManage is QEMU. EFI firmware boots the disk that was imported, and Vagrant tells the machine the
lab's key.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paramiko import AuthenticationException, AutoAddPolicy, SSHClient, SSHConfig

from lab import config, wait
from lab.lifecycle import bringup, opened
from lab.lifecycle.bringup import Bringup
from lab.machines import boxes, driver, keys
from lab.machines.driver import remove
from lab.machines.ssh import Remote, ssh_config
from lab.output import Status
from tests.e2e.support import install
from tests.slow import vboxmanage

pytestmark = pytest.mark.e2e
NEEDED = {
    "ovmf": "/usr/share/ovmf/OVMF.fd",
    "qemu-system-x86": "/usr/bin/qemu-system-x86_64",
}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """VBoxManage, and the folder in which it keeps its machines."""
    folder = tmp_path_factory.mktemp("virtualbox")
    program = folder / "VBoxManage"
    program.write_text(
        f'#!/bin/sh\nexec {shlex.join([sys.executable, vboxmanage.__file__])} "$@"\n'
    )
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder), prepend=":")
        patch.setenv("VBOX_STAND_IN", str(folder))
        yield folder


@pytest.fixture(scope="module")
def up(checkout: Path, engine: None, stand_in: Path) -> Iterator[Bringup]:
    """A lab of one machine, which is yet to be made."""
    asked = {"name": "firmware", "provider": "virtualbox", "machines.workers": 0}
    lab = config.load(checkout, asked, environ={})
    status = Status()
    up = Bringup.of(lab, opened.toolchain_of(lab, status), status)
    install(NEEDED)
    wait.expect(driver.EMULATED)
    for step in (
        bringup.install_prerequisites,
        bringup.remember_choices,
        bringup.make_node_image,
    ):
        step(up)
    up.pool.shutdown(wait=False)
    yield up
    for remote in up.remotes:
        remote.close()
    if (up.lab.state / "machines.json").exists():
        remove(up.lab, up.status)


@pytest.fixture(scope="module")
def box(up: Bringup) -> Iterator[Path]:
    """The folder of VirtualBox's box."""
    made = boxes.make(up.lab.root, up.toolchain.cache, up.image, "virtualbox", up.status)
    # Vagrant's note of a machine that is linked to: here it is the stand-in's.
    master = Path(made.key).with_name("master_id")
    before = master.read_text() if master.exists() else ""
    master.unlink(missing_ok=True)
    yield master.parent
    master.unlink(missing_ok=True)
    if before:
        master.write_text(before)


@pytest.fixture(scope="module")
def machine(up: Bringup, box: Path) -> Remote:
    """The machine, booted and told nothing yet: as if Vagrant had been killed in between."""
    up.machines.make_key()
    up.machines.render(bringup.render(up))
    up.machines.vagrant.run("up", "--provider=virtualbox", "--no-provision")
    up.machines.connect()
    return up.remotes[0]


def opens(key: str | Path, up: Bringup) -> bool:
    """Whether a machine lets somebody in with this key alone."""
    told = SSHConfig.from_path(str(ssh_config(up.lab))).lookup(up.lab.machines[0].name)
    with SSHClient() as client:
        client.set_missing_host_key_policy(AutoAddPolicy())
        try:
            client.connect(
                told["hostname"],
                int(told["port"]),
                told["user"],
                key_filename=str(key),
                allow_agent=False,
                look_for_keys=False,
                timeout=60,
                banner_timeout=60,
                auth_timeout=60,
            )
        except AuthenticationException:
            return False
    return True


def test_firmware_boots_the_disk(machine: Remote) -> None:
    machine.run(["test", "-d", "/sys/firmware/efi"])
    assert machine.run(["findmnt", "-no", "SOURCE", "/"]).strip() == "/dev/sda2"
    assert "lab.key" not in machine.run(["cat", "/proc/cmdline"])
    loaded = machine.run(["ls", "/sys/bus/pci/drivers/ahci"])
    assert "0000:" in loaded


def test_only_the_boxs_key_opens_what_was_told_nothing(
    machine: Remote, up: Bringup, box: Path
) -> None:
    assert opens(box / boxes.KEY, up)
    assert not opens(keys.key_file(up.lab), up)


def test_the_next_up_tells_it_the_labs_key(machine: Remote, up: Bringup, box: Path) -> None:
    up.machines.start(up.image)
    assert opens(keys.key_file(up.lab), up)
    assert not opens(box / boxes.KEY, up)


def test_its_address(machine: Remote, up: Bringup) -> None:
    cards = machine.run(["ip", "-brief", "-4", "address"])
    assert up.lab.machines[0].address in cards


def test_docker_and_the_registry(machine: Remote, up: Bringup) -> None:
    bringup.prepare_machines(up)
    run = ["docker", "run", "--rm", "busybox", "echo", "from docker"]
    assert machine.run(run, timeout=240).strip() == "from docker"


def test_it_is_the_same_after_a_boot(machine: Remote, up: Bringup, box: Path) -> None:
    machine.close()
    up.machines.stop()
    assert list(up.machines.states().values()) == ["stopped"]
    up.machines.start(up.image)
    assert list(up.machines.states().values()) == ["running"]
    up.machines.connect()
    assert opens(keys.key_file(up.lab), up)
    assert not opens(box / boxes.KEY, up)


def test_vagrant_links_machines_to_the_box(machine: Remote, box: Path, stand_in: Path) -> None:
    lines = (stand_in / "commands.log").read_text().splitlines()
    said = [json.loads(line)[:3] for line in lines]
    assert ["import", "-n", str(box / "box.ovf")] in said
    assert ["clonevm", (box / "master_id").read_text(), "--register"] in said
