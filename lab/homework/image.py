"""The homework's image: its base made on the host, itself built on the machine, and its SIF.

    Debian -> pytorch (host) -> lab's registry -> mnist (docker build on the first machine)
           -> lab's registry -> mnist.sif (singularity build), and the cluster's nodes

Everything that is there already and is the same is left alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import runner
from lab.cluster import registry
from lab.config import REGISTRY, Lab, Settings, cache_folder
from lab.distributions import distribution
from lab.errors import NotFoundError
from lab.homework import data
from lab.images import builder, catalogue, docker
from lab.lifecycle.lock import locked
from lab.lifecycle.opened import running, toolchain_of
from lab.machines.ssh import Remote, connections
from lab.output import Status
from lab.state import write_aside
from lab.toolchain import Toolchain

BASE = f"{REGISTRY}/pytorch"
IMAGE = f"{REGISTRY}/mnist"
# On the first machine: the build's context, the SIF, and a folder for every run.
USER = "vagrant"
HOME = "/home/vagrant/mnist"
SIF = f"{HOME}/mnist.sif"
# What students read and change.
APP = ("main.py", "record.py", "Dockerfile", ".dockerignore", "mnist.def")
# A file that was edited on the machine is kept under this name beside the new one.
EDITED = "before"
# Four times as fast as what Apptainer does by itself, and three percent larger.
SQUASHFS = "-comp zstd -Xcompression-level 3"
# Apptainer refuses to build in a /tmp without programs; a tmpfs would be too small as well.
SINGULARITY = {"APPTAINER_TMPDIR": "/var/tmp", "APPTAINER_CACHEDIR": "/var/tmp/apptainer"}


@dataclass(frozen=True)
class Made:
    """What `invoke mnist-up` made: sizes in bytes, times in seconds, None what it found made.

    `image` and `sif` are sizes on the machine, `layers` is the image's size in the registry, where
    it is compressed; `digest` is the image that the SIF was made of.
    """

    data: str
    digest: str
    image: int
    layers: int
    sif: int
    base_seconds: float | None = None
    base_push_seconds: float | None = None
    pull_seconds: float | None = None
    build_seconds: float | None = None
    push_seconds: float | None = None
    convert_seconds: float | None = None


def sources(lab: Lab) -> Path:
    """The exercise's folder."""
    return lab.root / "infra" / "workloads" / "mnist"


def base_tag(lab: Lab, platform: str) -> str:
    """What the image of PyTorch on Debian is called on the host."""
    return f"{catalogue.REPOSITORY}/pytorch:{docker.digest(sources(lab) / 'base', platform)}"


def make_base(lab: Lab, toolchain: Toolchain, status: Status) -> str:
    """That image, loaded from the mirror or built where the host has it not yet; its tag."""
    platform = toolchain.platform
    tag = base_tag(lab, platform)
    if not (docker.exists(tag) or docker.load(tag, toolchain)):
        debian = builder.Builder(lab.root, toolchain, (), status).base()
        docker.docker_build(tag, sources(lab) / "base", {"BASE": debian}, platform, status)
    return tag


def up(settings: Settings, status: Status, base: str = "") -> Made:
    """Make everything that a run needs; `base` is another image to begin with than the lab's own.

    Raises what `practice.running` raises, and CommandError with the end of a build's log.
    """
    resolved = running(settings).lab
    with locked(resolved, "mnist-up", status):
        begin = time.monotonic()
        machine = connections(resolved)[0]
        try:
            made = _Making(resolved, machine, status).all(base)
        finally:
            machine.close()
    remember(resolved, made)
    status.say(f"ready in {time.monotonic() - begin:.0f} s; next: invoke mnist-run docker")
    return made


def made(settings: Settings) -> Made:
    """What the last `up` made. Raises NotFoundError before the first."""
    path = settings.state / "mnist.json"
    if not path.exists():
        raise NotFoundError("the homework's image was not made yet", hint="invoke mnist-up")
    return Made(**json.loads(path.read_text()))


def remember(lab: Lab, new: Made) -> None:
    """Keep what was made; a time that was not needed again stays the last one."""
    try:
        old = asdict(made(lab))
    except NotFoundError:
        old = {}
    found = {key: old.get(key) if value is None else value for key, value in asdict(new).items()}
    write_aside(lab.state / "mnist.json", json.dumps(found, indent=1))


