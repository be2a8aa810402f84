"""Boxes: the image of a machine as a virtual machine's disk, for Vagrant's libvirt provider.

The disk holds the very image that containers are made of, with a kernel added, so that a machine
is the same whatever runs it. It is booted directly: no boot loader, and the kernel's command line
tells the machine its lab's key.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import runner
from lab.errors import CommandError
from lab.images import REPOSITORY, digest, docker_build, exists
from lab.output import Status
from lab.toolchain.store import alone

# GiB that a machine's disk may grow to; what is empty takes no space on the host.
DISK = 20
POOL = "default"


@dataclass(frozen=True)
class Box:
    """A box that Vagrant knows, and the folder with its kernel and initrd."""

    name: str
    folder: Path

    def libvirt(self, *, kvm: bool, key: str) -> dict[str, Any]:
        """Settings of vagrant-libvirt for machines of this box; `key` is a public ed25519 key."""
        blob = key.split()[1]
        return {
            "driver": "kvm" if kvm else "qemu",
            "cpu_mode": "host-passthrough" if kvm else "maximum",
            "kernel": str(self.folder / "vmlinuz"),
            "initrd": str(self.folder / "initrd.img"),
            "cmd_line": f"root=/dev/vda rw console=ttyS0 lab.key={blob}",
            "graphics_type": "none",
        }


def make(root: Path, cache: Path, image: str, status: Status) -> Box:
    """The box of a machine's image, made the first time that it is wanted.

    Raises CommandError with the words of the tool that failed.
    """
    source = root / "vagrant" / "vm"
    key = digest(source, image, str(DISK))
    box = Box(f"{REPOSITORY}/{key}", cache / "boxes" / key)
    with alone(cache / "boxes" / f".{key}.lock"):
        if not (box.folder.exists() and known(box.name)):
            with status.step("box (kernel, disk)"):
                _make(box, source, image, status)
    return box


def known(name: str) -> bool:
    """Whether Vagrant has a box."""
    listing = runner.run(["vagrant", "box", "list", "--machine-readable"], timeout=60).stdout
    return f",box-name,{name}" in listing


def clear(cache: Path) -> None:
    """Remove every box of ours, from Vagrant and from libvirt's storage."""
    for folder in (cache / "boxes").glob("[!.]*"):
        name = f"{REPOSITORY}/{folder.name}"
        prefix = name.replace("/", "-VAGRANTSLASH-")
        try:
            runner.run(["vagrant", "box", "remove", "--force", "--all", name])
            for volume in runner.run(["virsh", "vol-list", POOL]).stdout.split():
                if volume.startswith(prefix):
                    runner.run(["virsh", "vol-delete", volume, "--pool", POOL])
        except CommandError:
            # Vagrant never had it: it was being made when somebody killed us.
            continue


def _make(box: Box, source: Path, image: str, status: Status) -> None:
    aside = box.folder.with_name(f".{box.folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    tag = f"{REPOSITORY}/vm:{box.folder.name}"
    if not exists(tag):
        docker_build(tag, source, {"MACHINE": image}, status)
    container = runner.run(["docker", "create", tag]).stdout.strip()
    try:
        runner.run(["docker", "export", "--output", aside / "root.tar", container], timeout=300)
    finally:
        runner.run(["docker", "rm", container])
    status.note("disk")
    command = ["/usr/local/lib/lab/make-disk", str(DISK)]
    runner.run(["docker", "run", "--rm", "--volume", f"{aside}:/build", tag, *command], timeout=600)
    disk, final = aside / "disk.img", aside / "box.img"
    runner.run(["qemu-img", "convert", "-O", "qcow2", disk, final], timeout=300)
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK}
    (aside / "metadata.json").write_text(json.dumps(metadata))
    archive = aside / "lab.box"
    members = ["metadata.json", "box.img"]
    runner.run(["tar", "--create", "--file", archive, "--directory", aside, *members], timeout=300)
    add = ["vagrant", "box", "add", "--force", "--provider", "libvirt", "--name", box.name]
    runner.run([*add, archive], timeout=600, on_line=status.note)
    for name in ("root.tar", "disk.img", "box.img", "lab.box", "metadata.json"):
        (aside / name).unlink()
    shutil.rmtree(aside / "root")
    shutil.rmtree(box.folder, ignore_errors=True)
    aside.rename(box.folder)
