"""Texts with other characters than ASCII, on hosts whose locale is not UTF-8."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

# It has typographic quotes, and a letter that Latin-1 also has. lint names the quote and shows the
# line.
MANIFEST = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: café\ndata:\n  a: “good evening”\n"
INVOKE = [sys.executable, "-m", "invoke"]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "quote.yaml"
    path.write_text(MANIFEST, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def latin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a German locale with Latin-1, which the fixture makes in its own folder."""
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


def test_an_output_without_some_characters_is_not_a_bug(manifest: Path) -> None:
    """Python escapes the characters that the output's encoding lacks."""
    done = lint(manifest, INVOKE, {"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 5 and b"Traceback" not in done.stderr
    assert b"caf\xe9" in done.stdout or b"\\u201c" in done.stdout


@pytest.mark.parametrize("words", [[ROOT / "inv"], INVOKE], ids=["inv", "invoke"])
def test_files_are_read_as_utf_8_in_every_locale(
    manifest: Path, words: Sequence[str | Path], latin: dict[str, str]
) -> None:
    """In this locale, Python by itself would read files as Latin-1."""
    locale = [sys.executable, "-c", "import locale; print(locale.getencoding())"]
    python = subprocess.run(locale, env=latin, capture_output=True, text=True, check=True)
    assert python.stdout.strip() == "ISO-8859-1"
    done = lint(manifest, words, latin)
    usual = lint(manifest, words, {"LC_ALL": "C.UTF-8"})
    assert (done.stdout, done.stderr) == (usual.stdout, usual.stderr)
    assert done.returncode == 5 and "“".encode() in done.stdout


def test_children_print_utf_8(latin: dict[str, str]) -> None:
    """The lab reads its children's output as UTF-8, also if the shell sets another encoding."""
    program = (
        "import sys; from lab import encoding, runner; encoding.insist();"
        "print(runner.run([sys.executable, '-c', 'print(chr(0x201c))']).stdout)"
    )
    environment = {**os.environ, **latin, "PYTHONUTF8": "1", "PYTHONIOENCODING": "latin-1"}
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, check=True)
    assert done.stdout == b"\\u201c\n\n"


def test_a_clone_has_lf_with_every_setting_of_git(tmp_path: Path) -> None:
    """Git for Windows sets core.autocrlf, and no shell runs scripts with CRLF."""
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
