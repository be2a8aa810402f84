"""A bundle: one folder with everything that a lab needs, usable as a mirror and verifiable.

    manifest.toml      every file below with its size and SHA-256
    tools/             programs for the host and for building nodes
    images/            the machines' image, which contains the cluster's images
    wheels/            the Python packages of requirements.lock
    sbom.cdx.json      the software bill of materials

A bundle is written under a temporary name and then renamed, so an existing folder is complete.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from urllib.parse import quote

from packaging.markers import Marker

from lab import runner
from lab.config import Settings
from lab.errors import ConfigError, UnexpectedChange, answered
from lab.homework import data
from lab.homework.image import make_base
from lab.images import docker
from lab.images.builder import Builder
from lab.lifecycle import bringup, opened
from lab.lifecycle.bringup import Bringup
from lab.machines import boxes
from lab.offline import sbom
from lab.offline.sbom import Package
from lab.output import Status, table
from lab.platforms import PLATFORMS, architecture_of, this_platform, uname_of
from lab.toolchain import HOST_TOOLS, Toolchain, mirror, packing, wheel
from lab.toolchain.mirror import MANIFEST, Entry, Mirrored, entries
from lab.toolchain.store import file_digest

# Suffixes of files that are already compressed.
PACKED = (".zst", ".gz", ".whl")
QUERY = "${Package} ${Version} ${Architecture}\\n"


@dataclass(frozen=True)
class Bundle:
    """A new bundle: its folder, its items, and its archive if one was requested."""

    folder: Path
    items: Sequence[Mirrored]
    archive: Path | None

    @property
    def digest(self) -> str:
        """The manifest's digest, which depends on every byte of the bundle."""
        return file_digest(self.folder / MANIFEST)

    def text(self) -> str:
        """The sizes of the items, and the digest for comparing copies."""
        rows = [(item.name, item.version, _mebibytes(item.size)) for item in self.items]
        rows.append(("all", "", _mebibytes(sum(item.size for item in self.items))))
        lines = [table(("item", "version", "MiB"), rows), f"{self.folder}/{MANIFEST} {self.digest}"]
        return "\n".join([*lines, *([str(self.archive)] if self.archive else [])])

    def data(self) -> dict[str, object]:
        """The bundle for JSON, with sizes in bytes."""
        return {
            "folder": str(self.folder),
            "archive": str(self.archive) if self.archive else None,
            "manifest": self.digest,
            "items": [
                {"name": item.name, "version": item.version, "size": item.size}
                for item in self.items
            ],
        }


@dataclass(frozen=True)
class Verdict:
    """A bundle compared with its manifest: missing, changed and surplus paths; `size` in bytes."""

    files: int
    size: int
    digest: str
    missing: Sequence[str]
    changed: Sequence[str]
    surplus: Sequence[str]

    @property
    def wrong(self) -> dict[str, Sequence[str]]:
        """The paths with a difference, by its kind."""
        kinds = {"missing": self.missing, "changed": self.changed, "surplus": self.surplus}
        return {kind: paths for kind, paths in kinds.items() if paths}

    def text(self) -> str:
        """One line for each difference, and the numbers of the comparison."""
        lines = [f"{kind}: {path}" for kind, paths in self.wrong.items() for path in paths]
        lines.append(f"{self.files} files, {_mebibytes(self.size)} MiB, {MANIFEST} {self.digest}")
        return "\n".join(lines)

    def data(self) -> dict[str, object]:
        """The verdict for JSON."""
        return dict(vars(self))

    def raise_for_status(self) -> None:
        """Raise UnexpectedChange if there is a difference."""
        if self.wrong:
            count = sum(len(paths) for paths in self.wrong.values())
            message = f"{count} file(s) of the bundle differ from its manifest"
            hint = "copy the bundle again, or make it again: invoke bundle"
            raise answered(UnexpectedChange(message, hint=hint))


