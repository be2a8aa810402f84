"""Images: what machines are made of, and what the cluster runs, with everything already inside.

The chain is base (Debian) -> machine (systemd, sshd, Docker, Apptainer) -> node (Kubernetes, the
cluster's images unpacked in containerd's store). An image's tag is a digest of all that goes into
it, so an image that exists is the right one, and a changed input makes a new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from lab import runner
from lab.errors import CommandError, LabError, PrerequisiteError
from lab.output import Status
from lab.outside import proxy_variables
from lab.platforms import architecture_of
from lab.toolchain import NODE_TOOLS, Toolchain
from lab.toolchain.release import reachable
from lab.toolchain.store import alone, place, scratch

REPOSITORY = "lecture-lab"
# The cluster's images have names of ours on the host, whose own images stay what they are; in the
# node they get their real ones (vagrant/node/bake).
ON_HOST = f"{REPOSITORY}/images"
# Debian trixie as Docker Hub has it, for hosts without mmdebstrap.
DEBIAN = "debian@sha256:35b8ff74ead4880f22090b617372daff0ccae742eb5674455d542bef71ef1999"
# The part that is the same on every platform.
CERTIFICATES = "certificates"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """An image put together from Debian's parts and the toolchain's programs.

    `files` maps a program of the toolchain to its place in the image; `part` names the folder of
    vagrant/images/parts that the image begins with; `command` is its entry point; `upstream` is the
    digest of the published image, which is taken instead where it can be pulled.
    """

    name: str
    tool: str
    files: Mapping[str, str]
    part: str = ""
    command: Sequence[str] = ()
    upstream: str = ""

    def reference(self, versions: Mapping[str, str]) -> str:
        """The full name with its tag, e.g. registry.k8s.io/etcd:3.6.7-0."""
        return self.name.format(version=versions.get(self.tool, ""))


def _kubernetes(program: str, part: str = "") -> Image:
    return Image(
        f"registry.k8s.io/{program}:v{{version}}",
        "kubernetes",
        {program: f"/usr/local/bin/{program}"},
        part,
    )


# What every pod begins with; k3s has its own, if it came with its images.
PAUSE = Image("registry.k8s.io/pause:3.10.1", "", {}, "pause", ("/pause", "-P"))
CLUSTER_IMAGES = (
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kube-proxy", part="nettools"),
    Image("registry.k8s.io/etcd:{version}-0", "etcd", {"etcd": "/usr/local/bin/etcd"}),
    Image(
        "registry.k8s.io/coredns/coredns:v{version}",
        "coredns",
        {"coredns": "/coredns"},
        CERTIFICATES,
        ("/coredns",),
    ),
    PAUSE,
    Image(
        "ghcr.io/flannel-io/flannel:v{version}",
        "flannel",
        {"flanneld": "/opt/bin/flanneld"},
        "flannel",
        ("/opt/bin/flanneld",),
    ),
    Image(
        "docker.io/library/traefik:v{version}",
        "traefik",
        {"traefik": "/usr/local/bin/traefik"},
        CERTIFICATES,
        ("traefik",),
    ),
    Image(
        "docker.io/rancher/local-path-provisioner:v{version}",
        "local-path-provisioner",
        {"local-path-provisioner": "/usr/bin/local-path-provisioner"},
        CERTIFICATES,
        ("local-path-provisioner",),
    ),
    Image("quay.io/metallb/controller:v{version}", "metallb", {"controller": "/controller"}),
    Image("quay.io/metallb/speaker:v{version}", "metallb", {"speaker": "/speaker"}),
    Image(
        "registry.k8s.io/metrics-server/metrics-server:v{version}",
        "metrics-server",
        {"metrics-server": "/metrics-server"},
        CERTIFICATES,
        ("/metrics-server",),
    ),
)
# What the exercises run: the published images, or Debian's programs under the same names.
STUDENT_IMAGES = (
    Image(
        "docker.io/library/busybox:1.37",
        "",
        {},
        "busybox",
        ("sh",),
        "sha256:9db7b59979c38555a39def84a31fb98b5296952f9e3afd4f6f11f05b07adfab0",
    ),
    Image(
        "docker.io/library/nginx:1.26",
        "",
        {},
        "nginx",
        ("nginx", "-g", "daemon off;"),
        "sha256:41b194461e4bae16f9b25d68b0976ed4735b89ca625c89aad88e1c1c3b7e8860",
    ),
)
# Distribution -> the images that a node runs of ours, and those that the lab's registry has.
NODE_IMAGES = {
    "kubeadm": (CLUSTER_IMAGES, STUDENT_IMAGES),
    "k3s": ((), (*STUDENT_IMAGES, PAUSE)),
}
# The folder of vagrant/ that a distribution's nodes are made of; their image is named after it.
NODE_SOURCES = {"kubeadm": "node", "k3s": "k3s"}
# The volume of images that a room pulls through this host, and the name of the container.
ROOM = "lab-room-registry"
# Folder of a node's build -> program of the toolchain -> its name there.
LAYOUT = {
    "node": {
        "bin": {name: name for name in ("kubelet", "kubeadm", "kubectl")},
        "cni": {"flannel-cni": "flannel"},
    },
    "k3s": {"bin": {"k3s": "k3s"}, "images": {}},
}


def brings(distribution: str, name: str) -> bool:
    """Whether a distribution's nodes have an image of ours with this name, given without a tag."""
    return any(image.name.rpartition(":")[0] == name for image in NODE_IMAGES[distribution][0])


