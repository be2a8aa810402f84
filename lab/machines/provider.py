"""The differences between the providers of machines: an interface, and a class for each one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lab.config import Lab
from lab.machines import containers
from lab.machines.vagrant import Vagrant

RUNNING, PAUSED, STOPPED = "running", "paused", "stopped"
# The states of libvirt and of VirtualBox in Docker's words.
STATES = {"saved": PAUSED, **dict.fromkeys(("shutoff", "poweroff", "aborted"), STOPPED)}


class Provider(Protocol):
    """The machines of one lab at their provider."""

    # Whether a machine keeps its SSH port for as long as it exists.
    keeps_ports: bool
    # Whether a machine has its own clock, which stops while the machine is paused.
    has_clock: bool

    def prepare(self, image: str) -> None:
        """Prepare for `vagrant up` with machines of this image."""

    def shut_down(self) -> None:
        """Shut down running machines, if Vagrant would not do it well."""

    def pause(self) -> bool:
        """Pause every running machine in memory. Returns whether there was one."""

    def resume(self) -> bool:
        """Resume every paused machine; whether there was one."""

    def save(self, name: str, kept: Sequence[str]) -> None:
        """Take a snapshot of every machine. Keeps the snapshots `kept`, and may remove others."""

    def restore(self, name: str) -> None:
        """Restore every machine to a snapshot, and start it."""

    def forget(self, name: str, kept: Sequence[str]) -> None:
        """Remove a snapshot. `kept` are the remaining ones."""

    def drop(self, names: Sequence[str]) -> None:
        """Remove the remains of machines after `vagrant destroy`."""

    def states(self) -> dict[str, str]:
        """Machine name -> RUNNING, PAUSED, STOPPED or a word of the provider."""


class Docker:
    """Machines that are containers."""

    keeps_ports = True
    has_clock = False

    def __init__(self, lab: Lab, vagrant: Vagrant) -> None:
        self.lab = lab
        self.vagrant = vagrant

    def prepare(self, image: str) -> None:
        """Create the network and filled volumes. Resumes paused machines for `vagrant up`."""
        containers.prepare(self.lab, image, self.vagrant.known().values())
        containers.resume(self.lab)

    def shut_down(self) -> None:
        """Shut down all machines at once. Vagrant would stop one after the other."""
        containers.stop(self.lab)

    def pause(self) -> bool:
        """Pause every running machine. Returns whether there was one."""
        return containers.pause(self.lab)

    def resume(self) -> bool:
        """Resume every paused machine; whether there was one."""
        return containers.resume(self.lab)

    def save(self, name: str, kept: Sequence[str]) -> None:
        """Copy the storage of all machines into a snapshot."""
        containers.save(self.lab, name, kept)

    def restore(self, name: str) -> None:
        """Restore the storage of all machines, and start them."""
        containers.restore(self.lab, name)

    def forget(self, name: str, kept: Sequence[str]) -> None:
        """Remove every snapshot except `kept`."""
        containers.forget(self.lab, kept)

    def drop(self, names: Sequence[str]) -> None:
        """Remove the volumes of machines."""
        containers.drop(self.lab, names)

    def states(self) -> dict[str, str]:
        """The states of the containers from Docker, since Vagrant takes three seconds."""
        return containers.states(self.lab)


class VirtualBox:
    """Virtual machines of VirtualBox, for which Vagrant does everything."""

    keeps_ports = False
    has_clock = True

    def __init__(self, lab: Lab, vagrant: Vagrant) -> None:
        self.lab = lab
        self.vagrant = vagrant

    def prepare(self, image: str) -> None:
        """Do nothing, because `vagrant up` needs no preparation."""

    def shut_down(self) -> None:
        """Do nothing, because Vagrant shuts the machines down well."""

    def pause(self) -> bool:
        """Suspend every running machine. Returns whether there was one."""
        if RUNNING not in self.states().values():
            return False
        self.vagrant.suspend()
        return True

    def resume(self) -> bool:
        """Resume every suspended machine. Returns whether there was one."""
        if PAUSED not in self.states().values():
            return False
        self.vagrant.resume()
        return True

    def save(self, name: str, kept: Sequence[str]) -> None:
        """Take a snapshot. Replaces one of the same name, which comes from a killed task."""
        self.vagrant.run("snapshot", "save", "--force", name)

    def restore(self, name: str) -> None:
        """Restore the snapshot, and start every machine."""
        self.vagrant.run("snapshot", "restore", name)
        self.vagrant.up()

    def forget(self, name: str, kept: Sequence[str]) -> None:
        """Remove the snapshot."""
        self.vagrant.run("snapshot", "delete", name)

    def drop(self, names: Sequence[str]) -> None:
        """Do nothing, because Vagrant leaves no remains."""

    def states(self) -> dict[str, str]:
        """The states of the machines as Vagrant reports them."""
        return {name: STATES.get(state, state) for name, state in self.vagrant.states().items()}


class Libvirt(VirtualBox):
    """Virtual machines of libvirt."""

    def restore(self, name: str) -> None:
        """Restore the snapshot of machines that are suspended first.

        Vagrant forwards ports by ssh processes. It ends them when it suspends a machine. When it
        restores a machine, it does not, and the new processes find the ports in use.
        """
        self.pause()
        super().restore(name)


PROVIDERS: dict[str, type[Docker] | type[VirtualBox]] = {
    "docker": Docker,
    "libvirt": Libvirt,
    "virtualbox": VirtualBox,
}


def provider_of(lab: Lab, vagrant: Vagrant) -> Provider:
    """The provider of a lab's machines."""
    return PROVIDERS[lab.provider](lab, vagrant)
