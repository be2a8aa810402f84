"""Defer Ctrl-C and termination signals to a safe point."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Defer interrupts while the block runs.

    Yields a function that raises KeyboardInterrupt if an interrupt has arrived. Call it at safe
    points. Otherwise a command on a machine could swallow the interrupt, or the interrupt could
    stop the cleanup. At the end, raises KeyboardInterrupt for an interrupt since the last call.
    """
    come: list[int] = []

    def note(sign: int, _: FrameType | None) -> None:
        come.append(sign)

    def halt() -> None:
        if come:
            raise KeyboardInterrupt

    # Do not handle ignored signals: `nohup` ignores SIGHUP.
    heard = [sign for sign in SIGNALS if signal.getsignal(sign) is not signal.SIG_IGN]
    before = {sign: signal.signal(sign, note) for sign in heard}
    try:
        yield halt
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
    halt()
