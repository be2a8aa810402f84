"""A wait times out with a reason, and slow machines get longer timeouts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab import errors, wait
from lab.config import Lab
from lab.errors import DeadlineExceeded, ResourceError
from lab.machines import driver


def test_a_wait_returns_the_first_value() -> None:
    answers = iter([None, None, "there"])
    assert wait.until(lambda: next(answers), what="it", timeout=5, interval=0.001) == "there"


def test_a_timeout_names_the_last_reason() -> None:
    def probe() -> None:
        raise errors.ResourceError("1 of 3 pods ready")

    with pytest.raises(
        errors.DeadlineExceeded, match="timed out after 0 s waiting for the pods: 1 of 3"
    ):
        wait.until(probe, what="the pods", timeout=0.01, interval=0.001)


def test_emulated_machines_get_longer_timeouts(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "_emulation", 1.0)
    monkeypatch.setattr(wait.time, "sleep", lambda _: None)
    emulated = replace(lab, provider="libvirt")
    assert driver.emulation(lab, kvm=False) == driver.emulation(emulated, kvm=True) == 1
    wait.expect(driver.emulation(emulated, kvm=False))
    assert wait.limit(10) == 60
    clock = iter([0.0, *range(5, 100)])
    monkeypatch.setattr(wait.time, "monotonic", lambda: next(clock))
    with pytest.raises(DeadlineExceeded, match="timed out after 6 s"):
        wait.until(lambda: None, what="it", timeout=1)


@pytest.mark.parametrize(
    ("seconds", "factor"),
    [(0.002, 1), (wait.USUAL, 1), (0.007, 1), (0.0075, 2.5), (0.03, 10), (0.9, 20)],
)
def test_timeouts_only_grow_on_slow_hosts(
    seconds: float, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A usual host with other work keeps its timeouts, and no timeout grows without limit."""
    assert wait.slowness(seconds) == pytest.approx(factor)
    monkeypatch.setattr(wait, "host_slowness", lambda: wait.slowness(seconds))
    assert wait.limit(10) == pytest.approx(10 * factor)
    assert wait.slow() == (factor > 1)


def test_a_silent_probe_times_out_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that always raises times out earlier. One answer restarts the time of silence."""
    clock = iter(range(1000))
    monkeypatch.setattr(wait.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(wait.time, "sleep", lambda _: None)
    answers = iter([None, *[ResourceError("refused")] * 4, None, *[ResourceError("gone")] * 50])

    def probe() -> bool | None:
        if isinstance(answer := next(answers), ResourceError):
            raise answer
        return answer

    with pytest.raises(DeadlineExceeded, match="no answer for 20 s while waiting for it: gone"):
        wait.until(probe, what="it", timeout=500, silence=20)


@pytest.mark.parametrize(("slowness", "started"), [(1.0, 8), (2.5, 3), (20.0, 1)])
def test_slow_machines_run_fewer_jobs_at_once(
    monkeypatch: pytest.MonkeyPatch, slowness: float, started: int
) -> None:
    """With five Pulumi programs at once, nodes of an emulated cluster became NotReady."""
    monkeypatch.setattr(wait, "host_slowness", lambda: slowness)
    assert wait.at_once(8) == started
