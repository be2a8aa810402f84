"""Configuration: lab.toml, LAB_* variables and flags become frozen `Settings`.

Precedence is flag > environment > file > default. All problems are reported at once, before
anything changes. `auto` stays in the settings; `lab.host.choices.resolve` replaces it by values
that fit the host, which makes a `Lab`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from lab.errors import ConfigError, Problem
from lab.patterns import networks, numbers, subnets

AUTO = "auto"
MOST_MACHINES = 6
# Names beside the labs' folders that all labs of a checkout share.
SHARED = ("stacks", "passphrase")
PROVIDERS = (AUTO, "docker", "libvirt", "virtualbox")
DISTRIBUTIONS = (AUTO, "k3s", "kubeadm")
SOURCES = (AUTO, "release", "mirror", "modules")
# VirtualBox 6.1.28 and later reject host-only addresses outside this range.
HOST_ONLY = IPv4Network("192.168.56.0/21")
# Networks that may contain a lab's own: the private ones of RFC 1918, and the one for benchmarks
# (RFC 2544) for hosts whose VPN has all the others.
PRIVATE = tuple(
    map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15"))
)
# Networks of Docker and podman inside every machine (daemon.json in vagrant/machine).
WITHIN_MACHINES = IPv4Network("10.88.0.0/15")
PODS = IPv4Network("10.244.0.0/16")
SERVICES = IPv4Network("10.96.0.0/16")
# The lab's image registry: its name on machines and in the cluster.
REGISTRY = "registry.lab:5000"
# What the networks of pods and Services may have.
INNER_PREFIXES = range(12, 21)
# MiB of one machine.
LEAST_MEMORY, MOST_MEMORY = 1024, 1024 * 1024
NAME = r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?"


@dataclass(frozen=True)
class Machine:
    """One machine: its name, its role (control-plane or worker) and its address in the lab."""

    name: str
    role: str
    address: str


@dataclass(frozen=True)
class WantedPorts:
    """Ports on the host's loopback as the configuration names them; None is left to the lab."""

    api: int | None = None
    http: int | None = None
    registry: int | None = None
    ssh: int | None = None


@dataclass(frozen=True)
class Ports(WantedPorts):
    """Ports on the host's loopback: API server, HTTP ingress, registry, and SSH of the machines.

    `ssh` is the port of the first machine; the other machines have the ports that follow.
    """

    api: int
    http: int
    registry: int
    ssh: int


@dataclass(frozen=True)
class Forward:
    """A further port of a machine on the host's loopback."""

    host: int
    guest: int
    machine: str = "control-plane-1"

    def __str__(self) -> str:
        return f"{self.host} to {self.machine}:{self.guest}"


@dataclass(frozen=True)
class Proxies:
    """The proxies of the environment, as addresses, and NO_PROXY; empty ones are not set."""

    http: str = ""
    https: str = ""
    exceptions: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The configuration of a lab. None and "auto" are left to `lab.host.choices.resolve`.

    `memory` is in MiB for each machine; `origins` maps every key to the place of its value.
    """

    root: Path
    name: str = "lab"
    provider: str = AUTO
    distribution: str = AUTO
    kubernetes: str = AUTO
    source: str = AUTO
    mirror: str = ""
    control_planes: int = 1
    workers: int | None = None
    cpus: int = 2
    memory: int = 2048
    subnet: IPv4Network | None = None
    pods: IPv4Network = PODS
    services: IPv4Network = SERVICES
    ca: str = ""
    registry_mirror: str = ""
    proxies: Proxies = Proxies()
    ports: WantedPorts = WantedPorts()
    forwards: tuple[Forward, ...] = ()
    # Not part of what a lab is: the same value from elsewhere means the same lab.
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def state(self) -> Path:
        """The folder of the lab's state."""
        return self.root / ".lab" / self.name


