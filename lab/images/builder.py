"""Builder of the images of machines and of the cluster.

The chain is base (Debian) -> machine (systemd, sshd, Docker, Apptainer) -> node (Kubernetes, the
cluster's images unpacked in containerd's store). An image's tag is a digest of all its inputs. So
an existing image is the right one, and a changed input makes a new one.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from lab import runner
from lab.errors import CommandError, PrerequisiteError
from lab.images.catalogue import (
    CERTIFICATES,
    CLUSTER_IMAGES,
    ON_HOST,
    REPOSITORY,
    STUDENT_IMAGES,
    Image,
    NodeImage,
)
from lab.images.docker import (
    built_for,
    copy_readable,
    digest,
    docker_build,
    exists,
    load,
    pull,
    readable,
)
from lab.output import Status
from lab.platforms import architecture_of
from lab.proxies import proxy_variables
from lab.toolchain import Toolchain
from lab.toolchain.store import alone, place, scratch

# Debian trixie on Docker Hub, for hosts without mmdebstrap.
DEBIAN = "debian@sha256:35b8ff74ead4880f22090b617372daff0ccae742eb5674455d542bef71ef1999"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def dockerfile(image: Image) -> str:
    """The Dockerfile of an image: its part of Debian, its programs and its entry point.

    The first step copies a platform-dependent file. Otherwise Docker's cache would reuse a layer
    built for another platform. A part comes before programs where possible, so that images share
    it.
    """
    copies = [f"COPY --from=parts /images/{image.part} /"] if image.part else []
    copies += [f"COPY {program} {place}" for program, place in image.files.items()]
    if image.part == CERTIFICATES:
        copies.reverse()
    lines = ["ARG PARTS", "FROM ${PARTS} AS parts", "FROM scratch", *copies, f"ENV PATH={PATH}"]
    if image.command:
        # `docker run busybox COMMAND` must replace a shell, but not a daemon.
        keyword = "CMD" if image in STUDENT_IMAGES else "ENTRYPOINT"
        lines.append(f"{keyword} {json.dumps(list(image.command))}")
    return "\n".join(lines) + "\n"


@dataclass
class Builder:
    """Builds images with the host's Docker from the sources in `root`/vagrant.

    `run_args` are the arguments of a machine's container on this host. Only the images of nodes are
    built by running one.
    """

    root: Path
    toolchain: Toolchain
    run_args: Sequence[str]
    status: Status

    @property
    def platform(self) -> str:
        """The platform of the images, e.g. linux-amd64."""
        return self.toolchain.platform

    def base(self) -> str:
        """Debian trixie, from the signed archive by mmdebstrap, else the published image."""
        architecture = architecture_of(self.platform)
        tag = f"{REPOSITORY}/debian:trixie-{architecture}"
        if exists(tag):
            return tag
        with self.status.step("base image (Debian trixie)"):
            # Without root, mmdebstrap needs subordinate ids, which some users lack.
            sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
            if not shutil.which("mmdebstrap") or not _may(sudo):
                runner.run(["docker", "pull", *built_for(self.platform), DEBIAN], timeout=600)
                runner.run(["docker", "tag", DEBIAN, tag])
                return tag
            with tempfile.TemporaryDirectory() as folder:
                archive = Path(folder) / "base.tar"
                # Owned by this user: with umask 077, `docker build` cannot read a file of root.
                archive.touch()
                options = ["--variant=apt", "--include=ca-certificates"]
                # The lab has checked whether this host runs programs of another architecture.
                options += [f"--architectures={architecture}", "--skip=check/qemu"]
                if sudo and (kept := proxy_variables()):
                    sudo.append(f"--preserve-env={','.join(kept)}")
                runner.run(
                    [*sudo, "mmdebstrap", *options, "trixie", archive, *host_mirror()],
                    timeout=1800,
                    on_line=self.status.note,
                )
                # `docker import` would label the image with the host's platform.
                (Path(folder) / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
                docker_build(tag, Path(folder), {}, self.platform)
        return tag

    def machine(self) -> str:
        """A machine without Kubernetes: Docker, Apptainer, containerd, sshd."""
        source = self.root / "vagrant" / "machine"
        key = digest(source, self.platform)
        with readable(source) as context:
            return self._build("machine", context, {"BASE": self.base()}, key)

    def node_tag(self, image: NodeImage) -> str:
        """The name of the image of a distribution's nodes. Builds nothing."""
        folders = [self.root / "vagrant" / name for name in ("machine", image.source, "images")]
        bake = (self.root / "vagrant" / "node" / "bake").read_text()
        recipes = [dockerfile(one) for one in (*CLUSTER_IMAGES, *STUDENT_IMAGES)]
        tools = [self.toolchain.key(name) for name in image.tools]
        return f"{REPOSITORY}/{image.source}:{digest(*folders, bake, *recipes, *tools)}"

    def node(self, image: NodeImage) -> str:
        """The tag of a machine's image with Kubernetes and every image of the cluster inside."""
        tag = self.node_tag(image)
        if exists(tag):
            return tag
        told = "waiting for another lab, which makes the image of the machines"
        waits = partial(self.status.say, told)
        with alone(self.toolchain.cache / "node-image.lock", waits):
            if not (exists(tag) or load(tag, self.toolchain)):
                self._make_node(image, tag)
        return tag

    def _make_node(self, image: NodeImage, tag: str) -> None:
        pool = ThreadPoolExecutor(1)
        try:
            with self.status.step("node's programs"):
                machine_image = pool.submit(self.machine)
                programs = self.toolchain.programs(image.tools)
                machine = machine_image.result()
        finally:
            # An interrupt must not wait for a build.
            pool.shutdown(wait=False, cancel_futures=True)
        with scratch(self.toolchain.cache / "node-image.partial") as context:
            versions = {name: self.toolchain.version(name) for name in image.tools}
            self._lay_out(image, programs, context)
            images = (*image.own, *image.served)
            self._save_images(images, programs, versions, context / "images.tar")
            self._bake(machine, [one.reference(versions) for one in image.served], context)
            (context / "images.tar").unlink()
            self._build(image.source, context, {"MACHINE": machine}, tag.rpartition(":")[2])

    def _lay_out(self, image: NodeImage, programs: Mapping[str, Path], context: Path) -> None:
        """Copy the node's files and programs to the places that its Dockerfile expects."""
        copy_readable(self.root / "vagrant" / image.source, context)
        shutil.copy2(self.root / "vagrant" / "node" / "bake", context / "bake")
        for folder, names in image.layout.items():
            (context / folder).mkdir()
            for name, target in names.items():
                place(programs[name], context / folder / target)
        if image.archives:
            # The distribution itself imports the archives.
            archives = [name for name in programs if ".tar" in name]
            for name in archives:
                place(programs[name], context / image.archives / name)
            if not archives:
                self.status.say(f"  {image.source} comes without images: nodes pull them")

    def _save_images(
        self,
        images: Sequence[Image],
        programs: Mapping[str, Path],
        versions: Mapping[str, str],
        archive: Path,
    ) -> None:
        """Build images and save them to one archive."""
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
        """Unpack the images in a temporary machine, and write containerd.tar and registry.tar.

        `served` are the images for the lab's registry.
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


def _may(sudo: Sequence[str]) -> bool:
    """Whether sudo works without a password. True if sudo is not needed."""
    try:
        return not sudo or runner.run([*sudo, "true"], ok=range(256)).code == 0
    except PrerequisiteError:
        return False


def host_mirror() -> list[str]:
    """The Debian mirror of the host's apt configuration, or an empty list without one."""
    try:
        listing = runner.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN)", "Created-By: Packages"]
        ).stdout
    except (CommandError, PrerequisiteError):
        return []
    return debian_mirrors(listing.splitlines())[:1]


def debian_mirrors(lines: Iterable[str]) -> list[str]:
    """The addresses of Debian's archives in `URI ORIGIN` lines, without the security archive.

    Images get the addresses, too. So a list in a file of this host (`mirror+file:`, as in Debian's
    images for clouds) and a proxy on the loopback are left out.
    """
    pairs = [line.split() for line in lines]
    found = [pair[0] for pair in pairs if pair[1:] == ["Debian"] and "security" not in pair[0]]
    return [
        uri
        for uri in found
        if (parts := urlsplit(uri)).scheme in ("http", "https")
        and parts.hostname not in ("localhost", "127.0.0.1", "::1")
    ]
