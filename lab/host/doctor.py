"""The doctor: probes of the host, each with its result and one fix."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from lab.config import Lab
from lab.errors import PrerequisiteError
from lab.host.choices import MEMORY_FOR_CONTROL_PLANE, Choice
from lab.host.engine import LAYERS, ROOTLESS, Kind
from lab.host.facts import INOTIFY_INSTANCES, LOAD_BRIDGE_NETFILTER, Host
from lab.host.prerequisites import ELSEWHERE
from lab.host.virtualbox import RANGES_FILE
from lab.output import table

# MiB of disk that the first lab-up of a lab needs, and that a later one needs.
MIN_DISK = 10 * 1024
MIN_DISK_AGAIN = 1024
# MiB of Docker's disk for all images, and for the files of each machine.
DISK_FOR_IMAGES = 5 * 1024
DISK_PER_MACHINE = 1024
# MiB of memory of a worker in a container. A virtual machine gets its whole memory at the start.
MIN_WORKER = 400
INOTIFY_PER_MACHINE = 40
# Replaces CR LF by LF in all files for machines.
STRAIGHTEN = "find vagrant infra -type f -exec sed -i 's/\\r$//' {} +"
# The site with a package of Vagrant for distributions without one.
MAKER = "releases.hashicorp.com"


@dataclass(frozen=True)
class Finding:
    """The result of one probe. `status` is ok, note, install (lab-up does it), warn or fail."""

    id: str
    title: str
    status: str
    detail: str
    fix: str = ""


def examine(
    lab: Lab,
    host: Host,
    packages: Sequence[str],
    sources: Mapping[str, Sequence[str]],
    states: Mapping[str, str] | None = None,
    crooked: Sequence[str] = (),
) -> list[Finding]:
    """Every finding about a resolved lab on this host.

    `packages` are the Debian packages that lab-up would install. `sources` maps each tool to its
    sources for this host, best first. `states` are the states of the lab's machines, None before
    their first lab-up; running machines already have their memory. `crooked` are the files for
    machines with carriage returns.
    """
    return [
        *_line_ends(crooked),
        _system(host),
        _python(host),
        _cpus(host),
        _memory(lab, host, states or {}),
        _disk(host, MIN_DISK if states is None else MIN_DISK_AGAIN),
        *_docker_disk(lab, host, states),
        *_programs(host, packages),
        _engine(lab, host),
        *_storage(lab, host),
        *_bridge_netfilter(lab, host),
        _virtualisation(lab, host),
        *_virtualbox(lab, host),
        _cgroup(host),
        _capabilities(host),
        _inotify(lab, host),
        *_name_servers(lab, host),
        *_sources(sources),
    ]


def chosen(choice: Choice) -> Finding:
    """The choice of lab-up for an `auto`, as a finding."""
    identity = f"choice-{choice.key.replace('.', '-')}"
    return Finding(identity, choice.key, "note", f"{choice.value}: {choice.reason}")


def failures(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that prevent a lab-up."""
    return [finding for finding in findings if finding.status == "fail"]


def refuse(findings: Iterable[Finding]) -> None:
    """Raise PrerequisiteError with all failures, if there is one."""
    bad = failures(findings)
    if bad:
        listing = "".join(
            f"\n  - {finding.title}: {finding.detail} [{finding.id}]" for finding in bad
        )
        raise PrerequisiteError(f"this host is not ready{listing}", hint=bad[0].fix)


def as_text(findings: Sequence[Finding]) -> str:
    """A table of the findings, and the fixes below it."""
    rows = [(finding.status, finding.title, finding.detail) for finding in findings]
    fixes = [f"{finding.title}: {finding.fix}" for finding in findings if finding.fix]
    return "\n".join([table(("status", "probe", "result"), rows), *([""] if fixes else []), *fixes])