@dataclass(frozen=True, kw_only=True)
class Lab(Settings):
    """A settled lab: settings in which nothing is left open."""

    provider: str
    distribution: str
    kubernetes: str
    workers: int
    subnet: IPv4Network
    ports: Ports

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Every machine, the first control plane first."""
        planes = [
            Machine(f"control-plane-{i}", "control-plane", self.address(10 + i))
            for i in range(1, self.control_planes + 1)
        ]
        workers = [
            Machine(f"worker-{i}", "worker", self.address(20 + i))
            for i in range(1, self.workers + 1)
        ]
        return (*planes, *workers)

    @property
    def address_pool(self) -> str:
        """The addresses for Services of type LoadBalancer, as `first-last`."""
        return f"{self.address(200)}-{self.address(239)}"

    def address(self, host: int) -> str:
        """The address in the lab's network with this last number."""
        return str(self.subnet.network_address + host)


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The cache of all labs: a folder in LAB_CACHE, or in the user's cache.

    It is always a folder of its own, because `lab-destroy --cache` removes it whole.
    """
    user = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(environ.get("LAB_CACHE") or user).absolute() / "kubernetes-lecture-lab"


# ---------------------------------------------------------------- rules: raw value -> value


@dataclass(frozen=True)
class Rule:
    """What one key allows: `check` turns a raw value into the key's value, or raises ValueError.

    `schema` is a JSON Schema for the same raw values: lab.schema.json is made of it.
    """

    check: Callable[[Any], Any]
    schema: Mapping[str, Any]

    def __call__(self, value: Any) -> Any:
        """The value of the key. Raises ValueError with the rule that a raw value breaks."""
        return self.check(value)


def _texts(pattern: str) -> dict[str, Any]:
    """A schema of the texts that match a regular expression as a whole."""
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


def _choice(allowed: Sequence[str]) -> Rule:
    def rule(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}{_did_you_mean(value, allowed)}")
        return str(value)

    return Rule(rule, {"enum": list(allowed)})


def _schema(value: Any) -> int:
    if isinstance(value, bool) or str(value) != "1":
        raise ValueError("must be 1, the version of lab.toml that this lab reads")
    return 1


def _number(low: int, high: int, *, auto: bool = False) -> Rule:
    def rule(value: Any) -> int | None:
        if auto and value == AUTO:
            return None
        digits = isinstance(value, str) and value.isascii() and value.isdigit()
        number = int(value) if digits else value
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise ValueError(
                f"must be a whole number from {low} to {high}" + (' or "auto"' if auto else "")
            )
        return number

    forms = [
        {"type": "integer", "minimum": low, "maximum": high},
        _texts(f"0*(?:{numbers(low, high)})"),
    ]
    return Rule(rule, {"anyOf": [{"enum": [AUTO]}, *forms] if auto else forms})


def _control_planes(value: Any) -> int:
    if isinstance(value, bool) or str(value) not in ("1", "3"):
        raise ValueError("must be 1 or 3: etcd works while more than half of its members run")
    return int(value)


def _memory(value: Any) -> int:
    form = r"([0-9]+) ?(M|MB|MiB|G|GB|GiB)?"
    found = re.fullmatch(form, str(value), re.IGNORECASE | re.ASCII)
    if isinstance(value, bool) or not found:
        raise ValueError('must be MiB as a number, or a text such as "2GiB"')
    unit = 1024 if (found[2] or "M").upper().startswith("G") else 1
    megabytes = int(found[1]) * unit
    if not LEAST_MEMORY <= megabytes <= MOST_MEMORY:
        raise ValueError("must be at least 1024 MiB and at most 1 TiB")
    return megabytes


def _network(value: Any) -> IPv4Network:
    try:
        # IPv4Network also takes integers, netmasks and leading zeros.
        if not re.fullmatch(r"[0-9.]+/[1-9]?[0-9]", str(value)):
            raise ValueError
        return IPv4Network(value)
    except ValueError:
        raise ValueError('must be a network such as "10.244.0.0/16"') from None


def _inner_network(value: Any) -> IPv4Network:
    network = _network(value)
    if network.prefixlen not in INNER_PREFIXES:
        raise ValueError("must have a prefix from /12 to /20")
    return network


def _subnet(value: Any) -> IPv4Network | None:
    if value == AUTO:
        return None
    network = _network(value)
    if network.prefixlen != 24 or not any(map(network.subnet_of, PRIVATE)):
        raise ValueError(f"must be a /24 inside one of {', '.join(map(str, PRIVATE))}")
    return network


def _matching(pattern: str, rule: str) -> Rule:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(rule)
        return value

    return Rule(check, _texts(pattern))


def _name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(NAME, value):
        rule = "must be at most 20 lower-case letters, digits and dashes, beginning with a letter"
        raise ValueError(rule)
    if value in SHARED:
        raise ValueError("is what the labs of a checkout share: choose another name")
    return value


# How memory may be written: MiB as a number, or a text with or without a unit.
MEMORY = (
    {"type": "integer", "minimum": LEAST_MEMORY, "maximum": MOST_MEMORY},
    _texts(f"0*(?:{numbers(LEAST_MEMORY, MOST_MEMORY)}) ?(?:[Mm](?:[Ii]?[Bb])?)?"),
    _texts(f"0*(?:{numbers(LEAST_MEMORY // 1024, MOST_MEMORY // 1024)}) ?[Gg](?:[Ii]?[Bb])?"),
)
KEYS: Mapping[str, Rule] = {
    "version": Rule(_schema, {"enum": [1, "1"]}),
    "name": Rule(_name, {**_texts(NAME), "not": {"enum": list(SHARED)}}),
    "provider": _choice(PROVIDERS),
    "distribution": _choice(DISTRIBUTIONS),
    "kubernetes": _matching(
        r"auto|[0-9]+\.[0-9]+\.[0-9]+", 'must be "auto" or a version such as "1.35.4"'
    ),
    "source": _choice(SOURCES),
    "mirror": _matching(r"[^\n]*", "must be a folder or an http(s) address"),
    "machines.control_planes": Rule(_control_planes, {"enum": [1, 3, "1", "3"]}),
    "machines.workers": _number(0, 5, auto=True),
    "machines.cpus": _number(1, 64),
    "machines.memory": Rule(_memory, {"anyOf": MEMORY}),
    "network.subnet": Rule(_subnet, _texts(f"{AUTO}|{subnets(PRIVATE, 24)}")),
    "network.pods": Rule(_inner_network, _texts(networks(INNER_PREFIXES))),
    "network.services": Rule(_inner_network, _texts(networks(INNER_PREFIXES))),
    "network.registry_mirror": _matching(
        r"(https?://[A-Za-z0-9.-]+(:[0-9]+)?)?", "must be an http(s) address without a path"
    ),
    "network.ca": _matching(r"[^\n]*", "must be a file of PEM certificates"),
    "ports.api": _number(1024, 65535, auto=True),
    "ports.http": _number(1024, 65535, auto=True),
    "ports.registry": _number(1024, 65535, auto=True),
    "ports.ssh": _number(1024, 65535 - MOST_MACHINES, auto=True),
}
TABLES = frozenset(key.split(".")[0] for key in KEYS if "." in key)
FORWARD_KEYS: Mapping[str, Rule] = {
    "host": _number(1024, 65535),
    "guest": _number(1, 65535),
    "machine": _matching(r"(control-plane|worker)-[0-9]", "must be the name of a machine"),
}


def load(root: Path, flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the configuration of the checkout `root`.

    `flags` are the command line's values by key, None for flags that were not given. The file is
    LAB_CONFIG or lab.toml; a missing file is like an empty one.

    Raises ConfigError with every problem.
    """
    file = Path(environ.get("LAB_CONFIG") or root / "lab.toml")
    text, raw = _read(file)
    forwards = raw.pop("forward", [])
    given: dict[str, tuple[Any, str]] = {
        key: (value, file.name) for key, value in _flatten(raw).items()
    }
    problems = [_unknown(key, text) for key in given if key not in KEYS]
    for key in KEYS:
        variable = f"LAB_{key.split('.')[-1].upper()}"
        if value := environ.get(variable):
            given[key] = (value, variable)
        flag = flags.get(key)
        if flag is not None:
            given[key] = (flag, "flag")
    values: dict[str, Any] = {}
    for key, (value, origin) in given.items():
        if key in KEYS:
            try:
                values[key] = KEYS[key](value)
            except ValueError as error:
                line = _line(text, key) if origin == file.name else None
                where = "" if origin == file.name else f" (from {origin})"
                problems.append(Problem(key, f"{value!r}{where} {error}", line))
    lab = _build(root, values, _forwards(forwards, text, problems), given)
    lab = replace(lab, proxies=proxies(environ))
    problems += _clashes(lab)
    if problems:
        raise ConfigError(
            f"{file.name} and its overrides have {len(problems)} problem(s)",
            problems=problems,
            hint="docs/configuration.md lists every key with its default",
        )
    return lab


