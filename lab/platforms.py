"""Platforms by Go's names, e.g. linux-amd64, and other differences between architectures."""

from __future__ import annotations

import platform

PLATFORMS = ("linux-amd64", "linux-arm64")
# Architectures and Linux's names for them. Other kernels use Go's names.
UNAMES = {"amd64": "x86_64", "arm64": "aarch64"}
# Linux's name of the first serial line of QEMU's usual machine.
SERIAL = {"amd64": "ttyS0", "arm64": "ttyAMA0"}


def this_platform() -> str:
    """The platform of this host, e.g. linux-amd64."""
    told = platform.machine().lower()
    architecture = next((one for one, uname in UNAMES.items() if uname == told), told)
    return f"{platform.system().lower()}-{architecture}"


def architecture_of(platform: str) -> str:
    """The architecture of a platform, e.g. amd64."""
    return platform.partition("-")[2]


def uname_of(platform: str) -> str:
    """The output of `uname -m` on a platform, e.g. x86_64."""
    return UNAMES[architecture_of(platform)]
