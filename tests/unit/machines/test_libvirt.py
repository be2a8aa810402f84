"""Remove machines missing in Vagrant's records, and leave other labs' machines alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import runner
from lab.config import Lab
from lab.errors import ConfigError
from lab.machines import libvirt


class Libvirt:
    """A libvirt with these machines: name -> description. `asked` records its other commands."""

    def __init__(self, machines: dict[str, str]) -> None:
        self.machines = machines
        self.asked: list[list[str]] = []

    def run(self, argv: list[str | Path], **_: Any) -> runner.Result:
        words = [str(word) for word in argv[3:]]
        told = {
            "list": "\n".join([*self.machines, ""]),
            "net-list": "default\nlab-lab\n",
            "desc": f"{self.machines.get(words[1], '')}\n",
        }
        if words[0] not in told:
            self.asked.append(words)
        return runner.Result(0, told.get(words[0], ""), "")


def test_only_this_labs_machines_are_removed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = libvirt.description(lab)
    known = Libvirt(
        {
            "lab-control-plane-1": ours,
            "lab-worker-1": ours,
            # One machine of this checkout's lab `lab-worker`, one of another checkout, and one
            # without a description.
            "lab-worker-control-plane-1": ours,
            "lab-worker-2": "lab.root=/elsewhere",
            "lab-worker-3": "No description for domain: lab-worker-3",
        }
    )
    monkeypatch.setattr(runner, "run", known.run)
    assert libvirt.remove(lab)
    removed = [words[1] for words in known.asked if words[0] == "undefine"]
    assert removed == ["lab-control-plane-1", "lab-worker-1"]
    assert known.asked[-2:] == [["net-destroy", "lab-lab"], ["net-undefine", "lab-lab"]]


def test_without_machines_nothing_is_removed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of this name may belong to another checkout."""
    known = Libvirt({"lab-worker-1": "lab.root=/elsewhere"})
    monkeypatch.setattr(runner, "run", known.run)
    assert not libvirt.remove(lab)
    assert not known.asked


@pytest.mark.parametrize(("root", "refused"), [("/usr", True), ("/nowhere", False), ("", False)])
def test_a_lab_of_another_user_with_the_same_name_is_refused(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, root: str, refused: bool
) -> None:
    """Vagrant reported the existing domain only after it had made its box for minutes."""
    text = f"lab.root={root}" if root else "No description for domain: lab-worker-1"
    machines = {"lab-control-plane-1": libvirt.description(lab), "lab-worker-1": text}
    monkeypatch.setattr(runner, "run", Libvirt(machines).run)
    if refused:
        with pytest.raises(ConfigError, match="/usr has a lab `lab` on this host already"):
            libvirt.refuse_another(lab)
    else:
        libvirt.refuse_another(lab)
