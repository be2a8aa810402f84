"""`./inv`, which everything begins with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

# Makes an environment, and tells by whom it was made.
PYTHON = """#!/bin/sh
name=$(basename "$0")
case "$1 $2" in
"-c import sys, venv"*) [ "$name" != "${WITHOUT_VENV:-}" ] || exit 1 ;;
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


def test_what_was_compiled_is_kept_whatever_the_shell_says() -> None:
    """Many containers and CI services have the variable set: every process took twice as long."""
    kept = ROOT / ".venv" / "bytecode" / ROOT.relative_to("/") / "lab"
    compiled = kept / f"practice.{sys.implementation.cache_tag}.pyc"
    compiled.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([ROOT / "inv", "check", "nothing"], env=environment, capture_output=True)
    assert compiled.exists()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but `./inv`, and beside it Pythons that only seem to be ones."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copy2(ROOT / "inv", folder)
    (folder / "requirements.lock").touch()
    for version in ("python3.13", "python3.12"):
        (tmp_path / version).write_text(PYTHON)
        (tmp_path / version).chmod(0o755)
    return folder


def started(checkout: Path, **variables: str) -> str:
    """What `./inv` prints."""
    path = f"{checkout.parent}:/usr/bin:/bin"
    done = subprocess.run(
        [checkout / "inv"],
        env={"PATH": path, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


def test_an_environment_is_kept_until_it_would_not_work(checkout: Path) -> None:
    made, kept = "preparing the Python environment\nmade by python3.13\n", "made by python3.13\n"
    assert started(checkout) == made
    assert started(checkout) == kept
    # The checkout was moved: what is in the environment has its path.
    moved = checkout.rename(checkout.parent / "elsewhere")
    assert started(moved) == made
    assert started(moved) == kept
    # Python was upgraded, and what the environment leads to is gone.
    python = moved / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.10")
    assert started(moved) == made


def test_a_python_without_venv_is_passed_over(checkout: Path) -> None:
    """A newer one may be there without the package of its module."""
    assert started(checkout, WITHOUT_VENV="python3.13").endswith("\nmade by python3.12\n")


def test_two_terminals_make_one_environment(checkout: Path) -> None:
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: started(checkout, TAKES="0.5"), range(2)))
    kept = "made by python3.13\n"
    assert sorted(both) == [kept, f"preparing the Python environment\n{kept}"]


@pytest.mark.parametrize("task", [["exercise-list"], ["exercise-list", "--json"]])
def test_a_reader_that_has_seen_enough_is_no_bug(task: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "invoke", *task], cwd=ROOT, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_bare_vagrant_up_needs_no_package() -> None:
    """It makes its image without `./inv`, by whatever Python the host has."""
    words = [sys.executable, "-S", "-c", "import sys; sys.path.insert(0, '.'); import lab.bare"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
