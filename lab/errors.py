"""Every way the lab can fail, and the exit code each way has.

    LabError                 1   unclassified
    ├── ConfigError          2   lab.toml, a flag, a LAB_* variable or an argument is wrong
    ├── PrerequisiteError    3   the host lacks something
    ├── ResourceError        4   a machine, the cluster or a stack failed
    │   └── CommandError     4   a child process failed
    ├── ChecksFailed         5   the checks ran and points were lost
    ├── NotFoundError        6   lab, machine, exercise or stack does not exist
    ├── UnexpectedChange     7   something changed where nothing should
    ├── DeadlineExceeded     9   a wait reached its limit
    └── LabBug              70   ours: the traceback is in the log

The numbers follow Pulumi's exit codes where the meaning is the same. Each class carries a stable
`id` that appears in `--json` output, and every message reads: what failed, why; the hint is the
next command to type.
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
    """A failure with a sentence for the user, a hint and an exit code."""

    exit_code = 1
    id = "failed"
    # Whether the answer on stdout has told the failure already.
    answered = False

    def __init__(self, message: str, *, hint: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log

    @property
    def reason(self) -> str:
        """The last line of the message: of a command that failed, the last that it said."""
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
    """One thing wrong with the configuration: where it stands, and what the rule is."""

    key: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.key}: {self.message}"


class ConfigError(LabError):
    """Wrong configuration or argument; carries every problem that was found, not just the first."""

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
    """A machine, the cluster or a stack did not become what was asked for."""

    exit_code = 4
    id = "resource"


def tail(output: str) -> str:
    """The last lines of a program's output, set apart below a sentence."""
    return "".join(f"\n  | {line}" for line in output.strip().splitlines()[-15:])


class CommandError(ResourceError):
    """A child process ended with a code that was not expected.

    `argv` is pasteable in a shell through `command`; `output` is all that it said.
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
    """The checks ran; at least one of them is not fulfilled."""

    exit_code = 5
    id = "checks"


Failure = TypeVar("Failure", bound=LabError)


def answered(error: Failure) -> Failure:
    """The same error, marked as told on stdout already."""
    error.answered = True
    return error


class NotFoundError(LabError):
    """The named lab, machine, exercise or stack does not exist."""

    exit_code = 6
    id = "not-found"


class UnexpectedChange(LabError):
    """Something changed although nothing should have."""

    exit_code = 7
    id = "unexpected-change"


class DeadlineExceeded(LabError):
    """A wait reached its limit; the message names what was waited for and what was last seen."""

    exit_code = 9
    id = "timeout"


# What a host may refuse, and what shows it of a folder.
REFUSALS = {
    errno.ENOSPC: "df -h {}",
    errno.EDQUOT: "quota",
    errno.EROFS: "findmnt --target {}",
    errno.EACCES: "ls -ld {}",
    errno.EPERM: "ls -ld {}",
}


def refusal(error: BaseException) -> PrerequisiteError | None:
    """What a host refuses, with a full disk for instance, as an error of the lab; else None."""
    if not isinstance(error, OSError) or error.errno not in REFUSALS:
        return None
    place = f" {error.filename}" if error.filename else ""
    # The file itself may not have been made.
    named = isinstance(error.filename, str)
    near = shlex.quote(str(existing(Path(error.filename).absolute()))) if named else ""
    return PrerequisiteError(
        f"this host refuses{place}: {error.strerror}",
        hint=REFUSALS[error.errno].format(near) if near else "",
    )


class LabBug(LabError):
    """A failure nobody foresaw: ours to mend."""

    exit_code = 70
    id = "bug"

    @classmethod
    def wrap(cls, error: Exception, folder: Path) -> LabBug:
        """Keep the versions and the traceback of any exception in a log, and say where it is."""
        told = f"{type(error).__name__}: {error}"
        text = f"{versions().text()}\n\n{''.join(traceback.format_exception(error))}"
        log = folder / "bug.log"
        try:
            folder.mkdir(exist_ok=True)
            log.write_text(text)
        except OSError:
            return cls(f"{told}\n{text}", hint="report it; its log could not be written")
        return cls(told, hint="report it with the log", log=log)


def exit_codes() -> dict[int, list[str]]:
    """The table of exit codes: code -> names of the error classes that have it."""
    table: dict[int, list[str]] = {0: []}
    classes: list[type[LabError]] = [LabError]
    while classes:
        cls = classes.pop()
        table.setdefault(cls.exit_code, []).append(cls.__name__)
        classes.extend(cls.__subclasses__())
    return {code: sorted(names) for code, names in sorted(table.items())}
