"""Without a network: a lab out of a bundle, on an engine of its own that reaches nothing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from lab import wait
from tests.e2e.support import ROOT, Done, Invoke, copy_checkout

pytestmark = pytest.mark.e2e

# Seconds from an empty cache to a cluster, on two processors with nothing else to do: 90.
LIMIT = 240
KUBECTL = "sudo kubectl --kubeconfig /etc/kubernetes/admin.conf"


@dataclass(frozen=True)
class Island:
    """A network namespace that has a loopback only, and a Docker engine inside."""

    holder: int
    folder: Path
    checkout: Path
    bundle: Path

    def run(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        return subprocess.run(
            [*self.inside, *words],
            cwd=self.checkout,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    @property
    def environment(self) -> dict[str, str]:
        """A newcomer's, with the bundle for a mirror."""
        return {
            **{key: value for key, value in os.environ.items() if key[:4] not in ("PULU", "PIP_")},
            "DOCKER_HOST": f"unix://{self.folder}/docker.sock",
            "LAB_CACHE": str(self.folder / "cache"),
            "LAB_MIRROR": str(self.bundle),
            "LAB_NAME": "offline",
            "LAB_PROVIDER": "docker",
            "LAB_DISTRIBUTION": "kubeadm",
            "LAB_WORKERS": "0",
            "LAB_PATIENCE": "3",
            "PIP_CACHE_DIR": str(self.folder / "pip"),
        }

    def start(self, *words: str, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command there, and go on."""
        return subprocess.Popen(
            [*self.inside, *words],
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stderr=stderr,
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
def bundle(maker: Invoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of this checkout's lab, as `invoke bundle` writes it."""
    folder = tmp_path_factory.mktemp("usb stick") / "bundle"
    kind = ("--provider", "docker", "--distribution", "kubeadm")
    told = maker.json("bundle", *kind, "--output", str(folder))["bundle"]
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
        # An engine leaves its network's namespace mounted.
        subprocess.run(["umount", *folder.glob("exec/netns/*")], check=False)
        shutil.rmtree(folder)


def test_a_whole_bundle_and_a_torn_one(maker: Invoke, bundle: Path) -> None:
    whole = maker("bundle-verify", str(bundle))
    assert "changed" not in whole.out and "missing" not in whole.out
    victim = bundle / "tools" / "kubectl" / "kubectl.zst"
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (bundle / "notes.txt").write_text("mine")
    try:
        torn = maker("bundle-verify", str(bundle), code=7)
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


def test_the_stick_is_pulled_out(island: Island) -> None:
    """What was taken from it is enough for a lab that is there."""
    away = island.bundle.with_name("pulled out")
    island.bundle.rename(away)
    try:
        checked = island.inv("check", "pod")
        assert "is away" in checked.err and "failed" not in checked.out
        island.inv("lab-down")
        island.inv("lab-up")
    finally:
        away.rename(island.bundle)


def machine(island: Island, line: str) -> str:
    """What a line of shell says on the machine, typed there by a person."""
    config = island.checkout / ".lab" / "offline" / "ssh_config"
    done = island.run("ssh", "-F", config, "control-plane-1", f"bash -lc {shlex.quote(line)}")
    return done.stdout + done.stderr


@pytest.fixture
def gateway(island: Island) -> str:
    """The host's address in the lab's network."""
    query = "{{(index .IPAM.Config 0).Gateway}}"
    network = ("docker", "network", "inspect", "lab-offline", "--format", query)
    return island.run(*network).stdout.strip()


@pytest.fixture
def proxy(island: Island, gateway: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables for a proxy on the lab's gateway, which looks into TLS and answers by itself."""
    address = f"{gateway}:3128"
    program = [sys.executable, "-m", "tests.intercept", address, str(tmp_path)]
    server = subprocess.Popen([*island.inside, *program], cwd=ROOT)
    try:
        wait.until(lambda: (tmp_path / "ca.pem").exists() or None, what="a proxy", timeout=10)
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), f"http://{address}")
        yield {**proxies, "LAB_CA": str(tmp_path / "ca.pem")}
    finally:
        server.terminate()
        server.wait(10)


