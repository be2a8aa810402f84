"""Machines that are containers: the parts that a Vagrantfile cannot describe.

Vagrant's docker provider creates the containers. This module creates their network, because Vagrant
removes every idle network with a name like its own, also those of other labs. It also fills their
containerd volumes beforehand, so that all containers can be created at once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from lab import runner, wait
from lab.config import Lab, Settings
from lab.errors import CommandError, ConfigError, PrerequisiteError
from lab.host import checkout
from lab.host.facts import Host
from lab.host.resolvers import name_servers, name_servers_of_host, resolver
from lab.machines.keys import public
from lab.parallel import each

# Overlay file systems cannot be nested, so the folders of container runtimes are volumes. Docker
# fills the first one, the node's unpacked images, from the image.
STORE = "/var/lib/containerd"
VOLUMES = ("/var/lib/docker", "/var/lib/kubelet", "/var/lib/rancher")

# The most seconds for a machine to shut down: its units have ten, and then its pods have ten.
STOP = 60


def run_arguments(host: Host) -> list[str]:
    """Arguments of `docker create` for a container that behaves as a machine on this host.

    `--privileged` would request capabilities that the host may lack. So all other capabilities are
    added by name. Docker 23 and later omit the missing ones by themselves.
    """
    arguments = ["--cap-add", "ALL"]
    if not (host.docker_engine and host.docker_engine.limits_capabilities):
        for capability in host.missing_capabilities:
            arguments += ["--cap-drop", capability]
    for option in ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"):
        arguments += ["--security-opt", option]
    arguments += ["--device-cgroup-rule", "a *:* rwm", "--device", "/dev/fuse"]
    arguments += cgroup_arguments(host.cgroup)
    arguments += ["--volume", "/dev/kmsg:/dev/kmsg"]
    for folder in ("/run", "/run/lock", "/tmp:exec"):
        arguments += ["--tmpfs", folder]
    for volume in VOLUMES:
        arguments += ["--volume", volume]
    return arguments


def cgroup_arguments(version: int) -> list[str]:
    """Arguments for the control groups of a machine, on a host with this cgroup version.

    On v2, a namespace makes the container's group the root of its own tree, as systemd and the
    kubelet require. On v1, they require the host's hierarchies. The scripts `boot` and `cgroups` of
    vagrant/machine decide the rest on the machine.
    """
    if version == 2:
        return ["--cgroupns", "private"]
    return ["--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]


def machine_arguments(lab: Lab, key: Path) -> list[str]:
    """Further arguments of all machines of one lab: network, key and label."""
    return ["--network", network(lab), *_labels(lab), *access_arguments(key)]


def access_arguments(key: Path) -> list[str]:
    """Arguments that give a machine its SSH key and the host's name servers."""
    arguments = ["--tty", "--volume", f"{public(key)}:/etc/lab/authorized_keys:ro"]
    # For a missing file, Docker would make a folder.
    if file := resolver():
        arguments += ["--volume", f"{file}:/etc/lab/host-resolv.conf:ro"]
    return arguments


def network(lab: Settings) -> str:
    """The name of the lab's Docker network."""
    return f"lab-{lab.name}"


def container(lab: Lab, machine: str) -> str:
    """The name of a machine's container, and of the volume of its images."""
    return f"{lab.name}-{machine}"


def prepare(lab: Lab, image: str, known: Collection[str]) -> None:
    """Create the network, and a filled volume for every machine that does not exist.

    `known` are the ids of containers in Vagrant's records. A container of the lab that is not among
    them comes from a killed Vagrant, so it is removed and created again. Raises ConfigError if
    another checkout has a lab of this name, or if another network has the range.
    """
    roots = refuse_another(lab)
    if forgotten := [container for container in roots if container not in known]:
        runner.run(["docker", "rm", "--force", "--volumes", *forgotten], timeout=120)
    existing = _list("ps", "--all", "--format", "{{.Names}}")
    refused = wait.until(
        lambda: _make_network(lab), what=f"network {network(lab)} to be created", timeout=30
    )
    if refused:
        raise ConfigError(
            f"Docker rejects the lab's network {lab.subnet}: {refused}",
            hint="invoke lab-up chooses another one, unless `network.subnet` in lab.toml names it",
        )

    def fill(name: str) -> None:
        # The engine may still work on a request of a lab-up that was killed.
        wait.until(lambda: _fill(lab, name, image), what=f"volume {name} to be filled", timeout=60)

    names = [container(lab, machine.name) for machine in lab.machines]
    each([name for name in names if name not in existing], fill)


