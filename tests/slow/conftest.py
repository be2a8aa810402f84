"""A checkout and an engine, as the other tests have them, and who makes a bundle there."""

from pathlib import Path

import pytest

from tests.e2e.conftest import checkout, engine
from tests.e2e.support import Invoke

__all__ = ["checkout", "engine", "maker"]


@pytest.fixture(scope="module")
def maker(checkout: Path, engine: None) -> Invoke:
    """The tasks of whoever makes the bundle, and has no lab."""
    return Invoke(checkout, "bundle")