def test_a_proxy_and_its_authority(island: Island, proxy: dict[str, Any], tmp_path: Path) -> None:
    """They reach what is on a machine, and the lab inside does not need them."""
    island.inv("lab-up", **proxy)
    ways = {
        "curl.lab.test/": "curl --silent https://curl.lab.test/",
        "docker.lab.test/v2/": "docker pull docker.lab.test/image",
        "singularity.lab.test/v2/": "singularity pull docker://singularity.lab.test/image",
        "containerd.lab.test/v2/": f"{KUBECTL} run reach --image containerd.lab.test/image:1",
        "/InRelease": "sudo apt-get update",
    }
    told = {place: machine(island, line) for place, line in ways.items()}

    def asked() -> str | None:
        log = (tmp_path / "asked").read_text()
        return None if any(place not in log for place in ways) else log

    log = wait.until(asked, what=f"requests of all: {told}", timeout=30)
    assert "registry.lab" not in log and "192.168." not in log
    run = "docker run --rm registry.lab:5000/library/busybox env"
    assert f"HTTPS_PROXY={proxy['HTTPS_PROXY']}" in machine(island, run)
    machine(island, f"{KUBECTL} delete pod reach --now")
    assert "failed" not in island.inv("check", "pod", **proxy).out
    island.inv("lab-up")
    assert "proxy" not in machine(island, "env").lower()
    alone = "curl --silent --max-time 5 https://curl.lab.test/ || echo no way"
    assert "no way" in machine(island, alone)
    assert log == asked()


@pytest.fixture
def upstream(island: Island, tmp_path: Path) -> Iterator[str]:
    """A registry that the room does not reach, with one image."""
    node = island.run("docker", "images", "lecture-lab/node", "--format", "{{.ID}}").stdout.strip()
    options = ["--detach", "--rm", "--network", "host"]
    options += ["--env", "REGISTRY_HTTP_ADDR=127.0.0.1:5601"]
    command = ["--entrypoint", "docker-registry", node, "serve", "/etc/lab/registry.yaml"]
    registry = island.run("docker", "run", *options, *command).stdout.strip()
    (tmp_path / "hello").write_text("hello")
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        tar.add(tmp_path / "hello", "hello")
    name = "127.0.0.1:5601/room/extra:1"
    assert island.run("docker", "import", tmp_path / "image.tar", name).returncode == 0
    push = ("docker", "push", "--quiet", name)
    wait.until(lambda: island.run(*push).stdout or None, what="a push", timeout=20)
    yield "http://127.0.0.1:5601"
    island.run("docker", "rm", "--force", registry)


def test_a_room(island: Island, gateway: str, upstream: str, tmp_path: Path) -> None:
    """An instructor serves the bundle and hands on images: to those who trust the room's CA."""
    words = ["mirror-serve", str(island.bundle), "--address", gateway, "--images", upstream]
    log = tmp_path / "log"
    with log.open("wb") as file:
        room = island.start("./inv", *words, stderr=file)
    try:
        wait.until(lambda: "export" in log.read_text() or None, what="a room", timeout=60)
        ca = island.checkout / ".lab" / ".room" / gateway / "ca.pem"
        variables: dict[str, Any] = {
            "LAB_MIRROR": f"https://{gateway}:8443",
            "LAB_REGISTRY_MIRROR": f"https://{gateway}:8444",
            "LAB_CA": str(ca),
        }
        assert f"LAB_REGISTRY_MIRROR={variables['LAB_REGISTRY_MIRROR']}" in log.read_text()
        untrusted = island.inv("lab-status", code=2, LAB_MIRROR=variables["LAB_MIRROR"])
        assert "CERTIFICATE_VERIFY_FAILED" in untrusted.err
        island.inv("lab-up", **variables)
        assert "docker.io/room/extra:1" in machine(island, "docker pull --quiet room/extra:1")
        machine(island, f"{KUBECTL} run extra --image docker.io/room/extra:1 --restart Never")
        events = f"{KUBECTL} get events --field-selector reason=Pulled"
        what = "an image of the room's on a node"
        wait.until(lambda: "room/extra" in machine(island, events) or None, what=what, timeout=60)
        machine(island, f"{KUBECTL} delete pod extra --now")
        pushed = machine(
            island, f"curl --silent --request POST https://{gateway}:8444/v2/x/blobs/uploads/"
        )
        assert "UNSUPPORTED" in pushed
    finally:
        room.terminate()
        room.wait(30)
    assert room.returncode == 0
    assert "lab-room" not in island.run("docker", "ps", "--all").stdout
    island.inv("lab-up")
    assert gateway not in machine(island, "cat /etc/docker/daemon.json")
