"""Prerequisites of the first machine, and how to install or start them on Debian and Ubuntu."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from lab import runner, wait
from lab.config import Settings
from lab.errors import CommandError, DeadlineExceeded, LabError, PrerequisiteError
from lab.host import groups
from lab.host.facts import INOTIFY_INSTANCES, LOAD_BRIDGE_NETFILTER, Host
from lab.output import Status
from lab.platforms import this_platform, uname_of
from lab.toolchain import Toolchain

# The keys of Debian's archive. A fresh Ubuntu does not have them.
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Debian's package of QEMU, by the kernel's name of the machine.
EMULATORS = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}
# The message of apt-get if another process holds its lock, and the seconds to wait for it. A host
# may update itself after its start.
HELD, LONG_UPDATE = "Could not get lock", 600
# The fix if neither apt-get nor the lab can install Vagrant.
ELSEWHERE = "install Vagrant by its manual: https://developer.hashicorp.com/vagrant/install"
# The fixes for other packages that an archive may lack.
HINTS = {
    "vagrant-libvirt": "install libvirt-dev, gcc and make; vagrant plugin install vagrant-libvirt"
}
# The kernel's interface to register interpreters of programs, and the registrations of packages.
BINFMT = Path("/proc/sys/fs/binfmt_misc")
FORMATS = Path("/usr/lib/binfmt.d")
# Exists if systemd is the first process: sd_booted(3).
SYSTEMD = Path("/run/systemd/system")


def missing(lab: Settings, host: Host, *, compiler: bool = False, platform: str = "") -> list[str]:
    """The Debian packages that the lab needs and the host lacks.

    `compiler` adds a C compiler. `platform` adds an emulator for the programs of that platform,
    unless it is this host's.
    """
    # Since trixie, Debian has a package of Docker's client. Elsewhere the engine's contains it.
    apart = host.distribution == "debian" and host.codename != "bookworm"
    engine = host.docker_engine or _has_engine()
    # mmdebstrap needs root. Without root, the lab uses the published image of Debian.
    bootstraps = host.distribution in ("debian", "ubuntu") and host.is_ours
    wanted = {
        "vagrant": host.vagrant,
        "docker.io": engine and (host.docker_cli or apart),
        "docker-cli": host.docker_cli or not apart,
        "mmdebstrap": host.mmdebstrap or not bootstraps,
        "debian-archive-keyring": Path(KEYRING).exists() or host.distribution != "ubuntu",
        "openssh-client": Path("/usr/bin/ssh-keygen").exists(),
    }
    if platform not in ("", this_platform()):
        wanted["qemu-user-static"] = (FORMATS / f"qemu-{uname_of(platform)}.conf").exists()
    if compiler:
        wanted |= {"gcc": host.c_compiler, "libc6-dev": Path("/usr/include/stdlib.h").exists()}
    if lab.provider != "docker":
        # qemu-img packs the machines' disk. Debian has no package of VirtualBox, so the doctor
        # checks it.
        wanted["qemu-utils"] = Path("/usr/bin/qemu-img").exists()
    if lab.provider == "libvirt":
        wanted["vagrant-libvirt"] = host.vagrant_libvirt
        machine = uname_of(this_platform())
        for package, program in {
            EMULATORS[machine]: f"/usr/bin/qemu-system-{machine}",
            "libvirt-daemon-system": "/usr/sbin/libvirtd",
            "libvirt-clients": "/usr/bin/virsh",
            "dnsmasq-base": "/usr/sbin/dnsmasq",
        }.items():
            wanted[package] = Path(program).exists()
    return [package for package, there in wanted.items() if not there]


def install(packages: list[str], host: Host, status: Status, toolchain: Toolchain) -> None:
    """Install Debian packages, after a message. Waits for another apt-get, up to LONG_UPDATE s.

    If the archive lacks Vagrant, `toolchain` provides HashiCorp's package. Raises PrerequisiteError
    for a package that the archive lacks, and CommandError if apt-get fails.
    """
    status.say(f"installing with apt-get: {' '.join(packages)}")
    apt = [*host.sudo, "env", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
    apt += ["apt-get", "--yes", "--quiet", "-o", f"DPkg::Lock::Timeout={LONG_UPDATE}"]

    command = [*apt, "update"]
    waiting = False

    def update() -> runner.Result | None:
        nonlocal waiting
        try:
            done = runner.run(command, timeout=300, on_line=status.note, ok=range(256))
        except DeadlineExceeded as error:
            # The command itself timed out, so another apt-get is not the reason. Do not retry.
            return runner.Result(124, "", error.message)
        if not (done.code and HELD in done.stderr):
            return done
        if not waiting:
            status.say("another apt-get is running: waiting for it")
        waiting = True
        return None

    with status.step("prerequisites"):
        done = wait.until(update, what="another apt-get to finish", timeout=LONG_UPDATE, longest=5)
        if done.code:
            raise CommandError(command, done.code, done.stderr or done.stdout)
        told = runner.run(["apt-cache", "policy", *packages], env={"LC_ALL": "C"}).stdout
        unknown = [package for package in packages if package not in parse_candidates(told)]
        if lacking := [package for package in unknown if package != "vagrant"]:
            raise PrerequisiteError(
                f"apt-get has no package {' and no '.join(lacking)} here",
                hint=HINTS.get(lacking[0], "invoke doctor"),
            )
        wanted: list[str | Path] = [package for package in packages if package not in unknown]
        if unknown:
            wanted.append(vagrant_package(toolchain, status))
        runner.run(
            [*apt, "install", "--no-install-recommends", *wanted],
            timeout=1200 + LONG_UPDATE,
            on_line=status.note,
        )


def parse_candidates(text: str) -> set[str]:
    """The packages that apt can install, from the English output of `apt-cache policy`.

    The output lacks unknown packages, and has `(none)` for a package that a preference hides.
    """
    found = re.findall(r"^(\S+):\n +Installed: .*\n +Candidate: (.*)$", text, re.MULTILINE)
    return {package for package, version in found if version != "(none)"}


def vagrant_package(toolchain: Toolchain, status: Status) -> Path:
    """Download and verify HashiCorp's package of Vagrant, after a message. Returns the file.

    Ubuntu has no package of Vagrant since 24.04. Raises PrerequisiteError if HashiCorp publishes
    none for this platform, or if no source has it.
    """
    lack = "apt-get has no package of Vagrant here"
    pinned = toolchain.items["vagrant"].release
    sources = toolchain.sources("vagrant")
    if not sources and not pinned:
        raise PrerequisiteError(
            f"{lack}, and HashiCorp publishes none for {toolchain.platform}",
            hint="use Debian on this computer, or the dev container: docs/hosts.md",
        )
    if not sources:
        raise PrerequisiteError(
            f"{lack}, and no source has HashiCorp's (source = {toolchain.source!r})",
            hint=ELSEWHERE,
        )
    place = urlsplit(pinned[0].url).netloc if sources[0] == "release" else "the mirror"
    status.say(
        f"{lack}: installing HashiCorp's, version {toolchain.version('vagrant')}"
        f" (Business Source License), from {place}"
    )
    try:
        return toolchain.ensure(["vagrant"])["vagrant"].files["vagrant.deb"]
    except PrerequisiteError as error:
        raise PrerequisiteError(error.message, hint=ELSEWHERE) from error


def start_docker(host: Host, cache: Path, status: Status) -> None:
    """Start an installed engine that does not run.

    Raises PrerequisiteError, which names the log, if the engine does not answer within 60 s.
    """
    log = cache / "dockerd.log"
    with status.step("Docker engine"):
        _start("docker", ["dockerd"], host, log)

        def answers() -> str | None:
            return runner.run([*host.sudo, "docker", "version"]).stdout

        try:
            wait.until(answers, what="an answer of the Docker engine", timeout=60)
        except LabError as error:
            raise PrerequisiteError(
                f"the Docker engine does not start: {error.message}", hint=_look("docker", log)
            ) from error


def allow(group: str, host: Host, status: Status) -> None:
    """Add an ordinary user to the group that may use Docker or libvirt.

    Replaces this process by one with the group. Later tasks do so themselves. A shell has the group
    after the next log-in.
    """
    if host.is_root or not groups.shut(group):
        return
    user = getpass.getuser()
    status.say(f"adding {user} to the group {group}; shells get it at the next log-in")
    runner.run(["sudo", "-n", "usermod", "--append", "--groups", group, user])
    groups.restart(group)


def allow_inotify(host: Host, status: Status) -> None:
    """Raise the limit of inotify instances for several labs, until the host restarts.

    If the host refuses, it keeps its limit, and the doctor warns.
    """
    setting = f"fs.inotify.max_user_instances={INOTIFY_INSTANCES}"
    status.say(f"raising a kernel limit: {setting} (was {host.inotify_instances})")
    try:
        runner.run([*host.sudo, "sysctl", "--write", setting])
    except LabError as error:
        status.say(f"the limit stays unchanged: {error.message}")


def load_bridge_netfilter(host: Host, status: Status) -> None:
    """Load br_netfilter until the host restarts. Containers cannot load it themselves.

    Raises PrerequisiteError if the kernel does not load it.
    """
    status.say(f"loading a kernel module: {LOAD_BRIDGE_NETFILTER[-1]}")
    try:
        runner.run([*host.sudo, *LOAD_BRIDGE_NETFILTER])
    except LabError as error:
        raise PrerequisiteError(
            "this host's kernel does not load br_netfilter, and without it a Service does not "
            f"answer the pods of its own node: {error.reason}",
            hint="inside a container, load it on the outer host; or: lab-up --provider libvirt",
        ) from error


def allow_platform(platform: str, host: Host, status: Status) -> None:
    """Let this host run programs of another platform by QEMU, also in containers.

    With systemd, the package of QEMU has already registered itself in the kernel. Otherwise this
    function writes the package's registration into the kernel, until the host restarts
    (https://docs.kernel.org/admin-guide/binfmt-misc.html). Raises PrerequisiteError if the kernel
    refuses the registration.
    """
    name = f"qemu-{uname_of(platform)}"
    if (BINFMT / name).exists():
        return
    status.say(f"registering QEMU in the kernel for programs of {platform}")
    try:
        if not (BINFMT / "register").exists():
            runner.run([*host.sudo, "mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT])
        if not (BINFMT / name).exists():
            line = (FORMATS / f"{name}.conf").read_bytes()
            runner.run([*host.sudo, "tee", BINFMT / "register"], stdin=line)
    except CommandError as error:
        raise PrerequisiteError(
            f"this host cannot run programs of {platform}: {error.message}",
            hint=f"make the bundle on a host of {platform}",
        ) from error


def start_libvirt(host: Host, cache: Path, status: Status) -> None:
    """Start libvirt's daemon unless it runs.

    Raises PrerequisiteError, which names the log, if it does not answer within 30 s.
    """
    log = cache / "libvirtd.log"

    def answers() -> str | None:
        root = host.sudo if host.is_ours else []
        return runner.run([*root, "virsh", "--connect", "qemu:///system", "version"]).stdout

    try:
        answers()
        return
    except LabError:
        pass
    with status.step("libvirt"):
        _start("libvirtd", ["virtlogd", "libvirtd"], host, log)
        try:
            wait.until(answers, what="an answer of libvirt", timeout=30)
        except LabError as error:
            raise PrerequisiteError(
                f"libvirt does not start: {error.message}", hint=_look("libvirtd", log)
            ) from error


def _start(service: str, daemons: Sequence[str], host: Host, log: Path) -> None:
    """Start a service by systemd, or without systemd start its daemons directly."""
    if SYSTEMD.exists():
        runner.run([*host.sudo, "systemctl", "start", service], timeout=90)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    for daemon in daemons:
        # A daemon that `run` starts would inherit the lab's lock and keep it.
        runner.spawn([*host.sudo, daemon], log)


def _look(service: str, log: Path) -> str:
    """The command that shows why a service did not start."""
    return f"journalctl --unit {service}" if SYSTEMD.exists() else f"see {log}"


def _has_engine() -> bool:
    return any(Path(folder, "dockerd").exists() for folder in ("/usr/sbin", "/usr/bin"))
