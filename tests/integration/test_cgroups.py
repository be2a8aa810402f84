"""A machine's script decides on the kubelet's cgroup driver and root: a table of its cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import runner
from lab.machines import cgroups

SCRIPT = Path(__file__).parents[2] / "vagrant/machine/rootfs/usr/local/lib/lab/cgroups"
V1, V2 = "tmpfs", "cgroup2fs"
# Hierarchies that `adapt` has unmounted stay in the list for some time.
LEAVING = "563:perf_event:/\n562:hugetlb:/\n561:net_cls,net_prio:/\n"
# Then they lose the names of their controllers.
GONE = "563::/\n562::/\n"


OWN = "/docker/12"
SYSTEMD = f"9:name=systemd:{OWN}/init.scope\n"
MEMORY = f"4:memory:{OWN}"


@pytest.mark.parametrize(
    ("kind", "listing", "driver", "root"),
    [
        # A container with its host's hierarchies, before and after systemd made its scope.
        (V1, f"{SYSTEMD}{MEMORY}\n0::{OWN}\n", "cgroupfs", OWN),
        (V1, f"{LEAVING}8:pids:/other\n{MEMORY}/init.scope\n0::/\n", "cgroupfs", OWN),
        (V1, f"{LEAVING}0::{OWN}/init.scope\n", "cgroupfs", OWN),
        (V1, f"{GONE}{MEMORY}\n0::/\n", "cgroupfs", OWN),
        (V1, f"{GONE}0::{OWN}/init.scope\n", "cgroupfs", OWN),
        # A virtual machine.
        (V1, "9:name=systemd:/init.scope\n4:memory:/init.scope\n0::/init.scope\n", "cgroupfs", ""),
        # A container with its own namespace, or a virtual machine, before and after systemd.
        (V2, "0::/init.scope\n", "systemd", ""),
        (V2, "0::/\n", "systemd", ""),
    ],
)
def test_the_script_selects_driver_and_root(
    kind: str, listing: str, driver: str, root: str
) -> None:
    output = runner.run([SCRIPT, kind], stdin=listing.encode()).stdout
    assert cgroups.parse(output) == cgroups.Cgroups(1 if kind == V1 else 2, driver)
    lines = dict(line.split("=", 1) for line in output.splitlines())
    assert lines["LAB_CGROUP_ROOT"] == root
    assert lines["LAB_KUBELET_ARGS"] == (f"--cgroup-root={root}" if root else "")
    k3s = f'"cgroup-root={root} kubelet-cgroups= runtime-cgroups="' if root else '""'
    assert lines["LAB_K3S_KUBELET_ARGS"] == k3s
