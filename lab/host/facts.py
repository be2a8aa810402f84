"""Facts about the host, gathered in less than two seconds. Parsing is pure."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from lab import runner
from lab.errors import LabError
from lab.host import engine, kvm, resolvers, virtualbox
from lab.host.engine import FOREIGN, Engine
from lab.host.virtualbox import VirtualBox
from lab.state import existing

# Exists while the kernel has br_netfilter, as a loaded module or built in.
BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
LOAD_BRIDGE_NETFILTER = ("modprobe", "br_netfilter")
# Names of the kernel's capabilities by number (linux/capability.h).
CAPABILITY_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE
SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES = tuple(CAPABILITY_NAMES.split())
# The limit of root's inotify instances. The containers of all labs share them; a machine needs
# about 40. With the usual limit of 128, kube-proxy on a fourth machine fails with "too many open
# files".
INOTIFY_INSTANCES = 1024
# Folders in which packages of Debian and Ubuntu install Vagrant's plugins.
PACKAGED = ("/usr/share/rubygems-integration", "/usr/share/vagrant-plugins")
# The folder of an engine that does not run yet.
DOCKER_ROOT = Path("/var/lib/docker")
# The shortest prefix of a private network, that of 10.0.0.0/8.
WIDEST = 8


@dataclass(frozen=True)
class Host:
    """Facts about the host. Memory and disk are in MiB; `None` means absent or unknown."""

    name: str
    system: str
    architecture: str
    distribution: str
    codename: str
    python: tuple[int, int]
    cpus: int
    memory: int
    memory_free: int
    disk_free: int
    docker_disk_free: int
    cgroup: int
    missing_capabilities: tuple[str, ...]
    is_root: bool
    can_sudo: bool
    docker_cli: bool
    docker_engine: Engine | None
    docker_trouble: str
    vagrant: str | None
    vagrant_libvirt: bool
    virtualbox: VirtualBox | None
    mmdebstrap: bool
    c_compiler: bool
    kvm: bool
    inotify_instances: int
    # Whether packets between pods of one node pass the kernel's filter, which Services need.
    bridge_netfilter: bool
    # The file with the host's name servers, and the name servers that pods can use.
    resolver: Path | None
    name_servers: tuple[str, ...]
    # Networks that this host uses -> their owners.
    networks: Mapping[IPv4Network, str]
    # Ports of containers, also of stopped ones -> the container's name.
    held_ports: Mapping[int, str]

    @property
    def can_install(self) -> bool:
        """Whether the lab can install Debian packages here."""
        return self.distribution in ("debian", "ubuntu") and self.is_ours

    @property
    def is_ours(self) -> bool:
        """Whether the lab may change the host: as root, or by sudo without a password."""
        return self.is_root or self.can_sudo

    @property
    def sudo(self) -> list[str]:
        """The prefix of a command that needs root."""
        return [] if self.is_root else ["sudo", "-n"]

    @property
    def lets_inotify_grow(self) -> bool:
        """Whether the lab should raise the limit of inotify instances, and may do so."""
        return self.is_ours and self.inotify_instances < INOTIFY_INSTANCES


def vagrant_home() -> Path:
    """Vagrant's folder for boxes and plugins of all checkouts."""
    return Path(os.environ.get("VAGRANT_HOME", Path.home() / ".vagrant.d"))


def gather(cache: Path) -> Host:
    """Gather the facts about the host. Slow commands run at the same time.

    `cache` is the lab's cache folder: the fact `disk_free` is about its disk.
    """
    with ThreadPoolExecutor() as pool:
        docker = pool.submit(_docker)
        vagrant = pool.submit(_answer, "vagrant", "--version")
        vbox = pool.submit(virtualbox.gather, _answer)
        sudo = pool.submit(_answer, "sudo", "-n", "true")
    docker_engine, trouble = docker.result()
    # Podman's answers have another format.
    asked = docker_engine is not None and docker_engine.kind is not FOREIGN
    memory, free = parse_meminfo(_read("/proc/meminfo"))
    distribution, codename = parse_os_release(_read("/etc/os-release"))
    return Host(
        name=socket.gethostname(),
        system=platform.system(),
        architecture=platform.machine(),
        distribution=distribution,
        codename=codename,
        python=sys.version_info[:2],
        cpus=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        memory=memory,
        memory_free=free,
        disk_free=_free(cache),
        docker_disk_free=_free(docker_engine.root if docker_engine else DOCKER_ROOT),
        cgroup=2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        missing_capabilities=parse_bounding_set(
            _read("/proc/self/status"), int(_read("/proc/sys/kernel/cap_last_cap") or 40)
        ),
        is_root=os.geteuid() == 0,
        can_sudo=sudo.result() is not None,
        docker_cli=shutil.which("docker") is not None,
        docker_engine=docker_engine,
        docker_trouble=trouble,
        vagrant=parse_version(vagrant.result()),
        vagrant_libvirt=_vagrant_libvirt(),
        virtualbox=vbox.result(),
        mmdebstrap=shutil.which("mmdebstrap") is not None,
        c_compiler=shutil.which("gcc") is not None,
        kvm=kvm.works(cache),
        inotify_instances=int(_read("/proc/sys/fs/inotify/max_user_instances") or 128),
        bridge_netfilter=BRIDGE_NETFILTER.exists(),
        resolver=resolvers.resolver(),
        name_servers=tuple(resolvers.name_servers_of_host()),
        networks={
            **dict.fromkeys(parse_routes(_read("/proc/net/fib_trie")), "a route of this host"),
            **(_docker_networks() if asked else {}),
        },
        held_ports=_held_ports() if asked else {},
    )


