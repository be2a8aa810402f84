"""Machines that Vagrant knows no more: whose they are, and that nobody else's are touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import runner
from lab.config import Lab
from lab.errors import ConfigError
from lab.machines import libvirt


class Libvirt:
    """A libvirt with these machines, by their descriptions; `asked` is what else was wanted."""

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


def test_only_the_machines_of_this_lab_go(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = libvirt.description(lab)
    known = Libvirt(
        {
            "lab-control-plane-1": ours,
            "lab-worker-1": ours,
            # Of the checkout's lab `lab-worker`, of another checkout, and of nobody known.
            "lab-worker-control-plane-1": ours,
            "lab-worker-2": "lab.root=/elsewhere",
            "lab-worker-3": "No description for domain: lab-worker-3",
        }
    )
    monkeypatch.setattr(runner, "run", known.run)
    assert libvirt.remove(lab)
    gone = [words[1] for words in known.asked if words[0] == "undefine"]
    assert gone == ["lab-control-plane-1", "lab-worker-1"]
    assert known.asked[-2:] == [["net-destroy", "lab-lab"], ["net-undefine", "lab-lab"]]


def test_without_machines_nothing_goes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of this name may be another checkout's."""
    known = Libvirt({"lab-worker-1": "lab.root=/elsewhere"})
    monkeypatch.setattr(runner, "run", known.run)
    assert not libvirt.remove(lab)
    assert not known.asked


@pytest.mark.parametrize(("root", "refused"), [("/usr", True), ("/nowhere", False), ("", False)])
def test_a_lab_of_this_name_that_another_user_has(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, root: str, refused: bool
) -> None:
    """Vagrant said that a domain of this name is there, after the minutes of making its box."""
    text = f"lab.root={root}" if root else "No description for domain: lab-worker-1"
    machines = {"lab-control-plane-1": libvirt.description(lab), "lab-worker-1": text}
    monkeypatch.setattr(runner, "run", Libvirt(machines).run)
    if refused:
        with pytest.raises(ConfigError, match="/usr has a lab `lab` on this host already"):
            libvirt.refuse_another(lab)
    else:
        libvirt.refuse_another(lab)
