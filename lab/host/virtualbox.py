"""Facts about VirtualBox on this host, for the doctor. Parsing is pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

# The range that VirtualBox allows for host-only networks since 6.1.28, unless a file changes it.
DEFAULT_RANGES = (IPv4Network("192.168.56.0/21"),)
RANGES_FILE = Path("/etc/vbox/networks.conf")
# Folders of Vagrant's drivers in Debian's and HashiCorp's packages: one file for each version.
DRIVERS = (
    "usr/share/rubygems-integration/all/gems/vagrant-*",
    "opt/vagrant/embedded/gems/gems/vagrant-*",
)
# From this version on, the kernel enables the processor's virtualisation when KVM's module loads.
KVM_AT_LOAD = (6, 12)
SHARES_WITH_KVM = (7, 2)


@dataclass(frozen=True)
class VirtualBox:
    """VirtualBox on this host. None means unknown.

    `drivers` are the versions, such as (7, 0), that the installed Vagrant supports.
    """

    version: tuple[int, ...]
    hardware: bool | None
    nested_paging: bool | None
    ranges: tuple[IPv4Network, ...]
    drivers: tuple[tuple[int, ...], ...]
    kvm_is_loaded: bool
    kernel: tuple[int, ...]

    @property
    def troubles(self) -> list[tuple[str, str]]:
        """Every obstacle for a machine, each with its fix; the fix may be empty."""
        found = []
        if self.drivers and self.version[:2] not in self.drivers:
            newest = ".".join(map(str, max(self.drivers)))
            trouble = f"this Vagrant supports VirtualBox up to {newest}"
            found.append((trouble, "install that version"))
        if self.hardware is False:
            found.append(
                (
                    "the processor's virtualisation is off, or Hyper-V uses it",
                    "turn on VT-x or AMD-V in the firmware; on Windows: bcdedit /set"
                    " hypervisorlaunchtype off",
                )
            )
        elif self.nested_paging is False:
            found.append(("the processor has no nested paging: machines are slow", ""))
        holds = self.kernel[:2] >= KVM_AT_LOAD and self.version[:2] < SHARES_WITH_KVM
        if self.kvm_is_loaded and holds:
            found.append(
                (
                    "KVM uses the processor's virtualisation",
                    "sudo modprobe --remove kvm_intel kvm_amd kvm, or boot the kernel with"
                    " kvm.enable_virt_at_load=0",
                )
            )
        return found

    def allows(self, network: IPv4Network) -> bool:
        """Whether VirtualBox allows these addresses for a host-only network."""
        return any(network.subnet_of(allowed) for allowed in self.ranges)


def gather(answer: Callable[..., str | None], root: Path = Path("/")) -> VirtualBox | None:
    """Gather the facts from VBoxManage and the files below `root`; None without VBoxManage.

    `answer` runs a command and returns its output, or None if the command fails.
    """
    if not (version := numbers(answer("VBoxManage", "--version"))):
        return None
    facts = parse_hostinfo(answer("VBoxManage", "list", "hostinfo") or "")
    ranges = root / RANGES_FILE.relative_to("/")
    found = [path for place in DRIVERS for path in root.glob(f"{place}/**/virtualbox/driver/*.rb")]
    return VirtualBox(
        version=version,
        hardware=facts.get("HW virtualization"),
        nested_paging=facts.get("nested paging"),
        ranges=parse_ranges(ranges.read_text()) if ranges.exists() else DEFAULT_RANGES,
        drivers=parse_drivers(path.stem for path in found),
        kvm_is_loaded=(root / "sys/module/kvm").exists(),
        kernel=numbers((root / "proc/sys/kernel/osrelease").read_text()),
    )


def numbers(text: str | None) -> tuple[int, ...]:
    """The numbers of the first version in a text: 7.0.14r161095 -> (7, 0, 14)."""
    found = re.search(r"\d+(\.\d+)+", text or "")
    return tuple(map(int, found[0].split("."))) if found else ()


def parse_hostinfo(text: str) -> dict[str, bool]:
    """The processor's features, from the output of `VBoxManage list hostinfo`."""
    lines = re.findall(r"^Processor supports (.+?): +(yes|no)$", text, re.MULTILINE)
    return {name: answer == "yes" for name, answer in lines}


def parse_ranges(text: str) -> tuple[IPv4Network, ...]:
    """The IPv4 ranges in networks.conf, whose lines have a star and networks."""
    found: list[IPv4Network] = []
    for line in text.splitlines():
        star, *words = line.partition("#")[0].split() or [""]
        if star == "*":
            found += [IPv4Network(word, strict=False) for word in words if ":" not in word]
    return tuple(found)


def parse_drivers(names: Iterable[str]) -> tuple[tuple[int, ...], ...]:
    """The versions in the names of Vagrant's drivers: version_7_0 -> (7, 0)."""
    found = [re.fullmatch(r"version_(\d+)_(\d+)", name) for name in names]
    return tuple(sorted((int(one[1]), int(one[2])) for one in found if one))
