"""Texts that are not ASCII, where the locale is not UTF-8."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

# A typographic quote, and letters that Latin-1 has too: lint names the quote, and shows the line.
MANIFEST = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: café\ndata:\n  a: “good evening”\n"
INVOKE = [sys.executable, "-m", "invoke"]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "quote.yaml"
    path.write_text(MANIFEST, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def latin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a German locale of old, made in a folder of the test's."""
    if not Path("/usr/share/i18n/charmaps").exists():
        pytest.skip("this host has no sources of locales: Debian's package locales")
    folder = tmp_path_factory.mktemp("locales")
    made = ["localedef", "--inputfile=de_DE", "--charmap=ISO-8859-1", str(folder / "de_DE")]
    subprocess.run(made, check=True, capture_output=True)
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE"}


def lint(
    manifest: Path, words: Sequence[str | Path], variables: dict[str, str]
) -> subprocess.CompletedProcess[bytes]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [*words, "lint", manifest], cwd=ROOT, env={**keep, **variables}, capture_output=True
    )


def test_an_output_that_cannot_show_everything(manifest: Path) -> None:
    """It was "a bug of the lab"."""
    done = lint(manifest, INVOKE, {"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 5 and b"Traceback" not in done.stderr
    assert b"caf\xe9" in done.stdout or b"\\u201c" in done.stdout


@pytest.mark.parametrize("words", [[ROOT / "inv"], INVOKE], ids=["inv", "invoke"])
def test_a_locale_that_is_not_utf_8(
    manifest: Path, words: Sequence[str | Path], latin: dict[str, str]
) -> None:
    """Files were read as Latin-1 without a word."""
    locale = [sys.executable, "-c", "import locale; print(locale.getencoding())"]
    told = subprocess.run(locale, env=latin, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "ISO-8859-1"
    done = lint(manifest, words, latin)
    usual = lint(manifest, words, {"LC_ALL": "C.UTF-8"})
    assert (done.stdout, done.stderr) == (usual.stdout, usual.stderr)
    assert done.returncode == 5 and "“".encode() in done.stdout


def test_children_print_utf_8(latin: dict[str, str]) -> None:
    """Whatever a shell says of Python's output: what they print is read as UTF-8."""
    program = (
        "import sys; from lab import encoding, runner; encoding.insist();"
        "print(runner.run([sys.executable, '-c', 'print(chr(0x201c))']).stdout)"
    )
    environment = {**os.environ, **latin, "PYTHONUTF8": "1", "PYTHONIOENCODING": "latin-1"}
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, check=True)
    assert done.stdout == b"\\u201c\n\n"


def test_a_clone_has_lf_whatever_git_is_set_to(tmp_path: Path) -> None:
    """As Git for Windows makes one: no shell of a machine would run its scripts."""
    for name in ("inv", "vagrant/machine.sh", ".gitattributes"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    settings = ["-c", "core.autocrlf=true", "-c", "user.name=a", "-c", "user.email=a@b.example"]
    steps = [["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "first"]]
    steps += [["rm", "-r", "--quiet", "."], ["reset", "--quiet", "--hard"]]
    for step in steps:
        subprocess.run(["git", *settings, *step], cwd=tmp_path, check=True, capture_output=True)
    for name in ("inv", "vagrant/machine.sh"):
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()
        assert b"\r" not in (tmp_path / name).read_bytes()
