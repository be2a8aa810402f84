"""The lab's lock between real processes. The kernel frees the lock when its holder ends."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import wait
from lab.cluster import stacks
from lab.config import Settings
from lab.errors import DeadlineExceeded
from lab.lifecycle import lock
from lab.lifecycle.lock import locked
from lab.output import Status
from tests.integration.conftest import ROOT
from tests.integration.test_runner import gone

# A process in the background ignores SIGINT unless it installs a handler.
HOLDER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from lab import runner
from lab.config import Settings
from lab.lifecycle.lock import locked
from lab.output import Status
with locked(Settings(root=Path(sys.argv[1])), "lab-up", Status()):
    runner.run(["sh", "-c", f"echo $$ >{sys.argv[1]}/child; exec sleep 300"], timeout=300)
"""

# It holds the lock, but for 0.3 s the file still names the previous holder, which has ended.
NAMELESS = """
import fcntl, sys, time
with open(sys.argv[1], "r+") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(0.3)
    file.write("lab-up (process 1)           ")
    file.flush()
    time.sleep(1.5)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path)


def hold(lab: Settings) -> tuple[subprocess.Popen[bytes], int]:
    """Start a process that holds the lab's lock and has a child. Returns both once they run."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(lab.root)], cwd=ROOT)
    child = lab.root / "child"
    deadline = time.monotonic() + 20
    while not (child.exists() and child.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return holder, int(child.read_text())


def test_a_waiting_task_names_the_holder(
    lab: Settings, status: Status, progress: io.StringIO
) -> None:
    holder, _ = hold(lab)
    try:
        with (
            pytest.raises(DeadlineExceeded, match="the lock of lab `lab`"),
            locked(lab, "lab-down", status, timeout=0.5),
        ):
            pass
        expected = f"waiting for lab `lab`: held by lab-up (process {holder.pid})"
        assert expected in progress.getvalue()
    finally:
        holder.send_signal(signal.SIGINT)
        holder.wait(20)
    with locked(lab, "lab-down", status, timeout=5):
        assert "lab-down" in (lab.state / "lock").read_text()


def test_a_waiting_task_names_the_first_holder_once_it_has_written_its_name(
    lab: Settings, status: Status, progress: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If two tasks start together, one may read the file before the holder writes its name."""
    monkeypatch.setattr(lock, "NAMED", 10)
    lab.state.mkdir(parents=True)
    (lab.state / "lock").touch()
    command = [sys.executable, "-c", NAMELESS, str(lab.state / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with locked(lab, "lab-up", status, timeout=20):
            assert "waiting for lab `lab`: held by lab-up (process 1)" in progress.getvalue()


def test_a_task_that_waited_for_a_destroy_holds_a_lock(
    lab: Settings, status: Status, progress: io.StringIO
) -> None:
    """lab-destroy removes the lock's file. A lock on the removed file would exclude no task."""

    def second() -> str:
        with locked(lab, "lab-up", status, timeout=20):
            with (
                pytest.raises(DeadlineExceeded, match="held by lab-up"),
                locked(lab, "lab-up again", status, timeout=0.5),
            ):
                pass
            return (lab.state / "lock").read_text()

    with ThreadPoolExecutor(1) as pool:
        with locked(lab, "lab-destroy", status):
            waiting = pool.submit(second)
            while "held by lab-destroy" not in progress.getvalue():
                assert not waiting.done()
                time.sleep(0.01)
            lock.remove(lab.state)
        assert waiting.result(20).startswith("lab-up (process")


def test_a_running_pulumi_keeps_its_lock(tmp_path: Path) -> None:
    program = tmp_path / "pulumi"
    shutil.copy2("/bin/sleep", program)
    pulumi = subprocess.Popen([program, "60"])
    named = json.dumps({"pid": pulumi.pid, "hostname": os.uname().nodename})
    # A process gets its name shortly after its start.
    wait.until(lambda: stacks.alive(named) or None, what="a live lock", timeout=10)
    pulumi.kill()
    pulumi.wait()
    assert not stacks.alive(named)


def test_children_of_a_killed_task_are_terminated(lab: Settings, status: Status) -> None:
    holder, child = hold(lab)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(20)
    assert not gone(child)
    with locked(lab, "lab-up", status, timeout=20):
        # The kernel frees the child's lock shortly before the child has ended.
        wait.until(lambda: gone(child) or None, what="the child's end", timeout=10)


def test_a_holder_that_has_not_written_its_name_yet_is_not_terminated(
    lab: Settings, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "NAMED", 10)
    lab.state.mkdir(parents=True)
    (lab.state / "lock").write_text("lab-up (process 99999999)\n")
    command = [sys.executable, "-c", NAMELESS, str(lab.state / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with locked(lab, "lab-up", status, timeout=20):
            assert holder.wait(20) == 0


def test_a_lab_is_removed_while_a_task_waits_for_its_lock(tmp_path: Path) -> None:
    """A waiting task opens the lock repeatedly, which creates the file and its folder again."""
    for each in range(100):
        folder = tmp_path / str(each)
        (folder / "logs").mkdir(parents=True)
        (folder / "tools").symlink_to(ROOT)
        for name in ("kubeconfig", "lock", "logs/vagrant.log"):
            (folder / name).touch()
        removed = threading.Event()

        def wait_for_it(path: Path = folder / "lock", over: threading.Event = removed) -> None:
            while not over.is_set():
                if file := lock._open(path):
                    file.close()

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait_for_it)
            try:
                lock.remove(folder)
            finally:
                removed.set()
            waiting.result()
        assert not folder.exists() or list(folder.iterdir()) == [folder / "lock"]
    assert (ROOT / "inv").exists()
