"""Waiting with a limit: the only place that sleeps, and that knows how long is too long."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from lab.errors import DeadlineExceeded, LabError

T = TypeVar("T")
# Additions that a processor of this century makes in USUAL seconds, by Python 3.11.
WORK = 100_000
USUAL = 0.003
# A usual host beside other work counts as usual. No limit grows further than by LARGEST.
SMALLEST, LARGEST = 2.5, 20.0
# How many times slower than their host the lab's machines are: emulated ones are.
_emulation = 1.0


@cache
def host_slowness() -> float:
    """How many times slower than a usual computer this host is, from one short measurement.

    The fastest of several rounds counts, so that a busy host is not taken for a slow one.
    """
    return slowness(min(_round() for _ in range(5)))


def slowness(seconds: float) -> float:
    """The factor for a host that takes so many seconds for WORK: 1, or SMALLEST to LARGEST."""
    ratio = seconds / USUAL
    return min(ratio, LARGEST) if ratio >= SMALLEST else 1.0


def _round() -> float:
    begun = time.perf_counter()
    for _ in range(WORK):
        pass
    return time.perf_counter() - begun


def expect(emulation: float) -> None:
    """Make every limit of this process so many times longer, for machines slower than the host."""
    global _emulation
    _emulation = emulation


def slow() -> bool:
    """Whether the lab's machines are slower than a usual machine."""
    return limit(1) > 1


def limit(seconds: float) -> float:
    """So many seconds on a usual machine, in seconds of this host and its machines."""
    return seconds * host_slowness() * _emulation


def at_once(number: int) -> int:
    """How many things to start at once where a usual machine takes `number`; at least one.

    A slow machine runs them no sooner side by side, and its kubelets miss their leases meanwhile.
    """
    return max(1, int(number / limit(1)))


def pause(seconds: float) -> None:
    """Do nothing for so many seconds, because a server asked for it."""
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
    """Call `probe` until it returns something other than None, and return that.

    A LabError from the probe counts as "not yet" and becomes the reason named at the end. The
    pause starts at `interval` seconds and grows by half up to `longest`.

    `what` is a noun: what the probe waits for. Raises DeadlineExceeded after `timeout` seconds
    (more on slow machines), naming `what` and the last reason seen; and after `silence` seconds in
    which the probe did nothing but raise. What `unless` raises before a look ends the wait.
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
