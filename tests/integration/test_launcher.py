"""`./inv`, which everything begins with."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.integration.conftest import ROOT


def test_what_was_compiled_is_kept_whatever_the_shell_says() -> None:
    """Many containers and CI services have the variable set: every process took twice as long."""
    kept = ROOT / ".venv" / "bytecode" / ROOT.relative_to("/") / "lab"
    compiled = kept / f"practice.{sys.implementation.cache_tag}.pyc"
    compiled.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([ROOT / "inv", "check", "nothing"], env=environment, capture_output=True)
    assert compiled.exists()


def test_a_bare_vagrant_up_needs_no_package() -> None:
    """It makes its image without `./inv`, by whatever Python the host has."""
    words = [sys.executable, "-S", "-c", "import sys; sys.path.insert(0, '.'); import lab.bare"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
