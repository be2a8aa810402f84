"""A node as a container on a host with cgroup v2 and systemd: on a virtual machine of the tests.

Emulated, a whole cluster takes minutes. A kubelet with a static pod needs no API server, and tries
the same: the machine's boot, its control groups, containerd and kubelet's driver.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import runner, wait
from lab.distributions.kubeadm import initial
from lab.lifecycle.bringup import Bringup
from lab.machines import boxes, cgroups
from lab.machines.containers import STORE, run_arguments
from lab.machines.libvirt import virsh
from lab.machines.ssh import Remote
from lab.toolchain.store import scratch

MAKE = Path(__file__).with_name("make-docker-disk")
# What is stored beside the box of a virtual machine.
DISK, WHOLE = "docker.qcow2", "docker.whole"
OVERLAY = f"{boxes.REPOSITORY}-docker-run.qcow2"
NODE = "node"
PORT = 8765
MEMORY = 48 << 20
ANSWER = "from a pod"
# What a kubelet without an API server does not ask for.
ALONE = {
    "staticPodPath": "/etc/kubernetes/manifests",
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
}
UNIT = (
    "[Service]\nExecStart=\n"
    "ExecStart=/usr/local/bin/kubelet --config=/var/lib/kubelet/config.yaml $LAB_KUBELET_ARGS\n"
)
# What is asked of the virtual machine while the pod answers, and once the node was removed.
QUESTIONS = {
    "state": f"docker exec {NODE} systemctl is-system-running",
    "failed": f"docker exec {NODE} systemctl --failed --no-legend",
    "groups": f"docker exec {NODE} cat {cgroups.FILE}",
    "restarts": f"docker exec {NODE} systemctl show --value --property NRestarts kubelet",
    "outside": "ls -d /sys/fs/cgroup/kubepods.slice 2>&1 || true",
    "memory": "cat $(find /sys/fs/cgroup -path '*docker-*kubepods*/memory.max') | sort -u",
    "left": f"docker rm --force --volumes {NODE} >/dev/null"
    " && find /sys/fs/cgroup -name 'docker-*.scope' -o -name 'kubepods*'",
}


def run_a_node(up: Bringup, remote: Remote) -> Mapping[str, str]:
    """Run a node and a pod on a virtual machine; its answers to QUESTIONS, and the pod's."""
    domain = f"{up.lab.name}-{remote.name}"
    disk = _overlay(_disk(up))
    virsh("attach-disk", domain, disk, "vdb", "--driver", "qemu", "--subdriver", "qcow2")
    try:
        return _run(up, remote)
    finally:
        _engine(remote, "umount /var/lib/docker")
        virsh("detach-disk", domain, "vdb")
        virsh("vol-delete", OVERLAY, "--pool", boxes.POOL)


def _run(up: Bringup, remote: Remote) -> Mapping[str, str]:
    _engine(remote, "mount /dev/vdb /var/lib/docker")
    arguments = run_arguments(replace(up.host, cgroup=2, missing_capabilities=()))
    arguments += ["--volume", f"store:{STORE}", "--memory", "1g", "--hostname", NODE]
    run = ["docker", "run", "--detach", "--tty", "--name", NODE, *arguments, up.image]
    remote.run(run, sudo=True, timeout=120)

    def inside(*words: str) -> str:
        return remote.run(["docker", "exec", NODE, *words], sudo=True, timeout=60)

    wait.until(
        lambda: inside("systemctl", "is-active", "containerd") or None,
        what="containerd of the node",
        timeout=120,
    )
    for path, text in _files(up, inside("cat", cgroups.FILE)).items():
        script = f"mkdir -p {Path(path).parent} && printf %s {shlex.quote(text)} >{path}"
        inside("sh", "-c", script)
    inside("systemctl", "daemon-reload")
    inside("systemctl", "restart", "kubelet")
    curl = ("curl", "--silent", "--fail", f"http://127.0.0.1:{PORT}/")
    pod = wait.until(lambda: inside(*curl) or None, what="an answer of the pod", timeout=120)
    asked = {
        name: remote.run(["sh", "-c", line], sudo=True, timeout=60, ok=(0, 1)).strip()
        for name, line in QUESTIONS.items()
    }
    return {**asked, "pod": pod.strip()}


