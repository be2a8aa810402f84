"""Interrupts (Ctrl-C and the like) that wait for a moment that suits."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Hold interrupts back: what is yielded raises the one that has come, at a moment that suits.

    A command on a machine would swallow it, and tidying up must not be cut short. Raises
    KeyboardInterrupt at the end for one that has come since the last such moment.
    """
    come: list[int] = []

    def note(sign: int, _: FrameType | None) -> None:
        come.append(sign)

    def halt() -> None:
        if come:
            raise KeyboardInterrupt

    # One that is ignored, as `nohup` has it, stays so.
    heard = [sign for sign in SIGNALS if signal.getsignal(sign) is not signal.SIG_IGN]
    before = {sign: signal.signal(sign, note) for sign in heard}
    try:
        yield halt
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
    halt()
