"""Docker Swarm: the engines of all machines in one cluster."""

from __future__ import annotations

import contextlib

from lab.errors import LabError, ResourceError
from lab.orchestrators.docker import ENGINE
from lab.orchestrators.ground import CLIENT, NAME, Ground, client_of
from lab.parallel import each

SERVICE = f"{NAME}_web"
# Prints machine and port of every running copy. Its input lines begin with
# `worker-1 *:32768->8080/tcp`.
RUNNING = f"docker service ps {SERVICE} --filter desired-state=running"
PLACES = (
    f"{RUNNING} --format '{{{{.Node}}}} {{{{.Ports}}}} {{{{.CurrentState}}}}' 2>/dev/null "
    r"| sed -n 's/^\([^ ]*\) \*:\([0-9]*\)->.* Running .*/\1:\2/p'"
)
DEPLOY = "docker stack deploy --detach=true --resolve-image never --compose-file stack.yaml"


class Swarm:
    """A temporary swarm of the lab's machines. The first machine is its manager."""

    name = "Docker Swarm"
    single = False

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.machine = ground.first

    def version(self) -> str:
        """The version of the engine, which contains Swarm."""
        return self.ground.run(self.machine, ENGINE).strip()

    def deploy(self) -> tuple[float, float]:
        """Create the swarm, then measure the deployment of the stack."""
        run = self.ground.run
        manager = self.ground.address(self.machine)
        run(self.machine, f"docker swarm init --advertise-addr {manager} >/dev/null")
        token = run(self.machine, "docker swarm join-token --quiet worker").strip()
        workers = [one.name for one in self.ground.lab.machines[1:]]
        join = f"docker swarm join --token {token} {manager}:2377"
        each(
            workers, lambda name: run(name, f"{join} --advertise-addr {self.ground.address(name)}")
        )
        at, _ = self.ground.timed(self.machine, f"{DEPLOY} {NAME}")
        first = self.ground.first_answer(self.machine, PLACES)
        options = f"--label {NAME} --network {NAME}_web --name {CLIENT}"
        run(self.machine, f"docker run --detach {options} {client_of('web:8080')}")
        return at, first

    def kill(self) -> float:
        """Kill the program like a crash on its machine; return the clock before."""
        at = self.ground.clock(self.machine)
        self.ground.run(
            self._places()[0].partition(":")[0],
            "kill -9 $(docker inspect --format '{{.State.Pid}}' "
            f"$(docker ps --quiet --filter label=com.docker.swarm.service.name={SERVICE}))",
        )
        return at

    def mend(self) -> None:
        """Do nothing, since Swarm replaces the container."""

    def scale(self, copies: int) -> tuple[float, str]:
        """Run `docker service scale`; return the clock before and no message."""
        script = f"docker service scale --detach {SERVICE}={copies}"
        return self.ground.timed(self.machine, script)[0], ""

    def update(self, text: str) -> float:
        """Change the service's text, which replaces the copies one after the other."""
        script = (
            f"docker service update --detach --no-resolve-image --env-add TEXT={text} {SERVICE}"
        )
        return self.ground.timed(self.machine, script)[0]

    def log(self) -> str:
        """The log of the client, an ordinary container in the service's network."""
        return self.ground.run(self.machine, f"docker logs {CLIENT}")

    def victim(self) -> str:
        """A machine with a copy, except the manager. Raises ResourceError if there is none."""
        found = [place.partition(":")[0] for place in self._places()]
        names = [name for name in found if name != self.machine]
        if not names:
            raise ResourceError("no copy of the Swarm service runs on another machine")
        return names[-1]

    def anywhere(self) -> bool:
        """Whether a machine without a copy answers at the port of the copy."""
        (name, _, port), *_ = (place.partition(":") for place in self._places())
        other = next(one.name for one in self.ground.lab.machines if one.name != name)
        return self.ground.answers(self.machine, f"{other}:{port}")

    def port(self) -> int:
        """Not needed, since there are other machines."""
        raise NotImplementedError

    def whole(self) -> bool:
        """Whether every machine is Ready."""
        states = self.ground.run(self.machine, "docker node ls --format '{{.Status}}'").split()
        return len(states) == len(self.ground.lab.machines) and set(states) == {"Ready"}

    def remove(self) -> None:
        """Remove the client and the stack, then the swarm on every machine."""

        def leave(name: str) -> None:
            # Workers leave first, since without a manager they would retry.
            self.ground.run(
                name,
                f"docker ps --all --quiet --filter label={NAME} | xargs -r docker rm --force\n"
                "[ \"$(docker info --format '{{.Swarm.LocalNodeState}}')\" = inactive ] || "
                "docker swarm leave --force\n"
                "docker network rm docker_gwbridge 2>/dev/null || :",
            )

        with contextlib.suppress(LabError):
            self.ground.run(
                self.machine,
                f"docker rm --force {CLIENT} 2>/dev/null || :\n"
                f"docker stack rm {NAME} 2>/dev/null || :",
            )
        each([one.name for one in reversed(self.ground.lab.machines)], leave, at_once=8)

    def _places(self) -> list[str]:
        """MACHINE:PORT of every running copy."""
        return self.ground.run(self.machine, PLACES).split()
