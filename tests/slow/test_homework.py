"""The MNIST homework on a lab of its own: four commands, a foreign program, and what goes wrong.

Minutes of training: `invoke test --only homework`. docs/ci.md has its time.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import Invoke, copy_checkout, names, scrub

pytestmark = pytest.mark.e2e
WAYS = ("docker", "singularity", "job", "bare")
FOREIGN = str(Path(__file__).parent / "foreign.py")
# Longer than any test here looks at it.
LONG = "60"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, engine: None) -> Iterator[Invoke]:
    scrub("homework")
    run = Invoke(copy_checkout(tmp_path_factory.mktemp("homework") / "ein Labor"), "homework")
    run("lab-up", "--workers", "0")
    run("mnist-up")
    yield run
    run("lab-destroy")


@pytest.fixture(scope="module")
def trained(lab: Invoke) -> dict[str, Any]:
    """One epoch by each way."""
    return {way: run(lab, way, "--epochs", "1") for way in WAYS}


def run(lab: Invoke, way: str, *words: str) -> dict[str, Any]:
    """What `mnist-run` says of a training."""
    found: dict[str, Any] = lab.json("mnist-run", way, *words)["run"]
    return found


def machine(lab: Invoke, line: str, code: int = 0) -> str:
    """A line of shell on the machine."""
    return lab.shell(f"ssh -F \"$LAB_SSH_CONFIG\" control-plane-1 '{line}'", code)


def left(lab: Invoke) -> str:
    """What is there of trainings: containers, processes, mounts, namespaces."""
    look = "docker ps -aq --filter name=mnist-run; pgrep -f [m]ain.py; findmnt -rno TARGET"
    found = machine(lab, f"{look} | grep mnist/root || :")
    return found.strip() + lab.shell("kubectl get ns mnist-run -o name --ignore-not-found").strip()


class Training:
    """`mnist-run` in the background; its lines are collected as they come."""

    def __init__(self, lab: Invoke, *words: str) -> None:
        self.lines: list[str] = []
        # A shell that is not interactive has its children ignore an interrupt.
        heed = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
        self.process = lab.begin("mnist-run", *words, preexec_fn=heed)
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line)

    @property
    def story(self) -> str:
        return "".join(self.lines)

    def until(self, text: str, seconds: float = 90) -> None:
        """Wait for a text in the story."""
        deadline = time.monotonic() + seconds
        while text not in self.story:
            assert self.process.poll() is None, self.story
            assert time.monotonic() < deadline, self.story
            time.sleep(0.1)

    def ends(self, seconds: float = 120) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(seconds)


@pytest.fixture
def train(lab: Invoke) -> Iterator[Callable[..., Training]]:
    """Starts trainings, and ends those that still run."""
    begun: list[Training] = []

    def begin(*words: str) -> Training:
        begun.append(Training(lab, *words))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGINT)
            one.ends()


def test_all_ways_train_one_and_the_same(trained: dict[str, Any]) -> None:
    curves = {way: found["metrics"]["steps"] for way, found in trained.items()}
    assert all(curve == curves["bare"] for curve in curves.values())
    assert all(found["metrics"]["epochs"][-1]["accuracy"] > 0.7 for found in trained.values())
    assert all("MNIST" in found["metrics"]["data"]["name"] for found in trained.values())


def test_they_were_where_they_say(trained: dict[str, Any]) -> None:
    places = {way: found["metrics"]["environment"] for way, found in trained.items()}
    assert places["singularity"]["uid"] != 0 and places["bare"]["uid"] != 0
    assert places["docker"]["uid"] == places["job"]["uid"] == 0
    assert places["docker"]["hostname"] != places["bare"]["hostname"]
    assert places["job"]["memory_limit"] and not places["bare"]["memory_limit"]


def test_nothing_is_left_of_them(lab: Invoke, trained: dict[str, Any]) -> None:
    assert left(lab) == ""


def test_again_changes_nothing(lab: Invoke) -> None:
    again = lab("mnist-up").err
    assert "ready in" in again and "singularity build" not in again and "push" not in again


@pytest.mark.parametrize("way", ["docker", "singularity", "job"])
def test_a_foreign_program(lab: Invoke, way: str) -> None:
    found = run(lab, way, "--program", FOREIGN, "--epochs", "1")
    assert found["code"] == 0 and found["metrics"] is None
    assert "foreign: epoch 1" in found["output"]


@pytest.mark.parametrize("way", ["docker", "job"])
def test_a_wrong_option(lab: Invoke, way: str) -> None:
    begin = time.monotonic()
    refused = lab("mnist-run", way, "--option", "--epoch many", code=2)
    assert "--epoch" in refused.err
    assert time.monotonic() - begin < 40 and left(lab) == ""


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_leaves_nothing_and_is_gone_on_from(
    lab: Invoke, train: Callable[..., Training], way: str
) -> None:
    # So many that it is not over before it hears of the interrupt.
    words = ("--epochs", "8", "--seed", "3")
    training = train(way, *words)
    training.until("epoch 2/8")
    training.process.send_signal(signal.SIGINT)
    # The code of an interrupt is Invoke's own.
    assert training.ends() == 1, training.story
    assert left(lab) == ""
    again = run(lab, way, *words)
    assert again["metrics"]["resumed"] >= 1
    assert [epoch["epoch"] for epoch in again["metrics"]["epochs"]] == [*range(1, 9)]


def test_a_pod_that_is_deleted_is_followed_by_one_that_goes_on(
    lab: Invoke, train: Callable[..., Training]
) -> None:
    training = train("job", "--epochs", "8", "--seed", "4")
    training.until("epoch 2/8")
    lab.shell("kubectl delete pod -n mnist-run --all --now")
    assert training.ends() == 0, training.story
    output = lab.state / "mnist" / "job-run.json"
    assert json.loads(output.read_text())["metrics"]["resumed"] >= 1


def test_a_job_that_is_deleted(lab: Invoke, train: Callable[..., Training]) -> None:
    training = train("job", "--epochs", LONG)
    training.until("epoch 1/")
    lab.shell("kubectl delete job -n mnist-run --all")
    assert training.ends() == 4, training.story
    assert "its Job or its namespace was deleted" in training.story


def test_too_little_memory(lab: Invoke) -> None:
    refused = lab("mnist-run", "job", "--memory", "150", code=4)
    assert "OOMKilled" in refused.err and "--memory" in refused.err


def test_docker_stop(lab: Invoke, train: Callable[..., Training]) -> None:
    training = train("docker", "--epochs", LONG)
    training.until("epoch 1/")
    machine(lab, "docker stop mnist-run")
    assert training.ends() == 4, training.story
    assert "143" in training.story and left(lab) == ""


def test_a_damaged_file_is_named(lab: Invoke) -> None:
    damage = "cp -r ~/mnist/data ~/broken && gzip -d ~/broken/MNIST/raw/*.gz 2>/dev/null;"
    damage += " printf x >>~/broken/MNIST/raw/t10k-labels-idx1-ubyte;"
    told = machine(lab, f"{damage} docker run --rm -v ~/broken:/data mnist --epochs 1", code=2)
    assert "t10k-labels-idx1-ubyte" in told and "SHA-256" in told
    assert "Traceback" not in told


def test_missing_data(lab: Invoke) -> None:
    told = machine(lab, "mkdir ~/none; docker run --rm -v ~/none:/data mnist --epochs 1", code=2)
    assert "Traceback" not in told and "data" in told


def test_a_full_volume_leaves_the_checkpoint_whole(lab: Invoke) -> None:
    """The first checkpoint fits, a second one beside it does not."""
    volume = "--mount type=tmpfs,destination=/small,tmpfs-size=1500000"
    words = "--epochs 2 --checkpoint /small/checkpoint.pt"
    told = machine(lab, f"docker run --rm {volume} mnist {words}", code=1)
    assert "No space left" in told and "Traceback" not in told


def test_a_registry_that_is_down(lab: Invoke) -> None:
    machine(lab, "sudo systemctl stop lab-registry")
    try:
        refused = lab("mnist-run", "docker", code=4)
        assert "registry does not answer" in refused.err
        # The other exercises are none of its business.
        assert (
            "left out: exercise `mnist`" in lab("check", "--all", code=5, LAB_PATIENCE="0.02").err
        )
    finally:
        machine(lab, "sudo systemctl start lab-registry")


def test_a_machine_that_is_killed(lab: Invoke, train: Callable[..., Training]) -> None:
    """Its checkpoint lies on its disk: the same command goes on when it is back."""
    training = train("docker", "--epochs", "8", "--seed", "5")
    training.until("epoch 3/8")
    subprocess.run(["docker", "kill", f"{lab.lab}-control-plane-1"], check=True)
    assert training.ends(180) == 9, training.story
    assert "no answer for 60 s" in training.story and "invoke lab-up" in training.story
    lab("lab-up")
    again = run(lab, "docker", "--epochs", "8", "--seed", "5")
    assert again["metrics"]["resumed"] >= 2


def test_the_exercise(lab: Invoke) -> None:
    lab("exercise-up", "mnist")
    report = lab.json("check", "mnist")
    assert report["score"] == report["points"], report
    lab("exercise-down", "mnist")


def test_compared(lab: Invoke, tmp_path: Path) -> None:
    words = ("--repetitions", "1", "--epochs", "1", "--no-cold", "--output", str(tmp_path))
    found = lab.json("mnist-compare", *words)
    assert set(names(found["samples"], "way")) == set(WAYS)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".html"}


def test_submitted(lab: Invoke, tmp_path: Path) -> None:
    """Without a student's own words and changes the bundle is told to be unfinished."""
    done = lab("mnist-submit", "--output", str(tmp_path / "bundle"), "--student", "ada", code=5)
    assert "report" in done.out
    assert (tmp_path / "bundle" / "Dockerfile").exists()
