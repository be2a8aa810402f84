"""Without a network: a lab out of a bundle, on an engine of its own that reaches nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import wait
from tests.e2e.conftest import Done, Invoke, copy_checkout

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