def proxies(environ: Mapping[str, str]) -> Proxies:
    """The proxies in an environment; variable names may be in upper or lower case."""
    names = ("http_proxy", "https_proxy", "no_proxy")
    return Proxies(*(environ.get(name) or environ.get(name.upper(), "") for name in names))


def _build(
    root: Path,
    values: Mapping[str, Any],
    forwards: tuple[Forward, ...],
    given: Mapping[str, tuple[Any, str]],
) -> Settings:
    plain = {key.split(".")[-1]: value for key, value in values.items() if key != "version"}
    ports = WantedPorts(**{key: plain.pop(key, None) for key in ("api", "http", "registry", "ssh")})
    origins = {key: given[key][1] if key in given else "default" for key in KEYS}
    return Settings(root=root, ports=ports, forwards=forwards, origins=origins, **plain)


def _clashes(settings: Settings) -> list[Problem]:
    """Problems that concern more than one key."""
    problems = []
    networks = {"network.pods": settings.pods, "network.services": settings.services}
    if settings.subnet:
        networks["network.subnet"] = settings.subnet
    names = list(networks)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if networks[first].overlaps(networks[second]):
                problems.append(
                    Problem(first, f"{networks[first]} overlaps {second} {networks[second]}")
                )
        if networks[first].overlaps(WITHIN_MACHINES):
            rule = f"{networks[first]} overlaps {WITHIN_MACHINES}, which Docker has in the machines"
            problems.append(Problem(first, rule))
    if settings.source == "mirror" and not settings.mirror:
        problems.append(Problem("mirror", 'must name a folder or an address for source = "mirror"'))
    most = MOST_MACHINES - settings.control_planes
    if (settings.workers or 0) > most:
        rule = f"{settings.workers} is too many: {settings.control_planes} control planes leave "
        problems.append(Problem("machines.workers", f"{rule}room for {most}"))
    taken: dict[int, str] = {}
    wanted = {f"ports.{name}": port for name, port in vars(settings.ports).items() if port}
    wanted |= {f"forward[{i}].host": forward.host for i, forward in enumerate(settings.forwards)}
    for key, port in wanted.items():
        if port in taken:
            problems.append(Problem(key, f"{port} is the port of {taken[port]} already"))
        taken.setdefault(port, key)
    return problems


