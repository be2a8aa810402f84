"""Docker Compose: several containers of one machine, described in a file."""

from __future__ import annotations

from lab.orchestrators.docker import OneMachine, kill_by, sweep
from lab.orchestrators.ground import CLIENT, NAME, client_of

COMPOSE = f"docker compose --ansi never --project-name {NAME} --file compose.yaml"
# Where the first copy is asked: 0.0.0.0:8089.
PLACE = f"{COMPOSE} port web 8080"
LABEL = f"com.docker.compose.project={NAME}"


class Compose(OneMachine):
    """One service of one file; the engine starts it again whenever it ends."""

    name = "Docker Compose"

    def version(self) -> str:
        """Compose's own version."""
        return self.ground.run(self.machine, "docker compose version --short").strip()

    def deploy(self) -> tuple[float, float]:
        """`up`: network and container."""
        at, _ = self.ground.timed(self.machine, f"{COMPOSE} up --detach")
        first = self.ground.first_answer(self.machine, PLACE)
        options = f"--label {LABEL} --network {NAME}_default --name {CLIENT}"
        self.ground.run(self.machine, f"docker run --detach {options} {client_of('web:8080')}")
        return at, first

    def port(self) -> int:
        """Of the range in the file, the engine takes another one each time."""
        return int(self.ground.run(self.machine, PLACE).rpartition(":")[2])

    def kill(self) -> float:
        """As if the program had crashed."""
        return self.ground.timed(self.machine, kill_by("docker", f"{NAME}-web-1"))[0]

    def scale(self, copies: int) -> tuple[float, str]:
        """A flag says how many."""
        script = f"{COMPOSE} up --detach --scale web={copies}"
        return self.ground.timed(self.machine, script)[0], ""

    def update(self, text: str) -> float:
        """`up` again, with another text: containers that differ from the file are made anew."""
        script = f"TEXT={text} {COMPOSE} up --detach --scale web=3"
        return self.ground.timed(self.machine, script, 90)[0]

    def remove(self) -> None:
        """By Compose's label, the visitor's too: the network goes only when nobody is in it."""
        sweep(self.ground, self.machine, LABEL)
