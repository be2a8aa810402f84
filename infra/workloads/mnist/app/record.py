"""main.py's records next to the training: clock, environment, progress and files.

The module uses only Python's standard library, so that its import takes little time.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
# Seconds between redraws of the progress bar.
BLINK = 0.1
# A signal that stops a training -> its exit code, which is 128 plus the signal's number.
STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Refused(Exception):
    """The program cannot continue: one sentence for the user, and the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Stopped(BaseException):
    """A signal stopped the training: SIGINT (Ctrl-C) or SIGTERM (Docker and Kubernetes)."""

    def __init__(self, sign: int) -> None:
        super().__init__(sign)
        self.name = signal.Signals(sign).name
        self.code = STOPPED[signal.Signals(sign)]


def stop_on_signals() -> None:
    """Make SIGINT and SIGTERM raise Stopped, once.

    The first process of a container ignores both unless it handles them.
    """

    def stop(sign: int, _: FrameType | None) -> None:
        for name in STOPPED:
            signal.signal(name, signal.SIG_IGN)
        raise Stopped(sign)

    for name in STOPPED:
        signal.signal(name, stop)
    sys.excepthook = told


def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report an uncaught exception. A stop during the import of PyTorch prints no traceback."""
    if not isinstance(error, Stopped):
        sys.__excepthook__(kind, error, trace)
        return
    print(f"\nstopped by {error.name} before the training began", file=sys.stderr, flush=True)
    os._exit(error.code)


def process_start() -> float:
    """The start of this process in Unix seconds; the kernel counts in steps of 10 ms."""
    # The program's name stands in brackets and may contain blanks.
    fields = (PROC / "self/stat").read_text().rpartition(")")[2].split()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def peak_memory() -> int:
    """The peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file next to `path`, which replaces it after a successful block.

    A killed process leaves the old file in place. Raises Refused if the file cannot be written, for
    instance on a full volume.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all. Raises as `written_whole`."""
    with written_whole(path) as aside:
        aside.write_bytes(content)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document completely or not at all. Raises as `written_whole`."""
    write(path, json.dumps(document, indent=1).encode() + b"\n")


def status(name: str) -> str:
    """A value of /proc/self/status, such as Seccomp; empty if the kernel has no such line."""
    for line in (PROC / "self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def mounts() -> list[tuple[str, str]]:
    """This process' mounts in order: mount point and type of file system."""
    found = []
    for line in (PROC / "self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        found.append((before.split()[4], after.split()[0]))
    return found


def image_mount(found: list[tuple[str, str]]) -> tuple[str, str]:
    """The type of the file system at /, and the type of the image's mount.

    Apptainer mounts the SIF elsewhere and / on top of it. Then the list contains a squashfs.
    """
    root = [kind for place, kind in found if place == "/"]
    packed = [kind for _, kind in found if "squash" in kind]
    last = root[-1] if root else "unknown"
    return last, packed[-1] if packed else last


def cgroup_files(name: str, controller: str) -> Iterator[str]:
    """The contents of a setting of this process' cgroup and its parents.

    `controller` is the setting's tree in cgroup v1; empty means v2.
    """
    for line in (PROC / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers.split(",") != [""] and controller not in controllers.split(","):
            continue
        top = CGROUPS / controller if controllers else CGROUPS
        # In a container, the path may be the host's, while the folder is the container's part.
        for place in (top / path.lstrip("/"), *(top / path.lstrip("/")).parents, top):
            if top in (place, *place.parents):
                with contextlib.suppress(OSError):
                    yield (place / name).read_text().strip()


def cpu_limit() -> float | None:
    """The cgroup's limit in cores; None without a limit."""
    limits = []
    for quota, period in zip(
        cgroup_files("cpu.cfs_quota_us", "cpu"),
        cgroup_files("cpu.cfs_period_us", "cpu"),
        strict=True,
    ):
        if int(quota) > 0:
            limits.append(int(quota) / int(period))
    for line in cgroup_files("cpu.max", ""):
        quota, period = line.split()
        if quota != "max":
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_limit() -> int | None:
    """The cgroup's limit of memory in bytes; None without a limit."""
    files = (
        *cgroup_files("memory.limit_in_bytes", "memory"),
        *cgroup_files("memory.max", ""),
    )
    # Without a limit v1 has a number near 2^63, and v2 the word `max`.
    limits = [int(text) for text in files if text.isdigit() and int(text) < 1 << 60]
    return min(limits, default=None)


def blas() -> str:
    """The loaded library for matrix multiplication, which may differ from the configured one."""
    loaded = {
        Path(line.split()[-1]).name
        for line in (PROC / "self/maps").read_text().splitlines()
        if "blas" in line.rpartition("/")[2]
    }
    return ", ".join(sorted(loaded)) or "none"


def surroundings(torch_version: str) -> dict[str, Any]:
    """The environment of this process: its user, and what can make it slower or faster."""
    root, mount = image_mount(mounts())
    return {
        "kernel": platform.release(),
        "cgroup": 2 if (CGROUPS / "cgroup.controllers").exists() else 1,
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_limit": cpu_limit(),
        "memory_limit": memory_limit(),
        "seccomp": int(status("Seccomp") or 0),
        "speculation": status("Speculation_Store_Bypass"),
        "uid": os.getuid(),
        "hostname": platform.node(),
        "root": root,
        "mount": mount,
        "python": platform.python_version(),
        "torch": torch_version,
        "blas": blas(),
    }


class Progress:
    """The progress of a training: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, kind: str, epochs: int) -> None:
        self.bar = kind == "bar" or (kind == "auto" and on_terminal())
        self.epochs = epochs
        self.drawn = 0.0
        self.begun = time.monotonic()
        self.seen = 0

    def say(self, text: str) -> None:
        """Print one permanent line."""
        print(f"\r\x1b[K{text}" if self.bar else text, flush=True)

    def step(self, epoch: int, seen: int, total: int, batch: int, loss: float, log: bool) -> None:
        """Show after a batch that `seen` of `total` images are trained; `log` requests a line.

        The time left is an estimate from the speed so far.
        """
        self.seen += batch
        now = time.monotonic()
        speed = self.seen / max(now - self.begun, 1e-9)
        left = ((self.epochs - epoch + 1) * total - seen) / speed
        numbers = f"{seen}/{total}  loss {loss:.4f}  {speed:.0f} images/s  {left:.0f} s left"
        if self.bar and now - self.drawn > BLINK:
            self.drawn = now
            width = shutil.get_terminal_size().columns
            room = max(4, min(30, width - len(numbers) - 22))
            full = room * seen // total
            line = f"epoch {epoch}/{self.epochs} [{'#' * full}{'.' * (room - full)}] {numbers}"
            print(f"\r\x1b[K{line[: width - 1]}", end="", flush=True)
        elif log and not self.bar:
            print(f"epoch {epoch}/{self.epochs}  {numbers}", flush=True)


def on_terminal() -> bool:
    """Whether the output is a terminal that can show a bar.

    `docker run -it ... | tee FILE` gives a terminal without columns. A file should contain lines.
    """
    try:
        return sys.stdout.isatty() and os.get_terminal_size(sys.stdout.fileno()).columns > 0
    except (OSError, ValueError):
        return False