def dockerfile(image: Image) -> str:
    """The Dockerfile of an image: its part of Debian, its programs, its entry point.

    The first step copies something that differs between platforms: Docker takes one that it has
    done before for one of this platform, and one that copies nothing for one of the host's. A part
    comes before programs where it can, for images to share it.
    """
    copies = [f"COPY --from=parts /images/{image.part} /"] if image.part else []
    copies += [f"COPY {program} {place}" for program, place in image.files.items()]
    if image.part == CERTIFICATES:
        copies.reverse()
    lines = ["ARG PARTS", "FROM ${PARTS} AS parts", "FROM scratch", *copies, f"ENV PATH={PATH}"]
    if image.command:
        # A shell is a default that `docker run busybox COMMAND` replaces; a daemon is not.
        keyword = "CMD" if image in STUDENT_IMAGES else "ENTRYPOINT"
        lines.append(f"{keyword} {json.dumps(list(image.command))}")
    return "\n".join(lines) + "\n"


def digest(*inputs: str | Path) -> str:
    """Twelve hex digits over texts and folders: names, modes and contents of every file."""
    total = hashlib.sha256()
    for item in inputs:
        paths = sorted(item.rglob("*")) if isinstance(item, Path) else []
        if isinstance(item, str):
            total.update(item.encode() + b"\0")
        for path in (path for path in paths if path.is_file()):
            mode = path.stat().st_mode & 0o111
            total.update(f"{path.relative_to(item)} {mode}\0".encode())
            total.update(path.read_bytes() + b"\0")
    return total.hexdigest()[:12]


