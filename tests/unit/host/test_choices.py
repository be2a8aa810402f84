"""What every `auto` becomes, and that a lab keeps what it was given once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import config
from lab.config import Forward, Lab, Ports, Settings, WantedPorts
from lab.errors import ConfigError
from lab.host.choices import FILE, announce, neighbours, resolve, to_remember
from lab.host.facts import Host
from lab.host.virtualbox import DEFAULT_RANGES, VirtualBox
from lab.lifecycle import bringup
from lab.lifecycle.bringup import Bringup, remember_choices
from lab.machines import containers
from lab.output import Status

BOTH = {"kubeadm": "1.35.4", "k3s": "1.34.2+k3s1"}
ONE = {"kubeadm": "1.35.4"}
STAYS = "already: lab-destroy first, or --lab NAME"
VIRTUALBOX = VirtualBox((7, 0, 14), True, True, DEFAULT_RANGES, (), False, (6, 1))


def settle(lab: Settings, host: Host, versions: Any = ONE, busy: Any = ()) -> Lab:
    return resolve(
        lab,
        host,
        versions=versions,
        port_is_free=lambda port: port not in busy,
        owner=lambda port: "nginx (process 7)",
    )[0]


# A host that has of 10.88.0.0 to 10.100.0.0 only what a lab has inside.
ALL_BUT_INSIDE = [
    *("192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/10", "10.64.0.0/12", "10.80.0.0/13"),
    *("10.90.0.0/15", "10.92.0.0/14", "10.97.0.0/16", "10.98.0.0/15", "10.128.0.0/9"),
]


def taken(*networks: str) -> dict[IPv4Network, str]:
    """Networks that a host has already."""
    return dict.fromkeys(map(IPv4Network, networks), "a VPN")


@pytest.fixture
def open_lab(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path)


def test_defaults(open_lab: Settings, host: Callable[..., Host]) -> None:
    lab = settle(open_lab, host())
    assert (lab.provider, lab.distribution, lab.kubernetes) == ("docker", "kubeadm", "1.35.4")
    assert (lab.workers, str(lab.subnet)) == (2, "192.168.56.0/24")
    assert lab.ports == Ports(api=6443, http=8080, registry=5000, ssh=2222)


@pytest.mark.parametrize(
    "changes", [{}, {"virtualbox": VIRTUALBOX}, {"vagrant_libvirt": True, "kvm": True}]
)
def test_machines_are_containers_unless_asked_for(
    open_lab: Settings, host: Callable[..., Host], changes: Any
) -> None:
    assert settle(open_lab, host(**changes)).provider == "docker"
    for name in ("libvirt", "virtualbox"):
        assert settle(replace(open_lab, provider=name), host(**changes)).provider == name


def test_k3s_where_its_release_can_be_had(open_lab: Settings, host: Callable[..., Host]) -> None:
    lab = settle(open_lab, host(), BOTH)
    assert (lab.distribution, lab.kubernetes) == ("k3s", "1.34.2+k3s1")


@pytest.mark.parametrize(
    ("planes", "free", "workers"), [(1, 4096, 2), (1, 4095, 0), (3, 6496, 2), (3, 6495, 0)]
)
def test_workers_by_memory(
    open_lab: Settings, host: Callable[..., Host], planes: int, free: int, workers: int
) -> None:
    wanted = replace(open_lab, control_planes=planes)
    assert settle(wanted, host(memory_free=free)).workers == workers


def test_first_free_network(open_lab: Settings, host: Callable[..., Host]) -> None:
    networks = taken("192.168.56.0/24", "192.168.57.128/25")
    assert str(settle(open_lab, host(networks=networks)).subnet) == "192.168.58.0/24"


@pytest.mark.parametrize("provider", ["auto", "docker", "libvirt"])
@pytest.mark.parametrize(
    ("networks", "subnet"),
    [
        # A home, a school or a VPN with all of it.
        (["192.168.0.0/16"], "172.30.56.0/24"),
        (["192.168.0.0/16", "172.16.0.0/12"], "10.156.56.0/24"),
        (["192.168.0.0/16", "10.0.0.0/8"], "172.30.56.0/24"),
        (["192.168.0.0/16", "172.16.0.0/12", "10.156.0.0/16"], "10.0.0.0/24"),
        # What the lab itself has inside is no way out: pods, Services, Docker in the machines.
        (ALL_BUT_INSIDE, "10.100.0.0/24"),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], "198.18.0.0/24"),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/30"], "198.18.1.0/24"),
    ],
)
def test_a_way_out_of_networks_that_are_taken(
    open_lab: Settings, host: Callable[..., Host], provider: str, networks: list[str], subnet: str
) -> None:
    lab = replace(open_lab, provider=provider)
    assert str(settle(lab, host(networks=taken(*networks))).subnet) == subnet


def test_no_free_network(open_lab: Settings, host: Callable[..., Host]) -> None:
    """VirtualBox allows one range only."""
    wide = host(networks=taken("192.168.0.0/16"), virtualbox=VIRTUALBOX)
    with pytest.raises(ConfigError, match=r"every /24 of 192\.168\.56\.0/21 is taken"):
        settle(replace(open_lab, provider="virtualbox"), wide)
    everything = taken("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15")
    with pytest.raises(ConfigError, match="every /24 that is private is taken"):
        settle(open_lab, host(networks=everything))


def test_a_taken_network_is_refused(open_lab: Settings, host: Callable[..., Host]) -> None:
    wanted = replace(open_lab, subnet=IPv4Network("192.168.57.0/24"))
    with pytest.raises(ConfigError, match=r"network\.subnet: 192\.168\.57\.0/24 is taken: a VPN"):
        settle(wanted, host(networks=taken("192.168.57.0/24")))
    assert settle(wanted, host(networks=taken("192.168.56.0/24"))).subnet == wanted.subnet


def test_next_free_ports(open_lab: Settings, host: Callable[..., Host]) -> None:
    lab = settle(open_lab, host(), busy={8080, 8081, 2225})
    assert lab.ports == Ports(api=6443, http=8082, registry=5000, ssh=2228)


def test_ports_keep_out_of_each_others_way(open_lab: Settings, host: Callable[..., Host]) -> None:
    wanted = replace(open_lab, forwards=(Forward(8080, 80),), ports=WantedPorts(api=5000))
    lab = settle(wanted, host())
    assert (lab.ports.api, lab.ports.http, lab.ports.registry) == (5000, 8081, 5001)


def test_a_taken_port_is_refused_with_its_owner(
    open_lab: Settings, host: Callable[..., Host]
) -> None:
    with pytest.raises(ConfigError, match=r"ports\.http: 9000 is in use by nginx \(process 7\)"):
        settle(replace(open_lab, ports=WantedPorts(http=9000)), host(), busy={9000})


def test_a_lab_keeps_its_choices(open_lab: Settings, host: Callable[..., Host]) -> None:
    first = settle(open_lab, host(), busy={8080})
    open_lab.state.mkdir(parents=True)
    (open_lab.state / FILE).write_text(json.dumps(to_remember(first)))
    later = host(virtualbox=VIRTUALBOX, memory_free=1000, networks=taken("192.168.56.0/24"))
    again = settle(open_lab, later, BOTH, busy={8081, 6443, 5000, 2222})
    assert again == first
    # Its own ports are in use by itself when they are also in the file.
    explicit = replace(open_lab, ports=WantedPorts(http=8081))
    assert settle(explicit, later, BOTH, busy={8081}).ports.http == 8081


def test_torn_choices_count_as_none(open_lab: Settings, host: Callable[..., Host]) -> None:
    open_lab.state.mkdir(parents=True)
    (open_lab.state / FILE).write_text('{"provider": ')
    assert settle(open_lab, host()).provider == "docker"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"distribution": "k3s"}, "no source has k3s for this host"),
        ({"kubernetes": "1.30.0"}, "1.30.0 cannot be had here; 1.35.4 can"),
    ],
)
def test_what_cannot_be_had(
    open_lab: Settings, host: Callable[..., Host], changes: Any, expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        settle(replace(open_lab, **changes), host())


def test_every_clash_at_once(open_lab: Settings, host: Callable[..., Host]) -> None:
    wanted = replace(open_lab, ports=WantedPorts(http=9000, api=9001), kubernetes="1.0.0")
    with pytest.raises(ConfigError) as caught:
        settle(wanted, host(), busy={9000, 9001})
    assert len(caught.value.problems) == 3


def test_reasons_are_told(open_lab: Settings, host: Callable[..., Host]) -> None:
    _, choices = resolve(open_lab, host(), versions=ONE, port_is_free=lambda port: True)
    assert {choice.key for choice in choices} >= {"provider", "distribution", "workers", "subnet"}
    assert all(choice.reason for choice in choices)


def bring_up(lab: Lab, cache: Path) -> Lab:
    """As much of lab-up as other labs see."""
    lab.state.mkdir(parents=True)
    (lab.state / FILE).write_text(json.dumps(to_remember(lab)))
    announce(lab, cache)
    return lab


@pytest.mark.parametrize("checkout", ["", "another"])
def test_what_another_lab_has_chosen_is_taken(
    open_lab: Settings, host: Callable[..., Host], tmp_path: Path, checkout: str
) -> None:
    """Two labs that are built at the same time: neither has a network or a port yet."""
    cache, root = tmp_path / "cache", tmp_path / checkout
    first = bring_up(settle(replace(open_lab, root=root, name="first"), host()), cache)
    networks, ports = neighbours(open_lab, cache)
    owner = "lab first" + (f" of {root}" if checkout else "")
    assert networks == {first.subnet: owner}
    assert ports[6443] == ports[2227] == owner
    second = settle(open_lab, host(networks=networks), busy=ports)
    assert str(second.subnet) == "192.168.57.0/24"
    assert second.ports == Ports(api=6444, http=8081, registry=5001, ssh=2228)
    assert neighbours(first, cache) == ({}, {})


def test_labs_that_begin_at_once_do_not_choose_the_same(
    open_lab: Settings, host: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look at the host, and install what it lacks; then each writes down its choice."""
    monkeypatch.setattr(containers, "made_by", lambda name: {})
    tools: Any = SimpleNamespace(
        cache=tmp_path / "cache",
        version=lambda item: "1.35.4",
        sources=lambda item: ["release"] * (item == "kubernetes"),
    )
    labs = [replace(open_lab, name=name) for name in ("first", "second")]
    both = [Bringup(lab, settle(lab, host()), Status(), host(), tools) for lab in labs]
    assert both[0].lab.subnet == both[1].lab.subnet
    for up in both:
        remember_choices(up)
    assert [str(up.lab.subnet) for up in both] == ["192.168.56.0/24", "192.168.57.0/24"]
    assert both[0].lab.ports != both[1].lab.ports
    for up in both:
        assert json.loads((up.lab.state / FILE).read_text()) == to_remember(up.lab)


