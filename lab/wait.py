"""Wait with a timeout. Only this module sleeps, and only it extends timeouts on slow hosts."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from lab.errors import DeadlineExceeded, LabError

T = TypeVar("T")
# Passes of a Python loop that a usual host runs in USUAL seconds, with Python 3.11.
WORK = 100_000
USUAL = 0.003
# A factor below SMALLEST counts as 1, so that a usual host with other work keeps its timeouts. No
# timeout grows by more than LARGEST.
SMALLEST, LARGEST = 2.5, 20.0
# How many times slower than their host the lab's machines are. Emulated machines are slower.
_emulation = 1.0


@cache
def host_slowness() -> float:
    """How many times slower than a usual host this host is, by a short measurement.

    The fastest of several rounds counts, so that a busy host does not seem slow.
    """
    return slowness(min(_round() for _ in range(5)))


def slowness(seconds: float) -> float:
    """The factor for a host that needs `seconds` for WORK: 1, or from SMALLEST to LARGEST."""
    ratio = seconds / USUAL
    return min(ratio, LARGEST) if ratio >= SMALLEST else 1.0


def _round() -> float:
    begun = time.perf_counter()
    for _ in range(WORK):
        pass
    return time.perf_counter() - begun


def expect(emulation: float) -> None:
    """Multiply every timeout of this process by a factor, for machines slower than the host."""
    global _emulation
    _emulation = emulation


def slow() -> bool:
    """Whether the lab's machines are slower than a usual machine."""
    return limit(1) > 1


def limit(seconds: float) -> float:
    """Convert seconds on a usual machine into seconds on this host and its machines."""
    return seconds * host_slowness() * _emulation


def at_once(number: int) -> int:
    """How many jobs to run at once if a usual machine runs `number`; at least one.

    A slow machine gains no time from more jobs, and its kubelets fail to renew their leases.
    """
    return max(1, int(number / limit(1)))


def pause(seconds: float) -> None:
    """Sleep for some seconds, because a server asks for it."""
    time.sleep(seconds)


def until(
    probe: Callable[[], T | None],
    *,
    what: str,
    timeout: float,
    interval: float = 0.1,
    longest: float = 1.0,
    silence: float | None = None,
    unless: Callable[[], None] | None = None,
    hint: str = "",
) -> T:
    """Call `probe` until it returns a value other than None, and return the value.

    A LabError from the probe counts as "not yet", and its message is the last reason. The pause
    starts at `interval` seconds and grows by half, up to `longest` seconds.

    `what` is a noun for the awaited state. Raises DeadlineExceeded, with `what` and the last
    reason, after `timeout` seconds, or after `silence` seconds in which every probe raised. Slow
    machines get more time. `unless` runs before each probe; an error that it raises ends the wait.
    """
    timeout = limit(timeout)
    deadline = time.monotonic() + timeout
    reason = "no answer yet"
    silent: float | None = None
    while True:
        if unless:
            unless()
        try:
            answer = probe()
            if answer is not None:
                return answer
            silent = None
        except LabError as error:
            reason = error.message
            if silence is not None:
                silent = silent or time.monotonic()
                if time.monotonic() - silent > limit(silence):
                    raise DeadlineExceeded(
                        f"no answer for {silence:.0f} s while waiting for {what}: {reason}",
                        hint=hint,
                    ) from error
        if time.monotonic() + interval > deadline:
            raise DeadlineExceeded(
                f"timed out after {timeout:.0f} s waiting for {what}: {reason}", hint=hint
            )
        time.sleep(interval)
        interval = min(interval * 1.5, longest)
