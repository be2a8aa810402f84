"""Parallel actions return results in order, and raise errors together and interrupts at once."""

from __future__ import annotations

import threading
import time

import pytest

from lab import wait
from lab.errors import NotFoundError, ResourceError
from lab.parallel import each


def test_results_have_the_order_of_the_items() -> None:
    def slow(number: int) -> int:
        time.sleep(0.02 / (number + 1))
        return number * number

    assert each(range(5), slow) == [0, 1, 4, 9, 16]
    assert each([], slow) == []


def test_all_actions_end_before_an_error_is_raised() -> None:
    ended: list[str] = []

    def work(name: str) -> None:
        if name != "good":
            raise NotFoundError(f"no {name}")
        time.sleep(0.05)
        ended.append(name)

    with pytest.raises(NotFoundError, match="no one"):
        each(["one", "good"], work)
    assert ended == ["good"]
    with pytest.raises(ResourceError, match="no one; error: no two"):
        each(["one", "two", "good"], work)


def test_a_bug_is_raised_unchanged() -> None:
    with pytest.raises(ZeroDivisionError):
        each([1, 0], lambda number: 1 // number)


def test_after_an_interrupt_no_action_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted `invoke mutants` must not start its other mutants."""
    begun: list[int] = []
    free = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        free.wait(5)

    def interrupt(self: object, timeout: object = None) -> None:
        wait.until(lambda: len(begun) == 2 or None, what="two of them", timeout=10)
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.exception", interrupt)
    with pytest.raises(KeyboardInterrupt):
        each(range(9), work, at_once=2)
    free.set()
    time.sleep(0.05)
    assert sorted(begun) == [0, 1]
