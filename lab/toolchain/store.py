"""The store: folders of programs, renamed into place when complete, and verified at each use."""

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
    """The digest of a file's content, as `algorithm:hex`."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def place(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it if the file system does not allow links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def alone(path: Path, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep a lock on a file while the block runs. Other threads and processes wait.

    Calls `waits` if another one has the lock.
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
    """An empty folder while the block runs. The caller must have a lock for it.

    Use it instead of /tmp, which may be in memory. Removes the folder of a killed process first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Store:
    """Content-addressed folders below `folder`. Several labs and processes may share them."""

    folder: Path
    status: Status

    def has(self, key: str) -> bool:
        """Whether a folder exists. Does not verify its files."""
        return (self.folder / key / MANIFEST).exists()

    def get(self, key: str) -> dict[str, Path] | None:
        """The verified files of a folder by name; None without the folder.

        Removes a folder with a changed or missing file, says so, and returns None.
        """
        files, bad = self._look(key)
        if bad:
            with self._alone(key):
                return self._kept(key)
        return files

    def _kept(self, key: str) -> dict[str, Path] | None:
        """Like `get`, but the caller has the folder's lock.

        Verifies again, because another task may have replaced the folder in the meantime.
        """
        files, bad = self._look(key)
        if bad:
            self.status.say(f"{bad} has changed since it was stored: removed")
            with scratch(self.folder / f".{key}.bad") as doomed:
                os.replace(self.folder / key, doomed)
        return files

    def _look(self, key: str) -> tuple[dict[str, Path] | None, Path | None]:
        """The verified files of a folder, and a changed file; both None without a folder."""
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
        """Add a folder and return its files. `fill` writes them into an empty temporary folder.

        The store renames the complete folder into place. One process fills it; others wait. Returns
        the existing files if the folder is already there.
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
        waits = partial(self.status.say, f"waiting: another task already makes {tool}")
        return alone(self.folder / f".{key}.lock", waits)
