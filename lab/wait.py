"""Waiting with a limit: the only place that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from lab.errors import DeadlineExceeded, LabError

T = TypeVar("T")


def until(
    probe: Callable[[], T | None],
    *,
    what: str,
    timeout: float,
    interval: float = 0.1,
    longest: float = 1.0,
    hint: str = "",
) -> T:
    """Call `probe` until it returns something other than None, and return that.

    A LabError from the probe counts as "not yet" and becomes the reason named at the end. The
    pause starts at `interval` seconds and grows by half up to `longest`.

    Raises DeadlineExceeded after `timeout` seconds, naming `what` and the last reason seen.
    """
    deadline = time.monotonic() + timeout
    reason = "no answer yet"
    while True:
        try:
            answer = probe()
            if answer is not None:
                return answer
        except LabError as error:
            reason = error.message
        if time.monotonic() + interval > deadline:
            raise DeadlineExceeded(
                f"{what} did not happen within {timeout:.0f} s: {reason}", hint=hint
            )
        time.sleep(interval)
        interval = min(interval * 1.5, longest)
