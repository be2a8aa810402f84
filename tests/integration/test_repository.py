"""No file names a package registry or a path of this machine, or disables verification."""

from __future__ import annotations

import re
import subprocess
import sys

from lab.images.builder import host_mirror
from tests.integration.conftest import ROOT


def output(*words: str) -> str:
    """The output of a command; empty if the command does not exist."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def matches(pattern: str) -> str:
    """The matching lines of files under version control."""
    return output("git", "-C", str(ROOT), "grep", "-nIE", pattern)


def test_no_file_names_a_registry() -> None:
    """The registries are those in the configuration of this host's clients."""
    settings = [output(sys.executable, "-m", "pip", "config", "list"), *host_mirror()]
    settings += [output("go", "env", "GOPROXY", "GOSUMDB")]
    hosts = set(re.findall(r"https?://([a-z0-9.-]+)", " ".join(settings)))
    assert not hosts or matches("|".join(re.escape(host) for host in hosts)) == ""


def test_no_file_disables_verification() -> None:
    words = ("trusted=" + "yes", "GONOSUM" + "DB=", "GOSUMDB=" + "off", "GOINSECURE" + "=")
    assert matches("|".join(words)) == ""


def test_no_file_has_a_path_of_this_machine() -> None:
    assert matches(re.escape(f"{ROOT}/")) == ""


def test_files_follow_the_editorconfig() -> None:
    """They are UTF-8 with LF, without blanks at the end of a line, and end with a newline."""
    names = output("git", "-C", str(ROOT), "grep", "-lI", "").splitlines()
    for name in names:
        text = (ROOT / name).read_bytes().decode()
        assert text.endswith("\n") and "\r" not in text, name
        # In Markdown, two blanks at the end of a line are a line break.
        assert name.endswith(".md") or not re.search(r"[ \t]$", text, re.MULTILINE), name
