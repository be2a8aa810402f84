"""A mirror: a folder or an http(s) address with files and a manifest.

`manifest.toml` has each item's version and, for every platform, its files:

    [k3s]
    version = "1.34.1+k3s1"
    [k3s.linux-amd64]
    k3s = { path = "k3s", sha256 = "…", size = 70000000, packed = "zstd" }

`path` is relative to the manifest. `size` and `packed` are optional. `size` is in bytes. The lab
unpacks a file that is `packed`; its size and SHA-256 are those of the packed file. The version may
differ from the lock file's, because a mirror decides which versions it offers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from lab.errors import ConfigError, NotFoundError, PrerequisiteError
from lab.output import Status
from lab.state import write_aside
from lab.toolchain import mirror, packing, release
from lab.toolchain.store import file_digest

MANIFEST = "manifest.toml"
# Addresses that did not answer. A task asks each of them, and reports the failure, only once.
away: set[str] = set()


@dataclass(frozen=True)
class Entry:
    """A file of a mirror: path, SHA-256, size in bytes, and the format if it is packed.

    Raises ValueError for a path outside of the mirror or an unknown format.
    """

    path: str
    sha256: str
    size: int | None = None
    packed: str = ""

    def __post_init__(self) -> None:
        place = PurePosixPath(self.path)
        if place.is_absolute() or ".." in place.parts or self.packed not in ("", packing.FORMAT):
            raise ValueError(f"{self} is not a file of a mirror")


@dataclass(frozen=True)
class Mirrored:
    """One item of a mirror for one platform: its version and its files by name."""

    name: str
    version: str
    files: Mapping[str, Entry]

    @property
    def size(self) -> int:
        """The total size of the files in bytes. A file without a size in the manifest counts 0."""
        return sum(entry.size or 0 for entry in self.files.values())


def read(address: str, target: str) -> dict[str, Mirrored]:
    """The items of a mirror for the platform `target`, by name.

    Raises ConfigError if the address has no mirror, or if its manifest is invalid.
    """
    return _items(address, target, lambda: _manifest(address, timeout=10))


def recall(address: str, target: str, folder: Path, status: Status) -> dict[str, Mirrored]:
    """Like `read`, but keep a copy of the manifest in `folder`, and use it if the mirror is away.

    So a lab still works after the USB stick was removed, or while the classroom's server is off.
    """
    last = folder / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}.toml"

    def text() -> str:
        if address in away:
            return last.read_text()
        try:
            found = _manifest(address, timeout=3 if last.exists() else 10)
        except OSError as error:
            if not last.exists():
                raise
            status.say(f"mirror {address} is away ({error}): the lab uses its stored files")
            away.add(address)
            return last.read_text()
        parse(found)
        write_aside(last, found)
        return found

    return _items(address, target, text)


def _items(address: str, target: str, text: Callable[[], str]) -> dict[str, Mirrored]:
    try:
        return {item.name: item for platform, item in parse(text()) if platform == target}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"mirror {address} has no usable {MANIFEST}: {error!r}", hint="see docs/offline.md"
        ) from error


def _manifest(address: str, timeout: float) -> str:
    if "://" not in address:
        return (Path(address).expanduser() / MANIFEST).read_text()
    with urllib.request.urlopen(f"{address.rstrip('/')}/{MANIFEST}", timeout=timeout) as answer:
        content: bytes = answer.read()
    return content.decode()


def parse(text: str) -> list[tuple[str, Mirrored]]:
    """Every item of a manifest, as pairs of platform and item.

    Raises ValueError, KeyError, TypeError or AttributeError for an invalid manifest.
    """
    found = []
    for name, table in tomllib.loads(text).items():
        for platform in table.keys() - {"version"}:
            files = {file: Entry(**of) for file, of in table[platform].items()}
            if bad := [file for file in files if "/" in file or file in (".", "..")]:
                raise ValueError(f"{bad[0]!r} is not a file name")
            found.append((platform, Mirrored(name, table["version"], files)))
    return found


def render(items: Iterable[Mirrored], platform: str) -> str:
    """The manifest of these items for one platform, in the given order."""
    return "\n".join(_table(item, platform) for item in items)


def fetch(address: str, item: Mirrored, folder: Path, downloads: Path, status: Status) -> None:
    """Copy, verify and unpack an item's files into `folder`.

    Raises PrerequisiteError, with the file's name, for a missing file or a wrong digest.
    """
    for name, entry in item.files.items():
        target = folder / name
        if "://" in address:
            url = f"{address.rstrip('/')}/{quote(entry.path)}"
            source = release.fetch_file(url, f"sha256:{entry.sha256}", downloads, status)
        else:
            source = Path(address).expanduser() / entry.path
            _verify(source, entry)
        if entry.packed:
            packing.unpack(source, target)
        else:
            shutil.copyfile(source, target)
        if "://" in address:
            source.unlink()
        target.chmod(0o755)


def _verify(source: Path, entry: Entry) -> None:
    if not source.is_file():
        raise PrerequisiteError(f"mirror file {source} does not exist")
    if (found := file_digest(source)) != f"sha256:{entry.sha256}":
        raise PrerequisiteError(
            f"mirror file {source} cannot be used: expected sha256:{entry.sha256}, got {found}"
        )


def _table(item: Mirrored, platform: str) -> str:
    # A string in JSON is also valid in TOML.
    name = json.dumps(item.name)
    lines = [f"[{name}]", f"version = {json.dumps(item.version)}", f"[{name}.{platform}]"]
    for file, entry in item.files.items():
        values = {key: value for key, value in vars(entry).items() if value not in (None, "")}
        inside = ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
        lines.append(f"{json.dumps(file)} = {{ {inside} }}")
    return "\n".join(lines) + "\n"


def entries(folder: Path) -> list[Entry]:
    """Every file in a bundle's manifest.

    Raises NotFoundError if the folder has no bundle, and ConfigError for an invalid manifest.
    """
    manifest = folder / MANIFEST
    if not manifest.exists():
        raise NotFoundError(f"{folder} has no {MANIFEST}", hint="invoke bundle")
    try:
        items = [item for _, item in mirror.parse(manifest.read_text())]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{manifest} is not a manifest of a bundle: {error!r}") from error
    return [entry for item in items for entry in item.files.values()]
