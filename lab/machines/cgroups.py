"""The decision on control groups that a machine makes at boot (`cgroups` in vagrant/machine)."""

from __future__ import annotations

from dataclasses import dataclass

FILE = "/run/lab/cgroups.env"


@dataclass(frozen=True)
class Cgroups:
    """The version of a machine's control groups (1 or 2) and kubelet's driver for them."""

    version: int
    driver: str


def parse(text: str) -> Cgroups:
    """Parse the text of FILE. Raises KeyError when a line is missing."""
    found = dict(line.split("=", 1) for line in text.splitlines())
    return Cgroups(int(found["LAB_CGROUP_VERSION"]), found["LAB_CGROUP_DRIVER"])
