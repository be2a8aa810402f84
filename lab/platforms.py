"""Platforms in the words of Go, e.g. linux-amd64, and what else differs between architectures."""

from __future__ import annotations

import platform

PLATFORMS = ("linux-amd64", "linux-arm64")
# Architectures and what Linux calls them; other kernels say what Go says.
UNAMES = {"amd64": "x86_64", "arm64": "aarch64"}
# The first serial line of QEMU's usual machine, as Linux calls it.
SERIAL = {"amd64": "ttyS0", "arm64": "ttyAMA0"}


def this_platform() -> str:
    """Operating system and architecture of this host."""
    told = platform.machine().lower()
    architecture = next((one for one, uname in UNAMES.items() if uname == told), told)
    return f"{platform.system().lower()}-{architecture}"


def architecture_of(platform: str) -> str:
    """The architecture of a platform, e.g. amd64."""
    return platform.partition("-")[2]


def uname_of(platform: str) -> str:
    """What `uname -m` says on a platform, e.g. x86_64."""
    return UNAMES[architecture_of(platform)]
