"""How long steps take: what is kept of earlier runs, and what a running step says."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest

from lab import progress
from lab.output import Status
from lab.parallel import each
from lab.progress import History, Running


def test_the_median_of_the_last_runs_is_usual(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert history.usual("machines") is None
    for seconds in (500, 10, 20, 30, 40, 900):
        history.add("machines", seconds)
    assert history.usual("machines") == 30
    history.add("names", 0.4)
    assert history.usual("names") is None


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": ["x"]}'])
def test_a_torn_history_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / progress.FILE).write_text(text)
    assert History(tmp_path).usual("a") is None
    History(tmp_path).add("a", 5)
    assert History(tmp_path).usual("a") == 5


def test_a_history_does_not_grow_for_ever(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number in range(progress.STEPS + 1):
        history.add(f"step {number}", 5)
    assert history.usual("step 0") is None
    assert history.usual("step 1") == 5


def test_a_history_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    History(tmp_path / "file").add("a", 5)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (130, "2 min 10 s"), (3900, "1 h 5 min")],
)
def test_durations(seconds: float, told: str) -> None:
    assert progress.duration(seconds) == told


def test_a_line_begins_with_the_newest_step() -> None:
    steps = [Running("node's programs", 0, 500.0), Running("coredns", 90)]
    assert progress.line(steps, 100, "compile miekg/dns") == (
        "coredns  10 s: compile miekg/dns; node's programs  1 min 40 s, usually 8 min 20 s"
    )
    assert progress.line(steps[:1], 1, "node's programs") == (
        "node's programs  1 s, usually 8 min 20 s"
    )


def test_a_long_step_reports_in_a_pipe(tmp_path: Path) -> None:
    """A first lab-up printed nothing for seven minutes in CI's log."""
    History(tmp_path).add("node's programs", 61)
    stream = io.StringIO()
    status = Status(stream, history=History(tmp_path), every=0.02)
    with status.step("node's programs"):
        status.note("compile miekg/dns")
        deadline = time.monotonic() + 10
        while "…" not in stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    first, *_ = stream.getvalue().splitlines()
    assert first == "… node's programs  0 s, usually 1 min 1 s: compile miekg/dns"
    assert re.match(r"✓ node's programs  \d\.\d s", stream.getvalue().splitlines()[-1])


def test_nothing_is_reported_once_no_step_runs() -> None:
    stream = io.StringIO()
    status = Status(stream, every=0.01)
    with status.step("short"):
        pass
    before = stream.getvalue()
    time.sleep(0.05)
    assert stream.getvalue() == before


class Terminal(io.StringIO):
    """A stream that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_the_running_step_with_its_time() -> None:
    stream = Terminal()
    status = Status(stream)
    with status.step("machines"):
        status.note("control-plane-1: creating")
    assert "… machines  0 s: control-plane-1: creating" in stream.getvalue()
    assert stream.getvalue().endswith(" s\n")


def test_steps_that_finish_at_once_are_all_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each keeps its duration by rewriting the one file of all of them."""
    monkeypatch.setattr(progress, "SHORTEST", 0.0)
    status = Status(io.StringIO(), history=History(tmp_path))

    def run(name: str) -> None:
        with status.step(name):
            time.sleep(0.01)

    names = [f"step {number}" for number in range(24)]
    each(names, run, len(names))
    assert [name for name in names if History(tmp_path).usual(name) is None] == []
