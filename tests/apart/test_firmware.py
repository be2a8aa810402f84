"""VirtualBox's box where VirtualBox cannot run: QEMU boots its disk by EFI firmware, from a SATA
controller, and Vagrant tells the machine the lab's key as it does there.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from paramiko import AuthenticationException, AutoAddPolicy, SSHClient, SSHConfig

from lab import boxes, config, host, lifecycle, machines, prerequisites
from lab.boxes import Box
from lab.connection import Remote, ssh_config
from lab.lifecycle import Bringup
from lab.output import Status

pytestmark = pytest.mark.e2e
NAME = "firmware"
BOX = f"{boxes.REPOSITORY}/{NAME}"
# VirtualBox's devices, as far as QEMU has them: docs/machines.md.
DEVICES = {
    "loader": "/usr/share/ovmf/OVMF.fd",
    "disk_bus": "sata",
    "disk_device": "sda",
    "nic_model_type": "virtio",
}


@pytest.fixture(scope="module")
def up(checkout: Path, engine: None) -> Iterator[Bringup]:
    """A lab of one machine that is yet to be made, with VirtualBox's box for libvirt."""
    asked = {"name": NAME, "provider": "libvirt", "machines.workers": 0}
    lab = config.load(checkout, asked, environ={})
    status = Status()
    toolchain = lifecycle.toolchain_of(lab, status)
    facts = host.gather(toolchain.cache)
    settled = lifecycle.settle(lab, facts, toolchain)
    up = Bringup(lab, settled, status, facts, toolchain)
    if not Path(DEVICES["loader"]).exists():
        prerequisites.install(["ovmf"], facts, status)
    for step in (
        lifecycle.install_prerequisites,
        lifecycle.remember_choices,
        lifecycle.make_node_image,
    ):
        step(up)
    up.pool.shutdown(wait=False)
    yield up
    for remote in up.remotes:
        remote.close()
    if (settled.state / "machines.json").exists():
        up.machines.remove()


@pytest.fixture(scope="module")
def box(up: Bringup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """VirtualBox's box, and a copy of its disk as a box for libvirt."""
    made = boxes.make(up.lab.root, up.toolchain.cache, up.image, "virtualbox", up.status)
    folder = tmp_path_factory.mktemp("box")
    disk, archive = Path(made.key).with_name("box.vmdk"), folder / "lab.box"
    convert = ["qemu-img", "convert", "-f", "vmdk", "-O", "qcow2", disk, folder / "box.img"]
    subprocess.run(convert, check=True)
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": boxes.DISK}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    tar = ["tar", "--create", "--file", archive, "--directory", folder, "metadata.json", "box.img"]
    subprocess.run(tar, check=True)
    add = ["vagrant", "box", "add", "--force", "--provider", "libvirt", "--name", BOX, archive]
    subprocess.run(add, check=True)
    for path in (archive, folder / "box.img"):
        path.unlink()
    yield replace(made, name=BOX)
    # As a cache that knows this box alone.
    (folder / "boxes").mkdir()
    (folder / "boxes" / f"{NAME}.lock").touch()
    boxes.clear(folder)


@pytest.fixture(scope="module")
def machine(up: Bringup, box: Box) -> Remote:
    """The machine, booted and told nothing yet: as if Vagrant had been killed in between."""
    up.machines.make_key()
    settings = machines.virtualbox_settings(up.lab, box)
    direct = machines.libvirt_settings(up.lab, box, kvm=up.host.kvm)["libvirt"]
    processor = {key: direct[key] for key in ("driver", "cpu_mode", "graphics_type")}
    settings["libvirt"] = {**processor, **DEVICES}
    cpus = machines.emulated_cpus(up.lab, up.host.cpus)
    up.machines.render(machines.rendering(up.lab, settings, cpus))
    up.machines.up(provider="libvirt", no_provision=True)
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
    machine: Remote, up: Bringup, box: Box
) -> None:
    assert opens(box.key, up)
    assert not opens(machines.key_file(up.lab), up)


def test_the_next_up_tells_it_the_labs_key(machine: Remote, up: Bringup, box: Box) -> None:
    up.machines.start(up.image)
    assert opens(machines.key_file(up.lab), up)
    assert not opens(box.key, up)


def test_docker_and_the_registry(machine: Remote, up: Bringup) -> None:
    lifecycle.prepare_machines(up)
    run = ["docker", "run", "--rm", "busybox", "echo", "from docker"]
    assert machine.run(run, timeout=240).strip() == "from docker"


def test_it_is_the_same_after_a_boot(machine: Remote, up: Bringup, box: Box) -> None:
    machine.close()
    up.machines.stop()
    up.machines.start(up.image)
    up.machines.connect()
    assert opens(machines.key_file(up.lab), up)
    assert not opens(box.key, up)
