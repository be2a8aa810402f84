"""Choose a value for every `auto` on this host, with a reason.

A lab keeps the choices of its first lab-up. It must not move to other addresses, ports or software
because the host has changed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeVar

from lab.config import (
    AUTO,
    DISTRIBUTIONS,
    HOST_ONLY,
    MOST_MACHINES,
    PRIVATE,
    WITHIN_MACHINES,
    Lab,
    Ports,
    Settings,
)
from lab.errors import ConfigError, Problem
from lab.host.facts import Host
from lab.state import write_aside

S = TypeVar("S", bound=Settings)
DEFAULT_PORTS = {"api": 6443, "http": 8080, "registry": 5000, "ssh": 2222}
# MiB of free memory that a control plane and two workers need, and that each further control plane
# needs.
MEMORY_FOR_WORKERS = 4096
MEMORY_FOR_CONTROL_PLANE = 1200
FILE = "choices.json"
# Keys whose values a lab keeps as long as it exists, and their names in FILE.
STAYS = {
    "provider": "provider",
    "distribution": "distribution",
    "network.subnet": "subnet",
    "network.pods": "pods",
    "network.services": "services",
}
# Docker publishes the ports of a container when it creates it, and cannot change them later.
STAYS_IN_CONTAINERS = {f"ports.{name}": f"ports.{name}" for name in DEFAULT_PORTS}
STAYS_IN_CONTAINERS["forward"] = "forwards"
# Names in FILE that no machine uses yet if lab-up could not create the first machine. The next
# lab-up chooses them again.
UNTRIED = ("subnet", *(f"ports.{name}" for name in DEFAULT_PORTS))
# Ranges for a lab's network, best first: the range that VirtualBox allows, then parts of private
# networks that few hosts use, then all private networks.
POOLS = (HOST_ONLY, IPv4Network("172.30.56.0/21"), IPv4Network("10.156.56.0/21"), *PRIVATE)
# A file in the cache, which all labs share. Each line is the folder of one checkout's labs.
CHECKOUTS = "checkouts"


@dataclass(frozen=True)
class Choice:
    """A decision for an `auto` of the configuration: key, value and reason."""

    key: str
    value: str
    reason: str


def resolve(
    settings: Settings,
    host: Host,
    *,
    versions: Mapping[str, str],
    port_is_free: Callable[[int], bool],
    owner: Callable[[int], str] = lambda port: "",
) -> tuple[Lab, list[Choice]]:
    """Replace every `auto` by a value that fits the host.

    `versions` maps each distribution with a source to its version. `owner` names the program that
    listens on a port. Returns the lab and the choices. Raises ConfigError with every conflict
    between an explicit value and the host.
    """
    settings = as_brought_up(settings)
    kept = remembered(settings)
    problems: list[Problem] = []
    choices: list[Choice] = []

    def choose(key: str, given: Any, fresh: Callable[[], tuple[Any, str]]) -> Any:
        if given not in (AUTO, None):
            return given
        value, reason = (kept[key], "as before") if key in kept else fresh()
        choices.append(Choice(key, str(value), reason))
        return value

    provider = choose("provider", settings.provider, lambda: _provider(host))
    distribution = choose("distribution", settings.distribution, lambda: _distribution(versions))
    workers = choose("workers", settings.workers, lambda: _workers(settings, host))
    fresh_subnet = partial(_subnet, provider, host, settings, problems)
    subnet = IPv4Network(choose("subnet", settings.subnet, fresh_subnet))
    ports: dict[str, int] = {}
    taken = {forward.host for forward in settings.forwards}
    for name, default in DEFAULT_PORTS.items():
        given = getattr(settings.ports, name)
        key = f"ports.{name}"
        fresh = partial(_port, name, default, taken, port_is_free)
        ports[name] = choose(key, given, fresh)
        taken |= set(_row(name, ports[name]))
        if given and kept.get(key) != given and not port_is_free(given):
            problems.append(Problem(key, f"{given} is in use{_by(owner(given))}"))
    kubernetes = versions.get(distribution, "")
    chosen = {
        "provider": provider,
        "distribution": distribution,
        "kubernetes": kubernetes,
        "workers": int(workers),
        "subnet": subnet,
        "ports": Ports(**ports),
    }
    lab = Lab(**{**vars(settings), **chosen})
    now = to_remember(lab)
    for key, name in (STAYS | STAYS_IN_CONTAINERS if provider == "docker" else STAYS).items():
        if kept.get(name, now[name]) != now[name]:
            rule = f"the lab already has {kept[name]} and cannot change to {now[name]}"
            problems.append(Problem(key, f"{rule}: lab-destroy first, or --lab NAME"))
    problems += _clashes(lab, kept, port_is_free, owner)
    if kept.get("control_planes", 1) > lab.control_planes:
        problems.append(
            Problem("machines.control_planes", "the lab cannot change from three to one")
        )
    if not kubernetes:
        problems.append(Problem("distribution", f"no source has {distribution} for this host"))
    elif settings.kubernetes not in (AUTO, kubernetes.partition("+")[0]):
        problems.append(
            Problem("kubernetes", f"no source has {settings.kubernetes}; one has {kubernetes}")
        )
    if settings.subnet and str(settings.subnet) != kept.get("subnet"):
        for network, holder in host.networks.items():
            if network.overlaps(settings.subnet):
                taken_by = f"{settings.subnet} is taken: {holder} has {network}"
                problems.append(Problem("network.subnet", taken_by))
    if problems:
        raise ConfigError("the lab does not fit this host", problems=problems, hint="invoke doctor")
    return lab, choices


def _told(lab: Lab) -> str:
    return ", ".join(map(str, lab.forwards)) or "none"


def _clashes(
    lab: Lab,
    kept: Mapping[str, Any],
    port_is_free: Callable[[int], bool],
    owner: Callable[[int], str],
) -> list[Problem]:
    """The problems with the ports and forwards of a resolved lab."""
    problems = []
    ports = vars(lab.ports)
    taken = {port: f"ports.{name}" for name, first in ports.items() for port in _row(name, first)}
    for name, first in ports.items():
        for port in _row(name, first):
            if taken[port] != f"ports.{name}":
                problems.append(Problem(f"ports.{name}", f"{port} is also one of {taken[port]}"))
    machines = [machine.name for machine in lab.machines]
    # The lab itself uses the ports of its existing forwards.
    held = kept.get("forwards", _told(lab) if kept else "").split(", ")
    for number, forward in enumerate(lab.forwards):
        key = f"forward[{number}]"
        if forward.machine not in machines:
            lack = f"there is no {forward.machine}; the machines are {', '.join(machines)}"
            problems.append(Problem(f"{key}.machine", lack))
        if forward.host in taken:
            rule = f"{forward.host} is also one of {taken[forward.host]}"
            problems.append(Problem(f"{key}.host", rule))
        elif str(forward) not in held and not port_is_free(forward.host):
            used = f"{forward.host} is in use{_by(owner(forward.host))}"
            problems.append(Problem(f"{key}.host", used))
    return problems


def as_brought_up(lab: S) -> S:
    """The lab with the control planes, the source and the mirror of its last lab-up.

    Flags and settings of this task win. So a user need not repeat flags to use a lab.
    """
    kept = remembered(lab)

    def said(key: str) -> bool:
        return lab.origins.get(key, "default") != "default"

    if not said("machines.control_planes"):
        planes = kept.get("control_planes", lab.control_planes)
        lab = dataclasses.replace(lab, control_planes=planes)
    if not (said("source") or said("mirror")):
        source, mirror = kept.get("source", lab.source), kept.get("mirror", lab.mirror)
        lab = dataclasses.replace(lab, source=source, mirror=mirror)
    if lab.mirror and "://" not in lab.mirror:
        lab = dataclasses.replace(lab, mirror=str(Path(lab.mirror).expanduser().absolute()))
    return lab


def remembered(settings: Settings) -> dict[str, Any]:
    """The choices of an earlier lab-up; empty for a lab that does not exist."""
    return _read(settings.state / FILE)


def forget(settings: Settings) -> None:
    """Drop the chosen addresses and ports of a lab without any machine."""
    kept = {key: value for key, value in remembered(settings).items() if key not in UNTRIED}
    write_aside(settings.state / FILE, json.dumps(kept, indent=2))


def neighbours(settings: Settings, cache: Path) -> tuple[dict[IPv4Network, str], dict[int, str]]:
    """The networks and ports of other labs, also in other checkouts, each with the lab's name.

    A lab whose lab-up still runs does not use them yet, and must find them free later.
    """
    networks: dict[IPv4Network, str] = {}
    ports: dict[int, str] = {}
    for folder in {settings.state.parent, *_announced(cache)}:
        for path in folder.glob(f"*/{FILE}"):
            if path.parent == settings.state or "subnet" not in (kept := _read(path)):
                continue
            owner = f"lab {path.parent.name}"
            if folder != settings.state.parent:
                owner += f" of {folder.parent}"
            networks[IPv4Network(kept["subnet"])] = owner
            for key in DEFAULT_PORTS:
                ports |= dict.fromkeys(_row(key, kept[f"ports.{key}"]), owner)
    return networks, ports


def announce(settings: Settings, cache: Path) -> None:
    """Write the folder of this checkout's labs into the cache, for the labs of other checkouts."""
    known = {folder for folder in _announced(cache) if folder.is_dir()} | {settings.state.parent}
    write_aside(cache / CHECKOUTS, "".join(f"{folder}\n" for folder in sorted(known)), mode=0o644)


