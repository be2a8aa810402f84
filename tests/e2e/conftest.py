"""One lab, in a checkout of its own at a path that is no friend of shells; others beside it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import config
from lab.host import facts, prerequisites
from lab.lifecycle import opened
from lab.machines import driver
from lab.output import Status
from tests.e2e import kills, virtual
from tests.e2e.support import NAME, Invoke, copy_checkout, leftovers, scrub


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("e2e") / "mein Labor für $HOME's R&D")


@pytest.fixture(scope="session")
def engine(checkout: Path) -> None:
    """What the tests themselves need of a bare machine, by the lab's own steps."""
    lab = config.load(checkout, {"name": NAME, "provider": "docker"}, {})
    status = Status()
    host = facts.gather(config.cache_folder())
    if missing := prerequisites.missing(lab, host):
        prerequisites.install(missing, host, status, opened.toolchain_of(lab, status))
    if not host.docker_engine:
        prerequisites.start_docker(host, config.cache_folder(), status)


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
class Beside:
    """What goes on beside the first lab."""

    machine: Future[virtual.VirtualMachine]
    killed: Future[kills.Ending]


@pytest.fixture(scope="session")
def beside(
    checkout: Path, engine: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Beside]:
    """A virtual machine, and a lab whose lab-up is killed: test_2_... tell of them.

    Each takes minutes in which a test would only wait. Whoever asks first begins it.
    """
    with ThreadPoolExecutor(2) as pool:
        machine = pool.submit(virtual.boot, checkout)
        yield Beside(
            machine, pool.submit(kills.in_every_step, checkout, tmp_path_factory.mktemp("other"))
        )
        pool.shutdown(cancel_futures=True)
        virtual.weigh(virtual.USUAL)
        if not machine.exception():
            machine.result().remote.close()
            driver.remove(machine.result().machines.lab, Status())
