"""A checkout and an engine, as the other tests have them."""

from tests.e2e.conftest import checkout, engine

__all__ = ["checkout", "engine"]
