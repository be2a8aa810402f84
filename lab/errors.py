"""The errors of the lab, each with its exit code.

    LabError                 1   unclassified
    ├── ConfigError          2   lab.toml, a flag, a LAB_* variable or an argument is wrong
    ├── PrerequisiteError    3   the host lacks something
    ├── ResourceError        4   a machine, the cluster or a stack failed
    │   └── CommandError     4   a child process failed
    ├── ChecksFailed         5   the checks ran and some failed
    ├── NotFoundError        6   lab, machine, exercise or stack does not exist
    ├── UnexpectedChange     7   something changed that should not change
    ├── DeadlineExceeded     9   a wait timed out
    └── LabBug              70   a bug of the lab: the traceback is in the log

The numbers follow Pulumi's exit codes if the meaning is the same. Each class has a stable `id` for
the `--json` output. Every message says what failed and why. The hint is the next command to type.
"""

from __future__ import annotations

import errno
import shlex
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lab.state import existing
from lab.version import versions


class LabError(Exception):
    """A failure with a message for the user, a hint and an exit code.

    `hint` is the next command, `log` the path of a log. Both may be empty.
    """

    exit_code = 1
    id = "failed"
    # Whether the output on stdout already reports the failure.
    answered = False

    def __init__(self, message: str, *, hint: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log

    @property
    def reason(self) -> str:
        """The last line of the message; for a failed command, the last line of its output."""
        return self.message.splitlines()[-1].strip(" |")

    def __str__(self) -> str:
        lines = [f"error: {self.message}"]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        if self.log:
            lines.append(f"log: {self.log}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Problem:
    """One problem of the configuration: its key, a message, and its line if it is in a file."""

    key: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.key}: {self.message}"


class ConfigError(LabError):
    """A wrong configuration or argument, with every problem and not only the first."""

    exit_code = 2
    id = "configuration"

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), hint: str = "") -> None:
        listing = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(message + listing, hint=hint)
        self.problems = tuple(problems)


class PrerequisiteError(LabError):
    """The host lacks a program, a capability, memory, a port or a reachable source."""

    exit_code = 3
    id = "prerequisite"


class ResourceError(LabError):
    """A machine, the cluster or a stack did not reach the wanted state."""

    exit_code = 4
    id = "resource"


def tail(output: str) -> str:
    """The last 15 lines of a program's output, each marked, to append to a message."""
    return "".join(f"\n  | {line}" for line in output.strip().splitlines()[-15:])


class CommandError(ResourceError):
    """A child process ended with an unexpected exit code.

    `command` is `argv` for a shell. `output` is the whole output; the message has its last lines.
    `where` names the machine of the process, empty for this host.
    """

    id = "command"

    def __init__(
        self, argv: Sequence[str], code: int, output: str, *, where: str = "", hint: str = ""
    ) -> None:
        self.argv = tuple(argv)
        self.command = shlex.join(argv)
        self.code = code
        self.output = output
        place = f" on {where}" if where else ""
        super().__init__(f"`{self.command}`{place} ended with code {code}{tail(output)}", hint=hint)


class ChecksFailed(LabError):
    """The checks ran, and at least one of them failed."""

    exit_code = 5
    id = "checks"


Failure = TypeVar("Failure", bound=LabError)


def answered(error: Failure) -> Failure:
    """Mark an error as already reported on stdout, and return it."""
    error.answered = True
    return error


class NotFoundError(LabError):
    """The named lab, machine, exercise or stack does not exist."""

    exit_code = 6
    id = "not-found"


class UnexpectedChange(LabError):
    """Something changed that should not change."""

    exit_code = 7
    id = "unexpected-change"


class DeadlineExceeded(LabError):
    """A wait timed out. The message names the awaited state and the last reason."""

    exit_code = 9
    id = "timeout"


# Error numbers if the host refuses access to a file, and a command that shows the reason.
REFUSALS = {
    errno.ENOSPC: "df -h {}",
    errno.EDQUOT: "quota",
    errno.EROFS: "findmnt --target {}",
    errno.EACCES: "ls -ld {}",
    errno.EPERM: "ls -ld {}",
}


def refusal(error: BaseException) -> PrerequisiteError | None:
    """An error of the lab for an OSError of the host, e.g. a full disk; None for other errors."""
    if not isinstance(error, OSError) or error.errno not in REFUSALS:
        return None
    place = f" {error.filename}" if error.filename else ""
    # The file itself may not exist.
    named = isinstance(error.filename, str)
    near = shlex.quote(str(existing(Path(error.filename).absolute()))) if named else ""
    return PrerequisiteError(
        f"this host refuses{place}: {error.strerror}",
        hint=REFUSALS[error.errno].format(near) if near else "",
    )


class LabBug(LabError):
    """An unexpected exception: a bug of the lab."""

    exit_code = 70
    id = "bug"

    @classmethod
    def wrap(cls, error: Exception, folder: Path) -> LabBug:
        """Write the versions and the traceback of an exception into a log below `folder`.

        If the log cannot be written, the message has them instead.
        """
        told = f"{type(error).__name__}: {error}"
        text = f"{versions().text()}\n\n{''.join(traceback.format_exception(error))}"
        log = folder / "bug.log"
        try:
            folder.mkdir(exist_ok=True)
            log.write_text(text)
        except OSError:
            return cls(f"{told}\n{text}", hint="report this bug; the log could not be written")
        return cls(told, hint="report this bug with the log", log=log)


def exit_codes() -> dict[int, list[str]]:
    """The table of exit codes: code -> names of its error classes."""
    table: dict[int, list[str]] = {0: []}
    classes: list[type[LabError]] = [LabError]
    while classes:
        cls = classes.pop()
        table.setdefault(cls.exit_code, []).append(cls.__name__)
        classes.extend(cls.__subclasses__())
    return {code: sorted(names) for code, names in sorted(table.items())}
