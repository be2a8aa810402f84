"""Test whether KVM boots a guest. The device may exist and still hang a stock kernel."""

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
    """Whether KVM boots a guest. Tested once per boot of the host; `cache` keeps the result.

    The guest runs the host's own kernel, which must print its first line within LIMIT seconds.
    Returns False, without a test, while QEMU or a readable kernel is missing.
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
    # The guest has no disk, so its kernel panics and reboots. -no-reboot makes QEMU exit then.
    command = [qemu, "-accel", "kvm", "-m", "256", "-nographic", "-no-reboot", "-nodefaults"]
    if architecture == "arm64":
        # QEMU has no default machine for this architecture.
        command += ["-machine", "virt", "-cpu", "host"]
    serial = SERIAL[architecture]
    command += ["-serial", "stdio", "-kernel", str(kernel)]
    command += ["-append", f"console={serial} earlyprintk={serial} panic=-1"]
    try:
        return FIRST_WORDS in runner.run(command, timeout=LIMIT, ok=range(256)).stdout
    except LabError:
        return False
