"""Check the checkout: line ends of its files, and labs of the same name in other checkouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.config import Settings
from lab.errors import ConfigError

# Folders whose files lab-up copies into machines and runs there.
INSIDE = ("vagrant", "infra/workloads/*/app", "infra/workloads/*/base")


def with_carriage_returns(root: Path) -> list[str]:
    """The files for machines with line ends of Windows, sorted. No shell there runs them."""

    def files() -> Iterator[Path]:
        for pattern in INSIDE:
            for folder in root.glob(pattern):
                yield from (path for path in folder.rglob("*") if path.is_file())

    return sorted(str(path.relative_to(root)) for path in files() if b"\r\n" in path.read_bytes())


def refuse_another(lab: Settings, roots: Iterable[Path]) -> None:
    """Raise ConfigError if another checkout, e.g. of another user, has a lab of this name.

    `roots` are the checkouts of the existing machines. A deleted checkout does not count.
    """
    for root in roots:
        if root != lab.root and not _gone(root):
            raise ConfigError(
                f"{root} has a lab `{lab.name}` on this host already",
                hint="choose another name: invoke lab-up --lab NAME",
            )


def _gone(folder: Path) -> bool:
    """Whether a folder does not exist. A folder that this user may not read exists."""
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
