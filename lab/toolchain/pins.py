"""Find pins of the lock file that are behind: compare each with the newest version of its client.

Go lists the versions of modules, and pip those of wheels. Release pages have no client. So a
release is compared with the newest module of the same item.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.version import InvalidVersion, Version

from lab import runner
from lab.errors import LabError
from lab.output import Status, table
from lab.parallel import each
from lab.toolchain import Toolchain
from lab.toolchain.lock import Item
from lab.toolchain.modules import Go


@dataclass(frozen=True)
class Pin:
    """The pinned version of one source of an item, and the newest version, empty if unknown.

    `of` is the module or the Python package that the client looks up.
    """

    item: str
    source: str
    of: str
    pinned: str
    newest: str = ""

    @property
    def behind(self) -> bool:
        """Whether the newest version is later than the pinned version."""
        try:
            return bool(self.newest) and Version(self.pinned) < Version(self.newest)
        except InvalidVersion:
            return False

    def row(self) -> tuple[str, ...]:
        """A line of the table."""
        verdict = "behind" if self.behind else "" if self.newest else "unknown"
        return self.item, self.source, self.pinned, self.newest, verdict

    def data(self) -> dict[str, object]:
        """The pin for JSON; `newest` is null if unknown."""
        return {**vars(self), "newest": self.newest or None, "behind": self.behind}


def look(toolchain: Toolchain, root: Path, status: Status) -> list[Pin]:
    """Every pin of the lock file of the checkout `root`, with the newest version of its client.

    If a client fails, the version is unknown, and the status shows the client's error.
    """
    folder = root / "toolchain"
    items = list(toolchain.items.values())
    sets = {item.modules.folder for item in items if item.modules}
    required = {name: requirements((folder / name / "go.mod").read_text()) for name in sorted(sets)}
    pins = [pin for item in items for pin in pins_of(item, required)]
    modules = sorted({pin.of for pin in pins if pin.source == "modules"})
    wheels = sorted({pin.of for pin in pins if pin.source == "wheel"})
    newest = newest_modules(toolchain.go, folder / min(sets), modules, status)
    newest |= dict(zip(wheels, each(wheels, lambda name: newest_wheel(name, status)), strict=True))
    return [replace(pin, newest=newest.get(pin.of, "")) for pin in pins]


def pins_of(item: Item, required: Mapping[str, Mapping[str, str]]) -> list[Pin]:
    """The pins of one item; `required` maps a folder of modules to what its go.mod requires."""
    found = []
    module = ""
    if item.modules:
        versions = required[item.modules.folder]
        packages = [*item.modules.packages.values(), *item.modules.copies.values()]
        module = module_of(packages[0], versions)
        tagged = "-" not in versions[module]
        pinned = versions[module].removeprefix("v") if tagged else item.version
        found.append(Pin(item.name, "modules", module, pinned))
    if item.wheel:
        found.append(Pin(item.name, "wheel", item.wheel.package, item.wheel.version))
    if item.release:
        found.append(Pin(item.name, "release", module, item.release[0].version or item.version))
    return found


def requirements(text: str) -> dict[str, str]:
    """The direct requirements of a go.mod file: module -> version.

    >>> requirements("require (\\n\\ta.org/b v1.2.0 // why\\n\\tc.org/d v1.0.0 // indirect\\n)")
    {'a.org/b': 'v1.2.0'}
    """
    lines = (
        re.match(r"(?:require |\t)(\S+) (v\S+)( // indirect)?", line) for line in text.splitlines()
    )
    return {found[1]: found[2] for found in lines if found and not found[3]}


def module_of(package: str, required: Iterable[str]) -> str:
    """The required module that contains a package; for the folder's own program, the first one."""
    found = [
        module for module in required if f"{package}/".startswith((f"{module}/", f"{module}@"))
    ]
    return max(found, key=len) if found else next(iter(required))


def newest_modules(go: Go, folder: Path, modules: Sequence[str], status: Status) -> dict[str, str]:
    """The newest release of each module in the list of `go list`; empty if Go fails."""
    words = [str(go.program), "list", "-mod=readonly", "-e", "-m", "-versions", "-json", *modules]
    try:
        answer = runner.run(words, cwd=folder, env=go.environment(cgo=False), timeout=300).stdout
    except LabError as error:
        status.say(f"go list: {error.message}")
        return {}
    return dict(newest_of(answer))


def newest_of(answer: str) -> Iterable[tuple[str, str]]:
    """Modules and their newest releases, from the JSON objects that `go list -m` prints."""
    decoder, rest = json.JSONDecoder(), answer.strip()
    while rest:
        module, end = decoder.raw_decode(rest)
        rest = rest[end:].lstrip()
        if releases := [one for one in module.get("Versions") or [] if "-" not in one]:
            yield module["Path"], releases[-1].removeprefix("v")


def newest_wheel(package: str, status: Status) -> str:
    """The newest release of a Python package that pip can install; empty if it finds none."""
    words = [sys.executable, "-m", "pip", "index", "versions", "--disable-pip-version-check"]
    try:
        answer = runner.run([*words, package], timeout=120).stdout
    except LabError as error:
        status.say(f"pip index: {error.message}")
        return ""
    found = re.match(rf"{re.escape(package)} \((\S+)\)", answer)
    return found[1] if found else ""


def text(pins: Sequence[Pin]) -> str:
    """The table of all pins, and the number of pins that are behind."""
    header = ("item", "source", "pinned", "newest", "")
    behind = sum(pin.behind for pin in pins)
    return f"{table(header, [pin.row() for pin in pins])}\n{behind} of {len(pins)} pins are behind"
