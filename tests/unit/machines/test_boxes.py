"""The content of a box for VirtualBox, and when a box counts as complete."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lab import runner
from lab.machines import boxes
from lab.output import Status
from tests.unit.conftest import ROOT

TEMPLATE = (ROOT / "vagrant" / "vm" / "box.ovf").read_text()
DMTF = "http://schemas.dmtf.org"
OVF = f"{{{DMTF}/ovf/envelope/1}}"
RASD = f"{{{DMTF}/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}}"
# CIM's numbers of device types.
PROCESSOR, MEMORY, NETWORK, DISK, CONTROLLER = "3", "4", "10", "17", "20"
PACKED = b"disk" * 1000


class Tools:
    """Stand-ins for the programs that make a box. Records each run."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runs: list[list[str]] = []
        self.in_disk = ""

    def run(self, argv: Sequence[str | Path], **_: Any) -> runner.Result:
        words = [str(word) for word in argv]
        self.runs.append(words)
        match words:
            case ["docker", "image", "inspect", "--format", _, _]:
                return runner.Result(0, "linux-arm64\n", "")
            case ["ssh-keygen", *_, key]:
                Path(key).write_text("private")
                Path(f"{key}.pub").write_text("public")
            case ["docker", "run", *_, volume, _, _, _]:
                folder = Path(volume.partition(":")[0])
                self.in_disk = (folder / "authorized_keys").read_text()
            case ["qemu-img", "convert", *_, packed]:
                Path(packed).write_bytes(PACKED)
            case ["tar", "--create", "--file", archive, "--directory", folder, *members]:
                with tarfile.open(archive, "w") as tar:
                    for member in members:
                        tar.add(Path(folder) / member, member)
            case ["vagrant", "box", "add", *_, name, archive]:
                place = self.home / "boxes" / name.replace("/", "-VAGRANTSLASH-")
                with tarfile.open(archive) as tar:
                    tar.extractall(place / "0" / "virtualbox", filter="data")
        return runner.Result(0, "", "")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    made = Tools(tmp_path / "home")
    monkeypatch.setenv("VAGRANT_HOME", str(made.home))
    monkeypatch.setattr(runner, "run", made.run)
    monkeypatch.setattr(boxes.shutil, "which", str)
    return made


def make(tmp_path: Path) -> boxes.Box:
    return boxes.make(ROOT, tmp_path / "cache", "node:1", "virtualbox", Status())


def test_a_box_for_virtualbox(tools: Tools, tmp_path: Path) -> None:
    box = make(tmp_path)
    key = Path(box.key)
    assert sorted(path.name for path in key.parent.iterdir()) == sorted(boxes.VIRTUALBOX)
    # The box contains its private key, and its disk accepts the key.
    assert (key.read_text(), tools.in_disk) == ("private", "public")
    assert json.loads((key.parent / "metadata.json").read_text()) == {"provider": "virtualbox"}
    assert (key.parent / "box.vmdk").read_bytes() == PACKED
    assert f'ovf:size="{len(PACKED)}"' in (key.parent / "box.ovf").read_text()
    tools.runs.clear()
    assert make(tmp_path) == box
    assert box.platform == "linux-arm64"
    # The second call only asks for the platform of the box's image, and makes nothing.
    assert [words[:3] for words in tools.runs] == [["docker", "image", "inspect"]]


@pytest.mark.parametrize("member", boxes.VIRTUALBOX)
def test_a_box_without_one_of_its_files_is_made_again(
    tools: Tools, tmp_path: Path, member: str
) -> None:
    box = make(tmp_path)
    Path(box.key).with_name(member).unlink()
    assert boxes.find(box.name, "virtualbox") is None
    assert make(tmp_path) == box


def test_a_box_belongs_to_one_provider(tools: Tools, tmp_path: Path) -> None:
    box = make(tmp_path)
    assert boxes.unpacked(box.name, "virtualbox")
    assert boxes.unpacked(box.name, "libvirt") is None


def test_clear_removes_the_box_and_vagrants_master_machine(tools: Tools, tmp_path: Path) -> None:
    box = make(tmp_path)
    Path(box.key).with_name("master_id").write_text("id-of-master")
    tools.runs.clear()
    boxes.clear(tmp_path / "cache")
    unregister, remove = (words for words in tools.runs if words[0] != "virsh")
    assert unregister == ["VBoxManage", "unregistervm", "id-of-master", "--delete"]
    assert remove[:3] == ["vagrant", "box", "remove"] and remove[-2:] == ["virtualbox", box.name]


def test_the_ovf_that_virtualbox_imports() -> None:
    """It has one disk on an AHCI controller and one network adapter. Every reference resolves."""
    document = ElementTree.fromstring(boxes.ovf(TEMPLATE, 4000).encode())
    (file,) = document.iter(f"{OVF}File")
    assert file.attrib == {f"{OVF}id": "file", f"{OVF}href": "box.vmdk", f"{OVF}size": "4000"}
    (disk,) = document.iter(f"{OVF}Disk")
    assert disk.attrib[f"{OVF}fileRef"] == file.attrib[f"{OVF}id"]
    assert int(disk.attrib[f"{OVF}capacity"]) == boxes.DISK << 30
    assert disk.attrib[f"{OVF}format"].endswith("#streamOptimized")
    devices = {
        str(item.findtext(f"{RASD}ResourceType")): {
            child.tag.removeprefix(RASD): child.text for child in item
        }
        for item in document.iter(f"{OVF}Item")
    }
    assert devices.keys() == {PROCESSOR, MEMORY, NETWORK, DISK, CONTROLLER}
    assert len({device["InstanceID"] for device in devices.values()}) == len(devices)
    assert devices[CONTROLLER]["ResourceSubType"] == "AHCI"
    assert devices[DISK]["Parent"] == devices[CONTROLLER]["InstanceID"]
    assert devices[DISK]["HostResource"] == f"/disk/{disk.attrib[f'{OVF}diskId']}"
    (network,) = document.iter(f"{OVF}Network")
    assert devices[NETWORK]["Connection"] == network.attrib[f"{OVF}name"]
    assert "@" not in ElementTree.tostring(document, encoding="unicode")
    # OVF 1 requires that a device's fields are sorted by name.
    assert all(list(device) == sorted(device) for device in devices.values())
