"""A mirror: a folder or an http(s) address with files and a manifest of its own.

`manifest.toml` names each item's version and, for every platform, its files:

    [k3s]
    version = "1.34.1+k3s1"
    [k3s.linux-amd64]
    k3s = { path = "k3s", sha256 = "…", size = 70000000, packed = "zstd" }

`path` is relative to the manifest. The last two may be missing: `size` is in bytes, and a file that
is `packed` is unpacked when it is taken; size and SHA-256 are those of the file as it lies there.
The version may be another than the lock file's: a mirror says itself what it carries.
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
# Addresses that did not answer: they are asked, and that is told, once in a run.
away: set[str] = set()


@dataclass(frozen=True)
class Entry:
    """A file of a mirror: its place, SHA-256 and size as it lies there, and how it is packed."""

    path: str
    sha256: str
    size: int | None = None
    packed: str = ""

    def __post_init__(self) -> None:
        place = PurePosixPath(self.path)
        if place.is_absolute() or ".." in place.parts or self.packed not in ("", packing.FORMAT):
            raise ValueError(f"{self} is no file of a mirror")


@dataclass(frozen=True)
class Mirrored:
    """One item of a mirror for one platform: its version, and its files by name."""

    name: str
    version: str
    files: Mapping[str, Entry]

    @property
    def size(self) -> int:
        """Bytes of all its files, as far as the manifest tells."""
        return sum(entry.size or 0 for entry in self.files.values())


def read(address: str, target: str) -> dict[str, Mirrored]:
    """The items that a mirror has for one platform.

    Raises ConfigError when there is no mirror at the address or its manifest is not one.
    """
    return _items(address, target, lambda: _manifest(address, timeout=10))


def recall(address: str, target: str, folder: Path, status: Status) -> dict[str, Mirrored]:
    """Like `read`, for whoever took from this mirror before: its manifest is kept in `folder`.

    So a lab goes on when the stick is pulled out, or the room's server is off.
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
            status.say(f"mirror {address} is away ({error}): what was taken from it is used")
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
    """Every item of a manifest with its platform; what is wrong with it raises as it comes."""
    found = []
    for name, table in tomllib.loads(text).items():
        for platform in table.keys() - {"version"}:
            files = {file: Entry(**of) for file, of in table[platform].items()}
            if bad := [file for file in files if "/" in file or file in (".", "..")]:
                raise ValueError(f"{bad[0]!r} is no name of a file")
            found.append((platform, Mirrored(name, table["version"], files)))
    return found


def render(items: Iterable[Mirrored], platform: str) -> str:
    """The manifest of these items, in the order given."""
    return "\n".join(_table(item, platform) for item in items)


def fetch(address: str, item: Mirrored, folder: Path, downloads: Path, status: Status) -> None:
    """Put an item's files into `folder`. Raises PrerequisiteError for a wrong digest, by name."""
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
    # A JSON text is a TOML text as well.
    name = json.dumps(item.name)
    lines = [f"[{name}]", f"version = {json.dumps(item.version)}", f"[{name}.{platform}]"]
    for file, entry in item.files.items():
        values = {key: value for key, value in vars(entry).items() if value not in (None, "")}
        inside = ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
        lines.append(f"{json.dumps(file)} = {{ {inside} }}")
    return "\n".join(lines) + "\n"


def entries(folder: Path) -> list[Entry]:
    """Every file that a bundle's manifest names.

    Raises NotFoundError where no bundle is, and ConfigError for a manifest that is none.
    """
    manifest = folder / MANIFEST
    if not manifest.exists():
        raise NotFoundError(f"{folder} has no {MANIFEST}", hint="invoke bundle")
    try:
        items = [item for _, item in mirror.parse(manifest.read_text())]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{manifest} is no manifest of a bundle: {error!r}") from error
    return [entry for item in items for entry in item.files.values()]
