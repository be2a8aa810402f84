"""The versions that a report of a fault needs: of the lab, Kubernetes, Python and the host.

A checkout is run in place and never installed, so no package metadata exists. The version stands
in pyproject.toml alone. This module needs no package: errors are reported before any is there.
"""

from __future__ import annotations

import platform
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Stands for a version whose file is missing or damaged.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Versions:
    """Versions as texts: of the lab, of Kubernetes in the lock file, of Python and of the host."""

    lab: str
    kubernetes: str
    python: str
    platform: str

    def data(self) -> dict[str, str]:
        """The versions for JSON."""
        return asdict(self)

    def text(self) -> str:
        """One line for each version."""
        return "\n".join(f"{name:<10} {value}" for name, value in self.data().items())


def versions(root: Path = ROOT) -> Versions:
    """The versions of the checkout `root` and of this process.

    Raises nothing: LabBug.wrap calls it, and must not hide the fault that it reports.
    """
    return Versions(
        lab=_read(root / "pyproject.toml", "project"),
        kubernetes=_read(root / "toolchain" / "lock.toml", "kubernetes"),
        python=platform.python_version(),
        platform=f"{_distribution()}, {platform.system()} {platform.release()} "
        f"{platform.machine()}",
    )


def _read(file: Path, table: str) -> str:
    """The `version` in a table of a TOML file; UNKNOWN when it cannot be read."""
    try:
        return str(tomllib.loads(file.read_text(encoding="utf-8"))[table]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN


def _distribution() -> str:
    """The name that /etc/os-release gives this system, e.g. Debian GNU/Linux 13 (trixie)."""
    # `platform.platform()` would start the program uname.
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return UNKNOWN