def _files(up: Bringup, decided: str) -> dict[str, str]:
    """Path on the node -> text: kubelet's settings as kubeadm gives them, a unit, a static pod."""
    parts = initial(up.lab, up.lab.machines[0], "", "", up.versions, cgroups.parse(decided))
    (settings,) = (part for part in parts if part["kind"] == "KubeletConfiguration")
    return {
        "/var/lib/kubelet/config.yaml": json.dumps({**settings, **ALONE}),
        "/etc/systemd/system/kubelet.service.d/alone.conf": UNIT,
        "/etc/kubernetes/manifests/web.json": json.dumps(_pod()),
    }


def _pod() -> dict[str, Any]:
    """A pod without a network of its own: there is no flannel."""
    serve = f"echo {ANSWER} >/tmp/index.html && exec httpd -f -p {PORT} -h /tmp"
    container = {
        "name": "web",
        "image": "docker.io/library/busybox:1.37",
        "command": ["sh", "-c", serve],
        "resources": {"limits": {"memory": str(MEMORY)}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"hostNetwork": True, "containers": [container]},
    }


def _engine(remote: Remote, change: str) -> None:
    """Stop the machine's Docker engine, change its folder, and start it again."""
    for line in (
        ["systemctl", "stop", "docker.socket", "docker.service"],
        shlex.split(change),
        # Not by its socket: the client asks an engine that still starts, and gives up.
        ["systemctl", "start", "docker.socket", "docker.service"],
    ):
        remote.run(line, sudo=True, timeout=120)


def _overlay(disk: str) -> str:
    """A disk with the content of `disk`, which itself stays as it is for the next run."""
    virsh("vol-delete", OVERLAY, "--pool", boxes.POOL, ok=(0, 1))
    behind = ["--backing-vol", Path(disk).name, "--backing-vol-format", "qcow2"]
    virsh("vol-create-as", boxes.POOL, OVERLAY, "12GiB", "--format", "qcow2", *behind)
    return virsh("vol-path", OVERLAY, "--pool", boxes.POOL).strip()


def _disk(up: Bringup) -> str:
    """The disk with the node's image in an engine's data, in libvirt's storage; made once."""
    tag = boxes.make_image(up.lab.root, up.image, up.status)
    box = boxes.name_of(up.lab.root, up.image)
    there = boxes.volumes(box)
    # The second file is stored last: a killed test leaves half of the first.
    if there.keys() >= {DISK, WHOLE}:
        return there[DISK]
    with (
        up.status.step("disk of a Docker engine"),
        scratch(up.toolchain.cache / "boxes" / "docker-disk.partial") as folder,
    ):
        runner.run(["docker", "save", "--output", folder / "image.tar", up.image], timeout=600)
        mounts = ["--volume", f"{folder}:/build", "--volume", f"{MAKE}:/make:ro"]
        command = ["docker", "run", "--rm", *run_arguments(up.host), *mounts, tag]
        runner.run([*command, "/make", up.image], timeout=900)
        convert = ["qemu-img", "convert", "-O", "qcow2"]
        runner.run([*convert, folder / "docker.img", folder / DISK], timeout=300)
        (folder / WHOLE).write_text("whole")
        # One takes three gigabytes: those of earlier images are of no use any more.
        for volume in virsh("vol-list", boxes.POOL).split():
            if volume.startswith(boxes.REPOSITORY) and volume.endswith((DISK, WHOLE)):
                virsh("vol-delete", volume, "--pool", boxes.POOL)
        for file in (DISK, WHOLE):
            boxes.store(folder / file, box)
    return boxes.volumes(box)[DISK]
