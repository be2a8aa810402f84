"""Interrupts that wait for a moment that suits."""

from __future__ import annotations

import os
import signal

import pytest

from lab.interrupts import SIGNALS, held_back


@pytest.mark.parametrize("sign", SIGNALS)
def test_an_interrupt_waits_until_it_is_asked_for(sign: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    done = []
    with pytest.raises(KeyboardInterrupt), held_back() as halt:
        os.kill(os.getpid(), sign)
        done.append("what must not be cut short")
        halt()
        done.append("what is not begun any more")
    assert done == ["what must not be cut short"]
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_an_interrupt_after_the_last_such_moment_is_not_lost() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back() as halt:
        halt()
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("to the end")
    assert done == ["to the end"]
