"""Where a machine that is a container says that its pods' control groups are to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import runner

SCRIPT = Path(__file__).parents[2] / "vagrant/machine/rootfs/usr/local/lib/lab/own-cgroup"
# Hierarchies that systemd has mounted and `adapt` taken away again go on being listed for a while.
LEAVING = "563:perf_event:/\n562:hugetlb:/\n561:net_cls,net_prio:/\n"
# At their very end they have lost the names of their controllers.
GONE = "563::/\n562::/\n"


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (
            "9:name=systemd:/docker/12/init.scope\n4:memory:/docker/12\n0::/docker/12\n",
            "/docker/12",
        ),
        (f"{LEAVING}8:pids:/other\n4:memory:/docker/12/init.scope\n0::/\n", "/docker/12"),
        (f"{LEAVING}0::/docker/12/init.scope\n", "/docker/12"),
        (f"{GONE}4:memory:/docker/12\n0::/\n", "/docker/12"),
        (f"{GONE}0::/docker/12/init.scope\n", "/docker/12"),
        ("0::/system.slice/docker-12.scope/init.scope\n", "/system.slice/docker-12.scope"),
        ("0::/init.scope\n", ""),
        ("0::/\n", ""),
    ],
)
def test_own_cgroup(listing: str, expected: str) -> None:
    assert runner.run([SCRIPT], stdin=listing.encode()).stdout.strip() == expected
