"""`vagrant up` in a clone, without Invoke and without a lab: as the homework begins."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.support import copy_checkout, docker

pytestmark = pytest.mark.e2e
Vagrant = Callable[..., str]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("bare") / "eine Übung")


@pytest.fixture(scope="module")
def vagrant(clone: Path, engine: None) -> Iterator[Vagrant]:
    """`vagrant` as a user types it, who has no virtual environment."""
    environment = {key: value for key, value in os.environ.items() if key[:4] != "LAB_"}
    environment.pop("VIRTUAL_ENV", None)
    path = environment["PATH"].split(":")
    environment["PATH"] = ":".join(item for item in path if not item.startswith(sys.prefix))
    if "LAB_CACHE" in os.environ:
        environment["LAB_CACHE"] = os.environ["LAB_CACHE"]

    def run(*words: str) -> str:
        done = subprocess.run(
            ["vagrant", *words],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{words}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    yield run
    run("destroy", "--force")
    shutil.rmtree(clone)


def test_up(vagrant: Vagrant) -> None:
    assert "not created" in vagrant("status")
    vagrant("up", "--provider=docker")
    assert "running (docker)" in vagrant("status")
    memory = docker("inspect", "--format", "{{.HostConfig.Memory}}", "lecture-machine")
    assert memory == [str(2 << 30)]


def test_docker_and_singularity(vagrant: Vagrant) -> None:
    assert vagrant("ssh", "-c", "id -un").strip() == "vagrant"
    build = (
        "mkdir -p image && cp /bin/bash image/ && cd image"
        " && for lib in $(ldd bash | grep -oE '/[^ ]+'); do"
        "  mkdir -p .$(dirname $lib) && cp $lib .$lib; done"
        " && printf 'FROM scratch\\nCOPY . /\\nENTRYPOINT [\"/bash\"]\\n' >Dockerfile"
        " && docker build --quiet --tag mine . && docker run --rm mine -c 'echo by docker'"
    )
    assert vagrant("ssh", "-c", build).splitlines()[-1].strip() == "by docker"
    run = (
        "docker save --output mine.tar mine && export APPTAINER_TMPDIR=/var/tmp"
        " && singularity --quiet exec docker-archive:mine.tar /bash -c 'echo by singularity'"
    )
    assert vagrant("ssh", "-c", run).splitlines()[-1].strip() == "by singularity"


def test_the_checkout_is_synced(vagrant: Vagrant, clone: Path) -> None:
    (clone / "mine.txt").write_text("from the host")
    assert vagrant("ssh", "-c", "cat /vagrant/mine.txt").strip() == "from the host"


def test_port_8001_is_the_hosts(vagrant: Vagrant) -> None:
    serve = "socat -U TCP-LISTEN:8001,reuseaddr,fork OPEN:/home/vagrant/answer,rdonly"
    start = f"echo from the machine >answer; sudo systemd-run --quiet --unit serve {serve}"
    vagrant("ssh", "-c", start)
    deadline = time.monotonic() + 20
    answer = b""
    while not answer:
        assert time.monotonic() < deadline
        # Before the machine listens, Docker's end of it hangs up.
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", 8001), timeout=5) as connection,
        ):
            answer = connection.recv(100)
        time.sleep(0.2)
    assert answer == b"from the machine\n"


def test_provision_one_part(vagrant: Vagrant) -> None:
    story = vagrant("provision", "--provision-with", "docker")
    assert "Running provisioner: docker" in story
    assert "singularity" not in story


def test_it_takes_itself_away(vagrant: Vagrant) -> None:
    vagrant("destroy", "--force")
    assert not docker("ps", "--all", "--quiet", "--filter", "name=lecture-machine")
