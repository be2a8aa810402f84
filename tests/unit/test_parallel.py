"""Several things at once: results in order, errors together, an interrupt that is one."""

from __future__ import annotations

import threading
import time

import pytest

from lab import wait
from lab.errors import NotFoundError, ResourceError
from lab.parallel import each


def test_results_in_the_items_order() -> None:
    def slow(number: int) -> int:
        time.sleep(0.02 / (number + 1))
        return number * number

    assert each(range(5), slow) == [0, 1, 4, 9, 16]
    assert each([], slow) == []


def test_all_end_before_an_error_is_told() -> None:
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


def test_a_bug_is_no_error_of_the_labs() -> None:
    with pytest.raises(ZeroDivisionError):
        each([1, 0], lambda number: 1 // number)


def test_an_interrupt_leaves_what_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """`invoke mutants` that was interrupted tried all the rest first."""
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
