"""The machines on which the orchestrators run, and the interface of an orchestrator."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.cluster.client import Cluster
from lab.config import Lab
from lab.machines.ssh import Remote

# A folder on the machines, for the duration of a comparison.
FOLDER = "/var/lib/lab-orchestrators"
IMAGE = "busybox:1.37"
NAME = "orchestrators"
CLIENT = f"{NAME}-client"
FIRST_PORT = 8088
# Prints the machine's clock, which the client also writes into its log.
CLOCK = "cut -d ' ' -f 1 /proc/uptime"


@dataclass(frozen=True)
class Ground:
    """A running lab: its cluster, and connections to its machines by name.

    `first` is the control plane. `last` is another machine, on which single-machine tools run.
    """

    lab: Lab
    cluster: Cluster
    machines: Mapping[str, Remote]

    @property
    def first(self) -> str:
        """The machine whose network is never cut."""
        return self.lab.machines[0].name

    @property
    def last(self) -> str:
        """The machine for single-machine tools."""
        return self.lab.machines[-1].name

    @property
    def exercise(self) -> Path:
        """The folder of the exercise with the app in the form of each orchestrator."""
        return self.lab.root / "infra" / "workloads" / "orchestrators"

    def address(self, machine: str) -> str:
        """A machine's address in the lab."""
        return next(one.address for one in self.lab.machines if one.name == machine)

    def run(self, machine: str, script: str, timeout: int = 60) -> str:
        """Run shell lines on a machine as root, in the app's folder; return their output.

        `timeout` is in seconds.
        """
        lines = f"cd {FOLDER}\n{script}"
        return self.machines[machine].run(["sh", "-ec", lines], sudo=True, timeout=timeout)

    def timed(self, machine: str, script: str, timeout: int = 60) -> tuple[float, str]:
        """Like `run`; return the machine's clock before the command, and stdout and stderr."""
        output = self.run(machine, f"{CLOCK}\n{{ {script}\n}} 2>&1", timeout)
        clock, _, rest = output.partition("\n")
        return float(clock), rest.strip()

    def clock(self, machine: str) -> float:
        """A machine's clock, in seconds since its start."""
        return float(self.run(machine, CLOCK))

    def first_answer(self, machine: str, addresses: str, seconds: int = 60) -> float:
        """Send requests from a machine until one is answered; return the clock then.

        `addresses` is a shell command that prints one HOST:PORT a line. `seconds` is about the time
        limit. Raises CommandError if there is no answer by then.
        """
        script = (
            f"for try in $(seq {seconds * 10}); do for place in $({addresses}); do "
            "if curl -fs --max-time 1 -o /dev/null http://$place/; then "
            f"{CLOCK}; exit; fi; done; sleep 0.05; done; echo 'no answer' >&2; exit 1"
        )
        return float(self.run(machine, script, seconds + 20))

    def answers(self, machine: str, place: str) -> bool:
        """Whether HOST:PORT answers a request from a machine."""
        code = f"curl -fs --max-time 2 -o /dev/null http://{place}/ && echo yes || echo no"
        return self.run(machine, code).strip() == "yes"


def client_of(place: str) -> str:
    """The image and command of the client's container, which sends requests to NAME:PORT."""
    return f'{IMAGE} sh -c "$(cat client.sh)" client {shlex.quote(place)}'


class Orchestrator(Protocol):
    """The app under one orchestrator. Every time is by the clock of the client's machine."""

    name: str
    # Whether the tool manages one machine only.
    single: bool

    def version(self) -> str:
        """The version of the tool."""

    def deploy(self) -> tuple[float, float]:
        """Start one copy with the text v1, and a client.

        Returns the clock before the command, and the clock at the first answer.
        """

    def kill(self) -> float:
        """Kill the process of a copy; return the clock before."""

    def mend(self) -> None:
        """Restart a killed copy by hand, if the tool does not."""

    def scale(self, copies: int) -> tuple[float, str]:
        """Request this number of copies; return the clock before, and the tool's message."""

    def update(self, text: str) -> float:
        """Change the text of all copies; return the clock before."""

    def log(self) -> str:
        """The client's log."""

    def victim(self) -> str:
        """The machine to cut off: one with a copy, and without the client if possible."""

    def anywhere(self) -> bool:
        """Whether a machine without a copy answers for the app. It is called with one copy."""

    def port(self) -> int:
        """The port of a copy on the only machine. Only single-machine tools have one."""

    def whole(self) -> bool:
        """Whether the orchestrator considers every machine ready."""

    def remove(self) -> None:
        """Remove everything. Missing things are no error."""
