"""Vagrant's commands and the lab's reaction to its errors. Vagrant is a script."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab.config import Lab, Ports
from lab.errors import CommandError
from lab.machines import libvirt
from lab.machines.driver import RACES, Machines
from lab.machines.vagrant import LOCKED, Vagrant
from lab.output import Status


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Lab(
        root=tmp_path,
        provider="libvirt",
        distribution="kubeadm",
        kubernetes="1.35.4",
        workers=0,
        subnet=IPv4Network("192.168.56.0/24"),
        ports=Ports(api=6443, http=8080, registry=5000, ssh=2222),
    )


def vagrant(folder: Path, refusal: str) -> Path:
    """A `vagrant` that fails at its first call. Returns the file with a line for each call."""
    asked, script = folder / "asked", folder / "vagrant"
    script.write_text(
        f'#!/bin/sh\necho "$@" >>{asked}\n'
        f'[ "$(wc -l <{asked})" != 1 ] || {{ echo "{refusal}" >&2; exit 1; }}\n'
    )
    script.chmod(0o755)
    return asked


@pytest.mark.parametrize("told", LOCKED)
def test_a_command_is_retried_while_another_vagrant_holds_the_machine(
    lab: Lab, status: Status, told: str
) -> None:
    """Vagrant locks a machine briefly for another lab of the same checkout."""
    asked = vagrant(lab.root, f"Vagrant says: {told}!")
    Vagrant(lab, status).halt()
    assert asked.read_text() == "halt\n" * 2


@pytest.mark.parametrize("told", RACES)
def test_vagrant_up_is_retried_after_a_race(lab: Lab, status: Status, told: str) -> None:
    asked = vagrant(lab.root, f"Vagrant says: {told}")
    lab.state.mkdir(parents=True)
    (lab.state / "machines.json").write_text('{"machines": []}')
    Machines(lab, status).start("image")
    assert asked.read_text() == "up --provider=libvirt\n" * 2


def test_vagrant_can_read_any_path(lab: Lab, status: Status) -> None:
    """With LC_ALL=C, Vagrant fails in a checkout whose path has an umlaut."""
    locale, script = lab.root / "locale", lab.root / "vagrant"
    script.write_text(f'#!/bin/sh\necho "$LC_ALL" >"{locale}"\n')
    script.chmod(0o755)
    Vagrant(lab, status).halt()
    assert locale.read_text() == "C.UTF-8\n"


def test_any_other_error_is_raised_at_once(lab: Lab, status: Status) -> None:
    asked = vagrant(lab.root, "the disk is full")
    with pytest.raises(CommandError, match="the disk is full"):
        Vagrant(lab, status).halt()
    assert asked.read_text() == "halt\n"


def test_removing_unrecorded_machines_ends_their_port_forwards(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vagrant's records of these processes lay in the lab's folder, which no longer exists."""
    monkeypatch.setattr(libvirt, "virsh", lambda *_, **__: "")
    children = []
    for key in (lab.state, lab.state.with_name("another")):
        words = ["-o", f'IdentityFile="{key}/id_ed25519"', "-L", "127.0.0.1:8080:10.0.0.1:80"]
        command = [sys.executable, "-c", "import time; time.sleep(60)", *words]
        children.append(subprocess.Popen(command))
    try:
        assert not libvirt.remove(lab)
        assert children[0].wait(10) == -15
        assert children[1].poll() is None
    finally:
        for child in children:
            child.kill()
            child.wait()
