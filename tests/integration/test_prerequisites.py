"""Daemons and a kernel module that the lab starts and loads before the first machine."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from lab.config import Settings
from lab.errors import PrerequisiteError
from lab.host import facts, prerequisites
from lab.lifecycle import lock
from lab.output import Status

# A stand-in for a daemon of libvirt. `virsh` answers once both daemons run.
DAEMON = """#!/bin/sh
if [ "$1" = --daemon ]; then
  sleep 60 &
  echo $! >{folder}/{name}.pid
else
  echo $$ >{folder}/{name}.pid
  exec sleep 60
fi
"""
VIRSH = "#!/bin/sh\ncat {folder}/virtlogd.pid {folder}/libvirtd.pid\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stand-ins, first in PATH, on a host without systemd."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("virtlogd", "libvirtd", "virsh"):
        text = VIRSH if name == "virsh" else DAEMON
        (folder / name).write_text(text.format(folder=folder, name=name))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(prerequisites, "SYSTEMD", tmp_path / "none")
    return folder


def test_libvirts_daemons_do_not_hold_the_labs_lock(
    programs: Path, tmp_path: Path, status: Status
) -> None:
    """Otherwise, the next task takes them for children of a killed task, and terminates them."""
    lab = Settings(root=tmp_path)
    host = replace(facts.gather(tmp_path), is_root=True)
    with lock.locked(lab, "lab-up", status):
        prerequisites.start_libvirt(host, tmp_path / "cache", status)
    try:
        assert lock.holders(lab.state / "lock") == []
    finally:
        for pid in programs.glob("*.pid"):
            os.kill(int(pid.read_text()), signal.SIGTERM)


@pytest.mark.parametrize("loads", [True, False])
def test_br_netfilter_is_loaded_or_the_error_gives_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Status, loads: bool
) -> None:
    """Docker does not load it since 27.3. A container may have no modules of its kernel."""
    asked, program = tmp_path / "asked", tmp_path / "modprobe"
    refusal = "" if loads else "echo modprobe: FATAL: Module br_netfilter not found >&2; exit 1\n"
    program.write_text(f'#!/bin/sh\necho "$@" >>"{asked}"\n{refusal}')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    host = replace(facts.gather(tmp_path), is_root=True)
    if loads:
        prerequisites.load_bridge_netfilter(host, status)
    else:
        with pytest.raises(PrerequisiteError, match=r"does not load br_netfilter.*not found"):
            prerequisites.load_bridge_netfilter(host, status)
    assert asked.read_text() == "br_netfilter\n"
