"""The Vagrantfile as Vagrant itself evaluates it, for providers that cannot run here too."""

from __future__ import annotations

import json
import os
import subprocess
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from lab.config import HOST_ONLY, Forward, Lab, Ports
from lab.machines import containers, vagrantfile
from lab.machines.boxes import Box
from lab.machines.keys import key_file, public
from tests.e2e.support import ROOT
from tests.unit.conftest import HEALTHY

pytestmark = pytest.mark.e2e
# HashiCorp's packages bring a Ruby of their own.
RUBY = next(iter(Path("/opt/vagrant/embedded/bin").glob("ruby")), Path("ruby"))


@pytest.fixture
def lab(checkout: Path, engine: None) -> Lab:
    return Lab(
        root=checkout,
        name="two",
        provider="virtualbox",
        distribution="kubeadm",
        kubernetes="1.35.4",
        workers=1,
        memory=3072,
        subnet=IPv4Network("192.168.57.0/24"),
        ports=Ports(api=6443, http=8080, registry=5000, ssh=2222),
        forwards=(Forward(9000, 80, "worker-1"),),
    )


def evaluated(checkout: Path, provider: str, file: Path) -> list[dict[str, Any]]:
    """Every machine's configuration for one provider."""
    done = subprocess.run(
        [RUBY, ROOT / "tests/refusals/machine_config.rb", provider],
        cwd=checkout,
        env={**os.environ, "LAB_MACHINES_FILE": str(file), "VAGRANT_HOME": str(file.parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def forwarded(guest: int, host: int, name: str = "") -> dict[str, Any]:
    identity = name or f"127.0.0.1tcp{host}"
    ports = {"guest": guest, "host": host, "host_ip": "127.0.0.1", "protocol": "tcp"}
    return {"kind": "forwarded_port", "id": identity, **ports}


def test_virtualbox(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "machines.json"
    keys = [key_file(lab), tmp_path / "id_ed25519"]
    for key in keys:
        key.parent.mkdir(parents=True, exist_ok=True)
        key.touch()
    public(keys[0]).write_text("ssh-ed25519 AAAA lab\n")
    box = vagrantfile.virtualbox_settings(lab, Box("lecture-lab/box", key=str(keys[1])))
    file.write_text(json.dumps(vagrantfile.rendering(lab, box, 30080)))
    first, second = evaluated(lab.root, "virtualbox", file)
    for machine, address in ((first, "192.168.57.11"), (second, "192.168.57.21")):
        private = [item for item in machine["networks"] if item["kind"] == "private_network"]
        assert [item["ip"] for item in private] == [address]
        assert IPv4Network(address).subnet_of(HOST_ONLY)
        assert machine["box"] == "lecture-lab/box"
        assert machine["key"] == [str(key) for key in keys]
        assert machine["folders"]["/vagrant"]["disabled"]
        tell = {"name": "key", "run": "always", "args": ["ssh-ed25519 AAAA lab"]}
        assert machine["provisioners"] == [tell]
        settings = machine["provider"]
        assert settings["name"] == f"two-{machine['name']}"
        assert settings["linked_clone"] and not settings["gui"]
        sizes = [words[2:] for _, words in settings["customizations"]]
        assert sizes == [["--cpus", 2], ["--memory", "3072"], ["--firmware", "efi64"]]
        assert settings["default_nic_type"] == "virtio"
        assert not settings["check_guest_additions"]
    ports = [item for item in first["networks"] if item["kind"] == "forwarded_port"]
    assert ports == [
        forwarded(22, 2222, "ssh"),
        forwarded(6443, 6443),
        forwarded(30080, 8080),
        forwarded(5000, 5000),
    ]
    assert forwarded(80, 9000) in second["networks"]
    # Machines outlive the box that they were made of, and know the lab's key.
    keys[1].unlink()
    assert evaluated(lab.root, "virtualbox", file)[0]["key"] == [str(keys[0])]


def test_docker_has_the_same_machines(lab: Lab, tmp_path: Path) -> None:
    """Names, ports, keys and sizes are the machine's; only the provider's own settings differ."""
    file = tmp_path / "machines.json"
    key = lab.state / "id_ed25519"
    docker = vagrantfile.docker_settings(lab, HEALTHY, "node:1")
    rendered = vagrantfile.rendering(lab, {**docker, "box": {"name": "lecture-lab/box"}}, 30080)
    file.write_text(json.dumps(rendered))
    virtual = evaluated(lab.root, "virtualbox", file)
    for machine, other in zip(evaluated(lab.root, "docker", file), virtual, strict=True):
        settings = machine.pop("provider")
        assert settings["image"] == "node:1" and settings["has_ssh"]
        assert not settings["privileged"]
        assert settings["stop_timeout"] == containers.STOP
        words = " ".join(settings["create_args"])
        (private,) = (item for item in other["networks"] if item["kind"] == "private_network")
        assert f"--ip {private['ip']} " in words and "--memory 3072m" in words
        other["networks"].remove(private)
        del other["provider"], other["box"], machine["box"]
        assert machine == other
    assert key.name in words


@pytest.mark.parametrize("provider", ["virtualbox", "docker"])
def test_a_clone_has_one_machine(lab: Lab, tmp_path: Path, provider: str) -> None:
    """As the homework: 2 processors, 2 GiB, port 8001, the folder, parts to provision."""
    (machine,) = evaluated(lab.root, provider, tmp_path / "none")
    assert forwarded(8001, 8001) in machine["networks"]
    assert [item["name"] for item in machine["provisioners"]] == ["docker", "singularity"]
    assert machine["key"] is None
    if provider == "virtualbox":
        assert not machine["folders"]["/vagrant"]["disabled"]
        assert machine["box"] == "debian/trixie64"
        assert machine["provider"]["default_nic_type"] is None
        sizes = [words[2:] for _, words in machine["provider"]["customizations"]]
        assert sizes == [["--cpus", 2], ["--memory", "2048"]]
    else:
        assert machine["folders"]["/vagrant"]["disabled"]
        folder = ["--volume", f"{lab.root}:/vagrant"]
        assert machine["provider"]["create_args"] == ["--memory", "2048m", *folder]


# Notes what it is asked, and fails where a machine is to be made.
DOCKER = """#!/bin/sh
printf '%s\\n' "$@" >>"$NOTES"
[ "$1" != run ]
"""


def test_a_clone_on_wsl(lab: Lab, tmp_path: Path) -> None:
    """Vagrant takes WSL for Windows: it refuses a synced folder, or cuts its path's first slash."""
    programs, notes = tmp_path / "programs", tmp_path / "notes"
    programs.mkdir()
    # In place of the image of a machine there is none.
    for name, text in {"docker": DOCKER, "python3": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "version").write_text("Linux version 6.6.87.2-microsoft-standard-WSL2\n")
    line = 'mount --bind "$0" /proc/version && exec vagrant up --provider=docker'
    rootless = ["--map-root-user"] if os.geteuid() else []
    done = subprocess.run(
        ["unshare", "--mount", *rootless, "sh", "-c", line, tmp_path / "version"],
        cwd=lab.root,
        env={
            **os.environ,
            "LAB_MACHINES_FILE": str(tmp_path / "none"),
            "NOTES": str(notes),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "VAGRANT_DOTFILE_PATH": str(tmp_path / "vagrant"),
            "VAGRANT_HOME": str(tmp_path / "home"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert f"{lab.root}:/vagrant" in notes.read_text().splitlines(), done.stdout + done.stderr