def _forwards(tables: Any, text: str, problems: list[Problem]) -> tuple[Forward, ...]:
    if not isinstance(tables, list):
        problems.append(
            Problem("forward", "must be written as [[forward]]", _line(text, "forward"))
        )
        return ()
    forwards = []
    for i, table in enumerate(tables):
        found = len(problems)
        values = {}
        if not isinstance(table, dict):
            problems.append(Problem(f"forward[{i}]", "must be written as [[forward]]"))
            continue
        for key, value in table.items():
            try:
                values[key] = FORWARD_KEYS[key](value)
            except KeyError:
                hint = _did_you_mean(key, list(FORWARD_KEYS))
                problems.append(Problem(f"forward[{i}].{key}", f"is not a known key{hint}"))
            except ValueError as error:
                problems.append(Problem(f"forward[{i}].{key}", f"{value!r} {error}"))
        for key in ("host", "guest"):
            if key not in table:
                problems.append(Problem(f"forward[{i}].{key}", "is missing"))
        if found == len(problems):
            forwards.append(Forward(**values))
    return tuple(forwards)


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    """The file's text and its TOML; empty ones when it does not exist."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
        return text, tomllib.loads(text)
    except FileNotFoundError:
        return "", {}
    except UnicodeDecodeError as error:
        problem = Problem(file.name, f"is not UTF-8 text: {error.reason} at byte {error.start}")
    except OSError as error:
        problem = Problem(file.name, f"cannot be read: {error.strerror}")
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        problem = Problem(file.name, f"is not TOML: {error}", int(found[1]) if found else None)
    raise ConfigError(f"{file.name} cannot be read", problems=[problem])


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"machines": {"cpus": 2}} -> {"machines.cpus": 2}"""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        # A dot inside a key, `"machines.cpus" = 2`, is no table: no known key has such a name.
        name = f"{prefix}{key}" if "." not in key else f'{prefix}"{key}"'
        if isinstance(value, dict) and (value or name in TABLES):
            flat |= _flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _unknown(key: str, text: str) -> Problem:
    return Problem(key, f"is not a known key{_did_you_mean(key, list(KEYS))}", _line(text, key))


def _did_you_mean(word: object, known: Sequence[str]) -> str:
    names = {name.split(".")[-1]: name for name in map(str, known)}
    near = difflib.get_close_matches(str(word), list(map(str, known)), 1) or [
        names[match]
        for match in difflib.get_close_matches(str(word).split(".")[-1], list(names), 1)
    ]
    return f"; did you mean `{near[0]}`?" if near else ""


def _line(text: str, key: str) -> int | None:
    """The number of a key's line in the file, found by its last part below its table's heading."""
    *tables, last = key.split(".")
    heading = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[+\s*([^]]+?)\s*]+", line):
            heading = found[1]
        elif heading == ".".join(tables) and re.match(rf'\s*"?{re.escape(last)}"?\s*=', line):
            return number
    return None
