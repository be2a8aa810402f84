"""The script by which a machine knows whom its pods may ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import runner
from tests.name_servers import TEXTS

SCRIPT = Path(__file__).parents[2] / "vagrant/machine/rootfs/usr/local/lib/lab/name-servers"


@pytest.mark.parametrize("name", TEXTS)
def test_whom_pods_may_ask(name: str) -> None:
    text, expected = TEXTS[name]
    lines = [f"nameserver {address}" for address in expected]
    assert runner.run([SCRIPT], stdin=text.encode()).stdout.splitlines() == lines
