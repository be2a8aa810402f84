"""Where the orchestrators run, and what each of them must be able to do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.cluster.client import Cluster
from lab.config import Lab
from lab.machines.ssh import Remote

# On machines, for as long as a comparison takes.
FOLDER = "/var/lib/lab-orchestrators"
IMAGE = "busybox:1.37"
NAME = "orchestrators"
CLIENT = f"{NAME}-client"
FIRST_PORT = 8088
# Prints the machine's clock, the one that the visitor writes down.
CLOCK = "cut -d ' ' -f 1 /proc/uptime"


@dataclass(frozen=True)
class Ground:
    """A running lab: its cluster, and connections to its machines by name.

    `first` is the control plane, `last` another machine: tools of one machine run on that one.
    """

    lab: Lab
    cluster: Cluster
    machines: Mapping[str, Remote]

    @property
    def first(self) -> str:
        """The machine that is never taken away."""
        return self.lab.machines[0].name

    @property
    def last(self) -> str:
        """The machine for tools that know one machine only."""
        return self.lab.machines[-1].name

    @property
    def exercise(self) -> Path:
        """The folder of the exercise with the app in the form of each orchestrator."""
        return self.lab.root / "infra" / "workloads" / "orchestrators"

    def address(self, machine: str) -> str:
        """A machine's address in the lab."""
        return next(one.address for one in self.lab.machines if one.name == machine)

    def run(self, machine: str, script: str, timeout: int = 60) -> str:
        """Run lines of shell on a machine as root, in the folder of the app; what they printed."""
        lines = f"cd {FOLDER}\n{script}"
        return self.machines[machine].run(["sh", "-ec", lines], sudo=True, timeout=timeout)

    def timed(self, machine: str, script: str, timeout: int = 60) -> tuple[float, str]:
        """The same; the machine's clock just before, and what was printed, complaints as well."""
        output = self.run(machine, f"{CLOCK}\n{{ {script}\n}} 2>&1", timeout)
        clock, _, rest = output.partition("\n")
        return float(clock), rest.strip()

    def clock(self, machine: str) -> float:
        """A machine's clock: seconds since it was started."""
        return float(self.run(machine, CLOCK))

    def first_answer(self, machine: str, addresses: str, seconds: int = 60) -> float:
        """Ask from a machine until somebody answers; the clock then.

        `addresses` is a line of shell that prints where to ask, one HOST:PORT a line.
        """
        script = (
            f"for try in $(seq {seconds * 10}); do for place in $({addresses}); do "
            "if curl -fs --max-time 1 -o /dev/null http://$place/; then "
            f"{CLOCK}; exit; fi; done; sleep 0.05; done; echo 'nobody answers' >&2; exit 1"
        )
        return float(self.run(machine, script, seconds + 20))

    def answers(self, machine: str, place: str) -> bool:
        """Whether somebody answers at HOST:PORT, asked from a machine."""
        code = f"curl -fs --max-time 2 -o /dev/null http://{place}/ && echo yes || echo no"
        return self.run(machine, code).strip() == "yes"


def client_of(place: str) -> str:
    """The words that start the visitor in a container: it asks NAME:PORT."""
    return f'{IMAGE} sh -c "$(cat client.sh)" client {shlex.quote(place)}'


class Orchestrator(Protocol):
    """The app under one orchestrator. Every time is of the clock of the visitor's machine."""

    name: str
    # Whether it knows one machine only.
    single: bool

    def version(self) -> str:
        """The version of the tool."""

    def deploy(self) -> tuple[float, float]:
        """Start one copy that says v1, and a visitor; when that began and the first answer came."""

    def kill(self) -> float:
        """Kill the process of a copy; just before."""

    def mend(self) -> None:
        """Start again by hand what was killed, where nobody else does."""

    def scale(self, copies: int) -> tuple[float, str]:
        """Ask for so many copies; just before, and what the tool said."""

    def update(self, text: str) -> float:
        """Have all copies say something else; just before."""

    def log(self) -> str:
        """What the visitor wrote down."""

    def victim(self) -> str:
        """The machine to be taken away: one with a copy, and without the visitor if possible."""

    def anywhere(self) -> bool:
        """Whether a machine without a copy answers for the app; asked while there is one copy."""

    def port(self) -> int:
        """The port of the only machine that leads to a copy; not asked of tools of several."""

    def whole(self) -> bool:
        """Whether the orchestrator counts on every machine (again)."""

    def remove(self) -> None:
        """Take everything away; what is not there is no error."""
