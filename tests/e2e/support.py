"""The lab as a user types it, and what is seen of it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.config import cache_folder
from lab.errors import LabError
from lab.host import facts, prerequisites
from lab.machines.libvirt import undefine, virsh
from lab.output import Status
from lab.toolchain import Toolchain

ROOT = Path(__file__).resolve().parents[2]
NAME = "e2e"
# Exercises that are there while machines stop, start and are restored: traffic and storage.
KEPT = ("service", "ingress", "volumes")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Invoke:
    """`invoke` in a checkout, always with the same lab name and never with a user's variables."""

    checkout: Path
    lab: str = NAME

    @property
    def state(self) -> Path:
        """The folder in which the lab remembers what it is."""
        return self.checkout / ".lab" / self.lab

    @property
    def environment(self) -> dict[str, str]:
        keep = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
        keep.pop("KUBECONFIG", None)
        # Checks wait longer here: the suite's machine is small, and may be shared.
        return {**keep, "LAB_NAME": self.lab, "LAB_PATIENCE": "3"}

    def command(self, *words: str) -> list[str]:
        """The words that start a task here."""
        return [sys.executable, "-m", "invoke", *words]

    def begin(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a task whose story is read as it comes; `options` are more of Popen's."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def __call__(self, *words: str, code: int = 0, **variables: str) -> Done:
        """Run a task; fails the test when it ends with another code than `code`."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.checkout,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=3000,
        )
        assert done.returncode == code, (
            f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
        assert "Traceback" not in done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, *words: str, code: int = 0, **variables: str) -> dict[str, Any]:
        """The one JSON document that a task prints."""
        done = self(*words, "--json", code=code, **variables)
        answer: dict[str, Any] = json.loads(done.out)
        assert answer["schema"] == 1
        return answer

    @cached_property
    def lab_env(self) -> str:
        """What `lab-env` prints, asked once: a student keeps it for as long as the shell."""
        return self("lab-env").out

    def shell(self, line: str, code: int = 0) -> str:
        """Run a shell line with what `lab-env` prints, as a student does by hand."""
        script = f"{self.lab_env}\n{line}"
        environment = {**self.environment}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"{line}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def install(needed: Mapping[str, str]) -> None:
    """Install the packages of Debian that a test lacks; `needed` is package -> a file of it."""
    if missing := [package for package, file in needed.items() if not Path(file).exists()]:
        status, cache = Status(), cache_folder()
        toolchain = Toolchain(ROOT, cache, status)
        prerequisites.install(missing, facts.gather(cache), status, toolchain)


def docker(*words: str) -> list[str]:
    """Lines that the Docker client prints."""
    return subprocess.run(
        ["docker", *words], check=True, capture_output=True, text=True
    ).stdout.split()


def containers(name: str) -> list[str]:
    """The containers of a lab that run."""
    return sorted(docker("ps", "--quiet", "--filter", f"label=lab.name={name}"))


def scrub(name: str) -> None:
    """Remove what a run of these tests that was cut off left of a lab."""
    mine = ["--filter", f"label=lab.name={name}"]
    for listing, removal in (
        (("ps", "--all", "--quiet"), ("rm", "--force", "--volumes")),
        (("volume", "ls", "--quiet"), ("volume", "rm")),
        (("network", "ls", "--quiet"), ("network", "rm")),
    ):
        if found := docker(*listing, *mine):
            docker(*removal, *found)


def scrub_virtual(name: str) -> None:
    """The same of virtual machines; where libvirt does not answer there are none."""
    with contextlib.suppress(LabError):
        for machine in virsh("list", "--all", "--name").split():
            if machine.startswith(f"{name}-"):
                undefine(machine)


def leftovers() -> dict[str, set[str]]:
    """What a lab could leave behind on the host, to be compared before and after."""
    read = {
        "containers": ["docker", "ps", "--all", "--quiet"],
        "volumes": ["docker", "volume", "ls", "--quiet"],
        "networks": ["docker", "network", "ls", "--format", "{{.Name}}"],
        "links": ["ls", "/sys/class/net"],
        "routes": ["cut", "-f", "1,2,3,8", "/proc/net/route"],
        "rules": ["iptables-save"],
        "mounts": ["findmnt", "--raw", "--noheadings", "--output", "TARGET"],
    }
    found = {}
    for name, command in read.items():
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        # Counters move by themselves. Libvirt keeps its networks for the next machine, and of the
        # tables that it was the first to use their names.
        lines = (
            line.split("[")[0].strip()
            for line in text.splitlines()
            if not any(word in line for word in ("LIBVIRT", "virbr", "vnet"))
        )
        found[name] = {line for line in lines if line and line[0] not in "#*:"}
    return found


def copy_checkout(target: Path) -> Path:
    """The files under version control, and those that are about to be, at another path."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def names(items: Sequence[dict[str, Any]], key: str = "name") -> Sequence[str]:
    """One field of every entry of a list in a JSON document."""
    assert isinstance(items, list)
    return [item[key] for item in items]


def ready(status: dict[str, Any]) -> int:
    """How many nodes `lab-status --json` knows; fails the test when one of them is not Ready."""
    nodes = status["nodes"]
    assert all(node["ready"] is True for node in nodes), nodes
    return len(nodes)


def deployed(invoke: Invoke) -> set[str]:
    """The names of the exercises that are up."""
    listed = invoke.json("lab-status")["exercises"]
    assert isinstance(listed, list)
    return {exercise["name"] for exercise in listed if exercise["resources"]}
