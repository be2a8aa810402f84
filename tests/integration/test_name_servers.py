"""A machine's script selects the name servers that pods can use."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import runner
from tests.name_servers import TEXTS

SCRIPT = Path(__file__).parents[2] / "vagrant/machine/rootfs/usr/local/lib/lab/name-servers"


@pytest.mark.parametrize("name", TEXTS)
def test_the_name_servers_that_pods_can_use(name: str) -> None:
    text, expected = TEXTS[name]
    lines = [f"nameserver {address}" for address in expected]
    assert runner.run([SCRIPT], stdin=text.encode()).stdout.splitlines() == lines
