"""Bring-up. `STEPS` is the table of contents of the whole tool.

Each step first checks whether it is already done. So the same command completes a lab, also after a
run that was killed at any instant.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lab import wait
from lab.cluster import health, kubeconfig
from lab.cluster.client import Cluster, cluster_of
from lab.cluster.stacks import Stacks
from lab.config import Lab, Settings
from lab.distributions import distribution, units
from lab.distributions.base import Distribution, Installer
from lab.errors import LabError, PrerequisiteError
from lab.host import checkout, doctor, facts, prerequisites
from lab.host.choices import FILE as CHOICES
from lab.host.choices import announce, forget, to_remember
from lab.host.facts import Host
from lab.images import docker
from lab.images.builder import Builder
from lab.lifecycle import snapshots
from lab.lifecycle.lock import locked
from lab.lifecycle.opened import adapt_limits, settle, toolchain_of
from lab.machines import boxes, containers, libvirt, outside
from lab.machines.containers import run_arguments
from lab.machines.driver import Machines
from lab.machines.ssh import Remote, connections
from lab.machines.vagrantfile import (
    docker_settings,
    emulated_cpus,
    libvirt_settings,
    rendering,
    virtualbox_settings,
)
from lab.output import Status
from lab.parallel import each
from lab.state import write_aside
from lab.toolchain import HOST_TOOLS, Toolchain, forecast
from lab.toolchain.store import alone

READY = "ready.json"


@dataclass
class Bringup:
    """What the steps of one lab-up share: `lab` has every `auto` of the settings replaced."""

    settings: Settings
    lab: Lab
    status: Status
    host: Host
    toolchain: Toolchain
    may_install: bool = True
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))
    image: str = ""
    tools: Future[Path] | None = None
    baseline: Future[None] | None = None

    @classmethod
    def of(
        cls, settings: Settings, toolchain: Toolchain, status: Status, may_install: bool = True
    ) -> Bringup:
        """Start a bring-up: gather this host's facts and settle the lab for it."""
        host = facts.gather(toolchain.cache)
        lab = settle(settings, host, toolchain)
        adapt_limits(lab, host)
        return cls(settings, lab, status, host, toolchain, may_install)

    @cached_property
    def machines(self) -> Machines:
        return Machines(self.lab, self.status)

    @cached_property
    def remotes(self) -> list[Remote]:
        return connections(self.lab)

    @cached_property
    def kubelets(self) -> units.Watch:
        """Ends a wait for the cluster when the kubelet of a machine cannot keep running."""
        return units.Watch(self.lab, self.remotes, self.distribution)

    @cached_property
    def versions(self) -> dict[str, str]:
        names = self.distribution.image.tools
        return {name: self.toolchain.version(name) for name in names}

    @property
    def distribution(self) -> Distribution:
        return distribution(self.lab)

    @cached_property
    def installer(self) -> Installer:
        return self.distribution.install(self.lab, self.versions)

    @property
    def stacks(self) -> Stacks:
        assert self.tools
        return Stacks(self.lab, self.tools.result(), self.status)


def examine_host(up: Bringup) -> None:
    """Refuse a host that cannot run the lab; the error names every problem."""
    findings = examine(up.lab, up.host, up.toolchain)
    if not up.may_install:
        missing = [finding for finding in findings if finding.status == "install"]
        if missing:
            raise PrerequisiteError(
                f"{missing[0].title} missing or not running: {missing[0].detail}",
                hint="run lab-up without --no-install",
            )
    doctor.refuse(findings)


