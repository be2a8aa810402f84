"""k3s on a machine, up to the start of its program, which is one here that says no.

No release of k3s can be had where this runs: what it makes of its settings is for the conformance
list (`invoke smoke --distribution k3s`) where one can.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import wait
from lab.distributions.k3s import CONFIG, REGISTRIES, STARTED
from lab.machines import cgroups
from tests.e2e.support import Invoke, docker, scrub

pytestmark = pytest.mark.e2e
VERSION = "1.34.2+k3s1"
# It may say that it is ready, as k3s does while its kubelet cannot run yet. It unpacks itself, as
# a k3s with containerd 2 does.
PROGRAM = b"""\
#!/bin/sh
data=/var/lib/rancher/k3s/data
mkdir -p $data/x/bin && ln -sfn x $data/current && echo config-v3.toml.tmpl >$data/x/bin/k3s
echo "$1: invocation ${INVOCATION_ID:-unknown}" >&2
[ ! -e /etc/lab/says-ready ] || { systemd-notify --ready; sleep 2; }
echo "$1: this is not k3s" >&2
exit 1
"""
MACHINE = "k3s-control-plane-1"


@pytest.fixture(scope="module")
def lab(checkout: Path, engine: None) -> Iterator[Invoke]:
    scrub("k3s")
    run = Invoke(checkout, "k3s")
    yield run
    run("lab-destroy")


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "k3s").write_bytes(PROGRAM)
    sha256 = hashlib.sha256(PROGRAM).hexdigest()
    lines = [f'[k3s]\nversion = "{VERSION}"']
    for architecture in ("amd64", "arm64"):
        file = f'{{ path = "k3s", sha256 = "{sha256}" }}'
        lines.append(f"[k3s.linux-{architecture}]\nk3s = {file}")
    (folder / "manifest.toml").write_text("\n".join(lines) + "\n")
    return folder


def inside(*command: str) -> str:
    """What a command prints on the machine, in one line."""
    return " ".join(docker("exec", MACHINE, *command))


def test_a_program_that_does_not_start_is_told_with_its_words(lab: Invoke, mirror: Path) -> None:
    """Image, machine, settings and unit are there; what the unit said is the error."""
    words = ("--distribution", "k3s", "--mirror", str(mirror), "--workers", "0")
    done = lab("lab-up", *words, code=4)
    assert f"✗ control plane (k3s {VERSION})" in done.err
    assert "on control-plane-1 ended with code 1" in done.err
    assert "| server: this is not k3s" in done.err


def test_a_program_that_ends_when_it_has_said_that_it_is_ready(lab: Invoke) -> None:
    """systemd starts it again and again: at the first time it is a step that failed."""
    inside("touch", "/etc/lab/says-ready")
    begun = time.monotonic()
    try:
        done = lab("lab-up", code=4)
    finally:
        inside("rm", "/etc/lab/says-ready")
    assert time.monotonic() - begun < wait.limit(120)
    assert f"✗ control plane (k3s {VERSION})" in done.err
    assert "| server: this is not k3s" in done.err
    assert "| k3s ended before kubelet was healthy" in done.err
    assert "invoke lab-up --distribution kubeadm" in done.err


def test_control_groups_on_the_machine(lab: Invoke) -> None:
    """As its boot decided: k3s takes the systemd driver by the variable that its unit may lack."""
    decided = cgroups.parse("\n".join(docker("exec", MACHINE, "cat", cgroups.FILE)))
    said = inside("journalctl", "--unit", "k3s", "--lines", "9", "--output", "cat")
    assert ("invocation unknown" in said) is (decided.driver == "cgroupfs")
    told = json.loads(inside("cat", CONFIG))["kubelet-arg"]
    own = [argument for argument in told if "cgroups=" in argument or "cgroup-root=" in argument]
    assert bool(own) is (decided.driver == "cgroupfs")
    if own:
        root, *others = own
        assert root.startswith("cgroup-root=/")
        assert others == ["kubelet-cgroups=", "runtime-cgroups="]


def test_settings_on_the_machine(lab: Invoke) -> None:
    settings = json.loads(inside("cat", CONFIG))
    assert settings["flannel-iface"] == "eth0"
    assert settings["node-ip"] in inside("ip", "-4", "address", "show", "eth0")
    assert not [word for word in json.dumps(settings).split('"') if word.startswith("@")]
    # No archive of images came with it: what every pod begins with is in the lab's registry.
    registry, _, image = settings["pause-image"].partition("/")
    name, _, tag = image.rpartition(":")
    line = f"curl --silent --fail http://{registry}/v2/{name}/tags/list"
    assert tag in json.loads(inside("sh", "-c", line))["tags"]
    assert inside("stat", "-c", "%a %U", CONFIG, REGISTRIES) == "600 root 600 root"
    # It never ran with them, so the next lab-up tries again.
    assert inside("sh", "-c", f"test -e {STARTED} || echo none") == "none"


def test_units_on_the_machine(lab: Invoke) -> None:
    assert inside("sh", "-c", "systemctl is-enabled k3s k3s-agent containerd; true") == (
        "enabled disabled disabled"
    )
    # Debian's containerd is Docker's, when Docker is used; pods are k3s' alone.
    assert inside("sh", "-c", "systemctl is-active containerd; true") == "inactive"
    inside("sh", "-c", "docker version >/dev/null && systemctl is-active containerd")
    plugins = inside("sh", "-c", "ctr plugins ls | grep -c '\\bcri\\b.*ok' || true")
    assert plugins == "0"
    assert inside("sh", "-c", "readlink /usr/local/bin/kubectl /usr/local/bin/crictl") == "k3s k3s"
    # Where k3s keeps its own: not on the machine's overlay, in which another cannot be mounted.
    assert inside("stat", "-f", "-c", "%T", "/var/lib/rancher") != "overlayfs"


def test_again_is_the_same(lab: Invoke) -> None:
    """As typed the second time: the flags of the first are remembered, its mirror too."""
    assert "| server: this is not k3s" in lab("lab-up", code=4).err


def test_destroyed_without_the_mirror(lab: Invoke, mirror: Path) -> None:
    shutil.rmtree(mirror)
    assert lab("lab-status").err.count("is away") == 1
    lab("lab-destroy")
    assert not docker("ps", "--all", "--quiet", "--filter", "label=lab.name=k3s")
