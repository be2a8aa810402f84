"""Files of the state are complete and private."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lab import state


def test_files_are_written_aside_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    assert state.write_aside(path, "one")
    assert not state.write_aside(path, "one")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["file"]
    assert state.remembered(path, lambda: "two") == "one"
    assert state.remembered(tmp_path / "new", lambda: "three") == "three"


def test_a_folder_without_permission_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's folder may be in one. The tests may run as root, who can enter every folder."""

    def exists(path: Path) -> bool:
        if path.name == "docker":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return os.path.exists(path)

    monkeypatch.setattr(Path, "exists", exists)
    assert state.existing(tmp_path / "docker") == tmp_path
    assert state.existing(tmp_path / "a" / "b") == tmp_path
    assert state.existing(tmp_path) == tmp_path
