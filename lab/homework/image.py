"""The homework's image: its base, built on the host, and the image and its SIF on the machine.

    Debian -> pytorch (host) -> lab's registry -> mnist (docker build on the first machine)
           -> lab's registry -> mnist.sif (singularity build), and the cluster's nodes

A step whose result exists and is up to date is skipped.
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
# On the first machine: the build context, the SIF, and a folder for every run.
USER = "vagrant"
HOME = "/home/vagrant/mnist"
SIF = f"{HOME}/mnist.sif"
# The files that students read and change.
APP = ("main.py", "record.py", "Dockerfile", ".dockerignore", "mnist.def")
# The suffix under which an edited file on the machine is kept next to the new one.
EDITED = "before"
# Four times as fast as Apptainer's default, and the SIF is three percent larger.
SQUASHFS = "-comp zstd -Xcompression-level 3"
# Apptainer refuses to build in a /tmp mounted with noexec. A tmpfs would be too small as well.
SINGULARITY = {"APPTAINER_TMPDIR": "/var/tmp", "APPTAINER_CACHEDIR": "/var/tmp/apptainer"}


@dataclass(frozen=True)
class Made:
    """The results of `invoke mnist-up`: sizes in bytes, times in seconds, None for skipped steps.

    `image` and `sif` are sizes on the machine. `layers` is the size of the compressed image in the
    registry. `digest` is the image that the SIF was made of.
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
    """The host's tag of the image with PyTorch on Debian."""
    return f"{catalogue.REPOSITORY}/pytorch:{docker.digest(sources(lab) / 'base', platform)}"


def make_base(lab: Lab, toolchain: Toolchain, status: Status) -> str:
    """Load the image with PyTorch from the mirror or build it, unless it exists; return its tag."""
    platform = toolchain.platform
    tag = base_tag(lab, platform)
    if not (docker.exists(tag) or docker.load(tag, toolchain)):
        debian = builder.Builder(lab.root, toolchain, (), status).base()
        docker.docker_build(tag, sources(lab) / "base", {"BASE": debian}, platform, status)
    return tag


def up(settings: Settings, status: Status, base: str = "") -> Made:
    """Make everything that a run needs; `base` replaces the lab's image with PyTorch.

    Raises what `running` raises, and CommandError with the end of a build's log.
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
    status.say(f"ready in {time.monotonic() - begin:.0f} s; next command: invoke mnist-run docker")
    return made


def made(settings: Settings) -> Made:
    """The results of the last `up`. Raises NotFoundError before the first."""
    path = settings.state / "mnist.json"
    if not path.exists():
        raise NotFoundError("the homework's image does not exist yet", hint="invoke mnist-up")
    return Made(**json.loads(path.read_text()))


def remember(lab: Lab, new: Made) -> None:
    """Save the results. A skipped step keeps its last time."""
    try:
        old = asdict(made(lab))
    except NotFoundError:
        old = {}
    found = {key: old.get(key) if value is None else value for key, value in asdict(new).items()}
    write_aside(lab.state / "mnist.json", json.dumps(found, indent=1))


class _Making:
    """The steps of one `mnist-up`."""

    def __init__(self, lab: Lab, machine: Remote, status: Status) -> None:
        self.lab = lab
        self.machine = machine
        self.status = status
        self.toolchain = toolchain_of(lab, status)
        self.times: dict[str, float] = {}

    def all(self, base: str) -> Made:
        """Run every step, in order."""
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
        """Build the image with PyTorch on the host; return its tag."""
        tag = base_tag(self.lab, self.toolchain.platform)
        if docker.exists(tag):
            return tag
        with self.step("image `pytorch`", "base_seconds"):
            return make_base(self.lab, self.toolchain, self.status)

    def publish(self, base: str) -> None:
        """Push the base to the lab's registry by its host port, and pull it on the machine."""
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
        """Copy the build context to the machine; keep edited files next to the new ones."""
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
        """The SHA-256 of every file of the build context on the machine, by its path."""
        script = (
            f"mkdir -p {HOME} && cd {HOME} && "
            f"find {' '.join(APP)} data -type f -exec sha256sum {{}} + 2>/dev/null || :"
        )
        lines = self.ask("sh", "-c", script).splitlines()
        return {name: total for total, name in (line.split(maxsplit=1) for line in lines)}

    def build(self, base: str) -> None:
        """Run `docker build` as the homework describes it, and push the image."""
        words = ["docker", "build", "--tag", "mnist", "--tag", IMAGE, "--build-arg", f"BASE={base}"]
        with self.step("docker build", "build_seconds"):
            self.ask("env", "DOCKER_BUILDKIT=0", *words, HOME, timeout=600)
        here = self.ask("docker", "image", "inspect", "--format", "{{.RepoDigests}}", IMAGE)
        there = registry.digest(self.lab, IMAGE)
        if not there or f"{IMAGE}@{there}" not in here:
            with self.step("docker push", "push_seconds"):
                self.ask("docker", "push", "--quiet", IMAGE, timeout=600)

    def convert(self, digest: str) -> None:
        """Build the SIF, unless the existing one was made of the image with this digest."""
        script = f"cat {SIF}.digest 2>/dev/null; test -s {SIF} && echo whole"
        if self.machine.run(["sh", "-c", script], ok=(0, 1)).split() == [digest, "whole"]:
            return
        with self.step("singularity build", "convert_seconds"):
            settings = [f"{name}={value}" for name, value in SINGULARITY.items()]
            build = ["singularity", "build", "--no-https", "--force"]
            build += ["--mksquashfs-args", SQUASHFS, f"{SIF}.new"]
            self.machine.run(["env", "-C", HOME, *settings, *build, "mnist.def"], timeout=900)
            self.ask("mv", f"{SIF}.new", SIF)
            # The layers in Apptainer's cache are as large as the image.
            self.ask("rm", "-rf", SINGULARITY["APPTAINER_CACHEDIR"])
            self.machine.put(f"{digest}\n", f"{SIF}.digest", owner=USER)

    def pull_into_cluster(self) -> None:
        """Pull the image into the first node's containerd, so that a Job need not wait for it."""
        ctr = [*distribution(self.lab).ctr, "--namespace", "k8s.io", "images"]
        name = f"{IMAGE}:latest"
        with self.status.step("pull it into the cluster"):
            pull = [*ctr, "pull", "--hosts-dir", "/etc/containerd/certs.d", name]
            self.machine.run(pull, sudo=True, timeout=600)

    @contextmanager
    def step(self, name: str, key: str) -> Iterator[None]:
        """Report a step, and keep its time in seconds as `key`."""
        begin = time.monotonic()
        with self.status.step(name):
            yield
        self.times[key] = round(time.monotonic() - begin, 2)

    def ask(self, *words: str, timeout: int = 60) -> str:
        """The output of a command on the machine, stripped."""
        return self.machine.run(list(words), timeout=timeout).strip()


def refuse_without(lab: Lab) -> Made:
    """The results of the last `up`. Raises NotFoundError if the registry lacks the image."""
    found = made(lab)
    if not registry.digest(lab, IMAGE):
        raise NotFoundError(f"the lab's registry has no image {IMAGE}", hint="invoke mnist-up")
    return found
