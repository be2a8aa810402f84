"""The picture of a terminal session."""

from __future__ import annotations

from xml.etree import ElementTree

from lab.pages.terminal import COLUMNS, COMMANDS, FILE, Command, lines, svg
from tests.unit.conftest import ROOT

SESSION = [Command("./inv lab-up", "✓ machines  1.0 s\n" + "x" * 200 + "\n"), Command("a <b>", "")]


def test_a_session_is_commands_with_their_output() -> None:
    shown = list(lines(SESSION))
    assert shown == ["$ ./inv lab-up", "✓ machines  1.0 s", "x" * COLUMNS, "", "$ a <b>"]


def test_the_picture_is_svg_with_every_line() -> None:
    drawn = ElementTree.fromstring(svg(SESSION))
    texts = ["".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [line for line in lines(SESSION) if line]


def test_the_readme_shows_a_recorded_session() -> None:
    assert f"]({FILE})" in (ROOT / "README.md").read_text()
    told = "".join(ElementTree.parse(ROOT / FILE).getroot().itertext())
    assert all(f"$ {command}" in told for command in COMMANDS)
    assert "up in " in told and "✗" not in told
