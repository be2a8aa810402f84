"""A mirror: a folder or an http(s) address with tools and a manifest of its own.

`manifest.toml` names each item's version and, for every platform, its files with their SHA-256:

    [k3s]
    version = "1.34.1+k3s1"
    [k3s.linux-amd64]
    k3s = { path = "k3s", sha256 = "…" }

The version may be another than the lock file's: a mirror says itself what it carries.
"""

from __future__ import annotations

import shutil
import tomllib
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import ConfigError, PrerequisiteError
from lab.output import Status
from lab.toolchain import release
from lab.toolchain.store import file_digest

MANIFEST = "manifest.toml"


@dataclass(frozen=True)
class Mirrored:
    """One item of a mirror: its version, and for each file its place and SHA-256."""

    name: str
    version: str
    files: Mapping[str, tuple[str, str]]


def read(address: str, target: str) -> dict[str, Mirrored]:
    """The items that a mirror has for one platform.

    Raises ConfigError when there is no mirror at the address or its manifest is not one.
    """
    try:
        if "://" in address:
            with urllib.request.urlopen(f"{address.rstrip('/')}/{MANIFEST}", timeout=10) as answer:
                text = answer.read().decode()
        else:
            text = (Path(address).expanduser() / MANIFEST).read_text()
        tables: dict[str, Any] = tomllib.loads(text)
        return {
            name: Mirrored(
                name,
                table["version"],
                {file: (of["path"], of["sha256"]) for file, of in table[target].items()},
            )
            for name, table in tables.items()
            if target in table
        }
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ConfigError(
            f"mirror {address} has no usable {MANIFEST}: {error!r}", hint="see docs/toolchain.md"
        ) from error


def fetch(address: str, item: Mirrored, folder: Path, downloads: Path, status: Status) -> None:
    """Put an item's files into `folder`. Raises PrerequisiteError for a wrong digest, by name."""
    for name, (path, digest) in item.files.items():
        target = folder / name
        if "://" in address:
            url = f"{address.rstrip('/')}/{path}"
            release.fetch_file(url, f"sha256:{digest}", downloads, status).rename(target)
        else:
            source = Path(address).expanduser() / path
            if not source.is_file():
                raise PrerequisiteError(f"mirror file {source} does not exist")
            shutil.copyfile(source, target)
            if file_digest(target) != f"sha256:{digest}":
                raise PrerequisiteError(
                    f"mirror file {source} cannot be used: expected sha256:{digest}, got "
                    f"{file_digest(target)}"
                )
        target.chmod(0o755)
