"""The command of each way to run a training, as text for the machine. Nothing runs here."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.homework import image
from lab.homework.asked import Ask

# The name of a run's container, namespace and Job.
NAME = "mnist-run"
# The image's root as a folder.
ROOT = f"{image.HOME}/root"
# Seconds that a training has for its clean-up after SIGTERM.
GRACE = 10
# Seconds without an answer of the machine or the cluster after which a run times out. The run's
# script then stops the training, too.
SILENCE = 60
# The files that a run writes into its folder on the machine.
FILES = ("asked", "ended", "code", "output", "session", "seen")
# In a container: the folder for results, and the options that select it.
OUT = "/out"
RESULTS = ("--metrics", f"{OUT}/metrics.json", "--checkpoint", f"{OUT}/checkpoint.pt")
# How often a Job retries a training whose pod was lost.
AGAIN = 3
# The exit code of main.py for invalid options and invalid data.
WRONG = 2
# MiB that a Job's pod may use.
MEMORY = 1024


def docker(folder: str, ask: Ask, options: Sequence[str]) -> list[str]:
    """`docker run` of the image."""
    words = ["docker", "run", "--name", NAME, "--volume", f"{folder}/out:{OUT}"]
    words += ["--volume", f"{folder}/mnist:/mnist"] if ask.program else []
    words += ["--cpuset-cpus", ask.cpus] if ask.cpus else []
    words += ["--memory", f"{ask.memory}m"] if ask.memory else []
    return [*words, image.IMAGE, *options]


def singularity(folder: str, ask: Ask, options: Sequence[str]) -> list[str]:
    """`singularity run` of the SIF, home and working folder bound as usual."""
    words = ["singularity", "run", "--bind", f"{folder}/out:{OUT}"]
    words += ["--bind", f"{folder}/mnist:/mnist"] if ask.program else []
    return [*pinned(ask), *words, image.SIF, *options]


def bare(folder: str, ask: Ask, options: Sequence[str]) -> list[str]:
    """Enter the image's root by chroot, without namespaces, cgroup and seccomp."""
    binds = {"/proc": "proc", "/dev": "dev", f"{folder}/out": "out"}
    binds |= {f"{folder}/mnist": "mnist"} if ask.program else {}
    mounts = [f"mount --bind {shlex.quote(what)} {ROOT}/{at}" for what, at in binds.items()]
    inside = ["env", "-i", "PATH=/usr/bin:/bin", "HOME=/tmp", "PYTHONUNBUFFERED=1"]
    inside += [*pinned(ask), "sh", "-c", 'cd /mnist && exec python3 main.py "$@"', "main.py"]
    # By number, since the image does not know the machine's users.
    who = f'"--userspec=$(id -u {image.USER}):$(id -g {image.USER})"'
    enter = f"chroot {who} {shlex.join([ROOT, *inside, *options])}"
    away = "; ".join(f"umount --lazy {ROOT}/{at}" for at in binds.values())
    lines = f"{' && '.join(mounts)} && {enter}; code=$?; {away}; exit $code"
    return ["sudo", "sh", "-c", lines]


# The ways that run as a command on the machine.
COMMANDS: Mapping[str, Callable[[str, Ask, Sequence[str]], list[str]]] = {
    "docker": docker,
    "singularity": singularity,
    "bare": bare,
}


def pinned(ask: Ask) -> list[str]:
    """The prefix that restricts a command to these processors."""
    return ["taskset", "--cpu-list", ask.cpus] if ask.cpus else []


def stop(way: str, folder: str) -> str:
    """Shell lines that stop a run, with SIGTERM first and SIGKILL after `GRACE` seconds."""
    if way == "docker":
        return f"docker stop --time {GRACE} {NAME} >/dev/null 2>&1; :"
    # SIGTERM goes to Python alone. Singularity must keep its mounts until Python has exited.
    end = f"sudo pkill -%s --session $(cat {folder}/session) %s"
    pause = f"for i in $(seq {GRACE * 5}); do [ -e {folder}/code ] && exit; sleep 0.2; done"
    return f"{end % ('TERM', '-x python3')}; {pause}; {end % ('KILL', 'python3')}; :"


def sweep(way: str, folder: str) -> str:
    """Shell lines, for root, that remove what is left of a run."""
    if way == "docker":
        return f"docker rm --force {NAME} >/dev/null 2>&1 || :"
    lines = f"[ ! -e {folder}/session ] || pkill -KILL --session $(cat {folder}/session) || :"
    if way == "bare":
        for place in ("proc", "dev", "out", "mnist"):
            lines += f"\n! mountpoint -q {ROOT}/{place} || umount --lazy {ROOT}/{place}"
    return lines


def script(folder: str, command: Sequence[str], end: str) -> str:
    """The shell script that runs a command on the machine.

    It survives the connection that started it. It records times and exit code. If the task has not
    polled for a minute, the task or its connection is gone, and `end` stops the command.
    """
    return f"""#!/bin/sh
cd {folder}
echo $$ >session
(
  date +%s.%N >asked
  {shlex.join(command)} >output 2>&1 </dev/null
  code=$?
  date +%s.%N >ended
  echo $code >code
) &
while [ ! -e code ]; do
  [ -z "$(find seen -mmin +1)" ] || (
    {end}
  )
  sleep 1
done
"""


def job(
    folder: str, node: str, ask: Ask, options: Sequence[str], cpus: int
) -> list[dict[str, Any]]:
    """A namespace and a Job whose pod runs on `node` and writes its results to the run's folder.

    `cpus` is the number of processors of a machine.
    """
    mounts = [{"name": "out", "mountPath": OUT}]
    volumes: list[dict[str, Any]] = [{"name": "out", "hostPath": {"path": f"{folder}/out"}}]
    if ask.program:
        mounts.append({"name": "program", "mountPath": "/mnist"})
        volumes.append({"name": "program", "hostPath": {"path": f"{folder}/mnist"}})
    limits = {"cpu": str(count(ask.cpus) or cpus), "memory": f"{ask.memory or MEMORY}Mi"}
    container = {
        "name": "mnist",
        "image": image.IMAGE,
        "command": [*pinned(ask), "python3", "main.py"],
        "args": list(options),
        "volumeMounts": mounts,
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": limits},
    }
    pod = {
        "restartPolicy": "Never",
        "nodeName": node,
        "containers": [container],
        "volumes": volumes,
    }
    # A retry does not help against a wrong option.
    wrong = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [WRONG]}}
    spec = {
        "backoffLimit": AGAIN,
        "podFailurePolicy": {"rules": [wrong]},
        "template": {"spec": pod},
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}},
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": NAME, "namespace": NAME},
            "spec": spec,
        },
    ]


def count(cpus: str) -> int:
    """The number of processors in a list such as 0,2-3; 0 for an empty one."""
    total = 0
    for part in filter(None, cpus.split(",")):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total
