"""SIGKILL in the middle of lab-up, once in every step, and a power cut: the next lab-up just works.

All of it beside the first lab, which went on as if nothing was.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Beside
from tests.e2e.kills import NAME, Ending
from tests.e2e.support import Invoke, docker, ready

pytestmark = pytest.mark.e2e


@pytest.fixture
def ending(beside: Beside) -> Ending:
    return beside.killed.result()


def test_killed_in_every_step(ending: Ending) -> None:
    assert [machine["state"] for machine in ending.status["machines"]] == ["running"]
    assert ready(ending.status) == 1


def test_two_labs_side_by_side(ending: Ending, invoke: Invoke) -> None:
    report = invoke.json("check", "service")
    assert report["score"] == report["points"]
    both = [document["lab"] for document in (ending.status, invoke.json("lab-status"))]
    assert both[0]["subnet"] != both[1]["subnet"]
    assert not set(both[0]["ports"].values()) & set(both[1]["ports"].values())


def test_another_checkout_with_the_same_name(ending: Ending, invoke: Invoke) -> None:
    """It is refused; neither its lab-up nor its lab-destroy touches the first one's machines."""
    expected = f"{invoke.checkout} has a lab `{NAME}` on this host already"
    assert expected in ending.refused.err
    assert ready(ending.standing) == 1


def test_next_run_works_after_a_power_cut(ending: Ending, invoke: Invoke) -> None:
    """The next lab-up does; here as part of a smoke test, which leaves the lab that was there."""
    assert "5 of 5 points" in ending.smoke.out
    assert len(ending.kept) == 1


def test_a_lab_whose_folder_is_gone_can_be_destroyed(ending: Ending) -> None:
    assert "removed the containers of lab" in ending.unrecorded.err
    assert not ending.left


def test_nothing_is_left_of_it(ending: Ending, invoke: Invoke) -> None:
    assert not (invoke.checkout / ".lab" / NAME).exists()
    assert not docker("ps", "--all", "--quiet", "--filter", f"label=lab.name={NAME}")
