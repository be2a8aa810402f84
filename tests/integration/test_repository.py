"""What must be in no file: package registries, this machine's paths, verification switched off."""

from __future__ import annotations

import re
import subprocess
import sys

from lab.images.builder import host_mirror
from tests.integration.conftest import ROOT


def output(*words: str) -> str:
    """What a command prints; nothing when it is not there."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def matches(pattern: str) -> str:
    """Lines of files under version control that match."""
    return output("git", "-C", str(ROOT), "grep", "-nIE", pattern)


def test_no_registry_has_its_name_in_a_file() -> None:
    """Registries are those that the host's own clients are set up for."""
    settings = [output(sys.executable, "-m", "pip", "config", "list"), *host_mirror()]
    settings += [output("go", "env", "GOPROXY", "GOSUMDB")]
    hosts = set(re.findall(r"https?://([a-z0-9.-]+)", " ".join(settings)))
    assert not hosts or matches("|".join(re.escape(host) for host in hosts)) == ""


def test_verification_is_never_switched_off() -> None:
    words = ("trusted=" + "yes", "GONOSUM" + "DB=", "GOSUMDB=" + "off", "GOINSECURE" + "=")
    assert matches("|".join(words)) == ""


def test_no_path_of_this_machine() -> None:
    assert matches(re.escape(f"{ROOT}/")) == ""


def test_files_are_written_as_the_editorconfig_says() -> None:
    """UTF-8 with LF, no blanks at the end of a line, and a newline at the end of the file."""
    names = output("git", "-C", str(ROOT), "grep", "-lI", "").splitlines()
    for name in names:
        text = (ROOT / name).read_bytes().decode()
        assert text.endswith("\n") and "\r" not in text, name
        # Two blanks at the end of a line of Markdown are a line break.
        assert name.endswith(".md") or not re.search(r"[ \t]$", text, re.MULTILINE), name
