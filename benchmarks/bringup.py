"""How long the lab takes beside the least that it could take, all in one run on one machine.

    python benchmarks/bringup.py [ROUNDS]

The floor is a bare script: one container of the same node image, `kubeadm init`, flannel, and a pod
that resolves a Service's name. Everything is cached already (`invoke lab-up` ran before). Prints a
Markdown table of medians in seconds and of ratios.
"""

from __future__ import annotations

import os
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab import config, runner, wait  # noqa: E402
from lab.config import Lab  # noqa: E402
from lab.distributions.kubeadm import RECORD, documents, initial, new_token  # noqa: E402
from lab.errors import LabError, ResourceError  # noqa: E402
from lab.host import facts  # noqa: E402
from lab.host.facts import Host  # noqa: E402
from lab.images.builder import Builder  # noqa: E402
from lab.lifecycle import opened  # noqa: E402
from lab.machines import cgroups, containers  # noqa: E402
from lab.output import Status  # noqa: E402

NAME = "bench"
PROBE = "until nslookup kubernetes.default.svc.cluster.local >/dev/null 2>&1; do sleep 0.1; done"
FLOOR = f"lab-{NAME}-floor"
SUBNET = IPv4Network("192.168.62.0/24")


def invoke(*words: str) -> float:
    """Run a task; the seconds it took."""
    start = time.monotonic()
    command = [sys.executable, "-m", "invoke", *words]
    runner.run(command, cwd=ROOT, env={"LAB_NAME": NAME}, timeout=1200)
    return time.monotonic() - start


def answered(kubectl: Callable[..., str], start: float) -> float:
    """Run a pod that resolves a name; the seconds from `start` until it did."""

    def made() -> bool:
        kubectl("run", "probe", "--image=busybox:1.37", "--restart=Never", "--", "sh", "-c", PROBE)
        return True

    def done() -> bool | None:
        if kubectl("get", "pod", "probe", "--output=jsonpath={.status.phase}") != "Succeeded":
            raise ResourceError("the pod has no answer yet")
        return True

    wait.until(made, what="a pod", timeout=120, longest=0.2)
    wait.until(done, what="an answer", timeout=120, longest=0.2)
    return time.monotonic() - start


def floor(lab: Lab, image: str, host: Host) -> float:
    """The bare script."""
    machine = lab.machines[0]
    toolchain = opened.toolchain_of(lab, Status())
    versions = {name: toolchain.version(name) for name in RECORD.image.tools}
    flannel = (ROOT / "vagrant" / "flannel.yaml").read_text()
    for name, value in {
        "PODS": str(lab.pods),
        "GATEWAY": machine.address,
        "VERSION": f"v{versions['flannel']}",
    }.items():
        flannel = flannel.replace(f"@{name}@", value)

    def inside(*words: str, stdin: str | None = None) -> str:
        flags = ["--interactive"] if stdin else []
        text = stdin.encode() if stdin else None
        command = ["docker", "exec", *flags, "--env", "KUBECONFIG=/etc/kubernetes/admin.conf"]
        return runner.run([*command, FLOOR, *words], stdin=text, timeout=240).stdout

    def kubectl(*words: str) -> str:
        return inside("kubectl", *words)

    runner.run(["docker", "network", "create", "--subnet", str(SUBNET), FLOOR])
    start = time.monotonic()
    try:
        run = ["docker", "run", "--detach", "--name", FLOOR, "--network", FLOOR, "--tty"]
        run += ["--ip", machine.address, "--hostname", machine.name]
        run += ["--volume", containers.STORE, *containers.run_arguments(host)]
        runner.run([*run, image], timeout=120)
        wait.until(
            lambda: inside("systemctl", "is-active", "containerd") or None,
            what="containerd",
            timeout=60,
        )
        groups = cgroups.parse(inside("cat", cgroups.FILE))
        parts = initial(lab, machine, new_token(), secrets.token_hex(32), versions, groups)
        inside("sh", "-c", "cat >/etc/lab/kubeadm.json", stdin=documents(parts))
        inside("kubeadm", "init", "--config", "/etc/lab/kubeadm.json")
        inside("kubectl", "apply", "--filename", "-", stdin=flannel)
        return answered(kubectl, start)
    finally:
        runner.run(["docker", "rm", "--force", "--volumes", FLOOR], timeout=60)
        runner.run(["docker", "network", "rm", FLOOR])


