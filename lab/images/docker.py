"""The host's Docker: images built, pulled, loaded and removed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab import runner
from lab.errors import LabError, PrerequisiteError
from lab.images.catalogue import REPOSITORY, Image
from lab.output import Status
from lab.proxies import proxy_variables
from lab.toolchain import Toolchain
from lab.toolchain.release import reachable

# The name of the container, and of the volume, of the registry that a classroom pulls through.
ROOM = "lab-room-registry"


def digest(*inputs: str | Path) -> str:
    """A digest of texts and folders in twelve hex digits: names, modes and contents of files."""
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


def exists(reference: str) -> bool:
    """Whether the host's Docker has this image."""
    found = runner.run(["docker", "image", "inspect", reference], ok=(0, 1), timeout=30)
    return found.code == 0


def platform_of(reference: str) -> str:
    """The platform of an image in the host's Docker, e.g. linux-amd64."""
    words = ["docker", "image", "inspect", "--format", "{{.Os}}-{{.Architecture}}", reference]
    return runner.run(words, timeout=30).stdout.strip()


def mirror_item(tag: str) -> tuple[str, str]:
    """The item and the version of an image in a mirror. The version is the image's digest."""
    name, _, key = tag.partition(":")
    return f"image/{name.rpartition('/')[2]}", key


def load(tag: str, toolchain: Toolchain) -> bool:
    """Load an image from the mirror. Returns False if the mirror lacks exactly this image."""
    with toolchain.mirrored(*mirror_item(tag)) as files:
        for archive in files.values():
            runner.run(["docker", "load", "--input", archive], timeout=600)
        if files and not exists(tag):
            raise PrerequisiteError(f"the mirror's archive of image {tag} has another image inside")
        return bool(files)


def pull(image: Image, tag: str, platform: str) -> bool:
    """Pull a published image by its digest and tag it. Returns False if that fails."""
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
    """Remove the lab's images that no container uses, and the images that a classroom pulled."""
    runner.run(["docker", "volume", "rm", "--force", ROOM], ok=(0, 1))
    listing = runner.run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).stdout
    if ours := [name for name in listing.split() if name.startswith(f"{REPOSITORY}/")]:
        runner.run(["docker", "rmi", "--force", *ours], timeout=300, ok=(0, 1))


def built_for(platform: str) -> list[str]:
    """Docker's arguments for the platform of an image: linux/amd64 for linux-amd64."""
    return ["--platform", platform.replace("-", "/")]


@contextmanager
def readable(source: Path) -> Iterator[Path]:
    """A copy of a folder for `docker build`, as `copy_readable` makes it."""
    with tempfile.TemporaryDirectory(prefix="lab-context-") as folder:
        copy_readable(source, Path(folder))
        yield Path(folder)


def copy_readable(source: Path, target: Path) -> None:
    """Copy a folder's content so that all users can read it.

    COPY from a checkout with umask 077 would make `/etc` and `/usr` of an image private.
    """
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
    """Run `docker build` on a folder. Raises CommandError with the end of the build's log."""
    words = ["docker", "build", *built_for(platform), "--tag", tag]
    for name, value in arguments.items():
        words += ["--build-arg", f"{name}={value}"]
    for name in proxy_variables():
        # Docker takes the value from the environment and does not keep it in the image.
        words += ["--build-arg", name]
    # Under QEMU, a build takes ten times as long.
    runner.run([*words, context], timeout=3600, on_line=status.note if status else None)
