"""Interrupts that wait for a moment that suits."""

from __future__ import annotations

import os
import signal

import pytest

from lab.interrupts import SIGNALS, held_back


def work(sign: signal.Signals, done: list[str], *, ask: bool) -> None:
    with held_back() as halt:
        os.kill(os.getpid(), sign)
        done.append("what must not be cut short")
        if ask:
            halt()
            done.append("what is not begun any more")


@pytest.mark.parametrize("ask", [True, False])
@pytest.mark.parametrize("sign", SIGNALS)
def test_an_interrupt_waits_and_is_not_lost(sign: signal.Signals, ask: bool) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        work(sign, done, ask=ask)
    assert done == ["what must not be cut short"]
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_without_an_interrupt_nothing_is_raised() -> None:
    with held_back() as halt:
        halt()
