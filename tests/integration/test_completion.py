"""Completion in real shells, set up by the line that `lab-env` prints."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from lab.cli import completion
from lab.errors import LabError
from lab.exercises import catalogue
from tests.e2e.support import install
from tests.integration.conftest import ROOT

EXERCISES = sorted(item.name for item in catalogue.discover(ROOT))
# A completion feels slow after this many seconds.
LIMIT = 0.15
# Prints the shell's offers for the last of its arguments.
OFFER = """
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_lecture_lab
printf '%s\\n' "${COMPREPLY[@]}"
"""
# Prints the seconds of each of ten completions.
CLOCK = """
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) TIMEFORMAT=%3R
for _ in 1 2 3 4 5 6 7 8 9 10; do time _lecture_lab; done
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with two exercises and two labs. The lab `second` has a machine and a snapshot."""
    root = tmp_path / "a checkout"
    for name in ("pod", "multi_container_pod"):
        (root / "infra/workloads" / name).mkdir(parents=True)
        (root / "infra/workloads" / name / "exercise.toml").touch()
    machines = {"lab": ("control-plane-1", "worker-1"), "second": ("control-plane-1",)}
    for name, hosts in machines.items():
        (root / ".lab" / name).mkdir(parents=True)
        (root / ".lab" / name / "machines.json").touch()
        config = "".join(f"Host {host}\n  HostName 127.0.0.1\n" for host in hosts)
        (root / ".lab" / name / "ssh_config").write_text(config)
    # The folder of all labs' stacks is not a lab.
    (root / ".lab/stacks").mkdir()
    saved = root / ".lab/second/snapshots/before"
    saved.mkdir(parents=True)
    (saved / "snapshot.json").touch()
    return root


def shell(root: Path, script: str, line: str, program: str = "bash", **variables: str) -> list[str]:
    """The sorted lines that a script prints after the line of `lab-env`.

    `line` are the script's arguments.
    """
    # A blank at the end starts another, empty argument.
    words = line.replace("=", " = ").split()
    words += [""] if line.endswith((" ", "=")) else []
    text = f"{completion.line(root)}\n{script}"
    done = subprocess.run(
        [program, "-c", text, program, *words],
        env={"PATH": "/usr/bin:/bin", **variables},
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return sorted(filter(None, done.stdout.splitlines()))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("invoke exercise-", "exercise-down exercise-list exercise-preview exercise-up"),
        ("./inv lab-s", "lab-snapshot lab-ssh lab-status lab-suspend"),
        ("invoke --", "--help --list"),
        ("invoke --help vers", "version"),
        ("invoke check ", "multi-container-pod pod"),
        ("invoke check m", "multi-container-pod"),
        ("invoke check pod m", "multi-container-pod"),
        ("invoke check --a", "--all"),
        ("invoke check --hint ", "1 2 3"),
        ("invoke check --hint 1 p", "pod"),
        ("invoke check --json p", "pod"),
        ("invoke exercise-preview pod ", ""),
        ("invoke exercise-preview --", "--lab"),
        ("invoke smoke --exercise p", "pod"),
        ("invoke lab-up --no", "--no-install"),
        ("invoke lab-up --provider=", "auto docker libvirt virtualbox"),
        ("invoke lab-up --provider=d", "docker"),
        ("invoke lab-up ", ""),
        ("invoke lab-up --mirror ", ""),
        ("invoke lab-ssh ", "control-plane-1 worker-1"),
        ("invoke lab-ssh w", "worker-1"),
        ("invoke lab-ssh --lab ", "lab second"),
        ("invoke lab-ssh --lab second ", "control-plane-1"),
        ("invoke lab-ssh --lab=second ", "control-plane-1"),
        ("invoke lab-ssh --lab none ", ""),
        ("invoke lab-snapshot ", "delete list restore save"),
        ("invoke lab-snapshot restore ", ""),
        ("invoke lab-snapshot --lab second restore ", "before"),
        ("invoke lab-snapshot --lab second save ", ""),
        ("invoke experiment k", "kube-proxy kubelet"),
        ("invoke mnist-run s", "singularity"),
        # A word other than a task may be the value of one of Invoke's own flags.
        ("invoke --search-root . vers", "version"),
    ],
)
def test_the_offers_of_bash(checkout: Path, line: str, offered: str) -> None:
    assert shell(checkout, OFFER, line) == sorted(offered.split())


def test_the_shells_variable_selects_the_lab(checkout: Path) -> None:
    assert shell(checkout, OFFER, "invoke lab-ssh ", LAB_NAME="second") == ["control-plane-1"]


def test_every_exercise_of_this_checkout_is_offered() -> None:
    assert shell(ROOT, OFFER, "invoke check ") == EXERCISES


def test_every_spelling_of_the_command_is_completed(checkout: Path) -> None:
    """Bash finds the completion of ./inv by the last part of its path."""
    printed = shell(checkout, "complete -p invoke inv", "")
    assert printed == ["complete -F _lecture_lab inv", "complete -F _lecture_lab invoke"]


@pytest.mark.parametrize("line", ["invoke ", "invoke check ", "invoke mnist-run --"])
def test_a_completion_takes_less_than_the_limit(line: str) -> None:
    """The fastest of ten counts, so that a busy host does not matter."""
    assert min(float(seconds) for seconds in shell(ROOT, CLOCK, line)) < LIMIT


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("invoke check mul", "invoke check multi-container-pod "),
        ("./inv lab-up --provider=doc", "./inv lab-up --provider=docker "),
        # Bash itself completes a file.
        ("invoke lint infra/workloads/multi_container_pod/ex", "/exercise.toml "),
    ],
)
def test_the_tab_key_completes_a_line(checkout: Path, typed: str, completed: str) -> None:
    """The shell is an interactive bash on a terminal."""
    terminal, end = pty.openpty()
    setup = checkout / "bashrc"
    setup.write_text(f"{completion.line(checkout)}\nPS1=ready:\n")
    words = ["bash", "--rcfile", str(setup), "-i"]
    # A host may have an inputrc, which changes what the Tab key does.
    variables = {"PATH": "/usr/bin:/bin", "TERM": "dumb", "INPUTRC": "/dev/null"}
    child = subprocess.Popen(
        words,
        stdin=end,
        stdout=end,
        stderr=end,
        cwd=checkout,
        env=variables,
        start_new_session=True,
    )
    os.close(end)
    try:
        assert seen(terminal, "ready:")
        os.write(terminal, f"{typed}\t".encode())
        assert seen(terminal, completed)
    finally:
        child.kill()
        child.wait()
        os.close(terminal)


def seen(terminal: int, text: str) -> bool:
    """Whether a terminal shows a text within 20 s."""
    shown, end = "", time.monotonic() + 20
    while text not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096).decode()
    return text in shown


def test_other_shells_skip_the_line(checkout: Path) -> None:
    """`sh` may run a script with the line; on Debian, it is dash."""
    assert shell(checkout, "echo next", "", "sh") == ["next"]


@pytest.fixture(scope="session")
def zsh() -> None:
    """Install zsh. Skips the test if this user may not install packages."""
    try:
        install({"zsh": "/usr/bin/zsh"})
    except LabError as error:
        pytest.skip(f"zsh cannot be installed: {error.message}")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("invoke check m", "multi-container-pod"),
        ("invoke lab-ssh --lab=second ", "control-plane-1"),
        ("invoke lab-up --provider=d", "--provider=docker"),
    ],
)
def test_the_offers_of_zsh(zsh: None, checkout: Path, line: str, offered: str) -> None:
    """zsh's bashcompinit emulates sh, and passes `--flag=value` as one word."""
    words = [*line.split(), *([""] if line.endswith(" ") else [])]
    script = "\n".join(["ask() {", "emulate -L sh", OFFER, "}", f"ask {shlex.join(words)}"])
    assert shell(checkout, script, "", "zsh") == [offered]
