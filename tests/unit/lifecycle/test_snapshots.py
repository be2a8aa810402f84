"""Snapshots: when one exists, what it remembers, and what a killed task leaves of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.config import Lab
from lab.errors import ConfigError, NotFoundError, PrerequisiteError, ResourceError
from lab.lifecycle import operations, snapshots
from lab.machines import containers
from lab.output import Status


class Killed(BaseException):
    """The end of a task, at any instant."""


class Machines:
    """Stands for lab.machines.Machines; `killed_at` names the call that does not return."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.ids = {"control-plane-1": "a1", "worker-1": "b2"}
        self.running = True
        self.calls: list[str] = []
        self.killed_at = ""

    def known(self) -> dict[str, str]:
        return self.ids

    def pause(self) -> bool:
        self._call("pause")
        return self.running

    def resume(self) -> None:
        self._call("resume")

    def save(self, name: str, kept: Sequence[str]) -> None:
        self._call(f"save {name} {list(kept)}")

    def restore(self, name: str) -> None:
        self._call(f"restore {name}")

    def forget(self, name: str, kept: Sequence[str]) -> None:
        self._call(f"forget {name} {list(kept)}")

    def _call(self, words: str) -> None:
        self.calls.append(words)
        if self.killed_at and words.startswith(self.killed_at):
            raise Killed


@pytest.fixture
def machines(lab: Lab) -> Any:
    checkpoint = lab.state / "pulumi" / ".pulumi" / "stacks" / "pod.json"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("old")
    (lab.state / "kubeconfig").write_text("old")
    (lab.state / "kubeconfig").chmod(0o600)
    return Machines(lab)


def change(lab: Lab) -> Path:
    """What is remembered changes: a stack more, a kubeconfig less, a ready lab."""
    stacks = lab.state / "pulumi" / ".pulumi" / "stacks"
    (stacks / "pod.json").write_text("new")
    (stacks / "job.json").write_text("new")
    (lab.state / "kubeconfig").unlink()
    (lab.state / "ready.json").write_text("new")
    return stacks


def test_all_machines_are_held_while_they_are_saved(machines: Any) -> None:
    snapshots.save(machines, "one")
    snapshots.save(machines, "two")
    assert machines.calls[3:] == ["pause", "save two ['one']", "resume"]
    assert [item.name for item in snapshots.listing(machines.lab)] == ["one", "two"]


def test_machines_that_did_not_run_stay_as_they_are(machines: Any) -> None:
    machines.running = False
    snapshots.save(machines, "one")
    assert machines.calls == ["pause", "save one []"]


def test_what_is_remembered_comes_back(machines: Any, lab: Lab) -> None:
    snapshots.save(machines, "one")
    stacks = change(lab)
    snapshots.restore(machines, "one")
    assert {path.name: path.read_text() for path in stacks.iterdir()} == {"pod.json": "old"}
    assert (lab.state / "kubeconfig").read_text() == "old"
    assert (lab.state / "kubeconfig").stat().st_mode & 0o077 == 0
    assert not (lab.state / "ready.json").exists()
    assert not snapshots.unfinished(lab)


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "../a", "a" * 41])
def test_names(machines: Any, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        snapshots.save(machines, name)
    assert not machines.calls


def test_a_name_that_is_taken(machines: Any) -> None:
    snapshots.save(machines, "one")
    with pytest.raises(ConfigError, match="already"):
        snapshots.save(machines, "one")


def test_a_save_that_was_killed_is_no_snapshot(machines: Any, lab: Lab) -> None:
    machines.killed_at = "save"
    with pytest.raises(Killed):
        snapshots.save(machines, "one")
    assert snapshots.listing(lab) == []
    machines.killed_at = ""
    snapshots.save(machines, "one")
    assert [item.name for item in snapshots.listing(lab)] == ["one"]


def test_a_restore_that_was_killed_is_known_and_done_again(machines: Any, lab: Lab) -> None:
    snapshots.save(machines, "one")
    change(lab)
    machines.killed_at = "restore"
    with pytest.raises(Killed):
        snapshots.restore(machines, "one")
    assert snapshots.unfinished(lab) == "one"
    for refused in (snapshots.save, snapshots.delete):
        with pytest.raises(ResourceError, match="was interrupted"):
            refused(machines, "one")
    machines.killed_at = ""
    snapshots.restore(machines, "one")
    snapshots.refuse_unfinished(lab)
    assert (lab.state / "kubeconfig").read_text() == "old"


def test_machines_that_were_made_anew(machines: Any) -> None:
    snapshots.save(machines, "one")
    machines.ids = {**machines.ids, "worker-1": "c3"}
    with pytest.raises(ResourceError, match="saved with other machines"):
        snapshots.restore(machines, "one")
    assert not any(call.startswith("restore") for call in machines.calls)


def test_delete(machines: Any, lab: Lab) -> None:
    for name in ("one", "two"):
        snapshots.save(machines, name)
    machines.killed_at = "forget"
    with pytest.raises(Killed):
        snapshots.delete(machines, "one")
    assert [item.name for item in snapshots.listing(lab)] == ["two"]
    assert machines.calls[-1] == "forget one ['two']"
    with pytest.raises(NotFoundError, match="no snapshot `one`; there are: two"):
        snapshots.delete(machines, "one")


def test_none_of_this_name(machines: Any) -> None:
    with pytest.raises(NotFoundError, match="there is none"):
        snapshots.restore(machines, "one")


@pytest.mark.parametrize(
    "words", [["save"], ["list", "one"], ["save", "one", "two"], ["keep", "a"]]
)
def test_words_that_mean_nothing(lab: Lab, words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"takes save NAME, .* and not"):
        operations.snapshot(lab, words, Status())


def test_the_storage_of_a_container() -> None:
    mounts = [
        {"Type": "volume", "Name": "lab-worker-1", "Destination": "/var/lib/containerd"},
        {"Type": "bind", "Source": "/dev/kmsg", "Destination": "/dev/kmsg"},
    ]
    inspected = {"GraphDriver": {"Data": {"UpperDir": "/layers/1/diff"}}, "Mounts": mounts}
    assert containers.storage(inspected) == {
        "layer": "/layers/1/diff",
        "volumes/var/lib/containerd": "lab-worker-1",
    }
    with pytest.raises(PrerequisiteError, match="overlay2"):
        containers.storage({"GraphDriver": None, "Mounts": mounts})
