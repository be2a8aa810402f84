"""Every `auto` gets a value, and a lab keeps its first choices."""

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
LEAVE = "lab-destroy first, or --lab NAME"
VIRTUALBOX = VirtualBox((7, 0, 14), True, True, DEFAULT_RANGES, (), False, (6, 1))


def settle(lab: Settings, host: Host, versions: Any = ONE, busy: Any = ()) -> Lab:
    return resolve(
        lab,
        host,
        versions=versions,
        port_is_free=lambda port: port not in busy,
        owner=lambda port: "nginx (process 7)",
    )[0]


# The networks of a host on which only networks inside of a lab are free from 10.88 to 10.100.
ALL_BUT_INSIDE = [
    *("192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/10", "10.64.0.0/12", "10.80.0.0/13"),
    *("10.90.0.0/15", "10.92.0.0/14", "10.97.0.0/16", "10.98.0.0/15", "10.128.0.0/9"),
]


def taken(*networks: str) -> dict[IPv4Network, str]:
    """Networks that a host already uses."""
    return dict.fromkeys(map(IPv4Network, networks), "a VPN")


@pytest.fixture
def open_lab(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path)


def test_a_usual_host_gets_the_defaults(open_lab: Settings, host: Callable[..., Host]) -> None:
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


def test_auto_chooses_k3s_if_a_source_has_it(open_lab: Settings, host: Callable[..., Host]) -> None:
    lab = settle(open_lab, host(), BOTH)
    assert (lab.distribution, lab.kubernetes) == ("k3s", "1.34.2+k3s1")


@pytest.mark.parametrize(
    ("planes", "free", "workers"), [(1, 4096, 2), (1, 4095, 0), (3, 6496, 2), (3, 6495, 0)]
)
def test_memory_decides_the_number_of_workers(
    open_lab: Settings, host: Callable[..., Host], planes: int, free: int, workers: int
) -> None:
    wanted = replace(open_lab, control_planes=planes)
    assert settle(wanted, host(memory_free=free)).workers == workers


def test_auto_chooses_the_first_free_network(open_lab: Settings, host: Callable[..., Host]) -> None:
    networks = taken("192.168.56.0/24", "192.168.57.128/25")
    assert str(settle(open_lab, host(networks=networks)).subnet) == "192.168.58.0/24"


@pytest.mark.parametrize("provider", ["auto", "docker", "libvirt"])
@pytest.mark.parametrize(
    ("networks", "subnet"),
    [
        # A home, a school or a VPN uses the whole range.
        (["192.168.0.0/16"], "172.30.56.0/24"),
        (["192.168.0.0/16", "172.16.0.0/12"], "10.156.56.0/24"),
        (["192.168.0.0/16", "10.0.0.0/8"], "172.30.56.0/24"),
        (["192.168.0.0/16", "172.16.0.0/12", "10.156.0.0/16"], "10.0.0.0/24"),
        # The lab's own networks inside of machines are not free: pods, Services and Docker.
        (ALL_BUT_INSIDE, "10.100.0.0/24"),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], "198.18.0.0/24"),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/30"], "198.18.1.0/24"),
    ],
)
def test_another_private_range_is_chosen_if_the_first_is_taken(
    open_lab: Settings, host: Callable[..., Host], provider: str, networks: list[str], subnet: str
) -> None:
    lab = replace(open_lab, provider=provider)
    assert str(settle(lab, host(networks=taken(*networks))).subnet) == subnet


def test_an_error_if_no_network_is_free(open_lab: Settings, host: Callable[..., Host]) -> None:
    """VirtualBox allows only one range."""
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


def test_auto_chooses_the_next_free_ports(open_lab: Settings, host: Callable[..., Host]) -> None:
    lab = settle(open_lab, host(), busy={8080, 8081, 2225})
    assert lab.ports == Ports(api=6443, http=8082, registry=5000, ssh=2228)


def test_automatic_ports_avoid_explicit_ones(open_lab: Settings, host: Callable[..., Host]) -> None:
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
    # The lab itself uses an explicit port that it already has.
    explicit = replace(open_lab, ports=WantedPorts(http=8081))
    assert settle(explicit, later, BOTH, busy={8081}).ports.http == 8081


