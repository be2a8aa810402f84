"""A stock Debian 13 in an emulated virtual machine: systemd, cgroup v2, Docker as Debian ships it.

It knows nothing of the lab: an ordinary user with sudo finds a clone and a bundle on a second disk.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import runner, wait
from lab.errors import CommandError
from lab.images import builder
from lab.machines import keys
from lab.machines.boxes import EMULATED
from lab.output import Status
from lab.platforms import SERIAL, architecture_of, this_platform
from lab.toolchain.store import scratch

# What a student installs before the lab: the rest of Debian's packages would come by apt-get, which
# takes an emulated processor a quarter of an hour.
PACKAGES = (
    *("linux-image-cloud-amd64", "systemd-sysv", "systemd-resolved", "dbus", "libpam-systemd"),
    *("openssh-server", "sudo", "ca-certificates", "apparmor"),
    *("git", "python3-venv", "docker.io", "docker-cli", "vagrant", "mmdebstrap"),
)
USER = "student"
# Run by mmdebstrap in the new system, whose folder is $1; the public key is beside it.
SETTINGS = f"""
set -eu
chroot "$1" useradd --create-home --shell /bin/bash --groups sudo {USER}
echo '{USER} ALL=(ALL) NOPASSWD: ALL' >"$1/etc/sudoers.d/{USER}"
install -d -o 1000 -g 1000 -m 700 "$1/home/{USER}/.ssh"
install -o 1000 -g 1000 -m 600 "$KEY" "$1/home/{USER}/.ssh/authorized_keys"
printf '[Match]\\nName=e*\\n[Network]\\nDHCP=yes\\n' >"$1/etc/systemd/network/80-dhcp.network"
chroot "$1" systemctl enable systemd-networkd
echo stock >"$1/etc/hostname"
printf '127.0.0.1 localhost stock\\n' >"$1/etc/hosts"
printf '/dev/vda / ext4 defaults 0 1\\n/dev/vdb /media/stick ext4 ro 0 2\\n' >"$1/etc/fstab"
mkdir -p "$1/media/stick"
"""


@dataclass(frozen=True)
class Guest:
    """The running machine: how it is reached, and what it writes on its console."""

    port: int
    key: Path
    console: Path

    def run(self, line: str, timeout: float = 300) -> str:
        """What a line of shell prints, typed by the student; `timeout` in seconds of a usual host.

        Raises CommandError with the end of its output when it fails.
        """
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        options += ["ConnectTimeout=60", "ServerAliveInterval=60", "ServerAliveCountMax=20"]
        words = ["ssh", "-i", str(self.key), "-p", str(self.port)]
        words += [word for option in options for word in ("-o", option)]
        words += [f"{USER}@127.0.0.1", f"bash -lc {shlex.quote(line)}"]
        return runner.run(words, timeout=timeout).stdout


@contextlib.contextmanager
def booted(folder: Path, stick: Path, memory: int) -> Iterator[Guest]:
    """The machine with `memory` MiB and the files of `stick` at /media/stick; it ends with this."""
    key = folder / "id_ed25519"
    keys.make(key)
    kernel, initrd, disk = _system(folder, key)
    second = _file_system(folder / "stick.img", stick)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    guest = Guest(port, key, folder / "console.log")
    architecture = architecture_of(this_platform())
    kernel_words = f"root=/dev/vda rw net.ifnames=0 console={SERIAL[architecture]} panic=1"
    command = ["qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max"]
    command += ["-smp", "2", "-m", str(memory), "-display", "none", "-monitor", "none"]
    command += ["-serial", f"file:{guest.console}", "-kernel", str(kernel), "-initrd", str(initrd)]
    command += ["-append", f"{kernel_words} {EMULATED[architecture]}"]
    for image in (disk, second):
        command += ["-drive", f"file={image},format=raw,if=virtio,cache=unsafe"]
    command += ["-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22"]
    command += ["-device", "virtio-net-pci,netdev=net"]
    machine = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        wait.until(
            lambda: _answers(machine, guest), what="the stock machine", timeout=1200, longest=5
        )
        yield guest
    finally:
        machine.terminate()
        machine.wait()


def _answers(machine: subprocess.Popen[bytes], guest: Guest) -> bool | None:
    assert machine.poll() is None, guest.console.read_text(errors="replace")[-2000:]
    with contextlib.suppress(CommandError):
        guest.run("true", timeout=90)
        return True
    return None


def _system(folder: Path, key: Path) -> tuple[Path, Path, Path]:
    """Kernel, initrd and disk of the system, made of Debian's signed archive."""
    Status().say(f"installing a stock Debian 13 into {folder}")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    disk = folder / "system.img"
    with scratch(folder / "system") as root:
        tree = root / "tree"
        hook = root / "settings"
        hook.write_text(f"KEY={shlex.quote(str(keys.public(key)))}\n{SETTINGS}")
        command = ["mmdebstrap", "--variant=important", f"--include={','.join(PACKAGES)}"]
        command += [f'--customize-hook=sh {shlex.quote(str(hook))} "$1"', "trixie", str(tree)]
        runner.run([*sudo, *command, *builder.host_mirror()], timeout=1800)
        for name in ("vmlinuz", "initrd.img"):
            # Links of the system's own.
            (found,) = (tree / "boot").glob(f"{name}-*")
            runner.run([*sudo, "install", "-m", "0644", found, folder / name])
        _file_system(disk, tree, sudo)
        runner.run([*sudo, "rm", "--recursive", "--one-file-system", tree])
    return folder / "vmlinuz", folder / "initrd.img", disk


def _file_system(image: Path, content: Path, sudo: Sequence[str] = ()) -> Path:
    """An ext4 file system of 32 GiB with these files; what is empty takes no space."""
    # Its owner is who starts QEMU.
    image.touch()
    words = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(content), str(image), "32G"]
    runner.run([*sudo, *words], timeout=600)
    return image
