"""vagrant/snapshot.sh on folders that represent machines. It stores equal files once."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("rsync"), reason="machines have rsync, not hosts")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two machines of the same image."""
    (tmp_path / "snapshots").mkdir()
    for machine in ("control-plane-1", "worker-1"):
        layer = tmp_path / "machines" / machine / "layer"
        store = tmp_path / "machines" / machine / "volumes" / "var" / "lib" / "containerd"
        for place in (layer, store):
            place.mkdir(parents=True)
        (layer / "hostname").write_text(machine)
        (store / "image").write_text("the same in both")
        os.utime(store / "image", ns=(5, 5))
    return tmp_path


def script(folder: Path, *words: str) -> None:
    command = [str(ROOT / "vagrant" / "snapshot.sh"), *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_restore_brings_back_every_file(folder: Path) -> None:
    before = content(folder / "machines")
    script(folder, "save", "one")
    layer = folder / "machines" / "worker-1" / "layer"
    (layer / "hostname").unlink()
    (layer / "more").write_text("made later")
    image = folder / "machines" / "worker-1" / "volumes/var/lib/containerd/image"
    image.write_text("THE SAME IN BOTH")
    script(folder, "restore", "one")
    assert content(folder / "machines") == before


def test_a_change_of_the_same_size_in_the_same_second_is_restored(folder: Path) -> None:
    """A datastore's file keeps its size, and may change within a second after a save."""
    data = folder / "machines" / "worker-1" / "layer" / "db"
    data.write_text("old")
    os.utime(data, ns=(7_000_000_001, 7_000_000_001))
    script(folder, "save", "one")
    data.write_text("new")
    os.utime(data, ns=(7_000_000_002, 7_000_000_002))
    script(folder, "restore", "one")
    assert data.read_text() == "old"


def test_equal_files_are_stored_once(folder: Path) -> None:
    script(folder, "save", "one")
    script(folder, "save", "two", "one")
    copies = list((folder / "snapshots").rglob("image"))
    assert len(copies) == 4
    assert len({path.stat().st_ino for path in copies}) == 1


def test_a_change_leaves_the_other_snapshots_alone(folder: Path) -> None:
    hostname = folder / "machines" / "worker-1" / "layer" / "hostname"
    script(folder, "save", "one")
    hostname.write_text("changed")
    script(folder, "save", "two", "one")
    script(folder, "restore", "one")
    assert hostname.read_text() == "worker-1"
    script(folder, "restore", "two")
    assert hostname.read_text() == "changed"


def test_the_remains_of_a_killed_save_are_removed(folder: Path) -> None:
    script(folder, "save", "one")
    (folder / "snapshots" / "torn").mkdir()
    script(folder, "save", "two", "one")
    assert {path.name for path in (folder / "snapshots").iterdir()} == {"one", "two"}
    script(folder, "keep", "two")
    assert {path.name for path in (folder / "snapshots").iterdir()} == {"two"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes such files")
def test_a_restore_keeps_a_layers_deletions(folder: Path) -> None:
    """overlayfs marks a deleted file by a device, and a replaced folder by attributes."""
    layer = folder / "machines" / "worker-1" / "layer"
    os.mknod(layer / "deleted", 0o020000, os.makedev(0, 0))
    (layer / "replaced").mkdir()
    try:
        os.setxattr(layer / "replaced", "trusted.overlay.opaque", b"y")
    except OSError:
        pytest.skip("this file system keeps no such attributes")
    script(folder, "save", "one")
    (layer / "deleted").unlink()
    shutil.rmtree(layer / "replaced")
    script(folder, "restore", "one")
    assert (layer / "deleted").stat().st_rdev == 0
    assert (layer / "deleted").is_char_device()
    assert os.getxattr(layer / "replaced", "trusted.overlay.opaque") == b"y"


def test_a_failed_copy_makes_the_script_fail(folder: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        script(folder, "restore", "none")
