"""Waiting with a limit: the only place that sleeps, and that knows how long is too long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from lab.errors import DeadlineExceeded, LabError

T = TypeVar("T")
# How many times longer than on a usual machine everything may take.
_slowness = 1.0


def expect(slowness: float) -> None:
    """Make every limit of this process so many times longer, for machines that are slow."""
    global _slowness
    _slowness = slowness


def slow() -> bool:
    """Whether the lab's machines are slower than a usual machine."""
    return _slowness > 1


def limit(seconds: float) -> float:
    """So many seconds on a usual machine, as the lab's machines are."""
    return seconds * _slowness


def until(
    probe: Callable[[], T | None],
    *,
    what: str,
    timeout: float,
    interval: float = 0.1,
    longest: float = 1.0,
    silence: float | None = None,
    hint: str = "",
) -> T:
    """Call `probe` until it returns something other than None, and return that.

    A LabError from the probe counts as "not yet" and becomes the reason named at the end. The
    pause starts at `interval` seconds and grows by half up to `longest`.

    Raises DeadlineExceeded after `timeout` seconds (more on slow machines), naming `what` and the
    last reason seen; and after `silence` seconds in which the probe did nothing but raise.
    """
    timeout = limit(timeout)
    deadline = time.monotonic() + timeout
    reason = "no answer yet"
    silent: float | None = None
    while True:
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
                        f"{what} cannot be seen for {silence:.0f} s: {reason}", hint=hint
                    ) from error
        if time.monotonic() + interval > deadline:
            raise DeadlineExceeded(
                f"{what} did not happen within {timeout:.0f} s: {reason}", hint=hint
            )
        time.sleep(interval)
        interval = min(interval * 1.5, longest)
