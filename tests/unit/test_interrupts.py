"""Deferred interrupts wait for a safe point."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Iterator

import pytest

from lab.interrupts import SIGNALS, held_back
from tests.unit.conftest import ROOT


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """The usual handlers of a program in a terminal. The tests' parent may ignore some signals."""
    before = {sign: signal.signal(sign, signal.default_int_handler) for sign in SIGNALS}
    yield
    for sign, handler in before.items():
        signal.signal(sign, handler)


def work(sign: signal.Signals, done: list[str], *, ask: bool) -> None:
    with held_back() as halt:
        os.kill(os.getpid(), sign)
        done.append("the cleanup")
        if ask:
            halt()
            done.append("a step after the safe point")


@pytest.mark.parametrize("ask", [True, False])
@pytest.mark.parametrize("sign", SIGNALS)
def test_an_interrupt_is_deferred_and_not_lost(sign: signal.Signals, ask: bool) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        work(sign, done, ask=ask)
    assert done == ["the cleanup"]
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_signal_that_nohup_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both in a task, and in a block of it that defers interrupts."""
    monkeypatch.syspath_prepend(ROOT)
    seen: list[object] = []

    def body(_: object) -> None:
        with held_back():
            seen.append(signal.getsignal(signal.SIGHUP))
        seen.append(signal.getsignal(signal.SIGHUP))

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    importlib.import_module("tasks").task(body).body(None)
    assert seen == [signal.SIG_IGN, signal.SIG_IGN]


def test_without_an_interrupt_nothing_is_raised() -> None:
    with held_back() as halt:
        halt()
