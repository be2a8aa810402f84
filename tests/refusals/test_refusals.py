"""What a user does wrong: one sentence, one fix, the right exit code, nothing touched."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.support import Invoke, docker

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("lab-up", "--workers", "99"), 2, "machines.workers: '99' (from flag) must be"),
        (("lab-up", "--provider", "dokcer"), 2, "did you mean `docker`?"),
        (("lab-up", "--source", "mirror"), 2, "mirror: must name a folder"),
        (("lab-status",), 6, "hint: invoke lab-up"),
        (("check", "pod"), 6, "hint: invoke lab-up"),
        (("exercise-up", "pod"), 6, "hint: invoke lab-up"),
        (("exercise-up", "depolyment"), 6, "did you mean `deployment`?"),
        (("lab-env",), 6, "hint: invoke lab-up"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_refused(invoke: Invoke, words: tuple[str, ...], code: int, expected: str) -> None:
    done = invoke(*words, code=code)
    assert expected in done.err
    assert done.err.startswith("error: ")
    assert not docker("ps", "--quiet", "--filter", "label=lab.name=e2e")


def test_every_problem_of_a_file_at_once(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text('provider = "vmware"\n[machines]\nworkerz = 2\ncpus = "many"\n')
    done = invoke("lab-up", code=2, LAB_CONFIG=str(file))
    for expected in ("line 1: provider", "line 3: machines.workerz", "line 4: machines.cpus"):
        assert expected in done.err


def test_neither_root_nor_sudo(invoke: Invoke) -> None:
    """In a user namespace of its own nobody is root; and Docker is somewhere else."""
    done = subprocess.run(
        ["unshare", "--user", *invoke.command("lab-up")],
        cwd=invoke.checkout,
        env={**invoke.environment, "DOCKER_HOST": "unix:///nowhere/docker.sock"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    assert "[docker-engine]" in done.stderr
    assert "hint: start Docker" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_of_an_error(invoke: Invoke) -> None:
    error = json.loads(invoke("lab-status", "--json", code=6).out)["error"]
    assert (error["code"], error["id"]) == (6, "not-found")


def test_taken_port_is_named(invoke: Invoke, tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        file = tmp_path / "lab.toml"
        file.write_text(f"[ports]\nhttp = {port}\n")
        done = invoke("lab-up", code=2, LAB_CONFIG=str(file))
    assert f"ports.http: {port} is in use" in done.err


def chosen_ssh(invoke: Invoke) -> int:
    """The first of the SSH ports that doctor would choose now."""
    findings = invoke.json("doctor")["findings"]
    assert isinstance(findings, list)
    details = {finding["id"]: finding["detail"] for finding in findings}
    return int(details["choice-ports-ssh"].partition(":")[0])


@pytest.fixture
def create(invoke: Invoke) -> Iterator[Callable[..., None]]:
    """Make the container e2e-held, which is never started, with these options."""
    # What a run that was cut off has left.
    docker("rm", "--force", "e2e-held")
    subprocess.run("tar -cT /dev/null | docker import - e2e-held", shell=True, check=True)

    def make(*options: str) -> None:
        docker("create", "--name", "e2e-held", *options, "e2e-held", "none")

    yield make
    docker("rm", "e2e-held")
    docker("rmi", "e2e-held")


@pytest.fixture
def held_port(invoke: Invoke, create: Callable[..., None]) -> int:
    """The port of a container that was created and never started: no program listens on it."""
    port = chosen_ssh(invoke)
    create("--publish", f"127.0.0.1:{port}:22")
    return port


def test_a_lab_of_this_name_that_another_user_has(
    invoke: Invoke, create: Callable[..., None]
) -> None:
    """It is told before the minutes in which the image is made."""
    create("--label", f"lab.name={invoke.lab}", "--label", "lab.root=/root")
    done = invoke("lab-up", code=2)
    assert f"error: /root has a lab `{invoke.lab}` on this host already" in done.err
    assert "hint: choose another name: invoke lab-up --lab NAME" in done.err
    assert not (invoke.state / "choices.json").exists()
    # Nor does this user's lab-destroy touch the other's machines.
    invoke("lab-destroy")
    assert docker("ps", "--all", "--quiet", "--filter", "name=^/e2e-held$")


def test_port_of_a_stopped_container(invoke: Invoke, held_port: int, tmp_path: Path) -> None:
    assert chosen_ssh(invoke) > held_port
    file = tmp_path / "lab.toml"
    file.write_text(f"[ports]\nssh = {held_port}\n")
    done = invoke("lab-up", code=2, LAB_CONFIG=str(file))
    assert f"ports.ssh: {held_port} is in use by e2e-held" in done.err


@pytest.mark.parametrize("driver", ["bridge", "macvlan"])
def test_taken_network_is_named(invoke: Invoke, tmp_path: Path, driver: str) -> None:
    """Also one that no route leads to, as those of macvlan are."""
    if docker("network", "ls", "--quiet", "--filter", "name=^e2e-taken$"):
        docker("network", "rm", "e2e-taken")
    options = ["--opt", "parent=docker0"] if driver == "macvlan" else []
    options += ["--driver", driver, "--subnet", "192.168.63.0/24"]
    docker("network", "create", *options, "e2e-taken")
    try:
        file = tmp_path / "lab.toml"
        file.write_text('[network]\nsubnet = "192.168.63.0/24"\n')
        done = invoke("lab-up", code=2, LAB_CONFIG=str(file))
    finally:
        docker("network", "rm", "e2e-taken")
    holder = "Docker's network e2e-taken has 192.168.63.0/24"
    assert f"network.subnet: 192.168.63.0/24 is taken: {holder}" in done.err
