"""A machine in a folder: its paths lie below it, and a stand-in takes the place of systemd."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.integration.conftest import ROOT

# A file of the machine in a stand-in's lines.
FILE = re.compile(r"@(?=[a-z])")
# What a script names of a machine's own tree.
PLACES = re.compile(r"(?<![\w.*}])/(?=(etc|run|var|proc|usr/local/lib/lab)/)")
# `systemctl`: it notes its calls, tells what the files `active` and `restarts` say, and runs the
# program `started` when a unit is started.
SYSTEMCTL = """\
echo "$@" >>@systemctl.log
case $1 in
  is-active) [ "$(cat @active)" = active ] ;;
  show) cat @restarts ;;
  start | restart) ! [ -x @started ] || @started ;;
esac
"""


class Folder:
    """A machine in a folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "machine"
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.root.mkdir()
        self.write("active", "active")
        self.write("restarts", "0")
        self.stand_in("systemctl", SYSTEMCTL)
        self.stand_in("journalctl", "echo 'the last words'")

    def moved(self, text: str) -> str:
        """A script's text with this machine's paths."""
        return PLACES.sub(f"{self.root}/", text)

    def write(self, path: str, text: str) -> None:
        """A file of the machine."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self, path: str) -> str:
        """A file of the machine; empty when there is none."""
        file = self.root / path
        return file.read_text() if file.exists() else ""

    def stand_in(self, name: str, lines: str) -> None:
        """A program on the machine, of shell; `@name` is a file of the machine."""
        self._stand_in(self.programs / name, lines)

    def started(self, lines: str) -> None:
        """What happens when systemd starts a unit, in shell."""
        self._stand_in(self.root / "started", lines)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the repository's folder vagrant on the machine."""
        place = self.programs / Path(script).name
        self._program(place, self.moved((ROOT / "vagrant" / script).read_text()))
        return subprocess.run(
            [place, *arguments],
            env={"PATH": f"{self.programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=30,
        )

    def calls(self) -> list[str]:
        """What systemctl was asked, without looks."""
        lines = self.read("systemctl.log").splitlines()
        return [line for line in lines if line.split()[0] not in ("show", "is-active")]

    def _stand_in(self, path: Path, lines: str) -> None:
        self._program(path, "#!/bin/sh\n" + FILE.sub(f"{self.root}/", lines) + "\n")

    def _program(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
