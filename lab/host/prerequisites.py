"""What the host must have before the first machine, and how it gets it on Debian and Ubuntu."""

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

# What Debian's archive is verified with; Ubuntu has it not from the beginning.
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Debian's package of the machines that a host can run, by their kernel's word for them.
EMULATORS = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}
# apt-get's words for a lock that another one has, and the seconds for which that is waited for: a
# host that has just been started updates itself.
HELD, LONG_UPDATE = "Could not get lock", 600
# The way out where neither apt-get nor the lab can install Vagrant.
ELSEWHERE = "install Vagrant as its makers say: https://developer.hashicorp.com/vagrant/install"
# The same for other packages that an archive may lack.
HINTS = {
    "vagrant-libvirt": "install libvirt-dev, gcc and make; vagrant plugin install vagrant-libvirt"
}
# Where the kernel is told who runs which programs, and what packages have to tell it.
BINFMT = Path("/proc/sys/fs/binfmt_misc")
FORMATS = Path("/usr/lib/binfmt.d")
# It is there where systemd is the first process: sd_booted(3).
SYSTEMD = Path("/run/systemd/system")


def missing(lab: Settings, host: Host, *, compiler: bool = False, platform: str = "") -> list[str]:
    """The Debian packages that the lab needs and the host lacks.

    `compiler` asks for one for C, `platform` for what runs its programs (default: this host does).
    """
    # Debian packs the client by itself since trixie; elsewhere it comes with the engine.
    apart = host.distribution == "debian" and host.codename != "bookworm"
    engine = host.docker_engine or _has_engine()
    # mmdebstrap works as root only: without, the published image of Debian is taken.
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
        # Packs their disk. VirtualBox itself is no package of Debian's: the doctor asks for it.
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
    """Install Debian packages, after saying so. Raises PrerequisiteError for one that there is not,
    and CommandError when apt-get fails.

    Where the archive lacks Vagrant, `toolchain`, which is this host's, has its maker's package.
    A host that has just been started may be updating itself: that is waited for.
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
            # That is not to be waited for once more.
            return runner.Result(124, "", error.message)
        if not (done.code and HELD in done.stderr):
            return done
        if not waiting:
            status.say("another apt-get is at work here: waiting for its end")
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
                f"apt-get knows no package {' and no '.join(lacking)} here",
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
    """The packages that apt can install, out of what `apt-cache policy` says in English.

    It says nothing of one that it does not know, and `(none)` of one that a preference hides.
    """
    found = re.findall(r"^(\S+):\n +Installed: .*\n +Candidate: (.*)$", text, re.MULTILINE)
    return {package for package, version in found if version != "(none)"}


def vagrant_package(toolchain: Toolchain, status: Status) -> Path:
    """Download HashiCorp's package of Vagrant, verified, after saying so.

    Ubuntu has had none since 24.04. Raises PrerequisiteError where HashiCorp publishes none, and
    where no source serves it.
    """
    lack = "apt-get knows no package of Vagrant here"
    pinned = toolchain.items["vagrant"].release
    sources = toolchain.sources("vagrant")
    if not sources and not pinned:
        raise PrerequisiteError(
            f"{lack}, and HashiCorp publishes none for {toolchain.platform}",
            hint="use Debian on this computer, or the dev container: docs/hosts.md",
        )
    if not sources:
        raise PrerequisiteError(
            f"{lack}, and no source serves HashiCorp's (source = {toolchain.source!r})",
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
    """Start an engine that is installed and does not run.

    Raises PrerequisiteError, which names its log, when it does not come up.
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
    """Let an ordinary user talk to Docker or libvirt, as Debian has it: through a group.

    This process is replaced by one that has it. Later tasks take it by themselves; a shell has it
    after the next log-in.
    """
    if host.is_root or not groups.shut(group):
        return
    user = getpass.getuser()
    status.say(f"adding {user} to the group {group}; a shell has it after the next log-in")
    runner.run(["sudo", "-n", "usermod", "--append", "--groups", group, user])
    groups.restart(group)


def allow_inotify(host: Host, status: Status) -> None:
    """Allow as many inotify instances as several labs need, until the host starts anew.

    A host that does not let itself be told keeps what it has, and the doctor warns.
    """
    setting = f"fs.inotify.max_user_instances={INOTIFY_INSTANCES}"
    status.say(f"raising a limit of the kernel: {setting} (was {host.inotify_instances})")
    try:
        runner.run([*host.sudo, "sysctl", "--write", setting])
    except LabError as error:
        status.say(f"the limit stays: {error.message}")


def load_bridge_netfilter(host: Host, status: Status) -> None:
    """Load br_netfilter until the host starts anew: machines that are containers cannot.

    Raises PrerequisiteError where the kernel does not load it.
    """
    status.say(f"loading a module of the kernel: {LOAD_BRIDGE_NETFILTER[-1]}")
    try:
        runner.run([*host.sudo, *LOAD_BRIDGE_NETFILTER])
    except LabError as error:
        raise PrerequisiteError(
            "this host's kernel does not load br_netfilter, without which a Service does not "
            f"answer pods of its own node: {error.reason}",
            hint="in a container: load it on the host around it; else: lab-up --provider libvirt",
        ) from error


def allow_platform(platform: str, host: Host, status: Status) -> None:
    """Let this host run programs of another architecture by QEMU, in containers too.

    Where systemd runs, the package has told the kernel already; here what the package says is told
    to it until the host starts anew (https://docs.kernel.org/admin-guide/binfmt-misc.html).
    Raises PrerequisiteError when the kernel does not want to know.
    """
    name = f"qemu-{uname_of(platform)}"
    if (BINFMT / name).exists():
        return
    status.say(f"telling the kernel to run programs of {platform} by QEMU")
    try:
        if not (BINFMT / "register").exists():
            runner.run([*host.sudo, "mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT])
        if not (BINFMT / name).exists():
            line = (FORMATS / f"{name}.conf").read_bytes()
            runner.run([*host.sudo, "tee", BINFMT / "register"], stdin=line)
    except CommandError as error:
        raise PrerequisiteError(
            f"this host does not run programs of {platform}: {error.message}",
            hint=f"make the bundle on a host of {platform}",
        ) from error


def start_libvirt(host: Host, cache: Path, status: Status) -> None:
    """Start libvirt's daemon where it does not run.

    Raises PrerequisiteError, which names its log, when it does not come up.
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
    """Start a service by systemd, or its daemons by themselves where there is no systemd."""
    if SYSTEMD.exists():
        runner.run([*host.sudo, "systemctl", "start", service], timeout=90)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    for daemon in daemons:
        # What `run` starts holds the lab's lock for as long as it lives.
        runner.spawn([*host.sudo, daemon], log)


def _look(service: str, log: Path) -> str:
    """The command that shows why a service did not start."""
    return f"journalctl --unit {service}" if SYSTEMD.exists() else f"see {log}"


def _has_engine() -> bool:
    return any(Path(folder, "dockerd").exists() for folder in ("/usr/sbin", "/usr/bin"))
