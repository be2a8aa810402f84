"""Without a network: a lab out of a bundle, on an engine of its own that reaches nothing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import wait
from tests.e2e.conftest import ROOT, Done, Invoke, copy_checkout

pytestmark = pytest.mark.e2e

# Seconds from an empty cache to a cluster, on two processors with nothing else to do: 90.
LIMIT = 240


@dataclass(frozen=True)
class Island:
    """A network namespace that has a loopback only, and a Docker engine inside."""

    holder: int
    folder: Path
    checkout: Path
    bundle: Path

    def run(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")},
            "DOCKER_HOST": f"unix://{self.folder}/docker.sock",
            "LAB_CACHE": str(self.folder / "cache"),
            "LAB_MIRROR": str(self.bundle),
            "LAB_NAME": "offline",
            "LAB_PROVIDER": "docker",
            "LAB_DISTRIBUTION": "kubeadm",
            "LAB_WORKERS": "0",
            "LAB_PATIENCE": "3",
            "PIP_CACHE_DIR": str(self.folder / "pip"),
            **variables,
        }
        return subprocess.run(
            [*self.inside, *words],
            cwd=self.checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def inv(self, *words: str, code: int = 0, **variables: str) -> Done:
        """Run a task there, as a newcomer does."""
        done = self.run("./inv", *words, **variables)
        assert done.returncode == code, f"{words}:\n{done.stdout}\n{done.stderr}"
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def inside(self) -> Sequence[str]:
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net"]

    @property
    def engine(self) -> list[str]:
        """An engine that shares nothing with the host's."""
        places = {"data-root": "data", "exec-root": "exec", "pidfile": "docker.pid"}
        options = [f"--{option}={self.folder}/{place}" for option, place in places.items()]
        return [*self.inside, "dockerd", *options, f"--host=unix://{self.folder}/docker.sock"]


@pytest.fixture(scope="module")
def bundle(invoke: Invoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of this checkout's lab, as `invoke bundle` writes it."""
    folder = tmp_path_factory.mktemp("usb stick") / "bundle"
    kind = ("--provider", "docker", "--distribution", "kubeadm")
    told = invoke.json("bundle", *kind, "--output", str(folder))["bundle"]
    assert isinstance(told, dict)
    sizes = {item["name"]: item["size"] for item in told["items"]}
    print(json.dumps({name: round(size / 2**20, 1) for name, size in sizes.items()}))
    assert sum(sizes.values()) <= 900 * 10**6
    return folder


@pytest.fixture(scope="module")
def island(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Island]:
    checkout = copy_checkout(tmp_path_factory.mktemp("offline") / "checkout")
    # The paths of sockets have to be short.
    folder = Path(tempfile.mkdtemp(prefix="lab-island-"))
    up = "ip link set lo up && exec sleep infinity"
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", up])
    place = Island(holder.pid, folder, checkout, bundle)
    with (folder / "dockerd.log").open("wb") as log:
        links = ("ip", "link", "show", "up")
        wait.until(lambda: place.run(*links).stdout or None, what="the loopback", timeout=10)
        assert place.run("ip", "route").stdout == ""
        engine = subprocess.Popen(place.engine, stdout=log, stderr=log)
    try:
        info = ("docker", "version", "--format", "{{.Server.Version}}")
        wait.until(lambda: place.run(*info).stdout.strip() or None, what="an engine", timeout=60)
        yield place
        place.inv("lab-destroy", "--cache")
    finally:
        for process in (engine, holder):
            process.terminate()
            process.wait(60)
        shutil.rmtree(folder)


def test_a_whole_bundle_and_a_torn_one(invoke: Invoke, bundle: Path) -> None:
    whole = invoke("bundle-verify", str(bundle))
    assert "changed" not in whole.out and "missing" not in whole.out
    victim = bundle / "tools" / "kubectl" / "kubectl.zst"
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (bundle / "notes.txt").write_text("mine")
    try:
        torn = invoke("bundle-verify", str(bundle), code=7)
    finally:
        victim.write_bytes(content)
        (bundle / "notes.txt").unlink()
    assert "changed: tools/kubectl/kubectl.zst\nsurplus: notes.txt\n" in torn.out
    assert torn.err.startswith("error: 2 file(s) of the bundle")


def test_a_lab_of_the_bundle_alone(island: Island) -> None:
    begin = time.monotonic()
    done = island.inv("lab-up")
    seconds = time.monotonic() - begin
    print(f"lab-up without a network, from an empty cache: {seconds:.0f} s\n{done.err}")
    assert "image/node from the mirror" in done.err and "pulumi" in done.err
    assert "built from" not in done.err
    assert seconds < LIMIT


def test_its_exercise(island: Island) -> None:
    island.inv("exercise-up", "pod")
    assert "failed" not in island.inv("check", "pod").out
    assert "nothing to do" in island.inv("lab-up").err


@pytest.fixture
def proxy(island: Island, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables for a proxy on the lab's gateway, which looks into TLS and answers by itself."""
    query = "{{(index .IPAM.Config 0).Gateway}}"
    network = ("docker", "network", "inspect", "lab-offline", "--format", query)
    address = f"{island.run(*network).stdout.strip()}:3128"
    program = [sys.executable, "-m", "tests.intercept", address, str(tmp_path)]
    server = subprocess.Popen([*island.inside, *program], cwd=ROOT)
    try:
        wait.until(lambda: (tmp_path / "ca.pem").exists() or None, what="a proxy", timeout=10)
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), f"http://{address}")
        yield {**proxies, "LAB_CA": str(tmp_path / "ca.pem")}
    finally:
        server.terminate()
        server.wait(10)


def test_a_proxy_and_its_authority(island: Island, proxy: dict[str, str], tmp_path: Path) -> None:
    """They reach what is on a machine, and the lab inside does not need them."""

    def machine(line: str) -> str:
        config = island.checkout / ".lab" / "offline" / "ssh_config"
        shell = f"bash -lc {shlex.quote(line)}"
        done = island.run("ssh", "-F", config, "control-plane-1", shell)
        return done.stdout + done.stderr

    island.inv("lab-up", **proxy)
    kubectl = "sudo kubectl --kubeconfig /etc/kubernetes/admin.conf"
    ways = {
        "curl.lab.test/": "curl --silent https://curl.lab.test/",
        "docker.lab.test/v2/": "docker pull docker.lab.test/image",
        "singularity.lab.test/v2/": "singularity pull docker://singularity.lab.test/image",
        "containerd.lab.test/v2/": f"{kubectl} run reach --image containerd.lab.test/image:1",
        "/InRelease": "sudo apt-get update",
    }
    told = {place: machine(line) for place, line in ways.items()}

    def asked() -> str | None:
        log = (tmp_path / "asked").read_text()
        return None if any(place not in log for place in ways) else log

    log = wait.until(asked, what=f"requests of all: {told}", timeout=30)
    assert "registry.lab" not in log and "192.168." not in log
    run = "docker run --rm registry.lab:5000/busybox env"
    assert f"HTTPS_PROXY={proxy['HTTPS_PROXY']}" in machine(run)
    machine(f"{kubectl} delete pod reach --now")
    assert "failed" not in island.inv("check", "pod", **proxy).out
    island.inv("lab-up")
    assert "proxy" not in machine("env").lower()
    assert "ended" in machine("curl --silent --max-time 5 https://curl.lab.test/ || echo ended")
    assert log == asked()
