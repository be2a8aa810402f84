"""VirtualBox by answers of VBoxManage, written after its manual: no such hypervisor runs here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from lab.config import Lab
from lab.host import doctor, virtualbox
from lab.host.facts import Host
from lab.host.virtualbox import VirtualBox

HOSTINFO = """Host Information:

Host time: 2026-03-05T10:11:12.345000000Z
Processor online count: 8
Processor count: 8
Processor online core count: 4
Processor core count: 4
Processor supports HW virtualization: yes
Processor supports PAE: yes
Processor supports long mode: yes
Processor supports nested paging: yes
Processor supports unrestricted guest: yes
Processor supports nested HW virtualization: no
Memory size: 15925 MByte
Memory available: 9000 MByte
Operating system: Linux
Operating system version: 6.1.0-18-amd64
"""
HEALTHY = VirtualBox(
    version=(7, 0, 14),
    hardware=True,
    nested_paging=True,
    ranges=virtualbox.DEFAULT_RANGES,
    drivers=((6, 1), (7, 0)),
    kvm_is_loaded=False,
    kernel=(6, 1, 0),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with Debian's Vagrant, KVM's module and a kernel."""
    folder = tmp_path / "usr/share/rubygems-integration/all/gems/vagrant-2.3.4"
    for name in ("virtualbox/driver/version_7_0.rb", "virtualbox/driver/base.rb", "docker/x.rb"):
        path = folder / "plugins/providers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, text in {
        "proc/sys/kernel/osrelease": "6.12.5-amd64\n",
        "sys/module/kvm/x": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def answers(*words: str) -> str | None:
    return {"--version": "7.0.14r161095\n", "list": HOSTINFO}[words[1]]


def test_what_it_says_of_itself(root: Path) -> None:
    found = virtualbox.gather(answers, root)
    assert found == replace(HEALTHY, drivers=((7, 0),), kvm_is_loaded=True, kernel=(6, 12, 5))
    assert virtualbox.gather(lambda *_: None, root) is None


def test_ranges_of_its_file(root: Path) -> None:
    file = root / "etc/vbox/networks.conf"
    file.parent.mkdir(parents=True)
    file.write_text("# ours\n* 10.0.0.0/8 192.168.0.0/16\n* 2001::/64\n")
    found = virtualbox.gather(answers, root)
    assert found and found.ranges == (IPv4Network("10.0.0.0/8"), IPv4Network("192.168.0.0/16"))


@pytest.mark.parametrize(
    ("text", "network", "allowed"),
    [
        ("* 0.0.0.0/0 ::/0", "192.168.33.0/24", True),
        ("* 10.0.0.0/8", "192.168.56.0/24", False),
        ("", "192.168.56.0/24", False),
        ("nonsense", "192.168.56.0/24", False),
    ],
)
def test_allowed_ranges(text: str, network: str, allowed: bool) -> None:
    found = replace(HEALTHY, ranges=virtualbox.parse_ranges(text))
    assert found.allows(IPv4Network(network)) is allowed


def test_the_homeworks_address_is_refused_and_ours_are_not() -> None:
    assert not HEALTHY.allows(IPv4Network("192.168.33.0/24"))
    assert HEALTHY.allows(IPv4Network("192.168.56.0/24"))
    assert HEALTHY.allows(IPv4Network("192.168.63.0/24"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": (7, 1, 4)}, "drives VirtualBox up to 7.0"),
        ({"hardware": False}, "taken by Hyper-V"),
        ({"nested_paging": False}, "no nested paging"),
        ({"kvm_is_loaded": True, "kernel": (6, 12, 0)}, "KVM holds"),
        ({"ranges": ()}, "no host-only network may have 192.168.56.0/24"),
    ],
)
def test_trouble(lab: Lab, host: Callable[..., Host], changes: dict[str, Any], text: str) -> None:
    (finding,) = doctor._virtualbox(lab, host(virtualbox=replace(HEALTHY, **changes)))
    assert (finding.status, finding.id) == ("note", "virtualbox")
    assert text in finding.detail
    assert finding.fix or "paging" in text
    # Who asks for it must have it well; a slow one is still one.
    wanted = replace(lab, provider="virtualbox")
    (finding,) = doctor._virtualbox(wanted, host(virtualbox=replace(HEALTHY, **changes)))
    assert finding.status == ("fail" if finding.fix else "warn")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hardware": None, "nested_paging": None, "drivers": ()},
        # An older kernel leaves the processor alone, a newer VirtualBox shares it.
        {"kvm_is_loaded": True},
        {"kvm_is_loaded": True, "kernel": (6, 12), "version": (7, 2, 0), "drivers": ((7, 2),)},
    ],
)
def test_no_trouble(lab: Lab, host: Callable[..., Host], changes: dict[str, Any]) -> None:
    (finding,) = doctor._virtualbox(lab, host(virtualbox=replace(HEALTHY, **changes)))
    assert finding.status == "ok"


def test_a_host_without_it(lab: Lab, host: Callable[..., Host]) -> None:
    assert doctor._virtualbox(lab, host()) == []
    (finding,) = doctor._virtualbox(replace(lab, provider="virtualbox"), host())
    assert (finding.status, finding.detail) == ("fail", "no VBoxManage")
    assert finding.fix
