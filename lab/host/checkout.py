"""What is wrong with the checkout itself, and the lab of the same name in another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.config import Settings
from lab.errors import ConfigError

# What goes into machines, and is run there.
INSIDE = ("vagrant", "infra/workloads/*/app", "infra/workloads/*/base")


def with_carriage_returns(root: Path) -> list[str]:
    """The files for machines whose lines end as Windows ends them; no shell there runs them."""

    def files() -> Iterator[Path]:
        for pattern in INSIDE:
            for folder in root.glob(pattern):
                yield from (path for path in folder.rglob("*") if path.is_file())

    return sorted(str(path.relative_to(root)) for path in files() if b"\r\n" in path.read_bytes())


def refuse_another(lab: Settings, roots: Iterable[Path]) -> None:
    """Raises ConfigError where another checkout, of another user perhaps, has a lab of this name.

    `roots` are the checkouts of the existing machines. A checkout that was deleted does not count.
    """
    for root in roots:
        if root != lab.root and not _gone(root):
            raise ConfigError(
                f"{root} has a lab `{lab.name}` on this host already",
                hint="choose another name: invoke lab-up --lab NAME",
            )


def _gone(folder: Path) -> bool:
    """Whether there is no such folder; one that may not be looked at is there."""
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
