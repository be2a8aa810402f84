"""Boxes: the image of a machine as a virtual machine's disk, for Vagrant's libvirt provider.

The disk holds the very image that containers are made of, with a kernel added, so that a machine
is the same whatever runs it. It is booted directly: no boot loader, and the kernel's command line
tells the machine its lab's key.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import runner
from lab.images import REPOSITORY, digest, docker_build, exists
from lab.output import Status
from lab.toolchain.store import alone

# GiB that a machine's disk may grow to; what is empty takes no space on the host.
DISK = 20
# vagrant-libvirt's own storage, and the files that a machine is booted with.
POOL = "default"
POOL_FOLDER = "/var/lib/libvirt/images"
BOOT = ("vmlinuz", "initrd.img")


@dataclass(frozen=True)
class Box:
    """A box that Vagrant knows, with its kernel and initrd in libvirt's storage."""

    name: str
    kernel: str = ""
    initrd: str = ""

    def libvirt(self, *, kvm: bool, key: str) -> dict[str, Any]:
        """Settings of vagrant-libvirt for machines of this box; `key` is a public ed25519 key."""
        words = f"root=/dev/vda rw console=ttyS0 lab.key={key.split()[1]}"
        # Emulated, what guards a kernel on a real processor only costs time, and a kernel that does
        # not trust the counters of several processors asks a slow device for the time instead.
        words += "" if kvm else " mitigations=off tsc=reliable"
        return {
            "driver": "kvm" if kvm else "qemu",
            "cpu_mode": "host-passthrough" if kvm else "maximum",
            "kernel": self.kernel,
            "initrd": self.initrd,
            "cmd_line": words,
            "graphics_type": "none",
        }


def make(root: Path, cache: Path, image: str, status: Status) -> Box:
    """The box of a machine's image, made the first time that it is wanted.

    Raises CommandError with the words of the tool that failed.
    """
    key = image_tag(root, image).rpartition(":")[2]
    name = f"{REPOSITORY}/{key}"
    with alone(cache / "boxes" / f"{key}.lock"):
        # The volumes come last: where they are, everything is.
        if not (known(name) and set(BOOT) <= volumes(name).keys()):
            with status.step("box (kernel, disk)"), tempfile.TemporaryDirectory() as folder:
                _make(name, make_image(root, image, status), Path(folder), status)
        stored = volumes(name)
    return Box(name, *(stored[file] for file in BOOT))


def image_tag(root: Path, image: str) -> str:
    """What a machine's image with a kernel is called; the box is named by the same digest."""
    return f"{REPOSITORY}/vm:{digest(root / 'vagrant' / 'vm', image, str(DISK))}"


def make_image(root: Path, image: str, status: Status) -> str:
    """A machine's image with a kernel added, built where the host has it not yet; its tag."""
    tag = image_tag(root, image)
    if not exists(tag):
        docker_build(tag, root / "vagrant" / "vm", {"MACHINE": image}, status)
    return tag


def known(name: str) -> bool:
    """Whether Vagrant has a box."""
    listing = runner.run(["vagrant", "box", "list", "--machine-readable"], timeout=60).stdout
    return f",box-name,{name}" in listing


def volumes(name: str) -> dict[str, str]:
    """Kernel and initrd of a box in libvirt's storage: file name -> path."""
    listing = _virsh("vol-list", POOL, ok=(0, 1)).split()
    prefix = f"{name.replace('/', '-')}-"
    places = {word for word in listing if word.startswith("/") and f"/{prefix}" in word}
    return {place.rpartition(prefix)[2]: place for place in places}


def clear(cache: Path) -> None:
    """Remove every box of ours, from Vagrant and from libvirt's storage."""
    for lock in (cache / "boxes").glob("*.lock"):
        name = f"{REPOSITORY}/{lock.stem}"
        if known(name):
            runner.run(["vagrant", "box", "remove", "--force", "--all", name])
        for prefix in (name.replace("/", "-"), name.replace("/", "-VAGRANTSLASH-")):
            for word in _virsh("vol-list", POOL, ok=(0, 1)).split():
                if word.startswith(prefix):
                    _virsh("vol-delete", word, "--pool", POOL)


def _make(name: str, tag: str, folder: Path, status: Status) -> None:
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
    disk, final = folder / "disk.img", folder / "box.img"
    runner.run(["qemu-img", "convert", "-O", "qcow2", disk, final], timeout=300)
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    archive = folder / "lab.box"
    members = ["metadata.json", "box.img"]
    runner.run(["tar", "--create", "--file", archive, "--directory", folder, *members], timeout=300)
    add = ["vagrant", "box", "add", "--force", "--provider", "libvirt", "--name", name]
    runner.run([*add, archive], timeout=600, on_line=status.note)
    for file in BOOT:
        _store(folder / file, f"{name.replace('/', '-')}-{file}")


def _store(path: Path, volume: str) -> None:
    """Upload a file: what lies in a home folder libvirt's guests may not read."""
    if POOL not in _virsh("pool-list", "--all", "--name").split():
        _virsh("pool-define-as", POOL, "dir", "--target", POOL_FOLDER)
        _virsh("pool-autostart", POOL)
    _virsh("pool-start", POOL, ok=(0, 1))
    _virsh("vol-delete", volume, "--pool", POOL, ok=(0, 1))
    _virsh("vol-create-as", POOL, volume, str(path.stat().st_size), "--format", "raw")
    _virsh("vol-upload", volume, str(path), "--pool", POOL)


def _virsh(*words: str, ok: Sequence[int] = (0,)) -> str:
    return runner.run(["virsh", "--connect", "qemu:///system", *words], ok=ok, timeout=60).stdout
