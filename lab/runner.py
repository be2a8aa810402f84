"""The one module that starts processes on the host; a `kubectl proxy` is the checks' own.

Arguments are lists, standard input is closed, every call has a limit, and a child that is killed
takes its descendants along. What a machine runs goes through `lab.machines.ssh` instead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import wait
from lab.errors import CommandError, DeadlineExceeded, PrerequisiteError, tail

# Variables of a shell by which a tool would do something else than the lab asks of it: another
# passphrase, another form of checkpoints, another Vagrantfile, another Go than the one that is run,
# another code than UTF-8 in what it prints.
MISLEADING = {
    "PYTHONIOENCODING",
    "PULUMI_CONFIG_PASSPHRASE",
    "PULUMI_SELF_MANAGED_STATE_GZIP",
    "PULUMI_SELF_MANAGED_STATE_ZSTD",
    "PULUMI_DIY_BACKEND_GZIP",
    "PULUMI_DIY_BACKEND_ZSTD",
    "VAGRANT_CWD",
    "VAGRANT_VAGRANTFILE",
    "GOROOT",
}
# Seconds for which a child that was told to end may tidy up.
POLITE = 5
# Seconds that the output of a child which has ended may still take to be read.
LAST_WORDS = 5
# The children that run now, whichever thread waits for them.
_children: set[subprocess.Popen[bytes]] = set()
_ending = threading.Event()
# Held while a child is started: one that begins now is ended by `end_children`, or never begins.
_starting = threading.Lock()


@dataclass(frozen=True)
class Result:
    """What a finished process left: its exit code and its two outputs, decoded as UTF-8."""

    code: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    ok: Sequence[int] = (0,),
    stdin: bytes | None = None,
    on_line: Callable[[str], None] | None = None,
    hint: str = "",
) -> Result:
    """Run `argv` to its end and return what it printed.

    `env` is added to the caller's environment; `timeout` is in seconds of a usual host; `ok` are
    the exit codes that are no error; `on_line` is called with each line of output (both streams) as
    it comes, and what it raises is raised at the child's end.

    Raises CommandError for any other exit code, DeadlineExceeded when the limit is reached (the
    child's whole process group is ended first) and PrerequisiteError when the program is missing.
    """
    words = [str(word) for word in argv]
    longest = wait.limit(timeout)
    collected: dict[str, list[str]] = {"stdout": [], "stderr": []}
    deaf: list[Exception] = []

    def drain(name: str) -> None:
        for raw in getattr(child, name):
            line = raw.decode(errors="replace")
            collected[name].append(line)
            if on_line and not deaf:
                try:
                    on_line(line.rstrip("\n"))
                except Exception as error:
                    # Whoever stops reading stops the child, when its pipe is full.
                    deaf.append(error)

    drains = [threading.Thread(target=drain, args=(name,), daemon=True) for name in collected]
    try:
        with _starting:
            if _ending.is_set():
                raise CommandError(words, 130, "not started: everything is being ended")
            child = subprocess.Popen(
                words,
                cwd=cwd,
                env={**inherited(), **(env or {})},
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                # The lab's lock is the one inheritable descriptor: it outlives a killed lab-up for
                # as long as a child of it still works on the machines.
                close_fds=False,
            )
            _children.add(child)
    except (FileNotFoundError, PermissionError) as error:
        raise PrerequisiteError(
            f"`{words[0]}` cannot be started: {error.strerror}", hint=hint or "invoke doctor"
        ) from error
    try:
        for thread in drains:
            thread.start()
        if stdin is not None and child.stdin:
            # A child that has ended by then tells why by its code.
            with contextlib.suppress(BrokenPipeError), child.stdin:
                child.stdin.write(stdin)
        code = child.wait(longest)
        # A daemon started by the child may keep the pipes open: its output is not waited for.
        deadline = time.monotonic() + LAST_WORDS
        for thread in drains:
            thread.join(max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _end(child)
        said = tail("".join(collected["stderr"] or collected["stdout"]))
        raise DeadlineExceeded(
            f"`{' '.join(words)}` timed out after {longest:.0f} s{said}", hint=hint
        ) from None
    except BaseException:
        _end(child)
        raise
    finally:
        _children.discard(child)
    if deaf:
        raise deaf[0]
    result = Result(code, "".join(collected["stdout"]), "".join(collected["stderr"]))
    if code not in ok:
        raise CommandError(words, code, result.stderr or result.stdout, hint=hint)
    return result


def inherited() -> dict[str, str]:
    """This process's environment, as its children have it."""
    return {name: value for name, value in os.environ.items() if name not in MISLEADING}


def end_children() -> None:
    """End every child that still runs, and start no other: what an interrupted task has to do."""
    with _starting:
        _ending.set()
        children = tuple(_children)
    _end(*children)


def _end(*children: subprocess.Popen[bytes]) -> None:
    """End children and their descendants, all at once: politely first, then for good."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for child in children:
            _tell(child, sign)
        deadline = time.monotonic() + POLITE
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0, deadline - time.monotonic()))
        children = tuple(child for child in children if child.returncode is None)


def _tell(child: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    """Send a signal to a child's process group, which may be gone already, or be root's."""
    try:
        os.killpg(child.pid, sign)
    except ProcessLookupError:
        return
    except PermissionError:
        # Begun by sudo: only sudo can end it.
        line = f"kill -s {sign.name.removeprefix('SIG')} -- -{child.pid}"
        kill = ["sudo", "-n", "sh", "-c", line]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(kill, stdin=subprocess.DEVNULL, capture_output=True, timeout=5)


def terminate(processes: Iterable[int]) -> None:
    """Tell processes that are no children to end; one may be gone already, or somebody else's."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGTERM)


def attach(argv: Sequence[str | Path], cwd: Path) -> int:
    """Run `argv` with this process's own output streams; returns its exit code.

    An interrupt is handed on once, and the child's end is waited for: tests that are interrupted
    take away what they made.
    """
    child = subprocess.Popen(
        argv, cwd=cwd, env=inherited(), stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
        child.wait()
        raise


def spawn(argv: Sequence[str], log: Path) -> int:
    """Start a daemon that outlives this process, its output in `log`; returns its process id."""
    with log.open("ab") as file:
        daemon = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return daemon.pid
