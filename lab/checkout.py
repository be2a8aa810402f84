"""What is wrong with the checkout itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# What goes into machines, and is run there.
INSIDE = ("vagrant", "infra/workloads/*/app", "infra/workloads/*/base")


def with_carriage_returns(root: Path) -> list[str]:
    """The files for machines whose lines end as Windows ends them; no shell there runs them."""

    def files() -> Iterator[Path]:
        for pattern in INSIDE:
            for folder in root.glob(pattern):
                yield from (path for path in folder.rglob("*") if path.is_file())

    return sorted(str(path.relative_to(root)) for path in files() if b"\r\n" in path.read_bytes())
