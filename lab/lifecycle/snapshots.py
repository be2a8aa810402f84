"""Snapshots of a lab: its machines, and what the lab remembers of the cluster that is in them.

A snapshot exists when its folder has its name: that comes last when it is saved, and goes first
when it is deleted. A restore begins by a note and ends by taking it away; whoever finds the note
does the restore again. So both can be killed at any instant.
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
# What must tell the same story as the cluster. A student's own settings of stacks are no part of
# it: like a program, they say what shall be, not what is.
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
    """The snapshot of this name. Raises NotFoundError with the names that there are."""
    found = {snapshot.name: snapshot for snapshot in listing(lab)}
    if name not in found:
        there = f"there are: {', '.join(found)}" if found else "there is none"
        raise NotFoundError(f"lab `{lab.name}` has no snapshot `{name}`; {there}")
    return found[name]


def unfinished(lab: Lab) -> str:
    """The name of the snapshot whose restore was cut off; empty when none was."""
    note = lab.state / NOTE
    return note.read_text() if note.exists() else ""


def refuse_unfinished(lab: Lab) -> None:
    """Raises ResourceError while machines and what is remembered may not belong together."""
    if name := unfinished(lab):
        raise ResourceError(f"the restore of snapshot `{name}` was cut off", hint="invoke lab-up")


def save(machines: Machines, name: str) -> None:
    """Save all machines at one instant, which they are held for.

    Raises ConfigError for a name that is none, or is taken.
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
    ran = machines.hold()
    try:
        machines.save(name, kept)
        _copy(lab.state, aside)
    finally:
        if ran:
            machines.release()
    about = Snapshot(name, datetime.now(UTC).isoformat(timespec="milliseconds"), machines.known())
    write_aside(aside / ABOUT, json.dumps(asdict(about)))
    aside.rename(folder)


def restore(machines: Machines, name: str) -> None:
    """Put the lab back to a snapshot; its machines have been started when this returns.

    Raises NotFoundError without it, ResourceError when its machines are not those of today.
    """
    lab = machines.lab
    if find(lab, name).machines != machines.known():
        raise ResourceError(
            f"snapshot `{name}` is of machines that this lab has no longer, or has more of",
            hint=f"invoke lab-snapshot delete {name}",
        )
    write_aside(lab.state / NOTE, name)
    machines.restore(name)
    _copy(lab.state / FOLDER / name, lab.state)
    (lab.state / NOTE).unlink()


def delete(machines: Machines, name: str) -> None:
    """Remove a snapshot. Raises NotFoundError when there is none of this name."""
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
    """Make everything that is remembered in `target` as it is in `source`."""
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
