"""Boxes: the image of a machine as a virtual machine's disk, for Vagrant's libvirt and VirtualBox.

The disk holds the very image that containers are made of, with a kernel added, so that a machine
is the same whatever runs it. With libvirt its kernel is booted directly, which is faster, and the
kernel's command line tells the machine its lab's key, its name and its address. VirtualBox boots by
EFI firmware, and has no such words for a machine: there the box has a key of its own, which opens a
machine until the Vagrantfile's provisioner has told it the lab's.
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

# GiB that a machine's disk may grow to; what is empty takes no space on the host.
DISK = 20
# vagrant-libvirt's own storage, and the files that a machine is booted with.
POOL = "default"
POOL_FOLDER = "/var/lib/libvirt/images"
BOOT = ("vmlinuz", "initrd.img")
# There is no usual machine of this architecture. None has the mouse that vagrant-libvirt gives to
# every machine, nor the tables of ACPI without a firmware.
ARM64 = {"machine_type": "virt", "inputs": [], "features": []}
# What a kernel is told whose processor is emulated. What guards one on a real processor only costs
# time there. One that does not trust the counters of several processors asks a slow device for the
# time instead. One that misses ten ticks in a row, on a busy host, takes its timer for broken and
# gives up (where KVM is, it knows that it must not look). And a service may need minutes to begin.
EMULATED = {
    "amd64": "mitigations=off tsc=reliable no_timer_check systemd.default_timeout_start_sec=600",
    "arm64": "mitigations=off systemd.default_timeout_start_sec=600",
}
# What a box for VirtualBox consists of; Vagrant unpacks it as it is.
KEY = "id_ed25519"
VIRTUALBOX = ("metadata.json", "box.ovf", "box.vmdk", KEY)


@dataclass(frozen=True)
class Box:
    """A box that Vagrant knows.

    For libvirt its kernel and initrd are in libvirt's storage; for VirtualBox it has a private key.
    `platform` is what its machines are.
    """

    name: str
    kernel: str = ""
    initrd: str = ""
    key: str = ""
    platform: str = field(default_factory=this_platform)

    def libvirt(self, *, kvm: bool, key: str) -> dict[str, Any]:
        """Settings of vagrant-libvirt for machines of this box; `key` is a public ed25519 key."""
        architecture = architecture_of(self.platform)
        words = f"root=/dev/vda2 rw console={SERIAL[architecture]} lab.key={key.split()[1]}"
        # A kernel that gives up starts anew after a second; by itself it would wait for ever.
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
        # Only tests do that: it is emulated.
        if self.platform != this_platform():
            settings["machine_arch"] = uname_of(self.platform)
        return settings


def make(root: Path, cache: Path, image: str, provider: str, status: Status) -> Box:
    """The box of a machine's image, made the first time that it is wanted.

    Raises CommandError with the words of the tool that failed.
    """
    name = name_of(root, image)
    key = name.rpartition("/")[2]
    waits = partial(status.say, "waiting: the box is being made already")
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
    """A box that Vagrant knows for a provider; None unless it is whole."""
    if not (folder := unpacked(name, provider)):
        return None
    if provider == "libvirt":
        # They come last: where they are, everything is.
        stored = volumes(name)
        return Box(name, *(stored[file] for file in BOOT)) if stored.keys() >= set(BOOT) else None
    whole = all((folder / file).exists() for file in VIRTUALBOX)
    return Box(name, key=str(folder / KEY)) if whole else None


def image_tag(root: Path, image: str) -> str:
    """What a machine's image with a kernel is called; the box is named by the same digest."""
    return f"{REPOSITORY}/vm:{digest(root / 'vagrant' / 'vm', image, str(DISK))}"


def name_of(root: Path, image: str) -> str:
    """What the box of a machine's image is called."""
    return f"{REPOSITORY}/{image_tag(root, image).rpartition(':')[2]}"


def make_image(root: Path, image: str, status: Status) -> str:
    """A machine's image with a kernel added, built where the host has it not yet; its tag."""
    tag = image_tag(root, image)
    if not exists(tag):
        with readable(root / "vagrant" / "vm") as context:
            docker_build(tag, context, {"MACHINE": image}, platform_of(image), status)
    return tag


def unpacked(name: str, provider: str) -> Path | None:
    """The folder to which Vagrant has unpacked a box for a provider; None where it has none."""
    boxes = vagrant_home() / "boxes" / name.replace("/", "-VAGRANTSLASH-")
    return next((path.parent for path in boxes.glob(f"**/{provider}/metadata.json")), None)


def volumes(name: str) -> dict[str, str]:
    """The files of a box in libvirt's storage, its kernel for instance: file name -> path."""
    listing = virsh("vol-list", POOL, ok=(0, 1)).split()
    prefix = _volume(name, "")
    places = {word for word in listing if word.startswith("/") and f"/{prefix}" in word}
    return {place.rpartition(prefix)[2]: place for place in places}


def clear(cache: Path) -> None:
    """Remove every box of ours, from Vagrant, from libvirt's storage and from VirtualBox."""
    for lock in (cache / "boxes").glob("*.lock"):
        name = f"{REPOSITORY}/{lock.stem}"
        for provider in ("libvirt", "virtualbox"):
            if not (folder := unpacked(name, provider)):
                continue
            # The machine that Vagrant made of a box in VirtualBox, for the lab's to be linked to.
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
    """What VirtualBox imports a box by; `size` is that of the packed disk, in bytes."""
    return template.replace("@SIZE@", str(size)).replace("@CAPACITY@", str(DISK << 30))


def _make_disk(tag: str, folder: Path, status: Status) -> Path:
    """The disk of a machine; kernel and initrd are put beside it."""
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
    """What a file of a box is called in libvirt's storage."""
    return f"{name.replace('/', '-')}-{file}"


def store(path: Path, name: str) -> None:
    """Upload a file of a box to libvirt's storage: guests may not read from a home folder."""
    volume = _volume(name, path.name)
    if POOL not in virsh("pool-list", "--all", "--name").split():
        virsh("pool-define-as", POOL, "dir", "--target", POOL_FOLDER)
        virsh("pool-autostart", POOL)
    virsh("pool-start", POOL, ok=(0, 1))
    virsh("vol-delete", volume, "--pool", POOL, ok=(0, 1))
    virsh("vol-create-as", POOL, volume, str(path.stat().st_size), "--format", "raw")
    virsh("vol-upload", volume, str(path), "--pool", POOL)
