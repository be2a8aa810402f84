"""Snapshots of a lab: its machines, and the lab's own state of the cluster in them.

A snapshot exists once its folder has its name. A save renames the folder last, and a delete renames
it first. A restore leaves a marker while it runs. The next task that finds the marker repeats the
restore before it uses the cluster. So both can be killed at any instant.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from lab.config import Lab
from lab.errors import ConfigError, NotFoundError, ResourceError
from lab.machines.driver import Machines
from lab.state import write_aside

FOLDER = "snapshots"
NOTE = "restoring"
ABOUT = "snapshot.json"
NAME = r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
# State that must match the cluster. A student's settings of stacks do not belong to it: like a
# program, they say what is wanted.
REMEMBERED = ("ready.json", "kubeconfig", "token", "pulumi/.pulumi")


@dataclass(frozen=True)
class Snapshot:
    """A snapshot: when it was saved (ISO 8601, UTC), and of which machines (name -> id)."""

    name: str
    saved: str
    machines: Mapping[str, str]


def listing(lab: Lab) -> list[Snapshot]:
    """The snapshots of a lab, the oldest first."""
    found = (lab.state / FOLDER).glob(f"[!.]*/{ABOUT}")
    snapshots = [Snapshot(**json.loads(path.read_text())) for path in found]
    return sorted(snapshots, key=lambda snapshot: snapshot.saved)


def find(lab: Lab, name: str) -> Snapshot:
    """The snapshot of this name. Raises NotFoundError, which lists the existing names."""
    found = {snapshot.name: snapshot for snapshot in listing(lab)}
    if name not in found:
        there = f"there are: {', '.join(found)}" if found else "there is none"
        raise NotFoundError(f"lab `{lab.name}` has no snapshot `{name}`; {there}")
    return found[name]


def unfinished(lab: Lab) -> str:
    """The name of the snapshot whose restore was interrupted; empty when none was."""
    note = lab.state / NOTE
    return note.read_text() if note.exists() else ""


def refuse_unfinished(lab: Lab) -> None:
    """Raise ResourceError while machines and the lab's state may not match."""
    if name := unfinished(lab):
        raise ResourceError(
            f"the restore of snapshot `{name}` was interrupted", hint="invoke lab-up"
        )


def save(machines: Machines, name: str) -> None:
    """Save all machines at one instant; they are paused for it.

    Raises ConfigError for an invalid name, and for a name that exists.
    """
    lab = machines.lab
    refuse_unfinished(lab)
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"a snapshot cannot be called {name!r}: at most 40 of a-z, 0-9 and -")
    kept = [snapshot.name for snapshot in listing(lab)]
    if name in kept:
        hint = f"invoke lab-snapshot delete {name}"
        raise ConfigError(f"lab `{lab.name}` has a snapshot `{name}` already", hint=hint)
    folder = lab.state / FOLDER / name
    aside = folder.with_name(f".{name}")
    shutil.rmtree(aside, ignore_errors=True)
    ran = machines.pause()
    try:
        machines.save(name, kept)
        _copy(lab.state, aside)
    finally:
        if ran:
            machines.resume()
    about = Snapshot(name, datetime.now(UTC).isoformat(timespec="milliseconds"), machines.known())
    write_aside(aside / ABOUT, json.dumps(asdict(about)))
    aside.rename(folder)


def restore(machines: Machines, name: str) -> None:
    """Restore a snapshot and start its machines.

    Raises NotFoundError when it does not exist, and ResourceError when the lab has other machines.
    """
    lab = machines.lab
    if find(lab, name).machines != machines.known():
        raise ResourceError(
            f"snapshot `{name}` was saved with other machines than this lab has",
            hint=f"invoke lab-snapshot delete {name}",
        )
    write_aside(lab.state / NOTE, name)
    machines.restore(name)
    _copy(lab.state / FOLDER / name, lab.state)
    (lab.state / NOTE).unlink()


def delete(machines: Machines, name: str) -> None:
    """Remove a snapshot. Raises NotFoundError when it does not exist."""
    lab = machines.lab
    refuse_unfinished(lab)
    find(lab, name)
    shutil.rmtree(_put_aside(lab.state / FOLDER / name))
    machines.forget(name, [snapshot.name for snapshot in listing(lab)])


def _put_aside(folder: Path) -> Path:
    aside = folder.with_name(f".{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def _copy(source: Path, target: Path) -> None:
    """Make the state in `target` equal to that in `source`."""
    for name in REMEMBERED:
        old, new = source / name, target / name
        if new.is_dir():
            shutil.rmtree(new)
        else:
            new.unlink(missing_ok=True)
        new.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if old.is_dir():
            shutil.copytree(old, new)
        elif old.exists():
            shutil.copy2(old, new)
