"""What differs between the providers of machines: an interface, and one class for each of them."""

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
    """The machines of one lab, as their provider keeps them."""

    # Whether a machine keeps its SSH port for as long as it exists.
    keeps_ports: bool
    # Whether a machine has a clock of its own, which stops while it is paused.
    has_clock: bool

    def prepare(self, image: str) -> None:
        """Make what machines of this image need before `vagrant up`."""

    def shut_down(self) -> None:
        """Shut down running machines where Vagrant does it badly."""

    def pause(self) -> bool:
        """Pause every running machine in memory; whether there was one."""

    def resume(self) -> bool:
        """Resume every paused machine; whether there was one."""

    def save(self, name: str, kept: Sequence[str]) -> None:
        """Take a snapshot of every machine; `kept` are the existing ones, others may go."""

    def restore(self, name: str) -> None:
        """Restore every machine to a snapshot, and start it."""

    def forget(self, name: str, kept: Sequence[str]) -> None:
        """Remove a snapshot; `kept` are the others."""

    def drop(self, names: Sequence[str]) -> None:
        """Remove what machines leave behind after `vagrant destroy`."""

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
        """Create the network and filled volumes; resume machines, which Vagrant cannot start."""
        containers.prepare(self.lab, image, self.vagrant.known().values())
        containers.resume(self.lab)

    def shut_down(self) -> None:
        """Shut down all machines at once; Vagrant stops one after the other."""
        containers.stop(self.lab)

    def pause(self) -> bool:
        """Pause every running machine; whether there was one."""
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
        """The states of the containers, without Vagrant, which takes three seconds."""
        return containers.states(self.lab)


class VirtualBox:
    """Virtual machines that Vagrant handles by itself."""

    keeps_ports = False
    has_clock = True

    def __init__(self, lab: Lab, vagrant: Vagrant) -> None:
        self.lab = lab
        self.vagrant = vagrant

    def prepare(self, image: str) -> None:
        """Nothing: Vagrant makes all of it."""

    def shut_down(self) -> None:
        """Nothing: Vagrant does it."""

    def pause(self) -> bool:
        """Suspend every running machine; whether there was one."""
        if RUNNING not in self.states().values():
            return False
        self.vagrant.suspend()
        return True

    def resume(self) -> bool:
        """Resume every suspended machine; whether there was one."""
        if PAUSED not in self.states().values():
            return False
        self.vagrant.resume()
        return True

    def save(self, name: str, kept: Sequence[str]) -> None:
        """Take a snapshot; one of this name comes from a task that was killed."""
        self.vagrant.run("snapshot", "save", "--force", name)

    def restore(self, name: str) -> None:
        """Restore the snapshot, and start every machine."""
        self.vagrant.run("snapshot", "restore", name)
        self.vagrant.up()

    def forget(self, name: str, kept: Sequence[str]) -> None:
        """Remove the snapshot."""
        self.vagrant.run("snapshot", "delete", name)

    def drop(self, names: Sequence[str]) -> None:
        """Nothing is left."""

    def states(self) -> dict[str, str]:
        """The states of the machines as Vagrant reports them."""
        return {name: STATES.get(state, state) for name, state in self.vagrant.states().items()}


class Libvirt(VirtualBox):
    """Virtual machines of libvirt."""

    def restore(self, name: str) -> None:
        """Restore the snapshot of machines that are suspended first.

        Vagrant forwards ports by ssh processes. It ends them when it suspends a machine, but not
        when it restores one; then the new processes find the ports in use.
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
