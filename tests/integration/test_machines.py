"""What Vagrant is asked, and what is made of its refusals; a script stands for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.config import Lab
from lab.errors import CommandError
from lab.machines import LOCKED, RACES, Machines
from lab.output import Status


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Lab(root=tmp_path, provider="libvirt")


def vagrant(folder: Path, refusal: str) -> Path:
    """A `vagrant` that refuses the first time it is asked; the file that gets a line each time."""
    asked, script = folder / "asked", folder / "vagrant"
    script.write_text(
        f'#!/bin/sh\necho "$@" >>{asked}\n'
        f'[ "$(wc -l <{asked})" != 1 ] || {{ echo "{refusal}" >&2; exit 1; }}\n'
    )
    script.chmod(0o755)
    return asked


@pytest.mark.parametrize("told", LOCKED)
def test_a_machine_that_another_vagrant_holds_is_asked_for_again(
    lab: Lab, status: Status, told: str
) -> None:
    """It holds one for a moment, for another lab of the same checkout."""
    asked = vagrant(lab.root, f"Vagrant says: {told}!")
    Machines(lab, status).halt()
    assert asked.read_text() == "halt\n" * 2


@pytest.mark.parametrize("told", RACES)
def test_machines_are_asked_for_again_after_a_race(lab: Lab, status: Status, told: str) -> None:
    asked = vagrant(lab.root, f"Vagrant says: {told}")
    lab.state.mkdir(parents=True)
    (lab.state / "machines.json").write_text('{"machines": []}')
    Machines(lab, status).start("image")
    assert asked.read_text() == "up --provider=libvirt\n" * 2


def test_any_other_refusal_is_told_at_once(lab: Lab, status: Status) -> None:
    asked = vagrant(lab.root, "the disk is full")
    with pytest.raises(CommandError, match="the disk is full"):
        Machines(lab, status).halt()
    assert asked.read_text() == "halt\n"
