"""Machines: the one seam between the lab and what runs it, which is Vagrant.

The Vagrantfile reads one JSON file that is rendered here out of the configuration; python-vagrant
names the verbs. Whether a machine is a VM or a container is known here, to the Vagrantfile and to
`lab.machines.containers`, and to nothing else.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import vagrant

from lab import runner, wait
from lab.config import Lab, Machine
from lab.errors import CommandError, ConfigError, NotFoundError
from lab.host.facts import owner, port_is_free, vagrant_home
from lab.machines import containers, keys
from lab.machines.keys import key_file
from lab.machines.ssh import Remote, connections, ssh_config
from lab.machines.vagrantfile import environment
from lab.output import Status
from lab.state import write_aside

# Vagrant lists all containers and then looks at each: one that is just being created, by itself
# on behalf of another machine even, makes it give up. And one that a killed Vagrant asked for may
# come to be after it was looked for. It looks at all reserved ports, too, and another one may give
# one back meanwhile. The next `vagrant up` goes on from there.
RACES = ("No such object", "is already in use by container", "/fp-leases/")
# Vagrant's index has one entry for all machines of a name that are made by one Vagrantfile: labs of
# one checkout share it. Each command holds it for moments, and does not wait for another one's end.
LOCKED = ("because it is locked", "Failed to lock new machine")
# Seconds for which it is asked again; each time takes Vagrant two to begin.
LOCKED_FOR = 30
# The state of a machine that is suspended in memory.
HELD = "paused"
# A processor that is emulated is about ten times slower, but not everything waits for it.
EMULATED = 6


def emulation(lab: Lab, *, kvm: bool) -> float:
    """How many times slower than their host these machines are."""
    return EMULATED if lab.provider == "libvirt" and not kvm else 1


def find(lab: Lab, name: str) -> Machine:
    """The machine of this name. Raises NotFoundError with the names that there are."""
    found = {machine.name: machine for machine in lab.machines}
    if name not in found:
        raise NotFoundError(f"there is no machine `{name}`; there are: {', '.join(found)}")
    return found[name]


def _set_clock(remote: Remote) -> bool:
    """Put a machine's clock right by a difference: a busy one may take half a minute to do it."""
    # Connecting takes time as well, and is no part of the answer.
    remote.run(["true"])
    asked = time.time()
    told = float(remote.run(["date", "+%s.%N"]))
    behind = (asked + time.time()) / 2 - told
    remote.run(["date", "--set", f"{behind:+.3f} seconds"], sudo=True)
    return True