def install_prerequisites(up: Bringup) -> None:
    """Install missing Debian packages, and start a Docker engine that does not run."""
    if packages := missing(up.lab, up.host, up.toolchain):
        # A bundle may have tools for another platform. Vagrant is always for this host.
        toolchain = toolchain_of(up.lab, up.status)
        prerequisites.install(packages, up.host, up.status, toolchain)
    if up.toolchain.foreign:
        prerequisites.allow_platform(up.toolchain.platform, up.host, up.status)
    # Docker makes the images of virtual machines as well.
    if not up.host.docker_engine:
        prerequisites.start_docker(up.host, up.toolchain.cache, up.status)
        prerequisites.allow("docker", up.host, up.status)
    if up.lab.provider == "libvirt":
        prerequisites.start_libvirt(up.host, up.toolchain.cache, up.status)
        prerequisites.allow("libvirt", up.host, up.status)
    elif up.lab.provider == "docker" and up.may_install:
        if up.host.lets_inotify_grow:
            prerequisites.allow_inotify(up.host, up.status)
        # Looked at again, because an engine that was just started may have loaded it.
        if not facts.BRIDGE_NETFILTER.exists():
            prerequisites.load_bridge_netfilter(up.host, up.status)


def remember_choices(up: Bringup) -> None:
    """Keep the choices: from here on, the lab exists and does not change them.

    Raises ConfigError when another checkout has machines of a lab of this name. Here, before the
    image of the machines, because that takes minutes.
    """
    if up.lab.provider == "docker":
        containers.refuse_another(up.lab)
    elif up.lab.provider == "libvirt":
        libvirt.refuse_another(up.lab)
    with alone(up.toolchain.cache / "choosing.lock"):
        if not up.host.docker_engine or (up.lab.provider == "libvirt" and not up.host.kvm):
            # An engine that was just started knows the networks of stopped machines, and KVM can be
            # tested as soon as QEMU is installed.
            up.host = facts.gather(up.toolchain.cache)
        # Another lab may have taken a free network or port since the host's facts were gathered.
        up.lab = settle(up.settings, up.host, up.toolchain)
        adapt_limits(up.lab, up.host)
        write_aside(up.lab.state / CHOICES, json.dumps(to_remember(up.lab), indent=2))
        announce(up.lab, up.toolchain.cache)


def announce_work(up: Bringup) -> None:
    """Say beforehand what is to be built and downloaded, and about how long that takes."""
    builder = node_builder(up)
    tools = up.distribution.image.tools
    known = docker.exists(builder.node_tag(up.distribution.image))
    told = forecast.sentence(
        up.toolchain.work(HOST_TOOLS if known else (*tools, *HOST_TOOLS)),
        images=not known,
        processors=up.host.cpus,
        slowness=wait.host_slowness(),
    )
    if told:
        up.status.say(told)


def finish_restore(up: Bringup) -> None:
    """Finish an interrupted restore of a snapshot before anything depends on it."""
    if name := snapshots.unfinished(up.lab):
        with up.status.step(f"finish the interrupted restore of snapshot `{name}`"):
            snapshots.restore(up.machines, name)


def remove_surplus(up: Bringup) -> None:
    """Remove the machines of workers that the configuration no longer has."""
    if names := up.machines.surplus():
        with up.status.step(f"remove {', '.join(names)}"):
            up.machines.drop(names)


def make_node_image(up: Bringup) -> None:
    """Make the image of the machines; the host's tools are made at the same time."""
    up.tools = up.pool.submit(up.toolchain.bin_folder)
    up.image = node_builder(up).node(up.distribution.image)


def node_builder(up: Bringup) -> Builder:
    """The builder of the image of the lab's machines on this host."""
    return Builder(up.lab.root, up.toolchain, run_arguments(up.host), up.status)


def render(up: Bringup) -> dict[str, Any]:
    """What the Vagrantfile reads; for virtual machines, makes their box first."""
    port = up.distribution.ingress_port
    if up.lab.provider == "docker":
        settings = docker_settings(up.lab, up.host, up.image)
        return rendering(up.lab, settings, port)
    box = boxes.make(up.lab.root, up.toolchain.cache, up.image, up.lab.provider, up.status)
    if up.lab.provider == "virtualbox":
        return rendering(up.lab, virtualbox_settings(up.lab, box), port)
    settings = libvirt_settings(up.lab, box, kvm=up.host.kvm)
    cpus = 0 if up.host.kvm else emulated_cpus(up.lab, up.host.cpus)
    return rendering(up.lab, settings, port, cpus)


