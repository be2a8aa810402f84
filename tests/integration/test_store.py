"""The store of tools verifies an item at every use, and only has complete items."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import wait
from lab.output import Status
from lab.toolchain.store import Store, scratch
from tests.integration.conftest import ROOT


@pytest.fixture
def store(tmp_path: Path, status: Status) -> Store:
    return Store(tmp_path / "tools", status)


def filler(text: str) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / "tool").write_text(text)

    return fill


def test_an_item_is_made_once(store: Store) -> None:
    made = store.add("tool-1", filler("one"))
    assert store.add("tool-1", filler("two")) == made
    assert made["tool"].read_text() == "one"


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing", "manifest"])
def test_a_damaged_item_is_named_removed_and_made_again(
    store: Store, progress: io.StringIO, damage: str
) -> None:
    path = store.add("tool-1", filler("content"))["tool"]
    if damage == "changed":
        path.write_text("Content")
    elif damage == "truncated":
        path.write_text("con")
    elif damage == "missing":
        path.unlink()
    else:
        (path.parent / "manifest.json").write_text('{"tool": "sha')
    assert store.get("tool-1") is None
    assert "has changed since it was stored" in progress.getvalue()
    assert str(path.parent) in progress.getvalue()
    assert store.add("tool-1", filler("again"))["tool"].read_text() == "again"


def test_one_of_several_threads_removes_a_damaged_item(store: Store, progress: io.StringIO) -> None:
    """The other threads find the item missing or made again, and use the new one."""
    for _ in range(20):
        path = store.add("tool-1", filler("content"))["tool"]
        path.write_text("Content")

        def use(_: int) -> str:
            return (store.get("tool-1") or store.add("tool-1", filler("content")))["tool"].name

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(use, range(4))) == ["tool"] * 4
        assert path.read_text() == "content"
    assert progress.getvalue().count("has changed since it was stored: removed") == 20


def test_the_remains_of_a_killed_task_are_removed(tmp_path: Path) -> None:
    aside = tmp_path / "node-image.partial"
    aside.mkdir()
    (aside / "gigabytes").touch()
    with scratch(aside) as folder:
        assert not list(folder.iterdir())
        (folder / "more").touch()
    assert not aside.exists()


def test_a_failed_fill_leaves_no_item(store: Store) -> None:
    def fill(folder: Path) -> None:
        (folder / "tool").write_text("half")
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError):
        store.add("tool-1", fill)
    assert store.get("tool-1") is None
    assert store.add("tool-1", filler("whole"))["tool"].read_text() == "whole"


def test_a_fill_that_is_killed_leaves_no_item(store: Store) -> None:
    """After SIGKILL, the lock is free at once, and the store ignores the incomplete folder."""
    program = f"""
import io, sys, time
from pathlib import Path
from lab.output import Status
from lab.toolchain.store import Store
def fill(folder):
    (folder / "tool").write_text("half")
    print("started", flush=True)
    time.sleep(300)
Store(Path({str(store.folder)!r}), Status(io.StringIO())).add("tool-1", fill)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "started\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert store.get("tool-1") is None
    assert store.add("tool-1", filler("whole"))["tool"].read_text() == "whole"


def test_parallel_requests_make_an_item_once(store: Store, progress: io.StringIO) -> None:
    made: list[str] = []

    def fill(folder: Path) -> None:
        made.append("x")
        waiting = "waiting: another task already makes tool-1"
        wait.until(lambda: progress.getvalue().count(waiting) == 3 or None, what="them", timeout=20)
        (folder / "tool").write_text("one")

    threads = [threading.Thread(target=store.add, args=("tool-1-ab", fill)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["x"]
    assert (store.folder / "tool-1-ab" / "tool").exists()


@pytest.fixture
def tiny(tmp_path: Path) -> object:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_no_item(tiny: Path, status: Status) -> None:
    store = Store(tiny / "tools", status)
    with pytest.raises(OSError, match="No space left"):
        store.add("tool-1", filler("x" * 200_000))
    assert store.get("tool-1") is None
    assert store.add("tool-1", filler("small"))["tool"].read_text() == "small"
