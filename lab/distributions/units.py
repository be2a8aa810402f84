"""Whether the systemd unit of a machine's kubelet keeps running.

kubeadm has a unit for the kubelet, and k3s has one for all of k3s. When a unit exits, systemd
restarts it, and an API server answers between two starts. So only the unit's state shows a failure.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lab import wait
from lab.config import Lab
from lab.distributions.base import Distribution, machine_of
from lab.errors import CommandError, DeadlineExceeded, LabError, ResourceError, tail
from lab.machines.ssh import Remote
from lab.parallel import each

# Restarts after which a unit counts as broken. One is normal: k3s exits when it loses an election.
MOST_RESTARTS = 2
# Seconds between two checks of the units of all machines.
INTERVAL = 3.0
PROPERTIES = "ActiveState,NRestarts"


@contextmanager
def hinted(hint: str) -> Iterator[None]:
    """Add the distribution's hint to errors of a unit that does not start."""
    try:
        yield
    except (CommandError, DeadlineExceeded) as error:
        error.hint = hint
        raise


def wait_healthy(lab: Lab, remote: Remote, of: Distribution) -> None:
    """Wait until a machine's kubelet is healthy.

    Raises CommandError with the unit's last output when it exits or takes too long.
    """
    unit, seconds = of.units[machine_of(lab, remote).role], of.healthy
    script = lab.root / "vagrant" / "kubelet.sh"
    # The script has the shorter limit, so that its error gives the reason.
    with hinted(of.hint):
        remote.script(script, unit, f"{wait.limit(seconds):.0f}", timeout=2 * seconds)


@dataclass(frozen=True)
class State:
    """A unit's state in systemd (active, activating, failed, ...) and its number of restarts."""

    active: str
    restarts: int


def parse(text: str) -> State:
    """Parse the output of `systemctl show`. Raises ValueError or KeyError for other text."""
    found = dict(line.split("=", 1) for line in text.splitlines())
    return State(found["ActiveState"], int(found["NRestarts"]))


def keeps_running(before: State, now: State) -> bool:
    """Whether a unit may still recover: it has neither failed nor restarted repeatedly."""
    return now.active != "failed" and now.restarts - before.restarts < MOST_RESTARTS


class Watch:
    """Checks the units of all machines during another wait."""

    def __init__(self, lab: Lab, remotes: Sequence[Remote], of: Distribution) -> None:
        self._units = [(remote, of.units[machine_of(lab, remote).role]) for remote in remotes]
        self._hint = of.hint
        self._before: dict[str, State] = {}
        self._next = 0.0

    def __call__(self) -> None:
        """Check the units, unless the last check was less than INTERVAL ago.

        Raises ResourceError with the last output of a unit that cannot run.
        """
        if time.monotonic() < self._next:
            return
        each(self._units, lambda pair: self._look(*pair))
        self._next = time.monotonic() + wait.limit(INTERVAL)

    def _look(self, remote: Remote, unit: str) -> None:
        try:
            state = parse(remote.run(["systemctl", "show", "--property", PROPERTIES, unit]))
        except LabError:
            # A machine may be too busy to answer.
            return
        if keeps_running(self._before.setdefault(remote.name, state), state):
            return
        words = ["journalctl", "--unit", unit, "--lines", "14", "--no-pager", "--output", "cat"]
        said = remote.run(words, sudo=True, ok=range(256))
        raise ResourceError(
            f"{unit} on {remote.name} exits again and again{tail(said)}", hint=self._hint
        )
