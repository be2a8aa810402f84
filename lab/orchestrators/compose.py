"""Docker Compose: several containers on one machine, described in a file."""

from __future__ import annotations

from lab.orchestrators.docker import OneMachine, kill_by, sweep
from lab.orchestrators.ground import CLIENT, NAME, client_of

COMPOSE = f"docker compose --ansi never --project-name {NAME} --file compose.yaml"
# Prints the address of the first copy, e.g. 0.0.0.0:8089.
PLACE = f"{COMPOSE} port web 8080"
LABEL = f"com.docker.compose.project={NAME}"


class Compose(OneMachine):
    """One service in one file. The engine restarts it whenever it exits."""

    name = "Docker Compose"

    def version(self) -> str:
        """The version of Compose."""
        return self.ground.run(self.machine, "docker compose version --short").strip()

    def deploy(self) -> tuple[float, float]:
        """Run `up`, which creates network and container, and start the client."""
        at, _ = self.ground.timed(self.machine, f"{COMPOSE} up --detach")
        first = self.ground.first_answer(self.machine, PLACE)
        options = f"--label {LABEL} --network {NAME}_default --name {CLIENT}"
        self.ground.run(self.machine, f"docker run --detach {options} {client_of('web:8080')}")
        return at, first

    def port(self) -> int:
        """The published port. The engine takes another one of the file's range each time."""
        return int(self.ground.run(self.machine, PLACE).rpartition(":")[2])

    def kill(self) -> float:
        """Kill the program like a crash; return the clock before."""
        return self.ground.timed(self.machine, kill_by("docker", f"{NAME}-web-1"))[0]

    def scale(self, copies: int) -> tuple[float, str]:
        """Run `up --scale`; return the clock before and no message."""
        script = f"{COMPOSE} up --detach --scale web={copies}"
        return self.ground.timed(self.machine, script)[0], ""

    def update(self, text: str) -> float:
        """Run `up` with another text, which recreates containers that differ from the file."""
        script = f"TEXT={text} {COMPOSE} up --detach --scale web=3"
        return self.ground.timed(self.machine, script, 90)[0]

    def remove(self) -> None:
        """Remove everything with Compose's label. The client has it, too, since it would keep the
        network in use."""
        sweep(self.ground, self.machine, LABEL)