def bring_up(lab: Lab, workers: int) -> dict[str, float]:
    """One lab-up from nothing but the cache, then everything else that is measured of it."""
    kubeconfig = lab.state / "kubeconfig"
    tools = opened.toolchain_of(lab, Status()).bin_folder()
    start = time.monotonic()
    command = [sys.executable, "-m", "invoke", "lab-up", "--workers", str(workers)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "LAB_NAME": NAME}, stderr=subprocess.DEVNULL
    )

    def kubectl(*words: str) -> str:
        if not kubeconfig.exists():
            raise ResourceError("no kubeconfig yet")
        return runner.run([tools / "kubectl", "--kubeconfig", kubeconfig, *words]).stdout

    try:
        answer = answered(kubectl, start)
        assert process.wait(600) == 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    found = {"answer": answer, "ready": time.monotonic() - start}
    found["again"] = invoke("lab-up")
    time.sleep(15)
    found["memory"] = memory()
    found["save a snapshot"] = invoke("lab-snapshot", "save", "bench")
    found["restore it"] = invoke("lab-snapshot", "restore", "bench")
    found["destroy"] = invoke("lab-destroy")
    return found


def memory() -> float:
    """MiB that the machines of the lab use: their control groups' usage without inactive files.

    As `docker stats` counts it, which at times has no figures for a machine with systemd.
    """
    listing = runner.run(["docker", "ps", "--quiet", "--filter", f"label=lab.name={NAME}"])
    query = ["docker", "inspect", "--format", "{{.State.Pid}}", *listing.stdout.split()]
    return sum(used(int(process)) for process in runner.run(query).stdout.split()) / 2**20


def used(process: int) -> int:
    """Bytes that the machine uses whose first process this is."""
    groups = dict(
        line.split(":", 2)[1:] for line in Path(f"/proc/{process}/cgroup").read_text().splitlines()
    )
    first = "memory" in groups
    path = groups["memory" if first else ""].removesuffix("/init.scope")
    folder = Path(f"/sys/fs/cgroup{'/memory' if first else ''}{path}")
    usage = folder / ("memory.usage_in_bytes" if first else "memory.current")
    words = (folder / "memory.stat").read_text().split()
    inactive = words[words.index("total_inactive_file" if first else "inactive_file") + 1]
    return int(usage.read_text()) - int(inactive)


def table(rounds: int) -> str:
    """Measure, one thing after the other in every round, and tell the medians."""
    os.environ["LAB_NAME"] = NAME
    plain = config.load(ROOT, {"name": NAME, "machines.workers": 0})
    toolchain = opened.toolchain_of(plain, Status())
    host = facts.gather(toolchain.cache)
    lab = replace(opened.settle(plain, host, toolchain), subnet=SUBNET)
    arguments = containers.run_arguments(host)
    image = Builder(ROOT, toolchain, arguments, Status()).node(RECORD.image)
    seen: dict[str, list[float]] = {}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        measured = {"floor": floor(lab, image, host)}
        for workers in (0, 2):
            for name, value in bring_up(lab, workers).items():
                measured[f"{name}, {workers + 1} machine(s)"] = value
        start = time.monotonic()
        runner.run([sys.executable, "-m", "invoke", "--list"], cwd=ROOT)
        measured["invoke --list"] = time.monotonic() - start
        for name, value in measured.items():
            seen.setdefault(name, []).append(value)
    medians = {name: statistics.median(values) for name, values in seen.items()}
    lines = ["| measured | median | least | most | of the floor |", "|---|---|---|---|---|"]
    for name, values in seen.items():
        ratio = f"{medians[name] / medians['floor']:.2f}" if "answer" in name else ""
        lines.append(
            f"| {name} | {medians[name]:.1f} | {min(values):.1f} | {max(values):.1f} | {ratio} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        print(table(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
    except LabError as error:
        sys.exit(str(error))
