"""VirtualBox by output of VBoxManage that follows its manual, because no VirtualBox runs here."""

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


def test_facts_come_from_vboxmanage_and_files(root: Path) -> None:
    found = virtualbox.gather(answers, root)
    assert found == replace(HEALTHY, drivers=((7, 0),), kvm_is_loaded=True, kernel=(6, 12, 5))
    assert virtualbox.gather(lambda *_: None, root) is None


def test_ranges_come_from_the_file(root: Path) -> None:
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
def test_a_network_must_be_inside_an_allowed_range(text: str, network: str, allowed: bool) -> None:
    found = replace(HEALTHY, ranges=virtualbox.parse_ranges(text))
    assert found.allows(IPv4Network(network)) is allowed


def test_the_labs_addresses_are_allowed_and_the_homeworks_is_not() -> None:
    assert not HEALTHY.allows(IPv4Network("192.168.33.0/24"))
    assert HEALTHY.allows(IPv4Network("192.168.56.0/24"))
    assert HEALTHY.allows(IPv4Network("192.168.63.0/24"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": (7, 1, 4)}, "supports VirtualBox up to 7.0"),
        ({"hardware": False}, "Hyper-V uses it"),
        ({"nested_paging": False}, "no nested paging"),
        ({"kvm_is_loaded": True, "kernel": (6, 12, 0)}, "KVM uses"),
        ({"ranges": ()}, "does not allow 192.168.56.0/24 for host-only networks"),
    ],
)
def test_an_obstacle_is_a_failure_only_for_virtualbox(
    lab: Lab, host: Callable[..., Host], changes: dict[str, Any], text: str
) -> None:
    (finding,) = doctor._virtualbox(lab, host(virtualbox=replace(HEALTHY, **changes)))
    assert (finding.status, finding.id) == ("note", "virtualbox")
    assert text in finding.detail
    assert finding.fix or "paging" in text
    # A lab on VirtualBox fails with a fixable finding. Missing nested paging is only slow.
    wanted = replace(lab, provider="virtualbox")
    (finding,) = doctor._virtualbox(wanted, host(virtualbox=replace(HEALTHY, **changes)))
    assert finding.status == ("fail" if finding.fix else "warn")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hardware": None, "nested_paging": None, "drivers": ()},
        # An older kernel does not use the processor's virtualisation. A newer VirtualBox shares it.
        {"kvm_is_loaded": True},
        {"kvm_is_loaded": True, "kernel": (6, 12), "version": (7, 2, 0), "drivers": ((7, 2),)},
    ],
)
def test_a_host_without_obstacles_is_ok(
    lab: Lab, host: Callable[..., Host], changes: dict[str, Any]
) -> None:
    (finding,) = doctor._virtualbox(lab, host(virtualbox=replace(HEALTHY, **changes)))
    assert finding.status == "ok"


def test_a_host_without_virtualbox(lab: Lab, host: Callable[..., Host]) -> None:
    assert doctor._virtualbox(lab, host()) == []
    (finding,) = doctor._virtualbox(replace(lab, provider="virtualbox"), host())
    assert (finding.status, finding.detail) == ("fail", "VBoxManage is missing")
    assert finding.fix
