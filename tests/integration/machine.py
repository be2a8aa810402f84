"""A machine in a folder: its paths lie below the folder, and a stand-in replaces systemd."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.integration.conftest import ROOT

# A file of the machine in the lines of a stand-in, e.g. @restarts.
FILE = re.compile(r"@(?=[a-z])")
# The root of a path in a script that belongs to the machine.
PLACES = re.compile(r"(?<![\w.*}])/(?=(etc|run|var|proc|usr/local/lib/lab)/)")
# The stand-in for systemctl records its calls and prints the content of the file `restarts`. Its
# `is-active` reads the file `active`, and a start of a unit runs the program `started`.
SYSTEMCTL = """\
echo "$@" >>@systemctl.log
case $1 in
  is-active) [ "$(cat @active)" = active ] ;;
  show) cat @restarts ;;
  start | restart) ! [ -x @started ] || @started ;;
esac
"""


class Folder:
    """A machine in a folder. Its systemctl and journalctl are stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "machine"
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.root.mkdir()
        self.write("active", "active")
        self.write("restarts", "0")
        self.stand_in("systemctl", SYSTEMCTL)
        self.stand_in("journalctl", "echo 'the last line'")

    def moved(self, text: str) -> str:
        """The text of a script with the paths of this machine."""
        return PLACES.sub(f"{self.root}/", text)

    def write(self, path: str, text: str) -> None:
        """Write a file of the machine."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self, path: str) -> str:
        """The text of a file of the machine; empty if the file does not exist."""
        file = self.root / path
        return file.read_text() if file.exists() else ""

    def stand_in(self, name: str, lines: str) -> None:
        """Write a shell program of the machine. `@name` in its lines is a file of the machine."""
        self._stand_in(self.programs / name, lines)

    def started(self, lines: str) -> None:
        """Write the shell program that runs when systemd starts a unit."""
        self._stand_in(self.root / "started", lines)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the repository's folder vagrant on the machine, for at most 30 s."""
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
        """The calls of systemctl, without those that only read a state."""
        lines = self.read("systemctl.log").splitlines()
        return [line for line in lines if line.split()[0] not in ("show", "is-active")]

    def _stand_in(self, path: Path, lines: str) -> None:
        self._program(path, "#!/bin/sh\n" + FILE.sub(f"{self.root}/", lines) + "\n")

    def _program(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
