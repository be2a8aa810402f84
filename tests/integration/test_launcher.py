"""`./inv` prepares the Python environment and starts tasks, and tasks end cleanly."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

# A stand-in for Python. It makes an environment whose `invoke` prints the name of the stand-in.
PYTHON = """#!/bin/sh
name=$(basename "$0")
case "$1 $2" in
"-c import sys, venv"*)
  case " ${WITHOUT_VENV:-} " in
  *" $name "*) exec test -e "$(dirname "$0")/installed" ;;
  esac
  ;;
"-m venv")
  sleep "${TAKES:-0}"
  mkdir -p "$4/bin"
  rm -f "$4/bin/python"
  cp "$0" "$4/bin/python"
  printf '#!/bin/sh\\necho made by %s\\n' "$name" >"$4/bin/invoke"
  chmod +x "$4/bin/invoke"
  ;;
esac
"""
SUDO = '#!/bin/sh\nshift\nexec "$@"\n'
PYTHONS = ("python3.13", "python3.12", "python3.11", "python3")
# A stand-in for apt-get while another apt-get updates: `update` fails, and `install` succeeds.
APT = """#!/bin/sh
case "$*" in
*update) echo "E: Could not get lock /var/lib/apt/lists/lock" >&2; exit 100 ;;
*install*python3-venv) touch "$(dirname "$0")/installed" ;;
esac
"""


def test_bytecode_is_kept_although_the_shell_forbids_it() -> None:
    """Many containers and CI services set the variable, and tasks then took twice as long."""
    kept = ROOT / ".venv" / "bytecode" / ROOT.relative_to("/") / "lab" / "exercises"
    compiled = kept / f"practice.{sys.implementation.cache_tag}.pyc"
    compiled.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([ROOT / "inv", "check", "nothing"], env=environment, capture_output=True)
    assert compiled.exists()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that only has `./inv`, beside stand-ins for several versions of Python."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copy2(ROOT / "inv", folder)
    (folder / "requirements.lock").touch()
    programs = dict.fromkeys(PYTHONS, PYTHON) | {"apt-get": APT, "sudo": SUDO}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return folder


def started(checkout: Path, **variables: str) -> str:
    """Start `./inv`, and return its output."""
    path = f"{checkout.parent}:/usr/bin:/bin"
    done = subprocess.run(
        [checkout / "inv"],
        env={"PATH": path, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


def test_an_environment_is_kept_while_it_works(checkout: Path) -> None:
    made, kept = "preparing the Python environment\nmade by python3.13\n", "made by python3.13\n"
    assert started(checkout) == made
    assert started(checkout) == kept
    # The environment's programs contain the path of the checkout, which moves here.
    moved = checkout.rename(checkout.parent / "elsewhere")
    assert started(moved) == made
    assert started(moved) == kept
    # An upgrade of Python removes the target of the environment's link.
    python = moved / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.10")
    assert started(moved) == made


def test_a_python_without_venv_is_skipped(checkout: Path) -> None:
    """A host may have a newer Python without the package of its module venv."""
    assert started(checkout, WITHOUT_VENV="python3.13").endswith("\nmade by python3.12\n")


def test_a_variable_selects_the_python(checkout: Path) -> None:
    """CI tests the oldest Python on a host that also has a newer one."""
    assert started(checkout, LAB_PYTHON="python3.11").endswith("\nmade by python3.11\n")


def test_another_apt_get_does_not_make_inv_fail(checkout: Path) -> None:
    """A host may update itself after its start."""
    printed = started(checkout, WITHOUT_VENV=" ".join(PYTHONS))
    assert printed.endswith("\nmade by python3.13\n")


def test_two_terminals_make_one_environment(checkout: Path) -> None:
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: started(checkout, TAKES="0.5"), range(2)))
    kept = "made by python3.13\n"
    assert sorted(both) == [kept, f"preparing the Python environment\n{kept}"]


@pytest.mark.parametrize("task", [["exercise-list"], ["exercise-list", "--json"]])
def test_a_task_whose_reader_closes_the_pipe_is_not_a_bug(task: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "invoke", *task], cwd=ROOT, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


# A task with these lines. It only writes below the folder.
TASK = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from invoke import Context
from invoke.exceptions import Exit
from lab import runner
from lab.cli import task
task.ROOT = Path({folder!r})
def body(context):
    {body}
try:
    task.task(body).body(Context())
except Exit as end:
    print(end.message, file=sys.stderr)
    sys.exit(end.code)
"""


def as_task(folder: Path, body: str, redirection: str = "") -> subprocess.CompletedProcess[str]:
    """Run the lines of a body as a task. A shell redirects the task's output."""
    program = TASK.format(folder=str(folder), body="\n    ".join(body.splitlines()))
    words = shlex.join([sys.executable, "-c", program])
    line = f"{words} {redirection}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(
        ["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_a_closed_pipe_ends_the_children(tmp_path: Path) -> None:
    """Otherwise, Python waits for its threads, and a thread waits minutes for a build."""
    body = "ThreadPoolExecutor().submit(runner.run, ['sleep', '40'])\n"
    body += "while True: print('line', file=sys.stderr, flush=True)"
    begin = time.monotonic()
    done = as_task(tmp_path, body, "2>&1 | head -1")
    assert (done.returncode, done.stdout) == (128 + signal.SIGPIPE, "line\n")
    assert time.monotonic() - begin < 20


def test_another_broken_pipe_is_a_bug(tmp_path: Path) -> None:
    done = as_task(tmp_path, "a, b = socket.socketpair()\nb.close()\na.send(b'x')")
    assert done.returncode == 70
    assert "BrokenPipeError" in done.stderr and "Traceback" not in done.stderr


def test_a_task_without_stdout_succeeds(tmp_path: Path) -> None:
    done = as_task(tmp_path, "pass", ">&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_bare_vagrant_up_needs_no_package() -> None:
    """It makes its image without `./inv`, with the Python of the host."""
    words = [
        sys.executable,
        "-S",
        "-c",
        "import sys; sys.path.insert(0, '.'); import lab.machines.bare",
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
