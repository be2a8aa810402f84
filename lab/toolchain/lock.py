"""The lock file: every tool's version, and its pins for each source."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lab.platforms import PLATFORMS


@dataclass(frozen=True)
class Download:
    """An official file: its address, its digest as `algorithm:hex`, and the members that we need.

    `members` maps our name of a program to its path in the archive. Without members, the file
    itself is the program, and `file` is its name. `version` is only set if the item's differs.
    """

    url: str
    digest: str
    members: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    version: str = ""


@dataclass(frozen=True)
class Modules:
    """Programs that the lab builds from Go modules: file name -> package.

    `copies` are files that it copies from modules. `embeds` are files of modules that a program in
    `folder` embeds, by the embedded name. In the lock file, a table with a platform's name has
    other values for that platform.
    """

    folder: str
    packages: Mapping[str, str]
    ldflags: str = ""
    cgo: bool = False
    copies: Mapping[str, str] = field(default_factory=dict)
    embeds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wheel:
    """Files in a Python wheel. `digest` is its SHA-256. No members means the whole wheel."""

    package: str
    version: str
    digest: str
    members: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One tool on a platform. A source that cannot provide it there is empty."""

    name: str
    version: str
    release: tuple[Download, ...] = ()
    modules: Modules | None = None
    wheel: Wheel | None = None


def read_lock(path: Path, target: str) -> dict[str, Item]:
    """The items of the lock file for the platform `target`, by name.

    The file contains each version once. `version_of` names the item with the version. In an item's
    table, the version replaces `{version}`, `{major}` and `{minor}`.
    """
    tables = tomllib.loads(path.read_text())
    versions = {
        name: table.get("version") or tables[table["version_of"]]["version"]
        for name, table in tables.items()
    }
    return {name: _item(name, versions[name], table, target) for name, table in tables.items()}


def _item(name: str, version: str, table: Mapping[str, Any], target: str) -> Item:
    release, wheel = table.get("release", {}), table.get("wheel", {})
    modules = table.get("modules", {})
    everywhere = {key: value for key, value in modules.items() if key not in PLATFORMS}
    here = {**everywhere, **modules.get(target, {})}
    return Item(
        name=name,
        version=version,
        release=tuple(
            Download(**filled(one, one.get("version", version))) for one in release.get(target, [])
        ),
        modules=Modules(**filled(here, version)) if modules else None,
        wheel=Wheel(
            package=wheel["package"],
            version=version,
            digest=wheel[target],
            members=wheel.get("members", {}),
        )
        if target in wheel
        else None,
    )


def filled(value: Any, version: str) -> Any:
    """Replace `{version}`, `{major}` and `{minor}` in a table of the lock file, or in its parts.

    >>> filled({"url": "https://get.example/v{version}/{major}-{minor}"}, "1.35.4+k3s1")
    {'url': 'https://get.example/v1.35.4%2Bk3s1/1-35'}
    """
    if isinstance(value, str):
        major, minor, *_ = version.split(".")
        # In an address, a plus sign must be quoted.
        inside = quote(version) if value.startswith("https://") else version
        words = {"{version}": inside, "{major}": major, "{minor}": minor}
        for word, replacement in words.items():
            value = value.replace(word, replacement)
        return value
    if isinstance(value, Mapping):
        return {key: filled(part, version) for key, part in value.items()}
    return value
