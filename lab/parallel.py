"""Run several actions at once, in threads that wait for processes and machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lab.errors import LabError, ResourceError

T = TypeVar("T")
R = TypeVar("R")


def each(items: Iterable[T], action: Callable[[T], R], at_once: int = 8) -> list[R]:
    """Run `action` for every item, at most `at_once` at a time. Returns results in item order.

    After all actions have ended, raises the only error, or one ResourceError for several. An
    interrupt ends the call at once, and actions that have not started never start.
    """
    pool = ThreadPoolExecutor(at_once)
    try:
        futures = [pool.submit(action, item) for item in items]
        errors = [error for future in futures if (error := future.exception())]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if len(errors) == 1 or any(not isinstance(error, LabError) for error in errors):
        raise errors[0]
    if errors:
        raise ResourceError("; ".join(str(error) for error in errors))
    return [future.result() for future in futures]
