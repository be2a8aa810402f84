"""Several things at once, in threads that wait for processes and machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lab.errors import LabError, ResourceError

T = TypeVar("T")
R = TypeVar("R")


def each(items: Iterable[T], action: Callable[[T], R], at_once: int = 8) -> list[R]:
    """Run `action` for every item, so many at once; the results in the items' order.

    Raises the only error, or all of them as one, when everything has ended. An interrupt is raised
    at once: what has not begun by then never does.
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
