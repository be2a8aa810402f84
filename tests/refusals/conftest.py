"""A checkout and an engine, as the tests of a lab have them; here no lab comes to be."""

from tests.e2e.conftest import checkout, engine, invoke

__all__ = ["checkout", "engine", "invoke"]
