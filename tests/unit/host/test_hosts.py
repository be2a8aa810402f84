"""Files for other computers: the Lima template, the dev container, the table of hosts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import selftest
from lab.config import Lab
from lab.host import prerequisites
from lab.host.facts import Host
from lab.images import builder
from tests.unit.conftest import ROOT
from tests.unit.test_docs import rows

FOLDER = ROOT / ".devcontainer"
# The keys in Lima's default.yaml that exist since its version 1.0.
LIMA_KEYS = {"images", "cpus", "memory", "disk", "mounts", "containerd", "provision"}
# The keys of devContainer.base.schema.json that the lab uses.
DEVCONTAINER_KEYS = {
    "name": str,
    "build": dict,
    "remoteUser": str,
    "privileged": bool,
    "init": bool,
    "mounts": list,
    "hostRequirements": dict,
    "postCreateCommand": str,
    "postStartCommand": str,
    "forwardPorts": list,
    "portsAttributes": dict,
}


@pytest.fixture(scope="module")
def lima() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "lima.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def devcontainer() -> dict[str, Any]:
    text = (FOLDER / "devcontainer.json").read_text()
    found: dict[str, Any] = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    return found


def test_every_key_is_one_of_limas(lima: dict[str, Any]) -> None:
    assert set(lima) == LIMA_KEYS
    for script in lima["provision"]:
        assert script["mode"] == "system" and script["script"].startswith("#!")


def test_the_images_for_both_architectures_are_of_one_build(lima: dict[str, Any]) -> None:
    builds = set()
    for image, (arch, debian) in zip(
        lima["images"], {"aarch64": "arm64", "x86_64": "amd64"}.items(), strict=True
    ):
        assert image["arch"] == arch
        assert re.fullmatch(r"sha512:[0-9a-f]{128}", image["digest"])
        place = r"https://cloud\.debian\.org/images/cloud/trixie/(?P<build>[\d-]+)/"
        name = rf"debian-13-genericcloud-{debian}-(?P=build)\.qcow2"
        found = re.fullmatch(place + name, image["location"])
        assert found
        builds.add(found["build"])
    assert len(builds) == 1
    assert lima["images"][0]["digest"] != lima["images"][1]["digest"]


def test_every_key_of_the_dev_container_is_known(devcontainer: dict[str, Any]) -> None:
    assert {key: type(value) for key, value in devcontainer.items()} == DEVCONTAINER_KEYS
    for size in ("memory", "storage"):
        assert re.fullmatch(r"\d+([tgmk]b)?", devcontainer["hostRequirements"][size])
    assert [mount["target"] for mount in devcontainer["mounts"]] == ["/var/lib/docker"]


def test_the_dev_container_has_what_lab_up_would_install(
    lab: Lab,
    host: Callable[..., Host],
    devcontainer: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (FOLDER / devcontainer["build"]["dockerfile"]).read_text()
    monkeypatch.setattr(Path, "exists", lambda path: False)
    bare = host(codename="trixie", vagrant=None, docker_cli=False, docker_engine=None)
    wanted = prerequisites.missing(lab, replace(bare, mmdebstrap=False))
    assert len(wanted) > 4
    assert set(wanted) <= set(text.split())
    assert f"ARG BASE={builder.DEBIAN}\n" in text
    assert (
        f"useradd --create-home --shell /bin/bash --groups docker {devcontainer['remoteUser']}"
        in text
    )


def test_the_script_that_starts_docker_is_executable(devcontainer: dict[str, Any]) -> None:
    script = FOLDER / devcontainer["postStartCommand"].removeprefix("sudo ")
    assert script.stat().st_mode & 0o111
    assert script.read_text().startswith("#!/bin/sh\n")


def test_each_host_has_a_date_or_was_never_run() -> None:
    """The table only names existing suites."""
    for name, provider, what, when in rows(ROOT / "docs" / "hosts.md", "host"):
        assert name and (provider or "not possible" in what), name
        never = what.startswith(("never run", "not possible"))
        suites = re.findall(r"suite `(\w+)`|--only (\w+)`", what)
        assert all("".join(pair) in selftest.SUITES for pair in suites), name
        assert never or suites or re.fullmatch(r"\d{4}-\d\d-\d\d", when), name
