"""Boxes: the image of a machine as the disk of a virtual machine, for libvirt and VirtualBox.

The disk contains the image of the containers and a kernel. So a machine is the same on every
provider. QEMU boots the kernel directly for libvirt, which is faster. The kernel's command line has
the lab's key, the machine's name and its address. VirtualBox boots by EFI firmware and has no
command line. There, the box has a key of its own until the Vagrantfile's provisioner replaces it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lab import runner
from lab.host.facts import vagrant_home
from lab.images.catalogue import REPOSITORY
from lab.images.docker import digest, docker_build, exists, platform_of, readable
from lab.machines import keys
from lab.machines.libvirt import virsh
from lab.output import Status
from lab.platforms import SERIAL, architecture_of, this_platform, uname_of
from lab.toolchain.store import alone, scratch

# The size of a machine's disk in GiB. Unused space takes no space on the host.
DISK = 20
# The storage pool of vagrant-libvirt, and the files that boot a machine.
POOL = "default"
POOL_FOLDER = "/var/lib/libvirt/images"
BOOT = ("vmlinuz", "initrd.img")
# QEMU has no default machine for this architecture. `virt` has neither the mouse that
# vagrant-libvirt adds, nor ACPI tables without firmware.
ARM64 = {"machine_type": "virt", "inputs": [], "features": []}
# Kernel arguments for emulated processors. Mitigations only cost time there. Without
# `tsc=reliable`, a kernel with several processors reads the time from a slow device. A kernel that
# misses ten ticks on a busy host regards its timer as broken and panics, except under KVM. A
# service may take minutes to start.
EMULATED = {
    "amd64": "mitigations=off tsc=reliable no_timer_check systemd.default_timeout_start_sec=600",
    "arm64": "mitigations=off systemd.default_timeout_start_sec=600",
}
# The files of a box for VirtualBox, which Vagrant unpacks unchanged.
KEY = "id_ed25519"
VIRTUALBOX = ("metadata.json", "box.ovf", "box.vmdk", KEY)


@dataclass(frozen=True)
class Box:
    """A box in Vagrant.

    For libvirt, `kernel` and `initrd` are paths in libvirt's storage. For VirtualBox, `key` is the
    path of a private key. `platform` is the platform of its machines, e.g. linux-amd64.
    """

    name: str
    kernel: str = ""
    initrd: str = ""
    key: str = ""
    platform: str = field(default_factory=this_platform)

    def libvirt(self, *, kvm: bool, key: str) -> dict[str, Any]:
        """Settings of vagrant-libvirt for machines of this box. `key` is a public ed25519 key."""
        architecture = architecture_of(self.platform)
        words = f"root=/dev/vda2 rw console={SERIAL[architecture]} lab.key={key.split()[1]}"
        # After a panic, the kernel reboots within a second. By default, it would hang.
        words += " panic=1" if kvm else f" panic=1 {EMULATED[architecture]}"
        settings: dict[str, Any] = {
            "driver": "kvm" if kvm else "qemu",
            "cpu_mode": "host-passthrough" if kvm else "maximum",
            "kernel": self.kernel,
            "initrd": self.initrd,
            "cmd_line": words,
            "graphics_type": "none",
        }
        if architecture == "arm64":
            settings |= ARM64
        # Only tests use another platform, which is emulated.
        if self.platform != this_platform():
            settings["machine_arch"] = uname_of(self.platform)
        return settings


def make(root: Path, cache: Path, image: str, provider: str, status: Status) -> Box:
    """The box of a machine's image. Makes it if it does not exist.

    Raises CommandError with the output of the tool that failed.
    """
    name = name_of(root, image)
    key = name.rpartition("/")[2]
    waits = partial(status.say, "waiting for another task that makes the same box")
    with alone(cache / "boxes" / f"{key}.lock", waits):
        if not (box := find(name, provider)):
            aside = scratch(cache / "boxes" / f"{key}.partial")
            with status.step("box (kernel, disk)"), aside as folder:
                tag = make_image(root, image, status)
                if provider == "libvirt":
                    _make_libvirt(name, tag, folder, status)
                else:
                    _make_virtualbox(name, tag, root, folder, status)
            box = find(name, provider)
    assert box
    return replace(box, platform=platform_of(image))


def find(name: str, provider: str) -> Box | None:
    """A box of a provider in Vagrant, or None unless it is complete."""
    if not (folder := unpacked(name, provider)):
        return None
    if provider == "libvirt":
        # These files are uploaded last.
        stored = volumes(name)
        return Box(name, *(stored[file] for file in BOOT)) if stored.keys() >= set(BOOT) else None
    whole = all((folder / file).exists() for file in VIRTUALBOX)
    return Box(name, key=str(folder / KEY)) if whole else None


def image_tag(root: Path, image: str) -> str:
    """The tag of a machine's image with a kernel. The box's name has the same digest."""
    return f"{REPOSITORY}/vm:{digest(root / 'vagrant' / 'vm', image, str(DISK))}"


def name_of(root: Path, image: str) -> str:
    """The name of the box of a machine's image."""
    return f"{REPOSITORY}/{image_tag(root, image).rpartition(':')[2]}"