def start_machines(up: Bringup) -> None:
    """Run `vagrant up`, which creates missing machines and starts stopped ones."""
    up.machines.make_key()
    up.machines.render(render(up))
    with up.status.step(f"machines ({len(up.lab.machines)}, {up.lab.provider})"):
        try:
            up.machines.start(up.image)
        except LabError:
            # An address or a port may be the cause, so the next lab-up must choose others.
            if not up.machines.known():
                forget(up.lab)
            raise
        up.machines.connect()
    if up.lab.provider == "docker" and (older := containers.older(up.lab, up.image)):
        what = f"{', '.join(older)} still run an older image"
        up.status.say(f"{what}; run lab-destroy, then lab-up, to update them")


def prepare_machines(up: Bringup) -> None:
    """Tell every machine the names and proxies, and start the registry on the first one."""
    first = up.lab.machines[0]
    scripts = up.lab.root / "vagrant"
    words = [str(up.lab.services)]
    words += [f"{machine.address} {machine.name}" for machine in up.lab.machines]
    words.append(f"{first.address} registry.lab")
    with up.status.step("names and registry"):

        def prepare(remote: Remote) -> None:
            known = remote.script(scripts / "machine.sh", *words).strip()
            outside.tell(remote, up.lab, known)

        each(up.remotes, prepare)
        up.remotes[0].script(scripts / "registry.sh")


def start_control_plane(up: Bringup) -> None:
    """Install Kubernetes on the first machine, and write the lab's kubeconfig."""
    first = up.remotes[0]
    with up.status.step(f"control plane ({up.lab.distribution} {up.lab.kubernetes})"):
        up.installer.start(first)
    text = kubeconfig.for_host(up.installer.kubeconfig(first), up.lab)
    write_aside(up.lab.state / "kubeconfig", text)
    # Deploy add-ons while the workers join, except on slow machines: these cannot do both at once.
    if up.distribution.deploys_baseline and not wait.slow():
        # Pulumi may still be built. The joining machines do not need it.
        up.baseline = up.pool.submit(lambda: up.stacks.up("cluster"))


def join_machines(up: Bringup) -> None:
    """Make the other machines nodes."""
    first, *others = up.remotes
    if others:
        planes = up.lab.control_planes - 1
        what = [f"control planes ({planes})"] if planes else []
        what += [f"workers ({up.lab.workers})"] if up.lab.workers else []
        with up.status.step(", ".join(what)):
            up.installer.join(first, others)


def wait_for_nodes(up: Bringup) -> None:
    """Wait until every machine is a Ready node, stale nodes are gone and cluster DNS answers.

    Raises ResourceError as soon as a machine's kubelet cannot keep running.
    """
    with up.status.step("nodes ready, DNS answers"):
        health.forget_nodes(up.lab, up.stacks.cluster)
        health.wait_ready(up.lab, up.stacks.cluster, up.kubelets)


def deploy_baseline(up: Bringup) -> None:
    """Deploy Ingress, storage, load balancer and metrics, unless the distribution has its own.

    While their pods start, every exercise gets an empty stack, so that `pulumi up` finds it.
    """
    with up.status.step("baseline"):
        for exercise in up.stacks.exercises():
            up.stacks.create(exercise)
        if up.baseline:
            up.baseline.result()
        elif up.distribution.deploys_baseline:
            up.stacks.up("cluster")
        health.wait_addons(up.stacks.cluster, up.distribution.baseline, up.kubelets)


STEPS: Sequence[Callable[[Bringup], None]] = (
    examine_host,
    install_prerequisites,
    remember_choices,
    announce_work,
    finish_restore,
    remove_surplus,
    make_node_image,
    start_machines,
    prepare_machines,
    start_control_plane,
    join_machines,
    wait_for_nodes,
    deploy_baseline,
)