def test_damaged_choices_are_ignored(open_lab: Settings, host: Callable[..., Host]) -> None:
    open_lab.state.mkdir(parents=True)
    (open_lab.state / FILE).write_text('{"provider": ')
    assert settle(open_lab, host()).provider == "docker"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"distribution": "k3s"}, "no source has k3s for this host"),
        ({"kubernetes": "1.30.0"}, "no source has 1.30.0; one has 1.35.4"),
    ],
)
def test_a_version_without_a_source_is_refused(
    open_lab: Settings, host: Callable[..., Host], changes: Any, expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        settle(replace(open_lab, **changes), host())


def test_all_conflicts_are_reported_together(open_lab: Settings, host: Callable[..., Host]) -> None:
    wanted = replace(open_lab, ports=WantedPorts(http=9000, api=9001), kubernetes="1.0.0")
    with pytest.raises(ConfigError) as caught:
        settle(wanted, host(), busy={9000, 9001})
    assert len(caught.value.problems) == 3


def test_every_choice_has_a_reason(open_lab: Settings, host: Callable[..., Host]) -> None:
    _, choices = resolve(open_lab, host(), versions=ONE, port_is_free=lambda port: True)
    assert {choice.key for choice in choices} >= {"provider", "distribution", "workers", "subnet"}
    assert all(choice.reason for choice in choices)


def bring_up(lab: Lab, cache: Path) -> Lab:
    """The part of lab-up that other labs can see."""
    lab.state.mkdir(parents=True)
    (lab.state / FILE).write_text(json.dumps(to_remember(lab)))
    announce(lab, cache)
    return lab


@pytest.mark.parametrize("checkout", ["", "another"])
def test_the_choices_of_another_lab_are_taken(
    open_lab: Settings, host: Callable[..., Host], tmp_path: Path, checkout: str
) -> None:
    """Two labs whose lab-up still runs: neither uses its network or ports yet."""
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


def test_labs_that_start_together_choose_differently(
    open_lab: Settings, host: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both gather the host's facts before either of them writes its choices."""
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
def test_a_lab_without_machines_chooses_addresses_and_ports_again(
    open_lab: Settings,
    host: Callable[..., Host],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made: bool,
) -> None:
    """A Docker network or another program may take the range or a port in the meantime."""
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
        # The lab keeps all other choices.
        assert again.mirror == first.mirror
        assert neighbours(replace(open_lab, name="second"), tmp_path) == ({}, {})


def test_existing_checkouts_are_announced_once(open_lab: Settings, tmp_path: Path) -> None:
    cache, gone = tmp_path / "cache", tmp_path / "gone"
    open_lab.state.mkdir(parents=True)
    for lab in (open_lab, replace(open_lab, root=gone), replace(open_lab, name="second")):
        announce(lab, cache)
    assert (cache / "checkouts").read_text() == f"{open_lab.state.parent}\n"


def test_flags_of_lab_up_need_not_be_repeated(
    open_lab: Settings, host: Callable[..., Host]
) -> None:
    flags = {"mirror": "usb", "machines.control_planes": "3"}
    first = settle(config.load(open_lab.root, flags, {}), host(), BOTH)
    assert first.mirror == str(Path("usb").absolute())
    bring_up(first, first.root / "cache")
    again = settle(config.load(open_lab.root, {}, {}), host(), BOTH)
    assert again == first
    # A flag of this task wins, even with the default value.
    other = settle(config.load(open_lab.root, {"source": "auto"}, {}), host(), BOTH)
    assert (other.source, other.mirror, other.control_planes) == ("auto", "", 3)


def test_a_lab_cannot_change_its_provider_or_distribution(
    open_lab: Settings, host: Callable[..., Host]
) -> None:
    first = settle(replace(open_lab, control_planes=3, distribution="kubeadm"), host(), BOTH)
    bring_up(first, first.root / "cache")
    flags = {"distribution": "k3s", "provider": "libvirt", "machines.control_planes": 1}
    with pytest.raises(ConfigError) as caught:
        settle(config.load(open_lab.root, flags, {}), host(), BOTH)
    assert list(map(str, caught.value.problems)) == [
        f"provider: the lab already has docker and cannot change to libvirt: {LEAVE}",
        f"distribution: the lab already has kubeadm and cannot change to k3s: {LEAVE}",
        "machines.control_planes: the lab cannot change from three to one",
    ]


def problems(lab: Settings, host: Host, busy: Any = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settle(lab, host, busy=busy)
    return list(map(str, caught.value.problems))


def test_networks_and_ports_of_containers_cannot_change(
    open_lab: Settings, host: Callable[..., Host]
) -> None:
    """A cluster cannot change its networks, nor a container its published ports."""
    first = settle(replace(open_lab, forwards=(Forward(9000, 80),)), host())
    bring_up(first, first.root / "cache")
    subnet, pods = IPv4Network("192.168.57.0/24"), IPv4Network("10.40.0.0/16")
    other = replace(open_lab, subnet=subnet, pods=pods, ports=WantedPorts(http=9090))
    assert problems(other, host()) == [
        f"{key}: the lab already has {old} and cannot change to {new}: {LEAVE}"
        for key, old, new in (
            ("network.subnet", "192.168.56.0/24", "192.168.57.0/24"),
            ("network.pods", "10.244.0.0/16", "10.40.0.0/16"),
            ("ports.http", "8080", "9090"),
            ("forward", "9000 to control-plane-1:80", "none"),
        )
    ]


def test_ports_of_virtual_machines_can_change(
    open_lab: Settings, host: Callable[..., Host]
) -> None:
    """The lab opens the connections behind the ports at every start."""
    first = settle(replace(open_lab, provider="libvirt"), host())
    bring_up(first, first.root / "cache")
    other = replace(open_lab, provider="libvirt", forwards=(Forward(9000, 80),))
    other = replace(other, ports=WantedPorts(http=9090))
    assert settle(other, host()).ports.http == 9090


def test_impossible_ports_and_forwards_are_refused(
    open_lab: Settings, host: Callable[..., Host]
) -> None:
    forwards = (Forward(2224, 22), Forward(9000, 80, "worker-5"), Forward(9001, 81))
    lab = replace(open_lab, forwards=forwards, ports=WantedPorts(ssh=2222, http=2223))
    assert problems(lab, host(), busy={9001}) == [
        "ports.http: 2223 is also one of ports.ssh",
        "forward[0].host: 2224 is also one of ports.ssh",
        "forward[1].machine: there is no worker-5; "
        "the machines are control-plane-1, worker-1, worker-2",
        "forward[2].host: 9001 is in use by nginx (process 7)",
    ]


def test_a_lab_may_keep_its_own_forward(open_lab: Settings, host: Callable[..., Host]) -> None:
    lab = replace(open_lab, forwards=(Forward(9000, 80),))
    bring_up(settle(lab, host()), lab.root / "cache")
    assert settle(lab, host(), busy={9000}).forwards == lab.forwards


def test_damaged_choices_of_another_lab_take_nothing(open_lab: Settings) -> None:
    folder = open_lab.state.parent / "torn"
    folder.mkdir(parents=True)
    (folder / FILE).write_text('{"subnet": "192.1')
    assert neighbours(open_lab, open_lab.root) == ({}, {})