def make_image(root: Path, image: str, status: Status) -> str:
    """The tag of a machine's image with a kernel. Builds the image if it does not exist."""
    tag = image_tag(root, image)
    if not exists(tag):
        with readable(root / "vagrant" / "vm") as context:
            docker_build(tag, context, {"MACHINE": image}, platform_of(image), status)
    return tag


def unpacked(name: str, provider: str) -> Path | None:
    """The folder of an unpacked box of a provider, or None if Vagrant lacks the box."""
    boxes = vagrant_home() / "boxes" / name.replace("/", "-VAGRANTSLASH-")
    return next((path.parent for path in boxes.glob(f"**/{provider}/metadata.json")), None)


def volumes(name: str) -> dict[str, str]:
    """The files of a box in libvirt's storage, such as its kernel: file name -> path."""
    listing = virsh("vol-list", POOL, ok=(0, 1)).split()
    prefix = _volume(name, "")
    places = {word for word in listing if word.startswith("/") and f"/{prefix}" in word}
    return {place.rpartition(prefix)[2]: place for place in places}


def clear(cache: Path) -> None:
    """Remove all boxes of the lab from Vagrant, from libvirt's storage and from VirtualBox."""
    for lock in (cache / "boxes").glob("*.lock"):
        name = f"{REPOSITORY}/{lock.stem}"
        for provider in ("libvirt", "virtualbox"):
            if not (folder := unpacked(name, provider)):
                continue
            # The machine in VirtualBox that Vagrant made from a box for linked clones.
            if (master := folder / "master_id").exists() and shutil.which("VBoxManage"):
                words = ["VBoxManage", "unregistervm", master.read_text(), "--delete"]
                runner.run(words, ok=(0, 1), timeout=120)
            remove = ["vagrant", "box", "remove", "--force", "--all", "--provider", provider]
            runner.run([*remove, name])
        if not shutil.which("virsh"):
            continue
        for prefix in (name.replace("/", "-"), name.replace("/", "-VAGRANTSLASH-")):
            for word in virsh("vol-list", POOL, ok=(0, 1)).split():
                if word.startswith(prefix):
                    virsh("vol-delete", word, "--pool", POOL)


def _make_libvirt(name: str, tag: str, folder: Path, status: Status) -> None:
    disk = _make_disk(tag, folder, status)
    runner.run(["qemu-img", "convert", "-O", "qcow2", disk, folder / "box.img"], timeout=300)
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    _add(name, "libvirt", folder, ("metadata.json", "box.img"), status)
    for file in BOOT:
        store(folder / file, name)


def _make_virtualbox(name: str, tag: str, root: Path, folder: Path, status: Status) -> None:
    key, packed = folder / KEY, folder / "box.vmdk"
    keys.make(key)
    keys.public(key).rename(folder / "authorized_keys")
    disk = _make_disk(tag, folder, status)
    convert = ["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized"]
    runner.run([*convert, disk, packed], timeout=900)
    template = (root / "vagrant" / "vm" / "box.ovf").read_text()
    (folder / "box.ovf").write_text(ovf(template, packed.stat().st_size))
    (folder / "metadata.json").write_text(json.dumps({"provider": "virtualbox"}))
    _add(name, "virtualbox", folder, VIRTUALBOX, status)


def ovf(template: str, size: int) -> str:
    """The description of a box for VirtualBox. `size` is the size of the packed disk in bytes."""
    return template.replace("@SIZE@", str(size)).replace("@CAPACITY@", str(DISK << 30))


def _make_disk(tag: str, folder: Path, status: Status) -> Path:
    """Make the disk of a machine, with kernel and initrd beside it."""
    container = runner.run(["docker", "create", tag]).stdout.strip()
    try:
        runner.run(["docker", "export", "--output", folder / "root.tar", container], timeout=300)
    finally:
        runner.run(["docker", "rm", container])
    status.note("disk")
    command = ["/usr/local/lib/lab/make-disk", str(DISK)]
    runner.run(
        ["docker", "run", "--rm", "--volume", f"{folder}:/build", tag, *command], timeout=600
    )
    return folder / "disk.img"


def _add(name: str, provider: str, folder: Path, members: Sequence[str], status: Status) -> None:
    archive = folder / "lab.box"
    runner.run(["tar", "--create", "--file", archive, "--directory", folder, *members], timeout=300)
    add = ["vagrant", "box", "add", "--force", "--provider", provider, "--name", name]
    runner.run([*add, archive], timeout=600, on_line=status.note)


def _volume(name: str, file: str) -> str:
    """The name of a box's file in libvirt's storage."""
    return f"{name.replace('/', '-')}-{file}"


def store(path: Path, name: str) -> None:
    """Upload a file of a box to libvirt's storage, since guests cannot read from a home folder."""
    volume = _volume(name, path.name)
    if POOL not in virsh("pool-list", "--all", "--name").split():
        virsh("pool-define-as", POOL, "dir", "--target", POOL_FOLDER)
        virsh("pool-autostart", POOL)
    virsh("pool-start", POOL, ok=(0, 1))
    virsh("vol-delete", volume, "--pool", POOL, ok=(0, 1))
    virsh("vol-create-as", POOL, volume, str(path.stat().st_size), "--format", "raw")
    virsh("vol-upload", volume, str(path), "--pool", POOL)
