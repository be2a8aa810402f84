"""The lock file: what every tool is, and for each source what makes it exactly that version."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

    What is another on one platform stands in a table that is called like the platform.
    """

    folder: str
    packages: Mapping[str, str]
    ldflags: str = ""
    cgo: bool = False
    copies: Mapping[str, str] = field(default_factory=dict)


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
    """The items of the lock file as they are for one platform."""
    return {
        name: _item(name, table, target) for name, table in tomllib.loads(path.read_text()).items()
    }


def _item(name: str, table: Mapping[str, Any], target: str) -> Item:
    release, wheel = table.get("release", {}), table.get("wheel", {})
    modules = table.get("modules", {})
    everywhere = {key: value for key, value in modules.items() if key not in PLATFORMS}
    return Item(
        name=name,
        version=table["version"],
        release=tuple(Download(**table) for table in release.get(target, [])),
        modules=Modules(**{**everywhere, **modules.get(target, {})}) if modules else None,
        wheel=Wheel(
            package=wheel["package"],
            version=wheel["version"],
            digest=wheel[target],
            members=wheel.get("members", {}),
        )
        if target in wheel
        else None,
    )
