"""Facts about the host are parsed from the output of the kernel and of programs."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab.host import facts


def test_total_and_available_memory_in_mib() -> None:
    text = "MemTotal:       24689344 kB\nMemFree:          100 kB\nMemAvailable:   20480000 kB\n"
    assert facts.parse_meminfo(text) == (24110, 20000)
    assert facts.parse_meminfo("") == (0, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n', ("debian", "")),
        ("ID=debian\nVERSION_CODENAME=trixie\n", ("debian", "trixie")),
        ('ID="rocky"\nID_LIKE="rhel"\n', ("rocky", "")),
        ("", ("", "")),
    ],
)
def test_distribution_and_codename(text: str, expected: tuple[str, str]) -> None:
    assert facts.parse_os_release(text) == expected


def test_missing_capabilities() -> None:
    everything = (1 << 41) - 1
    status = "Name:\tsh\nCapBnd:\t{:016x}\n"
    assert facts.parse_bounding_set(status.format(everything), 40) == ()
    without = everything & ~(1 << 24) & ~(1 << 16)
    missing = facts.parse_bounding_set(status.format(without), 40)
    assert missing == ("SYS_MODULE", "SYS_RESOURCE")
    # A capability that the kernel does not know is not missing.
    assert facts.parse_bounding_set(status.format((1 << 38) - 1), 37) == ()
    assert facts.parse_bounding_set("", 40) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Vagrant 2.3.4", "2.3.4"), ("7.0.20r163906", "7.0.20"), ("none", None), (None, None)],
)
def test_the_first_version_in_an_output(text: str | None, expected: str | None) -> None:
    assert facts.parse_version(text) == expected


# A host in 192.168.0.0/16 with a VPN. The VPN's networks have their own table (52). Two halves of
# the default route lead into the VPN. One route of type THROW returns to the main table.
TRIE = """Id 52:
  |-- 192.168.58.0
     /24 link UNICAST
Id 53:
  +-- 10.8.0.0/14 2 0 2
     |-- 10.9.0.0
        /16 universe UNREACHABLE
     |-- 10.10.0.0
        /16 universe THROW
Main:
  +-- 0.0.0.0/0 2 0 2
     |-- 0.0.0.0
        /1 link UNICAST
        /0 link UNICAST
     |-- 192.168.0.0
        /16 link UNICAST
Local:
  +-- 0.0.0.0/0 2 0 2
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
     +-- 192.168.0.0/16 2 0 2
        |-- 192.168.1.5
           /32 host LOCAL
        |-- 192.168.255.255
           /32 link BROADCAST
"""


def test_routes_of_all_tables() -> None:
    expected = ["192.168.58.0/24", "10.9.0.0/16", "192.168.0.0/16", "127.0.0.0/8"]
    expected += ["192.168.1.5/32", "192.168.255.255/32"]
    assert list(map(str, facts.parse_routes(TRIE))) == expected
    assert facts.parse_routes("") == ()


def test_networks_of_docker_have_their_names() -> None:
    """A network of each driver: without addresses, with two kinds, and one that has vanished."""
    text = "bridge 172.17.0.0/16\nhost\nprinters 192.168.56.0/24 fd00::/64\n\nnone\n"
    assert facts.parse_docker_networks(text) == {
        IPv4Network("172.17.0.0/16"): "Docker's network bridge",
        IPv4Network("192.168.56.0/24"): "Docker's network printers",
    }


def test_ports_of_containers_have_their_names() -> None:
    text = """/lab-control-plane-1 {"22/tcp":[{"HostIp":"127.0.0.1","HostPort":"2222"}],"80/tcp":[]}
/some-port {"80/tcp":[{"HostIp":"","HostPort":""}]}
/none null
/all {}
/nobody {"90/tcp":null}
/range {"80/tcp":[{"HostIp":"","HostPort":"8000-8002"}]}
"""
    assert facts.parse_port_bindings(text) == {
        2222: "lab-control-plane-1",
        **dict.fromkeys((8000, 8001, 8002), "range"),
    }


def test_a_container_that_vanishes_holds_no_port() -> None:
    """Docker prints an empty line for it."""
    text = '\n/one {"22/tcp":[{"HostIp":"","HostPort":"2222"}]}\n\n'
    assert facts.parse_port_bindings(text) == {2222: "one"}


def test_a_plugin_in_vagrants_home_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user may have moved that folder."""
    monkeypatch.setattr(facts, "PACKAGED", ())
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path))
    assert not facts._vagrant_libvirt()
    (tmp_path / "gems/3.1.6/gems/vagrant-libvirt-0.12.2").mkdir(parents=True)
    assert facts._vagrant_libvirt()
