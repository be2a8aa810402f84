"""The first lab's end: of everything that it was, nothing is left but the cache."""

from __future__ import annotations

import pytest

from tests.e2e.support import Invoke, leftovers

pytestmark = pytest.mark.e2e


def test_destroy_leaves_nothing(invoke: Invoke, clean_host: dict[str, set[str]]) -> None:
    invoke("lab-destroy")
    assert not invoke.state.exists()
    now = leftovers()
    for kind, known in clean_host.items():
        assert not now[kind] - known, kind
    assert "nothing to destroy" in invoke("lab-destroy").err