def to_remember(lab: Lab) -> Mapping[str, Any]:
    """The part of a resolved lab that FILE keeps."""
    return {
        "provider": lab.provider,
        "distribution": lab.distribution,
        "source": lab.source,
        "mirror": lab.mirror,
        "control_planes": lab.control_planes,
        "workers": lab.workers,
        "subnet": str(lab.subnet),
        "pods": str(lab.pods),
        "services": str(lab.services),
        "forwards": _told(lab),
        **{f"ports.{name}": port for name, port in vars(lab.ports).items()},
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return kept


def _announced(cache: Path) -> set[Path]:
    try:
        return {Path(line) for line in (cache / CHECKOUTS).read_text().splitlines()}
    except FileNotFoundError:
        return set()


def _provider(host: Host) -> tuple[str, str]:
    if host.kvm and host.vagrant_libvirt:
        return "docker", 'containers start in seconds; provider = "libvirt" gives virtual machines'
    return "docker", "containers need no hardware virtualisation"


def _distribution(versions: Mapping[str, str]) -> tuple[str, str]:
    """The best distribution in `versions`, and the reason."""
    known = tuple(name for name in DISTRIBUTIONS if name != AUTO)
    found = next((name for name in known if name in versions), known[-1])
    if found == known[0]:
        return found, "a source has its release"
    return found, f"no source has a {known[0]} release"


def _workers(settings: Settings, host: Host) -> tuple[int, str]:
    need = MEMORY_FOR_WORKERS + (settings.control_planes - 1) * MEMORY_FOR_CONTROL_PLANE
    if host.memory_free >= need:
        return 2, f"{host.memory_free} MiB of memory are free"
    return 0, f"only {host.memory_free} MiB of memory are free, two workers need {need}"


def _subnet(
    provider: str, host: Host, settings: Settings, problems: list[Problem]
) -> tuple[str, str]:
    pools = (HOST_ONLY,) if provider == "virtualbox" else POOLS
    taken = (*host.networks, settings.pods, settings.services, WITHIN_MACHINES)
    for pool in pools:
        if found := _first_free(pool, taken):
            return str(found), "the first range that no route and no Docker network uses"
    where = f"of {HOST_ONLY}" if provider == "virtualbox" else "that is private"
    problems.append(Problem("network.subnet", f"every /24 {where} is taken on this host"))
    return f"{HOST_ONLY.network_address}/24", ""


def _first_free(pool: IPv4Network, taken: Iterable[IPv4Network]) -> IPv4Network | None:
    """The first /24 of a pool that overlaps no network of `taken`."""
    first = int(pool.network_address)
    for network in sorted(network for network in taken if network.overlaps(pool)):
        if network.overlaps(IPv4Network((first, 24))):
            first = (int(network.broadcast_address) | 255) + 1
    return IPv4Network((first, 24)) if first <= int(pool.broadcast_address) else None


def _row(name: str, first: int) -> range:
    """The ports of a key. SSH has consecutive ports, one for every machine."""
    return range(first, first + (MOST_MACHINES if name == "ssh" else 1))


def _port(
    name: str, default: int, taken: set[int], port_is_free: Callable[[int], bool]
) -> tuple[int, str]:
    """The first port of a row of free ports, from the default on, and the reason."""
    for first in range(default, default + 200, len(_row(name, default))):
        row = _row(name, first)
        if not taken.intersection(row) and all(map(port_is_free, row)):
            reason = "the default, and free" if first == default else f"{default} is in use"
            return first, reason
    return default, "none of the next 200 ports is free"


def _by(owner: str) -> str:
    return f" by {owner}" if owner else ""
