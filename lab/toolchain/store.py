"""The store: folders of programs, filled aside and renamed, and verified whenever they are used."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.output import Status

MANIFEST = "manifest.json"


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """`algorithm:hex` over a file's content."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def place(source: Path, target: Path) -> None:
    """Hard-link a file where the file system allows it, copy it otherwise."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def alone(path: Path, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock file while the block runs; threads and processes take turns.

    `waits` is called where somebody else's turn has to end first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """An empty folder while the block runs, for whoever holds a lock for it.

    In the cache and not in /tmp, which may be memory; what a killed one left is taken away.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Store:
    """Content-addressed folders below `folder`; several labs and processes may share it."""

    folder: Path
    status: Status

    def has(self, key: str) -> bool:
        """Whether a folder is there; says nothing yet about its files."""
        return (self.folder / key / MANIFEST).exists()

    def get(self, key: str) -> dict[str, Path] | None:
        """The files of a folder by name, each with the digest it had when it was made.

        A folder with a changed or missing file is named, taken away, and counts as absent.
        """
        files, bad = self._look(key)
        if bad:
            with self._alone(key):
                return self._kept(key)
        return files

    def _kept(self, key: str) -> dict[str, Path] | None:
        """`get`, for whoever holds the folder's lock: another one may have made it anew."""
        files, bad = self._look(key)
        if bad:
            self.status.say(f"{bad} is not what was stored: it is refused and made again")
            with scratch(self.folder / f".{key}.bad") as doomed:
                os.replace(self.folder / key, doomed)
        return files

    def _look(self, key: str) -> tuple[dict[str, Path] | None, Path | None]:
        """The files of a folder, and what of it is not as it was stored; both None without one."""
        folder = self.folder / key
        if not self.has(key):
            return None, None
        bad = folder / MANIFEST
        try:
            manifest: dict[str, str] = json.loads(bad.read_text())
            for name, digest in manifest.items():
                bad = folder / name
                if file_digest(bad) != digest:
                    raise ValueError(f"not {digest}")
        except (OSError, ValueError):
            return None, bad
        return {name: folder / name for name in manifest}, None

    def add(self, key: str, fill: Callable[[Path], None]) -> dict[str, Path]:
        """Make a folder: `fill` writes its files into an empty one that becomes it when complete.

        One process makes it, others that want the same wait for that one.
        """
        with self._alone(key):
            found = self._kept(key)
            if found is not None:
                return found
            aside = self.folder / f".{key}.partial"
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            fill(aside)
            names = sorted(path.name for path in aside.iterdir() if path.is_file())
            manifest = {name: file_digest(aside / name) for name in names}
            (aside / MANIFEST).write_text(json.dumps(manifest, indent=2))
            os.replace(aside, self.folder / key)
        return {name: self.folder / key / name for name in names}

    def _alone(self, key: str) -> AbstractContextManager[None]:
        tool = key.rpartition("-")[0]
        waits = partial(self.status.say, f"waiting: {tool} is being made already")
        return alone(self.folder / f".{key}.lock", waits)