class _Making:
    """One `mnist-up`."""

    def __init__(self, lab: Lab, machine: Remote, status: Status) -> None:
        self.lab = lab
        self.machine = machine
        self.status = status
        self.toolchain = toolchain_of(lab, status)
        self.times: dict[str, float] = {}

    def all(self, base: str) -> Made:
        """Every step, in order."""
        host_base = self.base()
        found = data.obtain(cache_folder(), host_base, self.status, self.toolchain)
        if not base:
            base = BASE
            self.publish(host_base)
        self.put(found)
        self.build(base)
        digest = registry.digest(self.lab, IMAGE)
        self.convert(digest)
        self.pull_into_cluster()
        return Made(
            data=found.name,
            digest=digest,
            image=int(self.ask("docker", "image", "inspect", "--format", "{{.Size}}", IMAGE)),
            layers=registry.size(self.lab, IMAGE),
            sif=int(self.ask("stat", "--format", "%s", SIF)),
            **self.times,
        )

    def base(self) -> str:
        """PyTorch on Debian, on the host."""
        tag = base_tag(self.lab, self.toolchain.platform)
        if docker.exists(tag):
            return tag
        with self.step("image `pytorch`", "base_seconds"):
            return make_base(self.lab, self.toolchain, self.status)

    def publish(self, base: str) -> None:
        """Into the lab's registry, by the port of the host that leads there, and to the machine."""
        key = base.rpartition(":")[2]
        if not registry.digest(self.lab, BASE, key):
            with self.step("push `pytorch` to the lab's registry", "base_push_seconds"):
                for tag in (key, "latest"):
                    name = f"{registry.address(self.lab)}/pytorch:{tag}"
                    runner.run(["docker", "tag", base, name])
                    try:
                        runner.run(["docker", "push", name], timeout=900, on_line=self.status.note)
                    finally:
                        runner.run(["docker", "rmi", name])
        has = ["docker", "image", "inspect", "--format", "{{.Id}}", f"{BASE}:{key}"]
        if not self.machine.run(has, ok=(0, 1)).strip():
            with self.step("pull it on the machine", "pull_seconds"):
                self.ask("docker", "pull", "--quiet", f"{BASE}:{key}", timeout=600)
                self.ask("docker", "tag", f"{BASE}:{key}", BASE)

    def put(self, found: data.DataSet) -> None:
        """The build's context on the machine; what was edited there is kept beside it."""
        files = {name: sources(self.lab) / "app" / name for name in APP}
        files |= {f"data/{data.RAW}/{path.name}": path for path in found.files}
        content = {name: path.read_bytes() for name, path in files.items()}
        old = self.sums()
        new = {name: hashlib.sha256(text).hexdigest() for name, text in content.items()}
        changed = [name for name, total in new.items() if old.get(name) != total]
        if not changed:
            return
        with self.status.step(f"files on {self.machine.name} ({len(changed)})"):
            for name in changed:
                if name in old and name in APP:
                    edited = f"{HOME}/{name}.{EDITED}"
                    self.ask("cp", "--backup=numbered", f"{HOME}/{name}", edited)
                self.machine.put(content[name], f"{HOME}/{name}", owner=USER)
            self.machine.run(["chown", "-R", f"{USER}:{USER}", HOME], sudo=True)

    def sums(self) -> Mapping[str, str]:
        """The SHA-256 of every file of the context that the machine has."""
        script = (
            f"mkdir -p {HOME} && cd {HOME} && "
            f"find {' '.join(APP)} data -type f -exec sha256sum {{}} + 2>/dev/null || :"
        )
        lines = self.ask("sh", "-c", script).splitlines()
        return {name: total for total, name in (line.split(maxsplit=1) for line in lines)}

    def build(self, base: str) -> None:
        """`docker build`, as the homework says, and push."""
        words = ["docker", "build", "--tag", "mnist", "--tag", IMAGE, "--build-arg", f"BASE={base}"]
        with self.step("docker build", "build_seconds"):
            self.ask("env", "DOCKER_BUILDKIT=0", *words, HOME, timeout=600)
        here = self.ask("docker", "image", "inspect", "--format", "{{.RepoDigests}}", IMAGE)
        there = registry.digest(self.lab, IMAGE)
        if not there or f"{IMAGE}@{there}" not in here:
            with self.step("docker push", "push_seconds"):
                self.ask("docker", "push", "--quiet", IMAGE, timeout=600)

    def convert(self, digest: str) -> None:
        """The SIF, unless the one that is there was made of this very image."""
        script = f"cat {SIF}.digest 2>/dev/null; test -s {SIF} && echo whole"
        if self.machine.run(["sh", "-c", script], ok=(0, 1)).split() == [digest, "whole"]:
            return
        with self.step("singularity build", "convert_seconds"):
            settings = [f"{name}={value}" for name, value in SINGULARITY.items()]
            build = ["singularity", "build", "--no-https", "--force"]
            build += ["--mksquashfs-args", SQUASHFS, f"{SIF}.new"]
            self.machine.run(["env", "-C", HOME, *settings, *build, "mnist.def"], timeout=900)
            self.ask("mv", f"{SIF}.new", SIF)
            # Layers that Apptainer has downloaded: as large as the image.
            self.ask("rm", "-rf", SINGULARITY["APPTAINER_CACHEDIR"])
            self.machine.put(f"{digest}\n", f"{SIF}.digest", owner=USER)

    def pull_into_cluster(self) -> None:
        """Into the first node's store, so that a Job need not wait for it."""
        ctr = [*distribution(self.lab).ctr, "--namespace", "k8s.io", "images"]
        name = f"{IMAGE}:latest"
        with self.status.step("pull it into the cluster"):
            pull = [*ctr, "pull", "--hosts-dir", "/etc/containerd/certs.d", name]
            self.machine.run(pull, sudo=True, timeout=600)

    @contextmanager
    def step(self, name: str, key: str) -> Iterator[None]:
        """A step of the story whose time is kept."""
        begin = time.monotonic()
        with self.status.step(name):
            yield
        self.times[key] = round(time.monotonic() - begin, 2)

    def ask(self, *words: str, timeout: int = 60) -> str:
        """What a command on the machine prints, without the end of its last line."""
        return self.machine.run(list(words), timeout=timeout).strip()


def refuse_without(lab: Lab) -> Made:
    """What was made, and is still there. Raises NotFoundError without a registry."""
    found = made(lab)
    if not registry.digest(lab, IMAGE):
        raise NotFoundError(f"the lab's registry has no {IMAGE}", hint="invoke mnist-up")
    return found