def parse_meminfo(text: str) -> tuple[int, int]:
    """Total and available memory in MiB, from the text of /proc/meminfo."""
    found = {key: int(value) // 1024 for key, value in re.findall(r"(\w+): +(\d+) kB", text)}
    return found.get("MemTotal", 0), found.get("MemAvailable", 0)


def parse_os_release(text: str) -> tuple[str, str]:
    """The distribution's ID and codename, e.g. debian and trixie; empty if unknown."""
    found = dict(re.findall(r'^(ID|VERSION_CODENAME)="?([\w.-]+)"?$', text, re.MULTILINE))
    return found.get("ID", ""), found.get("VERSION_CODENAME", "")


def parse_bounding_set(status: str, last: int) -> tuple[str, ...]:
    """Capabilities up to number `last` that no process here can get, from /proc/self/status."""
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)", status, re.MULTILINE)
    if not found:
        return ()
    bits = int(found[1], 16)
    return tuple(
        name
        for number, name in enumerate(CAPABILITIES)
        if number <= last and not bits >> number & 1
    )


def parse_version(text: str | None) -> str | None:
    """The first dotted number in a program's output; None if there is none."""
    found = re.search(r"\d+(\.\d+)+", text or "")
    return found[0] if found else None


def parse_routes(text: str) -> tuple[IPv4Network, ...]:
    """The networks in /proc/net/fib_trie: the routes of all tables, also those of VPNs.

    Leaves out routes that are wider than any private network. For example, a VPN may split the
    default route into two halves.
    """
    networks, address = [], ""
    for line in text.splitlines():
        if leaf := re.match(r" *\|-- ([\d.]+)$", line):
            address = leaf[1]
        elif (route := re.match(r" *(/\d+) \w+ (?!THROW)[A-Z]+", line)) and address:
            networks.append(IPv4Network(address + route[1]))
    return tuple(dict.fromkeys(one for one in networks if one.prefixlen >= WIDEST))


def parse_docker_networks(text: str) -> dict[IPv4Network, str]:
    """IPv4 network -> owner, from lines with a Docker network's name and its subnets."""
    lines = [line.split() for line in text.splitlines()]
    return {
        IPv4Network(subnet): f"Docker's network {name}"
        for name, *subnets in filter(None, lines)
        for subnet in subnets
        if ":" not in subnet
    }


def parse_port_bindings(text: str) -> dict[int, str]:
    """Host port -> container, from lines with a container's name and its `PortBindings` as JSON.

    A container that has vanished leaves an empty line. `HostPort` may be a range.
    """
    ports: dict[int, str] = {}
    for line in filter(None, text.splitlines()):
        name, _, bindings = line.partition(" ")
        for hosts in (json.loads(bindings) or {}).values():
            for wanted in filter(None, (host["HostPort"] for host in hosts or ())):
                first, _, last = wanted.partition("-")
                ports |= dict.fromkeys(range(int(first), int(last or first) + 1), name.strip("/"))
    return ports


def port_is_free(port: int) -> bool:
    """Whether a program can listen on a port of the host's loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def owner(port: int) -> str:
    """The program that listens on a port; empty if there is none or this user may not see it."""
    answer = _answer("ss", "-Hltnp", f"sport = :{port}") or ""
    found = re.search(r'users:\(\("([^"]+)",pid=(\d+)', answer)
    return f"{found[1]} (process {found[2]})" if found else ""


def _docker() -> tuple[Engine | None, str]:
    """The engine, or None and the reason why it does not answer."""
    try:
        # Without an engine, `docker info` may succeed, but `docker version` fails.
        version = runner.run(["docker", "version", "--format", "{{json .}}"], timeout=10)
        info = runner.run(["docker", "info", "--format", "{{json .}}"], timeout=10)
        return engine.parse(version.stdout, info.stdout), ""
    except LabError as error:
        return None, error.reason


def _held_ports() -> dict[int, str]:
    # A container may vanish between the two commands.
    if not (ids := (_answer("docker", "ps", "--all", "--quiet") or "").split()):
        return {}
    query = "{{.Name}} {{json .HostConfig.PortBindings}}"
    found = runner.run(["docker", "inspect", "--format", query, *ids], timeout=10, ok=(0, 1))
    return parse_port_bindings(found.stdout)


def _docker_networks() -> dict[IPv4Network, str]:
    """Docker's networks. Those of macvlan, or of a bridge that is down, have no route."""
    # A network may vanish between the two commands.
    if not (ids := (_answer("docker", "network", "ls", "--quiet") or "").split()):
        return {}
    query = "{{.Name}}{{range .IPAM.Config}} {{.Subnet}}{{end}}"
    words = ["docker", "network", "inspect", "--format", query, *ids]
    return parse_docker_networks(runner.run(words, timeout=10, ok=(0, 1)).stdout)


def _answer(*argv: str) -> str | None:
    try:
        return runner.run(argv, timeout=10).stdout
    except LabError:
        return None


def _vagrant_libvirt() -> bool:
    installed = any(any(Path(place).glob("**/*vagrant-libvirt*")) for place in PACKAGED)
    return installed or any(vagrant_home().glob("gems/*/gems/vagrant-libvirt*"))


def _free(folder: Path) -> int:
    return shutil.disk_usage(existing(folder)).free >> 20


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
