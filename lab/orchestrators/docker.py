"""`docker run`: one container at a time, by hand."""

from __future__ import annotations

from lab.orchestrators.ground import CLIENT, FIRST_PORT, IMAGE, NAME, Ground, client_of

ENGINE = "docker version --format '{{.Server.Version}}'"


class OneMachine:
    """The base of the tools that manage a single machine."""

    single = True

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.machine = ground.last

    def mend(self) -> None:
        """Do nothing, since the tool restarts the copy itself."""

    def victim(self) -> str:
        """The only machine."""
        return self.machine

    def anywhere(self) -> bool:
        """Whether another machine answers at the same port."""
        return self.ground.answers(self.machine, f"{self.ground.first}:{self.port()}")

    def port(self) -> int:
        """The machine's port of the first copy."""
        return FIRST_PORT

    def whole(self) -> bool:
        """True, since there is only one machine."""
        return True

    def log(self) -> str:
        """The log of the client's container."""
        return self.ground.run(self.machine, f"docker logs {CLIENT}")


class Docker(OneMachine):
    """Containers that are started one by one and share a DNS name."""

    name = "docker run"

    def version(self) -> str:
        """The engine's version."""
        return self.ground.run(self.machine, ENGINE).strip()

    def deploy(self) -> tuple[float, float]:
        """Create a network with DNS names, and start one container and the client."""
        run = self.ground.run
        run(self.machine, f"docker network create --label {NAME} {NAME}")
        at, _ = self.ground.timed(self.machine, start(1, "v1"))
        first = self.ground.first_answer(self.machine, f"echo 127.0.0.1:{FIRST_PORT}")
        options = f"--label {NAME} --network {NAME} --name {CLIENT}"
        run(self.machine, f"docker run --detach {options} {client_of('web:8080')}")
        return at, first

    def kill(self) -> float:
        """Kill the program like a crash. Docker would treat `docker kill` as the user's wish."""
        return self.ground.timed(self.machine, kill_by("docker", f"{NAME}-1"))[0]

    def mend(self) -> None:
        """Start the copy by hand, since Docker does not restart it."""
        self.ground.run(self.machine, f"docker start {NAME}-1")

    def scale(self, copies: int) -> tuple[float, str]:
        """Run one command for each further copy, with its own port."""
        script = "\n".join(start(number, "v1") for number in range(2, copies + 1))
        return self.ground.timed(self.machine, script)[0], ""

    def update(self, text: str) -> float:
        """Stop, remove and start each copy, one after the other."""
        script = "\n".join(
            f"docker stop {NAME}-{number}; docker rm {NAME}-{number}; {start(number, text)}"
            for number in range(1, 4)
        )
        return self.ground.timed(self.machine, script, 90)[0]

    def remove(self) -> None:
        """Remove everything with the app's label."""
        sweep(self.ground, self.machine, NAME)


def start(number: int, text: str) -> str:
    """The command that starts one copy."""
    return (
        f"docker run --detach --label {NAME} --name {NAME}-{number} --network {NAME} "
        f"--network-alias web --publish {FIRST_PORT - 1 + number}:8080 --env TEXT={text} "
        f'{IMAGE} sh -c "$(cat web.sh)"'
    )


def kill_by(tool: str, container: str) -> str:
    """The line that kills the first process of a container."""
    return f"kill -9 $({tool} inspect --format '{{{{.State.Pid}}}}' {container})"


def sweep(ground: Ground, machine: str, label: str) -> None:
    """Remove the containers and networks of a label from a machine's engine."""
    ground.run(
        machine,
        f"docker ps --all --quiet --filter label={label} | xargs -r docker rm --force\n"
        f"docker network ls --quiet --filter label={label} | xargs -r docker network rm",
    )