@pytest.mark.parametrize("made", [False, True])
def test_a_choice_that_failed_is_not_kept(
    open_lab: Settings,
    host: Callable[..., Host],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made: bool,
) -> None:
    """Docker has a network of that range since the host was looked at, or a program a port."""
    first = bring_up(settle(replace(open_lab, mirror="usb"), host(), busy={8080}), tmp_path)
    monkeypatch.setattr(bringup, "render", lambda up: {})

    def refuse(image: str) -> None:
        raise ConfigError("Pool overlaps with other one on this address space")

    machines = SimpleNamespace(
        make_key=lambda: None,
        render=lambda settings: None,
        start=refuse,
        known=lambda: {"control-plane-1": "12ab"} if made else {},
    )
    up: Any = SimpleNamespace(lab=first, machines=machines, status=Status(io.StringIO()), image="")
    with pytest.raises(ConfigError, match="Pool overlaps"):
        bringup.start_machines(up)
    later = host(networks=taken("192.168.56.0/24"))
    again = settle(replace(open_lab, mirror=""), later, busy={8081})
    if made:
        assert again == first
    else:
        assert str(again.subnet) == "192.168.57.0/24"
        assert again.ports.http == 8080
        # All else that lab-up was told of stays.
        assert again.mirror == first.mirror
        assert neighbours(replace(open_lab, name="second"), tmp_path) == ({}, {})


