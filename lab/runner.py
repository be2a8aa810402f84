"""The only module that starts processes on the host, except for the checks' `kubectl proxy`.

Arguments are lists, standard input is closed, and every call has a timeout. A child that is killed
takes its descendants along. Commands on machines go through `lab.machines.ssh` instead.
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

# Variables that would change the behaviour of a tool. They set another passphrase, format of
# checkpoints, Vagrantfile or Go, or another encoding than UTF-8.
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
# Seconds to clean up for a child that gets SIGTERM.
POLITE = 5
# Seconds to read the remaining output of a child after its exit.
LAST_WORDS = 5
# The running children of all threads.
_children: set[subprocess.Popen[bytes]] = set()
_ending = threading.Event()
# Locked during the start of a child. So `end_children` ends the child, or the child never starts.
_starting = threading.Lock()


@dataclass(frozen=True)
class Result:
    """The exit code of a finished process, and its outputs decoded as UTF-8."""

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
    """Run `argv`, wait for its exit, and return its exit code and output.

    `env` is added to the caller's environment. `timeout` is in seconds on a usual host; slow hosts
    get more. `ok` are the expected exit codes. `on_line` gets each line of both outputs at once. If
    it raises an error, `run` raises that error after the child's exit.

    Raises CommandError for an unexpected exit code, and PrerequisiteError for a missing program.
    After the timeout, ends the child's whole process group and raises DeadlineExceeded.
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
                    # Continue to read: the child blocks once its pipe is full.
                    deaf.append(error)

    drains = [threading.Thread(target=drain, args=(name,), daemon=True) for name in collected]
    try:
        with _starting:
            if _ending.is_set():
                raise CommandError(words, 130, "not started: the task is being interrupted")
            child = subprocess.Popen(
                words,
                cwd=cwd,
                env={**inherited(), **(env or {})},
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                # The only inheritable descriptor is the lab's lock. After lab-up is killed, the
                # lock stays while one of its children still works on the machines.
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
            # If the child has already ended, its exit code tells the reason.
            with contextlib.suppress(BrokenPipeError), child.stdin:
                child.stdin.write(stdin)
        code = child.wait(longest)
        # A daemon of the child may keep the pipes open, so do not wait for its output.
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
    """The environment for children: this process's without misleading variables."""
    return {name: value for name, value in os.environ.items() if name not in MISLEADING}


def end_children() -> None:
    """End every running child, and prevent new ones. An interrupted task calls it."""
    with _starting:
        _ending.set()
        children = tuple(_children)
    _end(*children)


def _end(*children: subprocess.Popen[bytes]) -> None:
    """End children and their descendants at the same time: first by SIGTERM, then by SIGKILL."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for child in children:
            _tell(child, sign)
        deadline = time.monotonic() + POLITE
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0, deadline - time.monotonic()))
        children = tuple(child for child in children if child.returncode is None)


def _tell(child: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    """Send a signal to a child's process group, which may have ended or may belong to root."""
    try:
        os.killpg(child.pid, sign)
    except ProcessLookupError:
        return
    except PermissionError:
        # Only sudo can end a child of sudo.
        line = f"kill -s {sign.name.removeprefix('SIG')} -- -{child.pid}"
        kill = ["sudo", "-n", "sh", "-c", line]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(kill, stdin=subprocess.DEVNULL, capture_output=True, timeout=5)


def terminate(processes: Iterable[int]) -> None:
    """Send SIGTERM to processes that are not children.

    Ignores a process that has ended or belongs to another user.
    """
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGTERM)


def attach(argv: Sequence[str | Path], cwd: Path) -> int:
    """Run `argv` with the output streams of this process, and return its exit code.

    Passes an interrupt on to the child once and waits for its exit, so that interrupted tests can
    clean up.
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
    """Start a daemon that outlives this process, with its output in `log`. Returns its PID."""
    with log.open("ab") as file:
        daemon = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return daemon.pid
