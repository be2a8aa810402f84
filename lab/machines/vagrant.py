"""Vagrant's command line, through python-vagrant, for the machines of one lab."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

import vagrant

from lab import runner
from lab.config import Settings
from lab.errors import CommandError
from lab.machines.vagrantfile import environment
from lab.output import Status

# Vagrant's index has one entry for all machines with the same name and the same Vagrantfile. So the
# labs of a checkout share it. A command locks the entry briefly, and fails while it is locked.
LOCKED = ("because it is locked", "Failed to lock new machine")
# Seconds to retry a command. Each start of Vagrant takes two seconds.
LOCKED_FOR = 30


class Vagrant:
    """Commands of Vagrant, which write their output to the lab's log.

    Every method raises CommandError with the end of Vagrant's output when Vagrant fails.
    """

    def __init__(self, settings: Settings, status: Status) -> None:
        self.state = settings.state
        self.provider = settings.provider
        self._python = _Python(settings, status)

    def run(self, *words: str) -> str:
        """Run a command that python-vagrant has no method for, and return its output."""
        return self._python.call(words)

    def up(self) -> None:
        """Create the machines that do not exist, and start those that are stopped."""
        self._python.up(provider=self.provider)

    def halt(self) -> None:
        """Stop every machine."""
        self._python.halt()

    def suspend(self) -> None:
        """Suspend every machine in memory."""
        self._python.suspend()

    def resume(self) -> None:
        """Resume every machine that is suspended."""
        self._python.resume()

    def destroy(self) -> None:
        """Destroy every machine."""
        self.run("destroy", "--force", "--parallel")

    def ssh_config(self) -> str:
        """How OpenSSH reaches the machines, in the format of its configuration file."""
        return cast(str, self._python.ssh_config())

    def states(self) -> dict[str, str]:
        """Machine name -> state, in the words of its provider."""
        return {item.name: item.state for item in self._python.status()}

    def known(self) -> dict[str, str]:
        """The machines in Vagrant's own records: name -> id. Does not start Vagrant."""
        folder = self.state / "vagrant" / "machines"
        return {path.parts[-3]: path.read_text().strip() for path in folder.glob("*/*/id")}


class _Python(vagrant.Vagrant):
    """python-vagrant with the lab's environment, whose processes `lab.runner` starts.

    python-vagrant starts Vagrant in two private methods, one for commands that return output. Only
    by replacing them can the process get a timeout, and end with the task.
    """

    def __init__(self, settings: Settings, status: Status) -> None:
        # Ruby fails at a path with characters that its locale lacks, e.g. an umlaut in C.
        variables = {**environment(settings), "LC_ALL": "C.UTF-8"}
        super().__init__(root=str(settings.root), env=variables)
        self.root_folder = settings.root
        self.log = settings.state / "logs" / "vagrant.log"
        self._status = status

    def call(self, args: Sequence[str | None]) -> str:
        """Run one command, and retry it for LOCKED_FOR s while Vagrant's index is locked."""
        words = ["vagrant", *(word for word in args if word)]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            print("$", *words, file=log, flush=True)

            def keep(line: str) -> None:
                print(line, file=log, flush=True)
                self._status.note(line.strip())

            begun = time.monotonic()
            while True:
                try:
                    return runner.run(
                        words, cwd=self.root_folder, env=self.env, timeout=900, on_line=keep
                    ).stdout
                except CommandError as error:
                    held = any(told in error.output for told in LOCKED)
                    if not held or time.monotonic() - begun > LOCKED_FOR:
                        raise

    _run_vagrant_command = call
    _call_vagrant_command = call
