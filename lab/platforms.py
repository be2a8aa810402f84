"""Platforms in the words of Go, e.g. linux-amd64, and what else differs between architectures."""

from __future__ import annotations

import platform

PLATFORMS = ("linux-amd64", "linux-arm64")
# Whatever a kernel calls them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "amd64": "amd64"}
# The first serial line of QEMU's usual machine, as Linux calls it.
SERIAL = {"amd64": "ttyS0", "arm64": "ttyAMA0"}


def this_platform() -> str:
    """Operating system and architecture of this host."""
    return f"{platform.system().lower()}-{ARCHITECTURES[platform.machine().lower()]}"


def architecture_of(platform: str) -> str:
    """The architecture of a platform, e.g. amd64."""
    return platform.partition("-")[2]


def machine_of(platform: str) -> str:
    """What Linux calls the architecture of a platform, e.g. x86_64."""
    return {"amd64": "x86_64", "arm64": "aarch64"}[architecture_of(platform)]