def refuse_another(lab: Settings) -> dict[str, Path]:
    """The lab's containers in Docker: id -> checkout. Raises as checkout.refuse_another does."""
    roots = made_by(lab.name)
    checkout.refuse_another(lab, roots.values())
    return roots


def made_by(name: str) -> dict[str, Path]:
    """The containers of all labs with this name: id -> the checkout that made them."""
    listing = ["docker", "ps", "--all", "--no-trunc", "--filter", f"label=lab.name={name}"]
    lines = runner.run([*listing, "--format", '{{.ID}} {{.Label "lab.root"}}']).stdout
    return {
        words[0]: Path(words[2]) for line in lines.splitlines() if (words := line.partition(" "))
    }


def states(lab: Lab) -> dict[str, str]:
    """Machine name -> its state in Vagrant's words: running, paused, stopped, not_created."""
    there = _of_each(lab, "State")
    words = {"running": "running", "paused": "paused", "": "not_created"}
    return {
        machine.name: words.get(there.get(container(lab, machine.name), ""), "stopped")
        for machine in lab.machines
    }


def older(lab: Lab, image: str) -> list[str]:
    """The lab's containers that run another image than this one."""
    return [name for name, made in _of_each(lab, "Image").items() if made != image]


def remove(lab: Settings) -> bool:
    """Remove the lab's containers, volumes and network. Returns whether there were any."""
    there = False
    for listing, removal in {
        ("ps", "--all", "--format", "{{.ID}}"): ("rm", "--force", "--volumes"),
        ("volume", "ls", "--format", "{{.Name}}"): ("volume", "rm", "--force"),
        ("network", "ls", "--format", "{{.ID}}"): ("network", "rm"),
    }.items():
        if found := _list(*listing, *_filters(lab)):
            there = True
            runner.run(["docker", *removal, *found], timeout=120)
    return there


def drop(lab: Lab, machines: Collection[str]) -> None:
    """Remove the volumes of machines that Vagrant has destroyed."""
    volumes = [container(lab, machine) for machine in machines]
    runner.run(["docker", "volume", "rm", "--force", *volumes], timeout=120)


def former_name_servers(lab: Lab) -> list[str]:
    """Name servers that pods still use although the host has switched to others.

    The list is usually empty, but not on a laptop that has moved to another network.
    """
    if not (now := name_servers_of_host()):
        return []
    machine = container(lab, lab.machines[0].name)
    asked = runner.run(["docker", "exec", machine, "cat", "/run/lab/resolv.conf"]).stdout
    before = name_servers(asked)
    # When the host has fewer, a machine also has one of Docker's.
    return before if before[: len(now)] != now else []


def stop(lab: Lab) -> None:
    """Shut down all machines at once. Docker kills a machine after STOP seconds."""
    if found := _list("ps", "--format", "{{.ID}}", *_filters(lab)):
        # Newer engines call it --timeout, older ones --time.
        longest = ["-t", f"{wait.limit(STOP):.0f}"]
        runner.run(["docker", "stop", *longest, *found], timeout=2 * STOP)


def pause(lab: Lab) -> bool:
    """Pause the running machines. Returns whether there were any."""
    found = _list("ps", "--format", "{{.ID}}", "--filter=status=running", *_filters(lab))
    if found:
        runner.run(["docker", "pause", *found])
    return bool(found)


def resume(lab: Lab) -> bool:
    """Resume the paused machines. Returns whether there were any."""
    found = _list("ps", "--format", "{{.ID}}", "--filter=status=paused", *_filters(lab))
    if found:
        runner.run(["docker", "unpause", *found])
    return bool(found)


def save(lab: Lab, name: str, kept: Collection[str]) -> None:
    """Copy the storage of all machines, which are paused or stopped, into a snapshot.

    `kept` are the existing snapshots. Other stored data comes from a killed task and is removed.
    """
    _snapshot(lab, "save", name, *kept)


def forget(lab: Lab, kept: Collection[str]) -> None:
    """Remove every snapshot except `kept`."""
    _snapshot(lab, "keep", *kept)


