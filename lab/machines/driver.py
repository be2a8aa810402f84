"""The machines of one lab, which Vagrant creates and controls.

The Vagrantfile reads one JSON file, which lab.machines.vagrantfile renders from the configuration.
lab.machines.provider has what differs between containers and virtual machines.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lab import wait
from lab.config import Lab, Machine, Settings
from lab.errors import CommandError, ConfigError, NotFoundError
from lab.host.facts import owner, port_is_free, vagrant_home
from lab.machines import containers, keys
from lab.machines.keys import key_file
from lab.machines.provider import PAUSED, RUNNING, provider_of
from lab.machines.ssh import Remote, connections, ssh_config
from lab.machines.vagrant import Vagrant
from lab.output import Status
from lab.state import write_aside

# Vagrant lists containers and reserved ports and then inspects each. A container or port that
# appears or vanishes in between makes it fail. Running `vagrant up` again continues.
RACES = ("No such object", "is already in use by container", "/fp-leases/")
# An emulated processor is about ten times slower, but not everything waits for the processor.
EMULATED = 6


def emulation(lab: Lab, *, kvm: bool) -> float:
    """How many times slower than their host the machines are."""
    return EMULATED if lab.provider == "libvirt" and not kvm else 1


def find(lab: Lab, name: str) -> Machine:
    """The machine of this name. Raises NotFoundError, which lists the existing names."""
    found = {machine.name: machine for machine in lab.machines}
    if name not in found:
        raise NotFoundError(f"there is no machine `{name}`; there are: {', '.join(found)}")
    return found[name]


def _set_clock(remote: Remote) -> bool:
    """Correct a machine's clock by the difference, since a busy machine takes up to 30 s for it."""
    # Connect first, so that the measured time does not include it.
    remote.run(["true"])
    asked = time.time()
    told = float(remote.run(["date", "+%s.%N"]))
    behind = (asked + time.time()) / 2 - told
    remote.run(["date", "--set", f"{behind:+.3f} seconds"], sudo=True)
    return True


class Machines:
    """The machines of one lab."""

    def __init__(self, lab: Lab, status: Status) -> None:
        self.lab = lab
        self.vagrant = Vagrant(lab, status)
        self.provider = provider_of(lab, self.vagrant)

    def make_key(self) -> None:
        """Make the lab's key pair if it does not exist."""
        keys.make(key_file(self.lab))

    def render(self, settings: Mapping[str, Any]) -> bool:
        """Write the Vagrantfile's input. Returns whether it has changed."""
        path, text = self.lab.state / "machines.json", json.dumps(settings, indent=2)
        if not path.exists() or path.read_text() != text:
            ssh_config(self.lab).unlink(missing_ok=True)
        return write_aside(path, text)

    def start(self, image: str) -> None:
        """Create missing machines, and start stopped ones.

        Raises ConfigError for a port that another program has taken since they were stopped.
        """
        self._end_reservations()
        if self.provider.keeps_ports and not {RUNNING, PAUSED} & set(self.states().values()):
            self._refuse_taken_ports()
        for last in (False, True):
            self.provider.prepare(image)
            try:
                self.vagrant.up()
                return
            except CommandError as error:
                if last or not any(race in error.output for race in RACES):
                    raise

    def stop(self) -> None:
        """Stop every machine and keep its contents."""
        # A paused machine cannot react to a shutdown request.
        self.resume()
        self.provider.shut_down()
        self.vagrant.halt()

    def pause(self) -> bool:
        """Pause every machine in memory. Returns whether one was running."""
        return self.provider.pause()

    def resume(self) -> None:
        """Resume every paused machine."""
        if self.provider.resume():
            self._set_clocks()

    def save(self, name: str, kept: Sequence[str]) -> None:
        """Take a snapshot of every machine, which is paused or stopped.

        `kept` are the existing snapshots. The provider may remove others.
        """
        self.provider.save(name, kept)

    def restore(self, name: str) -> None:
        """Restore every machine to a snapshot, and start it."""
        self.provider.restore(name)
        self._set_clocks()

    def forget(self, name: str, kept: Sequence[str]) -> None:
        """Remove a snapshot. `kept` are the remaining ones."""
        self.provider.forget(name, kept)

    def known(self) -> dict[str, str]:
        """The machines in Vagrant's own records: name -> id."""
        return self.vagrant.known()

    def surplus(self) -> list[str]:
        """The names of existing machines that the configuration no longer has."""
        return sorted(self.known().keys() - {machine.name for machine in self.lab.machines})

    def drop(self, names: Sequence[str]) -> None:
        """Destroy surplus machines, which Vagrant knows from the last rendering."""
        self.vagrant.run("destroy", "--force", *names)
        self.provider.drop(names)

    def connect(self) -> Path:
        """Write Vagrant's ssh-config of the machines, and return its path."""
        path = ssh_config(self.lab)
        # A virtual machine may get another address.
        if not self.provider.keeps_ports or not path.exists():
            write_aside(path, self.vagrant.ssh_config())
        self._set_clocks()
        return path

    def states(self) -> dict[str, str]:
        """Machine name -> its current state: running, paused, stopped, not_created, ..."""
        return self.provider.states()

    def _set_clocks(self) -> None:
        """Set the clocks of virtual machines, which stop while they are paused."""
        if not self.provider.has_clock:
            return
        for remote in connections(self.lab):
            # A machine may be too busy to answer at first.
            wait.until(partial(_set_clock, remote), what="the clocks to be set", timeout=60)
            remote.close()

    def _end_reservations(self) -> None:
        """Free the ports that a killed Vagrant has reserved. Vagrant itself takes a minute."""
        leases = vagrant_home() / "data" / "fp-leases"
        for port in self._ports():
            (leases / f"127_0_0_1_{port}").unlink(missing_ok=True)

    def _refuse_taken_ports(self) -> None:
        if taken := [port for port in self._ports() if not port_is_free(port)]:
            users = [f"{port} is in use by {owner(port) or 'another program'}" for port in taken]
            raise ConfigError(
                f"the ports of lab `{self.lab.name}` are not free: {', '.join(users)}",
                hint="stop that program, or run lab-destroy first, since a lab keeps its ports",
            )

    def _ports(self) -> list[int]:
        """The host's ports of all machines in the last rendering."""
        settings = json.loads((self.lab.state / "machines.json").read_text())
        return [
            port
            for machine in settings["machines"]
            for port in (machine["ssh_port"], *(port["host"] for port in machine["ports"]))
        ]


def remove(settings: Settings, status: Status) -> None:
    """Destroy every machine of a lab, with networks and volumes.

    `settings` name the provider of the machines. Labels identify containers, so they are removed at
    once, also when Vagrant's records are damaged. Vagrant then only deletes its records.
    """
    vagrant = Vagrant(settings, status)
    if settings.provider != "docker":
        vagrant.destroy()
        return
    containers.remove(settings)
    with contextlib.suppress(CommandError):
        vagrant.destroy()