def up(settings: Settings, status: Status, *, may_install: bool = True) -> Lab:
    """Bring a lab up, or back to its configuration, and return it.

    Raises the LabError of the step that failed; Vagrant's log is in `lab.state`/logs.
    """
    toolchain = toolchain_of(settings, status)
    with locked(settings, "lab-up", status):
        bringup = Bringup.of(settings, toolchain, status, may_install)
        ready = settings.state / READY
        if _was_ready(bringup.lab) and _is_whole(
            bringup.lab, cluster_of(bringup.lab, toolchain.bin_folder())
        ):
            status.say(f"lab `{settings.name}` is up: nothing to do")
        else:
            ready.unlink(missing_ok=True)
            _take_steps(bringup)
            write_aside(ready, json.dumps(fingerprint(bringup.lab)))
        if bringup.lab.provider == "docker":
            _tell_of_another_network(bringup.lab, status)
    return bringup.lab


def _take_steps(bringup: Bringup) -> None:
    start = time.monotonic()
    try:
        for step in STEPS:
            step(bringup)
    finally:
        bringup.pool.shutdown(wait=False, cancel_futures=True)
        for remote in bringup.remotes:
            remote.close()
    summarise(bringup.status, time.monotonic() - start)


def _tell_of_another_network(lab: Lab, status: Status) -> None:
    """Say that machines use former name servers; only a reboot, which stops work, changes that."""
    try:
        former = containers.former_name_servers(lab)
    except (LabError, OSError):
        # The host may lack resolv.conf at this moment, which is no reason to fail.
        return
    if former:
        status.say(
            f"this host's DNS servers have changed; the machines still use {', '.join(former)}: "
            "run lab-down, then lab-up"
        )


def missing(lab: Lab, host: Host, toolchain: Toolchain) -> list[str]:
    """The Debian packages that this host lacks for a lab."""
    compiler = toolchain.needs_compiler(distribution(lab).image.tools)
    return prerequisites.missing(lab, host, compiler=compiler, platform=toolchain.platform)


def examine(lab: Lab, host: Host, toolchain: Toolchain) -> list[doctor.Finding]:
    """The doctor's findings for a lab."""
    tools = distribution(lab).image.tools
    return doctor.examine(
        lab,
        host,
        missing(lab, host, toolchain),
        {name: toolchain.sources(name) for name in dict.fromkeys((*tools, *HOST_TOOLS))},
        _states(lab),
        checkout.with_carriage_returns(lab.root),
    )


def _states(lab: Lab) -> dict[str, str] | None:
    """The machines' states; empty when Vagrant fails, None for a lab that never had machines."""
    if not (lab.state / "machines.json").exists():
        return None
    try:
        return Machines(lab, Status(io.StringIO())).states()
    except LabError:
        return {}


def summarise(status: Status, total: float) -> None:
    """Say how long the longest steps took, the longest first."""
    longest = sorted(status.times.items(), key=lambda item: -item[1])[:4]
    story = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in longest)
    status.say(f"up in {total:.0f} s: {story}")


def fingerprint(lab: Lab) -> str:
    """A digest of the configuration and of all sources that lab-up uses."""
    sources = [lab.root / "vagrant", lab.root / "infra" / "cluster", lab.root / "toolchain"]
    total = hashlib.sha256(repr(lab).encode())
    for path in sorted(path for folder in sources for path in folder.rglob("*") if path.is_file()):
        total.update(path.read_bytes())
    return total.hexdigest()


def _was_ready(lab: Lab) -> bool:
    """Whether the last lab-up succeeded with the same sources and settings."""
    try:
        return bool(json.loads((lab.state / READY).read_text()) == fingerprint(lab))
    except (FileNotFoundError, ValueError):
        return False


def _is_whole(lab: Lab, cluster: Cluster) -> bool:
    """Whether the cluster is healthy and has every add-on of the baseline."""
    return health.healthy(lab, cluster) and health.complete(cluster, distribution(lab).baseline)
