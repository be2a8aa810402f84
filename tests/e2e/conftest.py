"""The lab as a user types it, in a checkout of its own at a path that is no friend of shells."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from lab import config, host, lifecycle, prerequisites
from lab.connection import Remote
from lab.machines import Machines
from lab.output import Status

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

    def json(self, *words: str, code: int = 0, **variables: str) -> dict[str, object]:
        """The one JSON document that a task prints."""
        done = self(*words, "--json", code=code, **variables)
        answer: dict[str, object] = json.loads(done.out)
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


def docker(*words: str) -> list[str]:
    """Lines that the Docker client prints."""
    return subprocess.run(
        ["docker", *words], check=True, capture_output=True, text=True
    ).stdout.split()


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


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("e2e") / "mein Labor für $HOME's Kubernetes")


@pytest.fixture(scope="session")
def engine(checkout: Path) -> None:
    """What the tests themselves need of a bare machine, by the lab's own steps."""
    lab = config.load(checkout, {"name": NAME, "provider": "docker"}, {})
    status = Status()
    facts = host.gather(config.cache_folder())
    if missing := prerequisites.missing(lab, facts):
        prerequisites.install(missing, facts, status)
    if not facts.docker_engine:
        prerequisites.start_docker(facts, config.cache_folder(), status)


@pytest.fixture(scope="session")
def invoke(checkout: Path, engine: None) -> Iterator[Invoke]:
    """The tasks; whatever the tests leave is destroyed at the end."""
    scrub(NAME)
    run = Invoke(checkout)
    yield run
    run("lab-destroy")


@pytest.fixture(scope="session", autouse=True)
def clean_host(invoke: Invoke) -> dict[str, set[str]]:
    """The host before the first lab."""
    return leftovers()


@dataclass(frozen=True)
class VirtualMachine:
    """A lab of one virtual machine, and the connection to it."""

    machines: Machines
    remote: Remote


@pytest.fixture(scope="session")
def booting(checkout: Path, engine: None) -> Iterator[Future[VirtualMachine]]:
    """A virtual machine that is being made; whoever asks first begins it."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(boot, checkout)
        yield future
        if not future.exception():
            future.result().remote.close()
            future.result().machines.remove()


# Of lab-up, all but Kubernetes: emulated, that alone takes minutes (tests/apart/test_vm.py).
STEPS = (
    lifecycle.install_prerequisites,
    lifecycle.remember_choices,
    lifecycle.make_node_image,
    lifecycle.start_machines,
    lifecycle.prepare_machines,
)


def boot(checkout: Path) -> VirtualMachine:
    """Make a virtual machine by Vagrant's libvirt provider, with the lab's registry."""
    # Emulated, the kernel may wait for ever for a second processor: docs/known-issues.md.
    asked = {"name": "vm", "provider": "libvirt", "machines.workers": 0, "machines.cpus": 1}
    lab = config.load(checkout, asked, environ={})
    status = Status()
    up = lifecycle.Bringup.of(lab, lifecycle.toolchain_of(lab, status), status)
    try:
        for step in STEPS:
            step(up)
    except BaseException:
        if (lab.state / "machines.json").exists():
            up.machines.remove()
        raise
    finally:
        up.pool.shutdown(wait=False)
    return VirtualMachine(up.machines, up.remotes[0])


def names(items: object, key: str = "name") -> Sequence[str]:
    """One field of every entry of a list in a JSON document."""
    assert isinstance(items, list)
    return [item[key] for item in items]