def as_data(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """The findings for JSON."""
    return [asdict(finding) for finding in findings]


def _line_ends(crooked: Sequence[str]) -> list[Finding]:
    if not crooked:
        return []
    more = f" and {len(crooked) - 1} more" if len(crooked) > 1 else ""
    detail = f"{crooked[0]}{more} end lines with CR LF, and the machines cannot run such files"
    fix = f"{STRAIGHTEN}; a new clone has LF"
    return [Finding("line-ends", "line ends", "fail", detail, fix)]


def _system(host: Host) -> Finding:
    name = f"{host.system} {host.architecture} {host.distribution}".strip()
    if host.system == "Linux":
        return Finding("system", "operating system", "ok", name)
    return Finding("system", "operating system", "warn", name, "only Linux hosts are tested")


def _python(host: Host) -> Finding:
    text = ".".join(map(str, host.python))
    if host.python >= (3, 11):
        return Finding("python", "Python", "ok", text)
    return Finding(
        "python", "Python", "fail", f"{text}, the lab needs 3.11", "install Python 3.11 or later"
    )


def _cpus(host: Host) -> Finding:
    status, fix = ("ok", "") if host.cpus >= 2 else ("warn", "give this machine a second processor")
    return Finding("cpus", "processors", status, str(host.cpus), fix)


def _memory(lab: Lab, host: Host, states: Mapping[str, str]) -> Finding:
    asleep = [one for one in lab.machines if states.get(one.name) not in ("running", "paused")]
    container = {"control-plane": MEMORY_FOR_CONTROL_PLANE, "worker": MIN_WORKER}
    need = sum(container[one.role] if lab.provider == "docker" else lab.memory for one in asleep)
    detail = f"{host.memory_free} MiB free, {len(asleep)} machine(s) need {need}"
    if host.memory_free >= need:
        return Finding("memory", "memory", "ok", detail)
    several = len(lab.machines) > 1
    fewer = "use fewer machines: invoke lab-up --workers 0" if several else "close other programs"
    return Finding("memory", "memory", "fail", detail, fewer)


def _disk(host: Host, need: int) -> Finding:
    detail = f"{host.disk_free >> 10} GiB free for the cache, {need >> 10} are needed"
    if host.disk_free >= need:
        return Finding("disk", "disk", "ok", detail)
    return Finding("disk", "disk", "fail", detail, "set LAB_CACHE to a folder on a larger disk")


def _docker_disk(lab: Lab, host: Host, states: Mapping[str, str] | None) -> list[Finding]:
    """The finding about the disk of Docker's containers, on most hosts the same as the cache's."""
    if lab.provider != "docker" or _is_elsewhere(host):
        return []
    need = MIN_DISK_AGAIN
    if states is None:
        need = DISK_FOR_IMAGES + DISK_PER_MACHINE * len(lab.machines)
    detail = f"{host.docker_disk_free >> 10} GiB free for containers, {need >> 10} are needed"
    if host.docker_disk_free >= need:
        return [Finding("docker-disk", "Docker's disk", "ok", detail)]
    fix = "run docker system prune, or move Docker's `data-root` to a larger disk"
    return [Finding("docker-disk", "Docker's disk", "fail", detail, fix)]


def obstacle(host: Host) -> Kind | None:
    """Why containers of the host's engine cannot be machines; None if they can."""
    engine = host.docker_engine
    if engine and not engine.kind and _is_elsewhere(host):
        return Kind(f"it runs on `{engine.host}`, not on this host", ROOTLESS.fix)
    return engine.kind if engine else None


def _storage(lab: Lab, host: Host) -> list[Finding]:
    """The finding about the engine's storage driver, if lab-snapshot does not support it."""
    engine = host.docker_engine
    if lab.provider != "docker" or not engine or engine.kind or engine.driver == LAYERS:
        return []
    detail = f"{engine.driver}: lab-snapshot needs {LAYERS}"
    return [Finding("docker-storage", "Docker's storage", "note", detail)]


def _bridge_netfilter(lab: Lab, host: Host) -> list[Finding]:
    """The finding about br_netfilter. Docker 27.3 and later do not load it; containers cannot."""
    if lab.provider != "docker":
        return []
    if host.bridge_netfilter:
        return [Finding("bridge-netfilter", "bridge filter", "ok", "br_netfilter is loaded")]
    detail = "br_netfilter is not loaded"
    status, more, fix = "install", "lab-up loads it", ""
    if not host.is_ours:
        status, more = "fail", "a Service would not answer the pods of its own node"
        fix = f"sudo {shlex.join(LOAD_BRIDGE_NETFILTER)}"
    return [Finding("bridge-netfilter", "bridge filter", status, f"{detail}: {more}", fix)]


def _is_elsewhere(host: Host) -> bool:
    return host.docker_engine is not None and host.docker_engine.host != host.name


def _programs(host: Host, packages: Sequence[str]) -> list[Finding]:
    have = {"vagrant": ("Vagrant", host.vagrant), "docker": ("Docker client", host.docker_cli)}
    findings = [
        Finding(name, title, "ok", version if isinstance(version, str) else "installed")
        for name, (title, version) in have.items()
        if version
    ]
    if not packages:
        return findings
    names = " ".join(packages)
    # Ubuntu 22.04 has a package of Vagrant, later versions do not.
    by_maker = "vagrant" in packages and host.distribution == "ubuntu"
    if host.can_install:
        more = f"; Vagrant from {MAKER} if apt-get has no package" if by_maker else ""
        return [*findings, Finding("packages", "packages", "install", names + more)]
    detail = f"missing: {names}; lab-up has no right to install them here"
    fix = f"run as root: apt-get install --yes --no-install-recommends {names}"
    if by_maker:
        fix = f"{fix}; if apt-get has no vagrant, {ELSEWHERE}"
    return [*findings, Finding("packages", "packages", "fail", detail, fix)]


def _engine(lab: Lab, host: Host) -> Finding:
    if engine := host.docker_engine:
        kind = obstacle(host)
        if not kind or (kind.builds and lab.provider != "docker"):
            return Finding("docker-engine", "Docker engine", "ok", engine.version)
        return Finding("docker-engine", "Docker engine", "fail", kind.trouble, kind.fix)
    if host.can_install:
        what = "not running: lab-up starts it"
        if "permission denied" in host.docker_trouble:
            what = "permission denied: lab-up adds you to the group docker"
        return Finding("docker-engine", "Docker engine", "install", what)
    return Finding(
        "docker-engine",
        "Docker engine",
        "fail",
        host.docker_trouble or "not running",
        "start Docker, and join its group: sudo usermod -aG docker $USER",
    )


def _virtualisation(lab: Lab, host: Host) -> Finding:
    if host.kvm:
        return Finding("virtualisation", "virtualisation", "ok", "KVM boots a guest")
    # VirtualBox checks the processor's virtualisation itself.
    known = {"docker": ": machines are containers", "libvirt": ": machines are emulated"}
    detail = f"KVM boots no guest{known.get(lab.provider, '')}"
    return Finding("virtualisation", "virtualisation", "note", detail)


def _virtualbox(lab: Lab, host: Host) -> list[Finding]:
    wanted = lab.provider == "virtualbox"
    if not (found := host.virtualbox):
        fix = "install a version of VirtualBox that this Vagrant supports"
        lack = Finding("virtualbox", "VirtualBox", "fail", "VBoxManage is missing", fix)
        return [lack] if wanted else []
    detail, troubles = ".".join(map(str, found.version)), found.troubles
    if lab.subnet and not found.allows(lab.subnet):
        allow = f"add the line `* {lab.subnet}` to {RANGES_FILE}"
        troubles.append((f"VirtualBox does not allow {lab.subnet} for host-only networks", allow))
    if not troubles:
        return [Finding("virtualbox", "VirtualBox", "ok", detail)]
    reasons, fixes = zip(*troubles, strict=True)
    fix = "; ".join(filter(None, fixes))
    # Labs of other providers do not need VirtualBox. A bare `vagrant up` uses it.
    status = ("fail" if fix else "warn") if wanted else "note"
    return [Finding("virtualbox", "VirtualBox", status, f"{detail}: {'; '.join(reasons)}", fix)]


def _cgroup(host: Host) -> Finding:
    if host.cgroup == 2:
        return Finding("cgroup", "cgroup", "ok", "v2")
    return Finding("cgroup", "cgroup", "note", "v1: lab-up configures the machines for it")


def _capabilities(host: Host) -> Finding:
    missing = host.missing_capabilities
    if not missing:
        return Finding("capabilities", "capabilities", "ok", "complete")
    if lacking := set(missing) & {"SYS_ADMIN", "NET_ADMIN", "MKNOD"}:
        detail = f"{', '.join(sorted(lacking))} missing: containers cannot be machines here"
        fix = "run the lab on the host itself"
        return Finding("capabilities", "capabilities", "fail", detail, fix)
    detail = f"{', '.join(missing)} missing: the machines run without"
    return Finding("capabilities", "capabilities", "note", detail)


def _inotify(lab: Lab, host: Host) -> Finding:
    need = len(lab.machines) * INOTIFY_PER_MACHINE
    detail = f"{host.inotify_instances} instances, the lab may need {need}"
    if host.lets_inotify_grow:
        more = f"{detail}: lab-up allows {INOTIFY_INSTANCES}"
        return Finding("inotify", "inotify", "note", more)
    if host.inotify_instances >= need:
        return Finding("inotify", "inotify", "ok", detail)
    fix = f"sudo sysctl fs.inotify.max_user_instances={INOTIFY_INSTANCES}"
    return Finding("inotify", "inotify", "warn", detail, fix)


def _name_servers(lab: Lab, host: Host) -> list[Finding]:
    """The finding about DNS of containers. Virtual machines use their hypervisor's DNS server."""
    if lab.provider != "docker":
        return []
    if host.name_servers:
        return [Finding("name-servers", "name servers", "ok", ", ".join(host.name_servers))]
    lack = f"{host.resolver} has none that a pod can use" if host.resolver else "no resolv.conf"
    detail = f"{lack}: pods cannot resolve names of the internet"
    fix = "add your network's DNS server to /etc/resolv.conf; then run lab-down and lab-up"
    if not host.resolver:
        fix = "connect to a network, then run lab-up; the machines use its name servers"
    return [Finding("name-servers", "name servers", "warn", detail, fix)]


def _sources(sources: Mapping[str, Sequence[str]]) -> list[Finding]:
    by_source: dict[str, list[str]] = {}
    for name, found in sources.items():
        by_source.setdefault(found[0] if found else "", []).append(name)
    findings = [
        Finding(f"source-{source}", f"tools from {source}", "ok", ", ".join(names))
        for source, names in by_source.items()
        if source
    ]
    if lacking := by_source.get(""):
        detail = f"{', '.join(lacking)}: no source has them"
        fix = "connect to the internet, or use a mirror: invoke lab-up --mirror FOLDER"
        findings.append(Finding("source-none", "tools", "fail", detail, fix))
    return findings