def make(
    settings: Settings,
    output: Path,
    status: Status,
    *,
    architecture: str = "",
    pythons: Sequence[str] = (),
    mnist: bool = False,
    archive: bool = False,
) -> Bundle:
    """Write a bundle for this lab's settings into `output`; `mnist` adds the homework's parts.

    `architecture` is amd64 or arm64, and `pythons` are versions such as 3.13. Their defaults are
    those of this host. An existing bundle is replaced. Raises ConfigError for invalid arguments and
    for another folder at `output`, and what the steps of `lab-up` raise.
    """
    platform = f"linux-{architecture}" if architecture else this_platform()
    if platform not in PLATFORMS:
        known = ", ".join(map(architecture_of, PLATFORMS))
        raise ConfigError(f"architecture {architecture!r} is not one of {known}")
    if odd := [python for python in pythons if not re.fullmatch(r"3\.(1[1-9]|[2-9]\d)", python)]:
        raise ConfigError(
            f"Python {odd[0]!r} is not a version like 3.11, or is too old for the lab"
        )
    output = output.absolute()
    if output.exists() and not (output / MANIFEST).exists():
        raise ConfigError(f"{output} exists and is not a bundle", hint="choose another --output")
    # No machine starts here, so the host needs no memory for workers.
    alone = replace(settings, workers=0)
    up = Bringup.of(alone, opened.toolchain_of(alone, status, platform), status)
    try:
        bringup.examine_host(up)
        bringup.install_prerequisites(up)
        bringup.make_node_image(up)
        assert up.tools
        up.tools.result()
    finally:
        up.pool.shutdown(wait=False, cancel_futures=True)
    aside = output.with_name(f".{output.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    filling = _Filling(up, aside, status, tuple(dict.fromkeys(pythons)) or (wheel.PYTHON,))
    filling.all(mnist)
    _replace(aside, output)
    return Bundle(output, filling.items, _tar(output, status) if archive else None)


def verify(folder: Path, status: Status) -> Verdict:
    """Compare every file of a bundle with its manifest. Raises what `entries` raises."""
    expected = {entry.path: entry for entry in entries(folder)}
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    changed = []
    for path in sorted(expected.keys() & found):
        status.note(path)
        if not _same(folder / path, expected[path]):
            changed.append(path)
    return Verdict(
        files=len(expected),
        size=sum(entry.size or 0 for entry in expected.values()),
        digest=file_digest(folder / MANIFEST),
        missing=sorted(expected.keys() - found),
        changed=changed,
        surplus=sorted(found - expected.keys() - {MANIFEST}),
    )


def index(names: Sequence[str]) -> str:
    """The page of links that `pip --find-links` reads, from a folder or from an address."""
    links = [f'<a href="{quote(name)}">{escape(name)}</a><br>' for name in names]
    return "\n".join(["<!DOCTYPE html>", "<title>Python wheels</title>", *links, ""])


def applying(requirements: str, platform: str, python: str) -> str:
    """The requirements of a locked list whose markers are true for this platform and Python.

    pip would evaluate the markers for its own Python.

    >>> applying("a==1 ; python_version < '3.12' --hash=sha256:0", "linux-arm64", "3.13")
    ''
    """
    there = {
        "platform_machine": uname_of(platform),
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    lines = []
    for line in requirements.replace("\\\n", "").splitlines():
        pin, *hashes = line.split(" --hash=")
        name, _, marker = pin.partition(";")
        if hashes and (not marker or Marker(marker).evaluate(there)):
            lines.append(" --hash=".join([name.strip(), *map(str.strip, hashes)]))
    return "".join(f"{line}\n" for line in lines)


def packages(listing: str) -> list[Package]:
    """Debian's packages from lines of name, version and architecture."""
    return [Package("deb", *line.split()) for line in listing.splitlines() if line.strip()]


@dataclass
class _Filling:
    """Fills the folder of a new bundle."""

    up: Bringup
    folder: Path
    status: Status
    pythons: Sequence[str] = (wheel.PYTHON,)
    items: list[Mirrored] = field(default_factory=list)
    inside: dict[str, list[Package]] = field(default_factory=dict)

    @property
    def platform(self) -> str:
        return self.up.toolchain.platform

    def all(self, mnist: bool) -> None:
        with self.status.step("bundle: tools"):
            self.tools()
        with self.status.step("bundle: node image"):
            self.node_image()
        with self.status.step("bundle: Python wheels"):
            self.wheels()
        if mnist:
            self.mnist()
        bill = self.folder / "sbom.cdx.json"
        bill.write_text(sbom.document(self.items, self.inside))
        self.items.append(Mirrored("sbom", "1", {bill.name: self.entry(bill)}))
        self.write_manifest()

    def tools(self) -> None:
        """Add the programs, and the OpenAPI documents for `invoke lint`."""
        names = dict.fromkeys((*HOST_TOOLS, *self.up.distribution.image.tools, "openapi"))
        for name, tool in self.up.toolchain.ensure(list(names)).items():
            self.add(name, tool.version, tool.files, f"tools/{name}")

    def node_image(self) -> None:
        """Add the machines' image under the tag that users of this mirror request.

        The tag depends on the tools' source, which is the mirror for them. The content is the same.
        The archive also contains the image for a virtual machine's box, which is the machines'
        image with a kernel.
        """
        self.write_manifest()
        root, cache = self.up.lab.root, self.up.toolchain.cache
        mirrored = Toolchain(root, cache, self.status, "mirror", str(self.folder), self.platform)
        builder = Builder(root, mirrored, (), self.status)
        tag = builder.node_tag(self.up.distribution.image)
        names = {tag: self.up.image}
        if self.up.lab.provider != "docker":
            made = boxes.make_image(root, self.up.image, self.status)
            names[boxes.image_tag(root, tag)] = made
        mine = [name for name in names if not docker.exists(name)]
        for name, there in names.items():
            runner.run(["docker", "tag", there, name])
        try:
            self.image(*names)
        finally:
            if mine:
                runner.run(["docker", "rmi", "--no-prune", *mine])
        parts = self.up.distribution.image
        versions = {name: mirrored.version(name) for name in parts.tools}
        for image in (*parts.own, *parts.served):
            name, _, version = image.reference(versions).rpartition(":")
            self.inside[docker.mirror_item(tag)[0]].append(Package("docker", name, version))

    def image(self, tag: str, *more: str) -> None:
        """Add an archive of an image and of images based on it, and list its Debian packages."""
        name, key = docker.mirror_item(tag)
        archive = self.folder / "image.tar"
        runner.run(["docker", "save", "--output", archive, tag, *more], timeout=600)
        self.add(name, key, {f"{Path(name).name}.tar": archive}, "images")
        archive.unlink()
        query = ["docker", "run", "--rm", *docker.built_for(self.platform), "--network", "none"]
        query += ["--entrypoint", "dpkg-query", [tag, *more][-1], "--show"]
        listing = runner.run([*query, f"--showformat={QUERY}"]).stdout
        self.inside[name] = packages(listing)

    def wheels(self) -> None:
        """Add the Python packages of requirements.lock for every requested version of Python."""
        target = self.folder / "wheels"
        requirements = self.up.lab.root / "requirements.lock"
        locked = requirements.read_text()
        wanted = self.folder / "requirements.txt"
        for python in self.pythons:
            wanted.write_text(applying(locked, self.platform, python))
            wheel.pip_download(wanted, target, self.platform, python)
        wanted.unlink()
        names = sorted(path.name for path in target.iterdir())
        (target / "index.html").write_text(index(names))
        version = file_digest(requirements).partition(":")[2][:12]
        files = {name: self.entry(target / name) for name in [*names, "index.html"]}
        tags = [f"cp{python.replace('.', '')}" for python in self.pythons]
        self.items.append(Mirrored(f"wheels/{'-'.join(tags)}", version, files))

    def mnist(self) -> None:
        """Add PyTorch's image, and MNIST if it is available. The image contains the digits."""
        with self.status.step("bundle: PyTorch image"):
            base = make_base(self.up.lab, self.up.toolchain, self.status)
            self.image(base)
        found = data.obtain(self.up.toolchain.cache, base, self.status)
        if found.name != data.DIGITS:
            files = {name: found.folder / data.RAW / name for name in data.FILES}
            self.add(*data.MIRRORED, files, "mnist")

    def add(self, name: str, version: str, files: Mapping[str, Path], place: str) -> None:
        """Copy files, compressed unless they already are."""
        entries = {}
        (self.folder / place).mkdir(parents=True, exist_ok=True)
        for file, source in sorted(files.items()):
            self.status.note(file)
            packed = "" if file.endswith(PACKED) else packing.FORMAT
            target = self.folder / place / (f"{file}.zst" if packed else file)
            if packed:
                packing.pack(source, target)
            else:
                shutil.copyfile(source, target)
            entries[file] = self.entry(target, packed)
        self.items.append(Mirrored(name, version, entries))

    def entry(self, path: Path, packed: str = "") -> Entry:
        digest = file_digest(path).partition(":")[2]
        return Entry(str(path.relative_to(self.folder)), digest, path.stat().st_size, packed)

    def write_manifest(self) -> None:
        (self.folder / MANIFEST).write_text(mirror.render(self.items, self.platform))


def _same(path: Path, entry: Entry) -> bool:
    if entry.size is not None and path.stat().st_size != entry.size:
        return False
    return file_digest(path) == f"sha256:{entry.sha256}"


def _replace(aside: Path, output: Path) -> None:
    old = output.with_name(f".{output.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        output.rename(old)
    aside.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def _tar(folder: Path, status: Status) -> Path:
    """Pack the folder into one file, whose bytes depend only on the content."""
    archive = folder.with_name(f"{folder.name}.tar")
    aside = folder.with_name(f".{folder.name}.tar.partial")
    with status.step("bundle: archive"), tarfile.open(aside, "w") as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            info = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder)}")
            info.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(info, file)
    aside.rename(archive)
    return archive


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f}"
