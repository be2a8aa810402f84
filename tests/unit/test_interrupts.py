"""Interrupts that wait for a moment that suits."""

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
    """Handlers as a terminal's programs have them: whoever started the tests may ignore some."""
    before = {sign: signal.signal(sign, signal.default_int_handler) for sign in SIGNALS}
    yield
    for sign, handler in before.items():
        signal.signal(sign, handler)


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


def test_what_nohup_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a task, and while interrupts wait in it."""
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