@dataclass
class Builder:
    """Makes images with the host's Docker, out of the sources in `root`/vagrant.

    `run_args` are the arguments that a machine's container needs on this host; only nodes are made
    by running one.
    """

    root: Path
    toolchain: Toolchain
    run_args: Sequence[str]
    status: Status

    @property
    def platform(self) -> str:
        """What the images are for, e.g. linux-amd64."""
        return self.toolchain.platform

    def base(self) -> str:
        """Debian trixie: from the signed archive where mmdebstrap is and works, else the published
        image."""
        architecture = architecture_of(self.platform)
        tag = f"{REPOSITORY}/debian:trixie-{architecture}"
        if exists(tag):
            return tag
        with self.status.step("base image (Debian trixie)"):
            # Without root it would need subordinate ids, which not every user has.
            sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
            if not shutil.which("mmdebstrap") or not _may(sudo):
                runner.run(["docker", "pull", *built_for(self.platform), DEBIAN], timeout=600)
                runner.run(["docker", "tag", DEBIAN, tag])
                return tag
            with tempfile.TemporaryDirectory() as folder:
                archive = Path(folder) / "base.tar"
                # This user's: root's would be shut to `docker build` where umask is 077.
                archive.touch()
                options = ["--variant=apt", "--include=ca-certificates"]
                # Whether this host runs another architecture's programs is known already.
                options += [f"--architectures={architecture}", "--skip=check/qemu"]
                if sudo and (kept := proxy_variables()):
                    sudo.append(f"--preserve-env={','.join(kept)}")
                runner.run(
                    [*sudo, "mmdebstrap", *options, "trixie", archive, *host_mirror()],
                    timeout=1800,
                    on_line=self.status.note,
                )
                # What `docker import` makes is said to be for this host, whatever is in it.
                (Path(folder) / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
                docker_build(tag, Path(folder), {}, self.platform)
        return tag

    def machine(self) -> str:
        """A machine without Kubernetes: Docker, Apptainer, containerd, sshd."""
        source = self.root / "vagrant" / "machine"
        key = digest(source, self.platform)
        with readable(source) as context:
            return self._build("machine", context, {"BASE": self.base()}, key)

    def node_tag(self, distribution: str) -> str:
        """What the image of a distribution's nodes is called; nothing is made to know it."""
        source = NODE_SOURCES[distribution]
        folders = [self.root / "vagrant" / name for name in ("machine", source, "images")]
        bake = (self.root / "vagrant" / "node" / "bake").read_text()
        recipes = [dockerfile(image) for image in (*CLUSTER_IMAGES, *STUDENT_IMAGES)]
        tools = [self.toolchain.key(name) for name in NODE_TOOLS[distribution]]
        return f"{REPOSITORY}/{source}:{digest(*folders, bake, *recipes, *tools)}"

    def node(self, distribution: str) -> str:
        """A machine with Kubernetes and every image of the cluster inside."""
        tag = self.node_tag(distribution)
        if exists(tag):
            return tag
        told = "waiting for another lab, which makes the image of the machines"
        waits = partial(self.status.say, told)
        with alone(self.toolchain.cache / "node-image.lock", waits):
            if not (exists(tag) or load(tag, self.toolchain)):
                self._make_node(distribution, tag)
        return tag

    def _make_node(self, distribution: str, tag: str) -> None:
        tools = NODE_TOOLS[distribution]
        source = NODE_SOURCES[distribution]
        pool = ThreadPoolExecutor(1)
        try:
            with self.status.step("node's programs"):
                machine_image = pool.submit(self.machine)
                programs = self.toolchain.programs(tools)
                machine = machine_image.result()
        finally:
            # An interrupt does not wait for a build.
            pool.shutdown(wait=False, cancel_futures=True)
        with scratch(self.toolchain.cache / "node-image.partial") as context:
            own, served = NODE_IMAGES[distribution]
            versions = {name: self.toolchain.version(name) for name in tools}
            self._lay_out(source, programs, context)
            self._save_images((*own, *served), programs, versions, context / "images.tar")
            self._bake(machine, [image.reference(versions) for image in served], context)
            (context / "images.tar").unlink()
            self._build(source, context, {"MACHINE": machine}, tag.rpartition(":")[2])

    def _lay_out(self, source: str, programs: Mapping[str, Path], context: Path) -> None:
        """Put the node's own files and programs where its Dockerfile expects them."""
        copy_readable(self.root / "vagrant" / source, context)
        shutil.copy2(self.root / "vagrant" / "node" / "bake", context / "bake")
        for folder, names in LAYOUT[source].items():
            (context / folder).mkdir()
            for name, target in names.items():
                place(programs[name], context / folder / target)
        if source == "k3s":
            # k3s imports them by itself.
            archives = [name for name in programs if ".tar" in name]
            for name in archives:
                place(programs[name], context / "images" / name)
            if not archives:
                self.status.say("  k3s comes without its images: it pulls them from Docker Hub")

    def _save_images(
        self,
        images: Sequence[Image],
        programs: Mapping[str, Path],
        versions: Mapping[str, str],
        archive: Path,
    ) -> None:
        """Build images and write them all into one archive."""
        source = self.root / "vagrant" / "images" / "parts"
        key = digest(source, self.platform)
        with readable(source) as context:
            parts = self._build("parts", context, {"BASE": self.base()}, key)
        tags = []
        with self.status.step(f"images of the cluster ({len(images)})"):
            for image in images:
                reference = image.reference(versions)
                self.status.note(reference)
                tags.append(f"{ON_HOST}/{reference}")
                if not pull(image, tags[-1], self.platform):
                    self._build_image(image, programs, tags[-1], parts)
            runner.run(["docker", "save", "--output", archive, *tags], timeout=300)

    def _build_image(
        self, image: Image, programs: Mapping[str, Path], tag: str, parts: str
    ) -> None:
        with tempfile.TemporaryDirectory(prefix="lab-image-") as folder:
            for program in image.files:
                place(programs[program], Path(folder) / program)
            (Path(folder) / "Dockerfile").write_text(dockerfile(image))
            docker_build(tag, Path(folder), {"PARTS": parts}, self.platform)

    def _bake(self, machine: str, served: Sequence[str], context: Path) -> None:
        """Unpack the images in a throw-away machine; leaves containerd.tar and registry.tar.

        `served` are the images that the lab's registry has.
        """
        arguments = [*self.run_args, *built_for(self.platform), "--volume", f"{context}:/build"]
        with self.status.step("unpack the images into the node"):
            runner.run(
                ["docker", "run", "--rm", *arguments, machine, "/build/bake", " ".join(served)],
                timeout=900,
            )

    def _build(self, name: str, context: Path, arguments: Mapping[str, str], key: str) -> str:
        tag = f"{REPOSITORY}/{name}:{key}"
        if not exists(tag):
            with self.status.step(f"{name} image"):
                docker_build(tag, context, arguments, self.platform, self.status)
        return tag


def exists(reference: str) -> bool:
    """Whether the host's Docker has this image."""
    found = runner.run(["docker", "image", "inspect", reference], ok=(0, 1), timeout=30)
    return found.code == 0


def platform_of(reference: str) -> str:
    """The platform of an image that the host's Docker has, e.g. linux-amd64."""
    words = ["docker", "image", "inspect", "--format", "{{.Os}}-{{.Architecture}}", reference]
    return runner.run(words, timeout=30).stdout.strip()


def mirror_item(tag: str) -> tuple[str, str]:
    """The item and the version that a mirror has an image under: the version is its digest."""
    name, _, key = tag.partition(":")
    return f"image/{name.rpartition('/')[2]}", key


def load(tag: str, toolchain: Toolchain) -> bool:
    """Load an image from the mirror; False where the mirror has not exactly this one."""
    with toolchain.mirrored(*mirror_item(tag)) as files:
        for archive in files.values():
            runner.run(["docker", "load", "--input", archive], timeout=600)
        if files and not exists(tag):
            raise PrerequisiteError(f"the mirror's archive of image {tag} has another image inside")
        return bool(files)


def pull(image: Image, tag: str, platform: str) -> bool:
    """Pull a published image by its digest and name it; False where it cannot be had."""
    name = image.name.rpartition(":")[0]
    if not image.upstream or not reachable(f"https://{name.split('/')[0]}"):
        return False
    try:
        reference = f"{name}@{image.upstream}"
        runner.run(["docker", "pull", *built_for(platform), reference], timeout=300)
        runner.run(["docker", "tag", reference, tag])
    except LabError:
        return False
    return True


def clear() -> None:
    """Remove every image of ours that no container uses, and what a room has pulled."""
    runner.run(["docker", "volume", "rm", "--force", ROOM], ok=(0, 1))
    listing = runner.run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).stdout
    if ours := [name for name in listing.split() if name.startswith(f"{REPOSITORY}/")]:
        runner.run(["docker", "rmi", "--force", *ours], timeout=300, ok=(0, 1))


