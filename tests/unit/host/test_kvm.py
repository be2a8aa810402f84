"""Whether KVM boots a guest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lab import runner
from lab.errors import DeadlineExceeded
from lab.host import kvm

BOOTED = "[    0.000000] Linux version 6.12"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the test, on a host with the device, an emulator and a kernel."""
    commands: list[list[str]] = []

    def run(argv: Sequence[str], **_: object) -> runner.Result:
        commands.append([str(word) for word in argv])
        return runner.Result(0, BOOTED, "")

    monkeypatch.setattr(kvm.runner, "run", run)
    monkeypatch.setattr(kvm.os, "access", lambda *_: True)
    monkeypatch.setattr(kvm.shutil, "which", lambda name: name)
    monkeypatch.setattr(kvm.Path, "glob", lambda *_: [Path("/boot/vmlinuz")])
    return commands


def test_kvm_is_tested_once(ran: list[list[str]], tmp_path: Path) -> None:
    assert kvm.works(tmp_path) and kvm.works(tmp_path)
    ((program, *words),) = ran
    assert program == "qemu-system-x86_64" and "-machine" not in words
    assert "console=ttyS0" in words[-1]


def test_without_qemu_nothing_is_remembered(
    ran: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first lab-up installs QEMU. A remembered failure would last until the host restarts."""
    with monkeypatch.context() as without:
        without.setattr(kvm.shutil, "which", lambda _: None)
        assert not kvm.works(tmp_path)
    assert not ran
    assert kvm.works(tmp_path)


def test_a_host_with_arm64_gets_another_machine(
    ran: list[list[str]], tmp_path: Path, arm64: None
) -> None:
    assert kvm.works(tmp_path)
    ((program, *words),) = ran
    assert program == "qemu-system-aarch64"
    assert words[words.index("-machine") :][:4] == ["-machine", "virt", "-cpu", "host"]
    assert "console=ttyAMA0" in words[-1]


def test_a_guest_that_hangs_means_no_kvm(
    ran: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(argv: Sequence[str], **_: object) -> runner.Result:
        raise DeadlineExceeded("it hangs")

    monkeypatch.setattr(kvm.runner, "run", run)
    assert not kvm.works(tmp_path)
