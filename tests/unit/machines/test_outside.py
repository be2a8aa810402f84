"""Proxies and certificate authorities for child processes and machines."""

from __future__ import annotations

import datetime
import os
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import config, proxies
from lab.cluster.stacks import environment
from lab.config import Lab, Proxies
from lab.errors import ConfigError
from lab.images import docker
from lab.machines import outside
from tests.authority import Authority

PROXY = "http://user:secret@proxy.example:3128"


@pytest.fixture
def proxied(lab: Lab) -> Lab:
    """A lab behind a proxy."""
    return replace(lab, proxies=Proxies(PROXY, PROXY, "example.edu, .intern"))


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA's certificate in a file."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_text(Authority(datetime.timedelta(days=1)).pem)
    return path


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Proxies()),
        ({"HTTPS_PROXY": "a"}, Proxies("", "a", "")),
        ({"https_proxy": "a", "HTTPS_PROXY": "b", "no_proxy": "c"}, Proxies("", "a", "c")),
        ({"HTTP_PROXY": "a", "NO_PROXY": "*"}, Proxies("a", "", "*")),
    ],
)
def test_proxies_of_an_environment(environ: dict[str, str], expected: Proxies) -> None:
    assert config.proxies(environ) == expected
    assert config.load(Path("/nowhere"), {}, environ).proxies == expected


def test_addresses_inside_the_lab_need_no_proxy(proxied: Lab) -> None:
    found = proxies.exceptions(proxied).split(",")
    assert found[:2] == ["example.edu", ".intern"]
    for inside in ("127.0.0.1", "::1", "192.168.56.0/21", "10.244.0.0/16", "10.96.0.0/16"):
        assert inside in found
    assert {"registry.lab", ".svc", ".cluster.local"} <= set(found)
    again = replace(proxied, proxies=Proxies(PROXY, PROXY, ",".join(found)))
    assert proxies.exceptions(again).split(",") == found


def test_a_lab_in_another_network_needs_no_proxy_either(proxied: Lab) -> None:
    assert "192.168.56.0/24" not in proxies.exceptions(proxied).split(",")
    moved = replace(proxied, subnet=IPv4Network("172.30.56.0/24"))
    assert "172.30.56.0/24" in proxies.exceptions(moved).split(",")


def test_a_mirror_in_the_room_needs_no_proxy(proxied: Lab) -> None:
    mirror, registry = "https://10.1.2.3:8443", "https://room.example:8444"
    room = replace(proxied, mirror=mirror, registry_mirror=registry)
    found = proxies.exceptions(room).split(",")
    assert {"10.1.2.3", "room.example"} <= set(found)
    assert "" not in proxies.exceptions(replace(proxied, mirror="/media/usb")).split(",")


@pytest.mark.parametrize(
    ("given", "fine"),
    [
        ("https://10.1.2.3:8444", True),
        ("", True),
        ("http://room.example", True),
        ("room:8444", False),
        ('https://a"]; x = ["', False),
        ("https://room/path", False),
    ],
)
def test_the_address_of_a_registry_is_checked(tmp_path: Path, given: str, fine: bool) -> None:
    flags = {"network.registry_mirror": given}
    if fine:
        assert config.load(tmp_path, flags, {}).registry_mirror == given
    else:
        with pytest.raises(ConfigError, match="must be an http"):
            config.load(tmp_path, flags, {})


def test_without_proxy_and_ca_nothing_is_configured(lab: Lab) -> None:
    assert proxies.environment(lab) == {}
    files = outside.for_machines(lab)
    assert set(files.values()) == {""} and outside.digest(files) == ""


def test_child_processes_get_the_proxy_exceptions_and_the_trusted_ca(
    proxied: Lab, ca: Path, tmp_path: Path
) -> None:
    found = proxies.environment(replace(proxied, ca=str(ca)), tmp_path)
    assert found["NO_PROXY"] == found["no_proxy"] == proxies.exceptions(proxied)
    (trusted,) = {found[name] for name in proxies.TRUST}
    assert Path(trusted).read_text().endswith(ca.read_text())
    # A proxy's address may contain a password, so the lab does not copy it.
    assert PROXY not in found.values()


def test_lab_env_prints_the_proxy_exceptions(proxied: Lab) -> None:
    assert environment(proxied, Path("/tools"))["no_proxy"] == proxies.exceptions(proxied)
    assert "no_proxy" not in environment(replace(proxied, proxies=Proxies()), Path("/tools"))


def test_the_systems_authorities_stay_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system.pem"
    system.write_text("of the system\n")
    paths = SimpleNamespace(openssl_cafile=str(system))
    monkeypatch.setattr(proxies.ssl, "get_default_verify_paths", lambda: paths)
    assert proxies.trust("mine\n", tmp_path).read_text() == "of the system\nmine\n"


@pytest.mark.parametrize("text", [None, "", "-----BEGIN CERTIFICATE-----\nnone\n", "\xff"])
def test_a_file_without_certificates_is_refused(lab: Lab, tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"network\.ca: .*ca\.pem has no usable PEM"):
        proxies.authority(replace(lab, ca=str(path)))


def test_a_private_key_in_the_file_is_left_out(lab: Lab, ca: Path, tmp_path: Path) -> None:
    path = tmp_path / "both.pem"
    path.write_text(
        f"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n{ca.read_text()}"
    )
    assert proxies.authority(replace(lab, ca=str(path))) == ca.read_text()


def test_the_files_for_machines(proxied: Lab, ca: Path) -> None:
    proxies = Proxies("", "http://proxy.example:3128/?a&b='", "")
    files = outside.for_machines(replace(proxied, ca=str(ca), proxies=proxies))
    lines = files["proxy.env"].splitlines()
    assert "HTTPS_PROXY='http://proxy.example:3128/?a&b='\"'\"''" in lines
    assert [line.partition("=")[0] for line in lines] == [
        *("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")
    ]
    assert files["ca.crt"] == ca.read_text()


def test_a_machine_is_configured_once(proxied: Lab) -> None:
    done: list[Any] = []
    remote: Any = SimpleNamespace(
        put=lambda text, path: done.append(path),
        script=lambda path, *words, timeout: done.append((path.name, *words)),
    )
    wanted = outside.digest(outside.for_machines(proxied))
    outside.tell(remote, proxied, wanted)
    assert done == []
    outside.tell(remote, proxied, "")
    files = [f"/etc/lab/{name}" for name in ("proxy.env", "ca.crt", "registry-mirror")]
    assert done == [*files, ("outside.sh", wanted)]
    # Without a proxy, the lab removes the configuration again.
    outside.tell(remote, replace(proxied, proxies=Proxies()), wanted)
    assert done[4:] == [*files, ("outside.sh", "")]


def test_builds_take_the_proxy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[Any]] = []
    for name in ("http", "https", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    monkeypatch.setattr(docker.runner, "run", lambda words, **_: ran.append(words))
    docker.docker_build("tag", Path(), {}, "linux-amd64")
    monkeypatch.setitem(os.environ, "HTTPS_PROXY", PROXY)
    docker.docker_build("tag", Path(), {}, "linux-amd64")
    assert "--build-arg" not in ran[0]
    assert ran[1][6:8] == ["--build-arg", "HTTPS_PROXY"]
    assert not any(PROXY in str(word) for word in ran[1])