def test_checkouts_that_are_there_are_announced_once(open_lab: Settings, tmp_path: Path) -> None:
    cache, gone = tmp_path / "cache", tmp_path / "gone"
    open_lab.state.mkdir(parents=True)
    for lab in (open_lab, replace(open_lab, root=gone), replace(open_lab, name="second")):
        announce(lab, cache)
    assert (cache / "checkouts").read_text() == f"{open_lab.state.parent}\n"


def test_what_lab_up_was_told_need_not_be_repeated(
    open_lab: Settings, host: Callable[..., Host]
) -> None:
    flags = {"mirror": "usb", "machines.control_planes": "3"}
    first = settle(config.load(open_lab.root, flags, {}), host(), BOTH)
    assert first.mirror == str(Path("usb").absolute())
    bring_up(first, first.root / "cache")
    again = settle(config.load(open_lab.root, {}, {}), host(), BOTH)
    assert again == first
    # What is said now is meant, also when it is the default.
    other = settle(config.load(open_lab.root, {"source": "auto"}, {}), host(), BOTH)
    assert (other.source, other.mirror, other.control_planes) == ("auto", "", 3)


def test_a_lab_does_not_become_another(open_lab: Settings, host: Callable[..., Host]) -> None:
    first = settle(replace(open_lab, control_planes=3, distribution="kubeadm"), host(), BOTH)
    bring_up(first, first.root / "cache")
    flags = {"distribution": "k3s", "provider": "libvirt", "machines.control_planes": 1}
    with pytest.raises(ConfigError) as caught:
        settle(config.load(open_lab.root, flags, {}), host(), BOTH)
    assert list(map(str, caught.value.problems)) == [
        f"provider: libvirt is wanted of a lab that has docker {STAYS}",
        f"distribution: k3s is wanted of a lab that has kubeadm {STAYS}",
        "machines.control_planes: a lab of three cannot become one of one",
    ]