class Machines(vagrant.Vagrant):
    """python-vagrant with the lab's environment, whose processes `lab.runner` starts."""

    def __init__(self, lab: Lab, status: Status) -> None:
        # Ruby ends at a path that its locale cannot show, as C shows no umlaut.
        super().__init__(root=str(lab.root), env={**environment(lab), "LC_ALL": "C.UTF-8"})
        self.lab = lab
        self.log = lab.state / "logs" / "vagrant.log"
        self._status = status

    def make_key(self) -> None:
        """The lab's key pair, the first time."""
        keys.make(key_file(self.lab))

    def render(self, settings: Mapping[str, Any]) -> bool:
        """Write what the Vagrantfile reads; True when it changed."""
        path, text = self.lab.state / "machines.json", json.dumps(settings, indent=2)
        if not path.exists() or path.read_text() != text:
            ssh_config(self.lab).unlink(missing_ok=True)
        return write_aside(path, text)

    def start(self, image: str) -> None:
        """Create the machines that do not exist and start those that are stopped.

        Raises ConfigError for a port that another program has taken since they were stopped.
        """
        self._end_reservations()
        if self.lab.provider == "docker" and not {"running", HELD} & set(self.states().values()):
            self._refuse_taken_ports()
        for last in (False, True):
            if self.lab.provider == "docker":
                containers.prepare(self.lab, image, self.known().values())
                containers.resume(self.lab)
            try:
                self.up(provider=self.lab.provider)
                return
            except CommandError as error:
                if last or not any(race in error.output for race in RACES):
                    raise

    def stop(self) -> None:
        """Halt every machine; what is in it is kept."""
        # What is held does not hear that it shall end.
        self.release()
        if self.lab.provider == "docker":
            # Vagrant stops one machine after the other.
            containers.stop(self.lab)
        self.halt()

    def hold(self) -> bool:
        """Hold every machine where it is, in memory; whether there was one that ran."""
        if self.lab.provider == "docker":
            return containers.pause(self.lab)
        if "running" not in self.states().values():
            return False
        super().suspend()
        return True

    def release(self) -> None:
        """Let every machine go on that is held."""
        if self.lab.provider == "docker":
            containers.resume(self.lab)
        elif HELD in self.states().values():
            super().resume()
            self._set_clocks()

    def save(self, name: str, kept: Sequence[str]) -> None:
        """Take a snapshot of every machine, all of them held or stopped.

        `kept` are the snapshots that there are; others may be removed.
        """
        if self.lab.provider == "docker":
            containers.save(self.lab, name, kept)
        else:
            # One of that name was left by somebody who was killed.
            self._run_vagrant_command(["snapshot", "save", "--force", name])

    def restore(self, name: str) -> None:
        """Put every machine back to a snapshot, and have it run."""
        if self.lab.provider == "docker":
            containers.restore(self.lab, name)
            return
        if self.lab.provider == "libvirt":
            # Its ports go by connections that do not outlive this. Vagrant ends them when it holds
            # a machine, and not when it puts one back; then the new ones find the ports taken.
            self.hold()
        self._run_vagrant_command(["snapshot", "restore", name])
        self.up(provider=self.lab.provider)
        self._set_clocks()

    def forget(self, name: str, kept: Sequence[str]) -> None:
        """Remove a snapshot; `kept` are the others."""
        if self.lab.provider == "docker":
            containers.forget(self.lab, kept)
        else:
            self._run_vagrant_command(["snapshot", "delete", name])

    def remove(self) -> None:
        """Destroy every machine, and what was made around them.

        Containers go by their label, at once and also where Vagrant's own records are torn;
        Vagrant then only has to forget them.
        """
        forget = ["destroy", "--force", "--parallel"]
        if self.lab.provider != "docker":
            self._run_vagrant_command(forget)
            return
        containers.remove(self.lab)
        with contextlib.suppress(CommandError):
            self._run_vagrant_command(forget)

    def known(self) -> dict[str, str]:
        """The machines that Vagrant remembers to have made: name -> id."""
        folder = self.lab.state / "vagrant" / "machines"
        return {path.parts[-3]: path.read_text().strip() for path in folder.glob("*/*/id")}

    def surplus(self) -> list[str]:
        """The names of machines that were made, and that the configuration has no more."""
        return sorted(self.known().keys() - {machine.name for machine in self.lab.machines})

    def drop(self, names: Sequence[str]) -> None:
        """Destroy surplus machines: to Vagrant they are as they were rendered last."""
        self._run_vagrant_command(["destroy", "--force", *names])
        if self.lab.provider == "docker":
            containers.drop(self.lab, names)

    def connect(self) -> Path:
        """Ask Vagrant how the machines are reached; the path of the ssh-config that says it."""
        path = ssh_config(self.lab)
        # A container is reached at the port that the lab names; a VM may get another address.
        if self.lab.provider != "docker" or not path.exists():
            write_aside(path, self.ssh_config())
        self._set_clocks()
        return path

    def states(self) -> dict[str, str]:
        """Machine name -> running, paused, stopped, not_created, ... as it is now.

        Docker is asked directly: Vagrant takes three seconds for the same.
        """
        if self.lab.provider == "docker":
            return containers.states(self.lab)
        # Docker's words for those of libvirt and of VirtualBox.
        words = {self.SAVED: HELD}
        words |= dict.fromkeys((self.SHUTOFF, self.POWEROFF, self.ABORTED), self.STOPPED)
        return {item.name: words.get(item.state, item.state) for item in self.status()}

    def _set_clocks(self) -> None:
        """A virtual machine's clock stands still while it is held; a container has its host's."""
        if self.lab.provider == "docker":
            return
        for remote in connections(self.lab):
            # It may be too busy to answer in the first moment.
            wait.until(lambda one=remote: _set_clock(one), what="the clocks to be set", timeout=60)  # type: ignore[misc]
            remote.close()

    def _end_reservations(self) -> None:
        """Free the ports that a killed Vagrant reserved; by itself it would take a minute."""
        leases = vagrant_home() / "data" / "fp-leases"
        for port in self._ports():
            (leases / f"127_0_0_1_{port}").unlink(missing_ok=True)

    def _refuse_taken_ports(self) -> None:
        if taken := [port for port in self._ports() if not port_is_free(port)]:
            users = [f"{port} is in use by {owner(port) or 'another program'}" for port in taken]
            raise ConfigError(
                f"lab `{self.lab.name}` cannot have its ports back: {', '.join(users)}",
                hint="end that program, or lab-destroy first: a lab keeps its ports",
            )

    def _ports(self) -> list[int]:
        """The host's ports of all machines, as they were rendered."""
        settings = json.loads((self.lab.state / "machines.json").read_text())
        return [
            port
            for machine in settings["machines"]
            for port in (machine["ssh_port"], *(port["host"] for port in machine["ports"]))
        ]

    def _run_vagrant_command(self, args: Sequence[str | None]) -> str:
        words = ["vagrant", *(word for word in args if word)]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            print("$", *words, file=log, flush=True)

            def keep(line: str) -> None:
                print(line, file=log, flush=True)
                self._status.note(line.strip())

            begun = time.monotonic()
            while True:
                try:
                    return runner.run(
                        words, cwd=self.lab.root, env=self.env, timeout=900, on_line=keep
                    ).stdout
                except CommandError as error:
                    held = any(told in error.output for told in LOCKED)
                    if not held or time.monotonic() - begun > LOCKED_FOR:
                        raise

    _call_vagrant_command = _run_vagrant_command
