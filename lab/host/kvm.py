"""Whether KVM really boots a guest: a device that exists may still hang a stock kernel."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lab import runner
from lab.errors import LabError
from lab.platforms import SERIAL, architecture_of, this_platform, uname_of
from lab.state import remembered

LIMIT = 10
FIRST_WORDS = "Linux version"


def works(cache: Path) -> bool:
    """Prove it once for each boot of the host; without QEMU and a kernel to prove it with, it does
    not, as long as they are missing.

    A guest gets the host's own kernel and must print its first line within LIMIT seconds.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    qemu = shutil.which(f"qemu-system-{uname_of(this_platform())}")
    kernels = [path for path in Path("/boot").glob("vmlinuz*") if os.access(path, os.R_OK)]
    if not qemu or not kernels:
        return False
    words = remembered(cache / "kvm" / boot, lambda: "yes" if _boots(qemu, kernels[0]) else "no")
    return words == "yes"


def _boots(qemu: str, kernel: Path) -> bool:
    architecture = architecture_of(this_platform())
    # The guest has no disk: its kernel panics, and -no-reboot makes that the end of the run.
    command = [qemu, "-accel", "kvm", "-m", "256", "-nographic", "-no-reboot", "-nodefaults"]
    if architecture == "arm64":
        # Of that architecture none is the usual one.
        command += ["-machine", "virt", "-cpu", "host"]
    serial = SERIAL[architecture]
    command += ["-serial", "stdio", "-kernel", str(kernel)]
    command += ["-append", f"console={serial} earlyprintk={serial} panic=-1"]
    try:
        return FIRST_WORDS in runner.run(command, timeout=LIMIT, ok=range(256)).stdout
    except LabError:
        return False
