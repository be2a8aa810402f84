"""lab.toml, LAB_* and flags: every rule, all problems at once, and who overrides whom."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from lab import config
from lab.config import Forward, Lab, Settings
from lab.errors import ConfigError
from tests.unit.conftest import ROOT


def load(root: Path, text: str | None = None, environ: Any = None, **flags: Any) -> Settings:
    if text is not None:
        (root / "lab.toml").write_text(text)
    return config.load(root, flags, environ or {})


def problems(root: Path, text: str, environ: Any = None, **flags: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(root, text, environ, **flags)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "version = 1\n"])
def test_nothing_is_a_valid_lab(tmp_path: Path, text: str | None) -> None:
    lab = load(tmp_path, text)
    assert (lab.name, lab.provider, lab.workers, lab.source) == ("lab", "auto", None, "auto")
    assert set(lab.origins.values()) == {"default"} | (
        {"lab.toml"} if text == "version = 1\n" else set()
    )


def test_flag_over_variable_over_file_over_default(tmp_path: Path) -> None:
    text = 'name = "file"\n[machines]\nworkers = 1\ncpus = 3\nmemory = "3 GiB"\n'
    environ = {"LAB_WORKERS": "2", "LAB_CPUS": "4"}
    lab = load(tmp_path, text, environ, **{"machines.workers": "5"})
    assert (lab.name, lab.workers, lab.cpus, lab.memory) == ("file", 5, 4, 3072)
    told = {
        key: lab.origins[key] for key in ("name", "machines.workers", "machines.cpus", "source")
    }
    assert told == {
        "name": "lab.toml",
        "machines.workers": "flag",
        "machines.cpus": "LAB_CPUS",
        "source": "default",
    }


def test_another_file(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('name = "other"\n')
    assert load(tmp_path, 'name = "usual"\n', {"LAB_CONFIG": str(other)}).name == "other"


def test_every_problem_with_its_line(tmp_path: Path) -> None:
    text = 'provider = "dokcer"\nsuorce = "auto"\n\n[machines]\nworkers = 99\ncpus = true\n'
    found = problems(tmp_path, text)
    assert found[0] == "line 2: suorce: is not a known key; did you mean `source`?"
    assert found[1].startswith("line 1: provider: 'dokcer' must be one of")
    assert found[1].endswith("did you mean `docker`?")
    assert found[2] == 'line 5: machines.workers: 99 must be a whole number from 0 to 5 or "auto"'
    assert found[3].startswith("line 6: machines.cpus: True must be a whole number")
    assert len(found) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[machines]\ncontrol_planes = 0", "machines.control_planes: 0 must be"),
        ("[machines]\ncontrol_planes = 2", "machines.control_planes: 2 must be 1 or 3"),
        ("[machines]\ncontrol_planes = 3\nworkers = 4", "3 control planes leave room for 3"),
        ("[machines]\nworkers = -1", "machines.workers: -1 must be"),
        ("[machines]\nworkers = 1.5", "machines.workers: 1.5 must be"),
        ('[machines]\nmemory = "512"', "machines.memory: '512' must be at least 1024 MiB"),
        ('[machines]\nmemory = "lots"', "machines.memory: 'lots' must be MiB"),
        ('name = "Lab"', "name: 'Lab' must be at most 20 lower-case letters"),
        ('name = "a234567890123456789012"', "must be at most 20"),
        ("name = 3", "name: 3 must be"),
        ("version = 2", "version: 2 must be 1, the version"),
        ('kubernetes = "latest"', "kubernetes: 'latest' must be"),
        ('[network]\nsubnet = "8.8.8.0/24"', "must be a /24 inside one of 10.0.0.0/8, 172.16"),
        ('[network]\nsubnet = "192.168.56.0/23"', "must be a /24 inside"),
        ('[network]\nsubnet = "nothing"', "must be a network such as"),
        ('[network]\nsubnet = "10.89.3.0/24"', "10.89.3.0/24 overlaps 10.88.0.0/15, which Docker"),
        ('[network]\npods = "10.80.0.0/12"', "network.pods: 10.80.0.0/12 overlaps 10.88.0.0/15"),
        ('[network]\npods = "10.244.0.0/24"', "must have a prefix from /12 to /20"),
        ('[network]\npods = "10.244.0.1/16"', "must be a network such as"),
        ("[ports]\nhttp = 80", "ports.http: 80 must be a whole number from 1024"),
        ('source = "mirror"', "mirror: must name a folder or an address"),
        ("forward = 3", "forward: must be written as [[forward]]"),
        ("[[forward]]\nhost = 8000", "forward[0].guest: is missing"),
        ("forward = [1]", "forward[0]: must be written as [[forward]]"),
        ('name = "stacks"', "is what the labs of a checkout share"),
        ("[[forward]]\nhots = 1\nhost = 8000\nguest = 1", "forward[0].hots: is not a known key"),
        ('[[forward]]\nhost = 8000\nguest = 1\nmachine = "x"', "must be the name of a machine"),
        ("[machine]\nworkers = 1", "machine.workers: is not a known key; did you mean"),
    ],
)
def test_rules(tmp_path: Path, text: str, expected: str) -> None:
    assert any(expected in problem for problem in problems(tmp_path, text + "\n"))


@pytest.mark.parametrize("subnet", ["10.1.2.0/24", "172.30.56.0/24", "192.168.1.0/24"])
def test_any_private_network_will_do(tmp_path: Path, subnet: str) -> None:
    assert str(load(tmp_path, "", {"LAB_SUBNET": subnet}).subnet) == subnet
    assert load(tmp_path, "", {"LAB_SUBNET": "auto"}).subnet is None


def test_what_machines_have_inside() -> None:
    """Docker's settings there, and podman's own network."""
    file = ROOT / "vagrant/machine/rootfs/etc/docker/daemon.json"
    settings = json.loads(file.read_text())
    pools = [pool["base"] for pool in settings["default-address-pools"]]
    for text in (settings["bip"], *pools, "10.88.0.0/16"):
        assert IPv4Network(text, strict=False).subnet_of(config.WITHIN_MACHINES)


def test_networks_must_not_overlap(tmp_path: Path) -> None:
    text = '[network]\npods = "10.96.0.0/12"\n'
    assert problems(tmp_path, text) == [
        "network.pods: 10.96.0.0/12 overlaps network.services 10.96.0.0/16"
    ]


def test_ports_must_differ(tmp_path: Path) -> None:
    text = "[ports]\nhttp = 9000\n[[forward]]\nhost = 9000\nguest = 80\n"
    assert problems(tmp_path, text) == ["forward[0].host: 9000 is the port of ports.http already"]


def test_a_forward(tmp_path: Path) -> None:
    text = '[[forward]]\nhost = 9000\nguest = 80\nmachine = "worker-1"\n'
    assert load(tmp_path, text).forwards == (Forward(9000, 80, "worker-1"),)


def test_origin_of_a_bad_value_is_named(tmp_path: Path) -> None:
    assert "(from LAB_WORKERS)" in problems(tmp_path, "", {"LAB_WORKERS": "many"})[0]
    assert "(from flag)" in problems(tmp_path, "", **{"machines.workers": "99"})[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"name = \xff\n", "is not UTF-8 text"),
        (b"name = \n", "is not TOML"),
        (b'name = "a"\nname = "b"\n', "is not TOML"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "lab.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        config.load(tmp_path, {}, {})


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_bytes(b'\xef\xbb\xbfname = "bom"\r\n')
    assert config.load(tmp_path, {}, {}).name == "bom"


def test_machines_have_names_roles_and_addresses(lab: Lab) -> None:
    assert [(machine.name, machine.role, machine.address) for machine in lab.machines] == [
        ("control-plane-1", "control-plane", "192.168.56.11"),
        ("worker-1", "worker", "192.168.56.21"),
        ("worker-2", "worker", "192.168.56.22"),
    ]
    assert lab.address_pool == "192.168.56.200-192.168.56.239"
    planes = replace(lab, control_planes=3).machines[:3]
    assert [(machine.name, machine.address) for machine in planes] == [
        ("control-plane-1", "192.168.56.11"),
        ("control-plane-2", "192.168.56.12"),
        ("control-plane-3", "192.168.56.13"),
    ]


def test_cache_folder(tmp_path: Path) -> None:
    """A folder of its own wherever it is: it is removed whole, and nothing else with it."""
    for variable in ("LAB_CACHE", "XDG_CACHE_HOME"):
        found = config.cache_folder({variable: str(tmp_path)})
        assert found == tmp_path / "kubernetes-lecture-lab"
    assert config.cache_folder({}).is_absolute()


@pytest.mark.parametrize("text", ['"machines.cpus" = 2', "provider = {}", "unknown = {}"])
def test_what_only_looks_like_a_key_is_refused(tmp_path: Path, text: str) -> None:
    """A dot inside a key, and an empty table in the place of a value, were passed over."""
    (tmp_path / "lab.toml").write_text(text)
    with pytest.raises(ConfigError):
        config.load(tmp_path, {}, {})


def test_an_empty_table_of_keys_is_no_mistake(tmp_path: Path) -> None:
    """As it is when the headings of lab.toml are uncommented, and no key is."""
    (tmp_path / "lab.toml").write_text("[machines]\n[network]\n[ports]\n")
    assert config.load(tmp_path, {}, {}).cpus == 2