def restore(lab: Lab, name: str) -> None:
    """Restore the storage of all machines from a snapshot, and start them.

    Kills the machines first, because the restore discards everything that they still write.
    """
    if running := _list("ps", "--format", "{{.ID}}", *_filters(lab)):
        runner.run(["docker", "kill", *running], ok=(0, 1))
    _snapshot(lab, "restore", name)
    each(
        [container(lab, machine.name) for machine in lab.machines],
        lambda machine: runner.run(["docker", "start", machine]),
    )


def storage(inspected: Mapping[str, Any]) -> dict[str, str]:
    """The storage of a container from `docker inspect`: place in a snapshot -> volume or folder.

    Raises PrerequisiteError when Docker does not report the folder of the container's layer.
    """
    layer = ((inspected.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
    if not layer:
        raise PrerequisiteError(
            "snapshots need Docker's storage driver overlay2, which this engine does not use",
            hint='{"features": {"containerd-snapshotter": false}} in /etc/docker/daemon.json',
        )
    volumes = {
        f"volumes{mount['Destination']}": mount["Name"]
        for mount in inspected["Mounts"]
        if mount["Type"] == "volume"
    }
    return {"layer": layer, **volumes}


def _snapshot(lab: Lab, *words: str) -> None:
    """Run vagrant/snapshot.sh in a container with the storage of all machines."""
    helper = f"{lab.name}-snapshot"
    # The container of a killed task may still be copying.
    runner.run(["docker", "rm", "--force", helper], ok=(0, 1))
    names = [container(lab, machine.name) for machine in lab.machines]
    found = json.loads(runner.run(["docker", "inspect", *names]).stdout)
    runner.run(["docker", "volume", "create", *_labels(lab), f"{lab.name}-snapshots"])
    volumes = {
        f"{lab.name}-snapshots": "/snapshots",
        str(lab.root / "vagrant" / "snapshot.sh"): "/snapshot.sh:ro",
    }
    for machine, inspected in zip(lab.machines, found, strict=True):
        for place, source in storage(inspected).items():
            volumes[source] = f"/machines/{machine.name}/{place}"
    # Only an administrator of the host may read the extended attributes of a layer.
    options = [*_labels(lab), "--network=none", "--workdir=/", "--cap-add=SYS_ADMIN"]
    options += ["--security-opt=apparmor=unconfined"]
    options += [f"--volume={source}:{place}" for source, place in volumes.items()]
    command = ["docker", "run", "--rm", "--name", helper, *options, found[0]["Image"]]
    runner.run([*command, "/snapshot.sh", *words], timeout=600)


def _make_network(lab: Lab) -> str:
    """Create the lab's network. Replaces one of this name with other addresses.

    Returns Docker's message when another network has the addresses, because a retry cannot help.
    """
    query = ["docker", "network", "inspect", network(lab), "--format"]
    found = runner.run([*query, "{{range .IPAM.Config}}{{.Subnet}}{{end}}"], ok=(0, 1))
    if found.stdout.strip() == str(lab.subnet):
        return ""
    if found.code == 0:
        runner.run(["docker", "network", "rm", network(lab)])
    options = ["--subnet", str(lab.subnet), "--gateway", lab.address(1), *_labels(lab)]
    try:
        runner.run(["docker", "network", "create", *options, network(lab)])
    except CommandError as error:
        if "overlap" not in error.output:
            raise
        return error.reason
    return ""


def _fill(lab: Lab, name: str, image: str) -> bool:
    runner.run(["docker", "rm", "--force", f"{name}-fill"], ok=(0, 1))
    runner.run(["docker", "volume", "rm", "--force", name])
    runner.run(["docker", "volume", "create", *_labels(lab), name])
    options = [*_labels(lab), "--name", f"{name}-fill", "--volume", f"{name}:{STORE}"]
    runner.run(["docker", "create", *options, image], timeout=120)
    runner.run(["docker", "rm", f"{name}-fill"])
    return True


def _labels(lab: Settings) -> list[str]:
    return [f"--label=lab.name={lab.name}", f"--label=lab.root={lab.root}"]


def _filters(lab: Settings) -> list[str]:
    return [label.replace("--label=", "--filter=label=") for label in _labels(lab)]


def _of_each(lab: Settings, field: str) -> dict[str, str]:
    """Container of the lab -> one field of `docker ps`, which is a single word."""
    found = _list("ps", "--all", "--format", f"{{{{.Names}}}} {{{{.{field}}}}}", *_filters(lab))
    return dict(zip(found[::2], found[1::2], strict=True))


def _list(*words: str) -> list[str]:
    return runner.run(["docker", *words]).stdout.split()
