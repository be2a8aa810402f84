"""Pure functions for the Vagrantfile's input and for Vagrant's environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from lab.config import Lab, Settings
from lab.host.facts import Host
from lab.machines import containers, keys, libvirt
from lab.machines.boxes import Box
from lab.machines.keys import key_file
from lab.output import count


def rendering(
    lab: Lab, provider: Mapping[str, Any], ingress_port: int, cpus: int = 0
) -> dict[str, Any]:
    """The Vagrantfile's input: every machine with its address, size and forwarded ports.

    `provider` are the settings of the lab's provider. `ingress_port` is the port of the first
    machine for HTTP. `cpus` overrides the lab's number of processors, unless it is 0.
    """
    first, *_ = lab.machines
    ports = {
        6443: lab.ports.api,
        ingress_port: lab.ports.http,
        5000: lab.ports.registry,
    }
    forwarded: dict[str, list[dict[str, int | None]]] = {
        first.name: [{"guest": guest, "host": host} for guest, host in ports.items()]
    }
    for forward in lab.forwards:
        forwarded.setdefault(forward.machine, []).append(
            {"guest": forward.guest, "host": forward.host}
        )
    return {
        "name": lab.name,
        "provider": lab.provider,
        "key": str(key_file(lab)),
        **provider,
        "machines": [
            {
                "name": machine.name,
                "address": machine.address,
                "cpus": cpus or lab.cpus,
                "memory": lab.memory,
                "ports": forwarded.get(machine.name, []),
                "ssh_port": lab.ports.ssh + number,
            }
            for number, machine in enumerate(lab.machines)
        ],
    }


def docker_settings(lab: Lab, host: Host, image: str) -> dict[str, Any]:
    """The Vagrantfile's settings for machines that are containers of this image."""
    arguments = containers.run_arguments(host)
    arguments += containers.machine_arguments(lab, key_file(lab))
    return {"docker": {"image": image, "create_args": arguments}}


def libvirt_settings(lab: Lab, box: Box, *, kvm: bool) -> dict[str, Any]:
    """The Vagrantfile's settings for virtual machines of libvirt."""
    key = keys.public(key_file(lab)).read_text()
    settings = box.libvirt(kvm=kvm, key=key)
    # Vagrant does not escape the description in the machine's XML.
    settings["description"] = escape(libvirt.description(lab))
    return {"box": {"name": box.name}, "libvirt": settings}


def virtualbox_settings(lab: Lab, box: Box) -> dict[str, Any]:
    """The Vagrantfile's settings for machines that get the lab's key from a provisioner."""
    key = keys.public(key_file(lab)).read_text()
    return {"box": {"name": box.name, "key": box.key, "accept": key.strip()}}


def emulated_cpus(lab: Lab, cpus: int) -> int:
    """The number of processors of an emulated machine on a host with `cpus`.

    Each emulated processor is a thread of the host. More threads than processors would wait for
    each other.
    """
    return min(lab.cpus, cpus)


def environment(lab: Settings) -> dict[str, str]:
    """The variables that select this lab for Vagrant, among the labs of a checkout."""
    return {
        "LAB_MACHINES_FILE": str(lab.state / "machines.json"),
        "VAGRANT_DOTFILE_PATH": str(lab.state / "vagrant"),
        "VAGRANT_DEFAULT_PROVIDER": lab.provider,
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "VAGRANT_NO_COLOR": "1",
    }


def place(lab: Lab) -> str:
    """The machines and the host of a measurement, in words."""
    kind = "containers" if lab.provider == "docker" else "virtual machines"
    return (
        f"{count(len(lab.machines), 'machine')} ({kind}) on a host of {os.cpu_count()} processors, "
        f"Linux {os.uname().release.partition('-')[0]}, {lab.distribution}"
    )
