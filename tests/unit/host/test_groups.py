"""After a user joins a group, a task replaces itself once, to get the group."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.host import groups

Start = Callable[..., list[list[str]]]


@pytest.fixture
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Call `take` as the user `ada`. Returns the commands that replaced the process."""
    socket = tmp_path / "docker.sock"
    monkeypatch.setattr(groups, "SOCKETS", {"docker": socket})
    monkeypatch.setattr(groups.getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(sys, "argv", ["invoke", "lab-ssh", "a b"])
    monkeypatch.delenv(groups.JOINED, raising=False)

    def tried(members: list[str], *, there: bool = True, mine: bool = False) -> list[list[str]]:
        done: list[list[str]] = []
        if there:
            socket.touch()
        monkeypatch.setattr(
            groups.grp, "getgrnam", lambda name: SimpleNamespace(gr_mem=members, gr_gid=99999)
        )
        monkeypatch.setattr(os, "access", lambda path, mode: mine)
        monkeypatch.setattr(os, "closerange", lambda *_: None)
        monkeypatch.setattr(os, "execvp", lambda file, words: done.append(words))
        groups.take()
        return done

    return tried


def test_a_new_group_replaces_the_process_once(take: Start) -> None:
    expected = ["sg", "docker", "-c", f"{shlex.quote(sys.executable)} -m invoke lab-ssh 'a b'"]
    assert take(["bob", "ada"]) == [expected]
    # sg may fail to add the group, so the task does not retry.
    assert take(["bob", "ada"]) == []


@pytest.mark.parametrize("case", [{"there": False}, {"mine": True}])
def test_without_need_the_process_stays(take: Start, case: dict[str, Any]) -> None:
    assert take(["ada"], **case) == []


def test_a_group_of_other_users_or_an_active_one_is_ignored(
    take: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert take(["bob"]) == []
    monkeypatch.setattr(os, "getgroups", lambda: [99999])
    assert take(["ada"]) == []