def built_for(platform: str) -> list[str]:
    """What tells Docker the platform of an image: linux/amd64 for linux-amd64."""
    return ["--platform", platform.replace("-", "/")]


@contextmanager
def readable(source: Path) -> Iterator[Path]:
    """A copy of a folder for `docker build`, as `copy_readable` makes it."""
    with tempfile.TemporaryDirectory(prefix="lab-context-") as folder:
        copy_readable(source, Path(folder))
        yield Path(folder)


def copy_readable(source: Path, target: Path) -> None:
    """Copy a folder's content, readable for everybody: a checkout made with umask 077 would make
    `/etc` and `/usr` of an image private, where COPY puts something into them."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def docker_build(
    tag: str,
    context: Path,
    arguments: Mapping[str, str],
    platform: str,
    status: Status | None = None,
) -> None:
    """`docker build` of a folder. Raises CommandError with the end of the build's log."""
    words = ["docker", "build", *built_for(platform), "--tag", tag]
    for name, value in arguments.items():
        words += ["--build-arg", f"{name}={value}"]
    for name in proxy_variables():
        # Its value is taken from the environment, and is no part of the image.
        words += ["--build-arg", name]
    # What QEMU runs takes ten times as long.
    runner.run([*words, context], timeout=3600, on_line=status.note if status else None)


def _may(sudo: Sequence[str]) -> bool:
    """Whether sudo asks for no password; without sudo, too."""
    try:
        return not sudo or runner.run([*sudo, "true"], ok=range(256)).code == 0
    except PrerequisiteError:
        return False


def host_mirror() -> list[str]:
    """The Debian mirror that the host's apt is configured for; none when the host has none."""
    try:
        listing = runner.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN)", "Created-By: Packages"]
        ).stdout
    except (CommandError, PrerequisiteError):
        return []
    return debian_mirrors(listing.splitlines())[:1]


def debian_mirrors(lines: Iterable[str]) -> list[str]:
    """Archive addresses out of `URI ORIGIN` lines: Debian's own, without the security archive.

    An image gets them as well, so they must not be a list in a file of this host (`mirror+file:`,
    as in Debian's images for clouds), nor a proxy that listens for it alone.
    """
    pairs = [line.split() for line in lines]
    found = [pair[0] for pair in pairs if pair[1:] == ["Debian"] and "security" not in pair[0]]
    return [
        uri
        for uri in found
        if (parts := urlsplit(uri)).scheme in ("http", "https")
        and parts.hostname not in ("localhost", "127.0.0.1", "::1")
    ]