def problems(lab: Settings, host: Host, busy: Any = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settle(lab, host, busy=busy)
    return list(map(str, caught.value.problems))


def test_what_machines_were_made_with_stays(open_lab: Settings, host: Callable[..., Host]) -> None:
    """The cluster's networks are everywhere in it, and a container is made with its ports."""
    first = settle(replace(open_lab, forwards=(Forward(9000, 80),)), host())
    bring_up(first, first.root / "cache")
    subnet, pods = IPv4Network("192.168.57.0/24"), IPv4Network("10.40.0.0/16")
    other = replace(open_lab, subnet=subnet, pods=pods, ports=WantedPorts(http=9090))
    assert problems(other, host()) == [
        f"network.subnet: 192.168.57.0/24 is wanted of a lab that has 192.168.56.0/24 {STAYS}",
        f"network.pods: 10.40.0.0/16 is wanted of a lab that has 10.244.0.0/16 {STAYS}",
        f"ports.http: 9090 is wanted of a lab that has 8080 {STAYS}",
        f"forward: none is wanted of a lab that has 9000 to control-plane-1:80 {STAYS}",
    ]


def test_a_virtual_machine_gets_other_ports(open_lab: Settings, host: Callable[..., Host]) -> None:
    """They lead to it by connections that are made at every start."""
    first = settle(replace(open_lab, provider="libvirt"), host())
    bring_up(first, first.root / "cache")
    other = replace(open_lab, provider="libvirt", forwards=(Forward(9000, 80),))
    other = replace(other, ports=WantedPorts(http=9090))
    assert settle(other, host()).ports.http == 9090


def test_ports_and_forwards_that_cannot_be(open_lab: Settings, host: Callable[..., Host]) -> None:
    forwards = (Forward(2224, 22), Forward(9000, 80, "worker-5"), Forward(9001, 81))
    lab = replace(open_lab, forwards=forwards, ports=WantedPorts(ssh=2222, http=2223))
    assert problems(lab, host(), busy={9001}) == [
        "ports.http: 2223 is one of ports.ssh, too",
        "forward[0].host: 2224 is one of ports.ssh",
        "forward[1].machine: there is no worker-5, there are control-plane-1, worker-1, worker-2",
        "forward[2].host: 9001 is in use by nginx (process 7)",
    ]


def test_its_own_forward_is_no_other_programs(
    open_lab: Settings, host: Callable[..., Host]
) -> None:
    lab = replace(open_lab, forwards=(Forward(9000, 80),))
    bring_up(settle(lab, host()), lab.root / "cache")
    assert settle(lab, host(), busy={9000}).forwards == lab.forwards


def test_a_torn_record_of_another_lab_takes_nothing(open_lab: Settings) -> None:
    folder = open_lab.state.parent / "torn"
    folder.mkdir(parents=True)
    (folder / FILE).write_text('{"subnet": "192.1')
    assert neighbours(open_lab, open_lab.root) == ({}, {})
