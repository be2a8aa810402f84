"""Tables have columns, and steps have a duration."""

from __future__ import annotations

import io

import pytest

from lab import output


def test_a_table_has_a_header_and_aligned_columns() -> None:
    text = output.table(("name", "state"), [("a", "up"), ("long", None)])
    assert text.splitlines() == ["NAME   STATE", "a      up", "long   -"]


def test_steps_show_their_duration_and_their_failure() -> None:
    stream = io.StringIO()
    status = output.Status(stream)
    with status.step("good"):
        status.note("not shown: no terminal")
    with pytest.raises(ValueError, match="bad"), status.step("broken"):
        raise ValueError("bad")
    good, broken = stream.getvalue().splitlines()
    assert good.startswith("✓ good")
    assert broken.startswith("✗ broken")
    assert list(status.times) == ["good"]
