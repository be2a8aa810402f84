"""Connections to machines: Fabric over Vagrant's ssh-config, for VMs and containers alike."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from lab import wait
from lab.config import Lab, Settings
from lab.errors import CommandError, DeadlineExceeded, ResourceError, tail


class Remote:
    """One machine: runs commands and takes files."""

    def __init__(self, name: str, ssh_config: Path) -> None:
        self.name = name
        self._ssh_config = ssh_config

    @cached_property
    def _connection(self) -> Any:
        # Importing Fabric takes 0.3 s, so it waits for the first connection.
        from fabric import Config, Connection

        return Connection(
            self.name,
            config=Config(runtime_ssh_path=str(self._ssh_config)),
            connect_timeout=round(wait.limit(10)),
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        timeout: int = 60,
        ok: Sequence[int] = (0,),
    ) -> str:
        """Run a command on the machine and return its standard output.

        Raises CommandError for an exit code not in `ok`, DeadlineExceeded after `timeout` seconds
        (more on slow machines) and ResourceError when the machine cannot be reached.
        """
        from invoke.exceptions import CommandTimedOut

        words = ["sudo", *argv] if sudo else list(argv)
        longest = round(wait.limit(timeout))
        try:
            with reached(self.name):
                result = self._connection.run(
                    shlex.join(words), hide=True, warn=True, in_stream=False, timeout=longest
                )
        except CommandTimedOut as error:
            raise DeadlineExceeded(
                f"`{shlex.join(argv)}` on {self.name} timed out after {longest} s"
                f"{tail(said(error.result))}",
                hint="invoke lab-logs",
            ) from error
        if result.exited not in ok:
            raise CommandError(
                argv, result.exited, said(result), where=self.name, hint="invoke lab-logs"
            )
        return str(result.stdout)

    def script(self, path: Path, *arguments: str, timeout: int = 60) -> str:
        """Copy a script of vagrant/ to the machine, run it as root, and return its output."""
        remote = f"/usr/local/lib/lab/{path.name}"
        self.put(path.read_text(), remote, mode="0755")
        return self.run([remote, *arguments], sudo=True, timeout=timeout)

    def put(self, content: str | bytes, path: str, mode: str = "0644", owner: str = "root") -> None:
        """Write a file on the machine atomically. The file is private until it is in place."""
        aside = f"/home/vagrant/.{secrets.token_hex(8)}"
        data = content.encode() if isinstance(content, str) else content
        with reached(self.name):
            sftp = self._connection.sftp()
            try:
                with sftp.open(aside, "wx") as file:
                    file.chmod(0o600)
                    # Do not wait for a response to every 32 KiB.
                    file.set_pipelined(True)
                    file.write(data)
                # Not every response was checked.
                arrived = sftp.stat(aside).st_size
                trouble = f"{arrived} of {len(data)} bytes" if arrived != len(data) else ""
            except OSError as error:
                # SFTP's generic failure has no errno, but a lost connection has one.
                if error.errno is not None:
                    raise
                trouble = str(error)
            if trouble:
                with suppress(OSError):
                    sftp.remove(aside)
                raise ResourceError(
                    f"{self.name} cannot write {path}: {trouble}; its disk may be full",
                    hint=f"df -h, in invoke lab-ssh {self.name}",
                )
        install = ["install", "-D", "-m", mode, "-o", owner, "-g", owner, aside, path]
        self.run(["sh", "-c", f"{shlex.join(install)} && rm {aside}"], sudo=True)

    def close(self) -> None:
        """Close the connection, if it is open."""
        if "_connection" in self.__dict__:
            self._connection.close()


def said(result: Any) -> str:
    """The standard error of a command, or its standard output when that is empty."""
    return str(result.stderr or result.stdout)


def ssh_config(lab: Settings) -> Path:
    """The ssh-config of the lab's machines, which Vagrant wrote."""
    return lab.state / "ssh_config"


def connections(lab: Lab) -> list[Remote]:
    """Every machine of a lab, the control plane first. Opens no connection yet."""
    return [Remote(machine.name, ssh_config(lab)) for machine in lab.machines]


@contextmanager
def reached(name: str) -> Iterator[None]:
    """Turn SSH errors of an unreachable machine into ResourceError."""
    from paramiko.ssh_exception import SSHException

    try:
        yield
    except (OSError, EOFError, SSHException) as error:
        raise ResourceError(
            f"{name} cannot be reached over SSH: {error}", hint="invoke lab-up"
        ) from error
