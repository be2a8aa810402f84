"""The doctor's findings: each failure has an id, a detail and a fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.config import Lab
from lab.errors import PrerequisiteError
from lab.host import doctor, engine
from lab.host.choices import Choice
from lab.host.engine import Engine, Kind
from lab.host.facts import Host

ROOT = Path("/var/lib/docker")
ELSEWHERE = Engine("28.0.1", "server", Path("/nowhere"))
ROOTLESS = Engine("28.0.1", "laptop", Path("/home/kim/.local/share/docker"), kind=engine.ROOTLESS)
KINDS = (engine.FOREIGN, engine.DESKTOP, engine.SNAP_PACKAGE, engine.ROOTLESS, engine.REMAPPED)
SOURCES = {"kubectl": ("release", "modules"), "pulumi": ("modules",)}


def findings(lab: Lab, host: Host, packages: Any = (), sources: Any = SOURCES) -> dict[str, Any]:
    return {finding.id: finding for finding in doctor.examine(lab, host, packages, sources)}


@pytest.mark.parametrize(
    ("provider", "machines"),
    [("docker", "machines are containers"), ("libvirt", "are emulated"), ("virtualbox", "guest")],
)
def test_a_finding_names_the_machines_without_kvm(
    lab: Lab, host: Callable[..., Host], provider: str, machines: str
) -> None:
    found = findings(replace(lab, provider=provider), host(kvm=False))["virtualisation"]
    assert found.status == "note" and machines in found.detail


def test_a_healthy_host_has_no_failure(lab: Lab, host: Callable[..., Host]) -> None:
    found = findings(lab, host())
    assert {finding.status for finding in found.values()} == {"ok", "note"}
    assert found["source-release"].detail == "kubectl"
    assert found["source-modules"].detail == "pulumi"


@pytest.mark.parametrize(
    ("changes", "identity", "status", "text"),
    [
        ({"python": (3, 10)}, "python", "fail", "3.10, the lab needs 3.11"),
        ({"cpus": 1}, "cpus", "warn", "1"),
        ({"memory_free": 1900}, "memory", "fail", "1900 MiB free, 3 machine(s) need 2000"),
        ({"disk_free": 5000}, "disk", "fail", "4 GiB free"),
        ({"docker_disk_free": 5000}, "docker-disk", "fail", "4 GiB free for containers, 8 are"),
        (
            {"docker_engine": ELSEWHERE},
            "docker-engine",
            "fail",
            "it runs on `server`, not",
        ),
        ({"docker_engine": ROOTLESS}, "docker-engine", "fail", "rootless"),
        ({"docker_engine": None}, "docker-engine", "install", "lab-up starts it"),
        (
            {"docker_engine": None, "can_sudo": False, "docker_trouble": "permission denied"},
            "docker-engine",
            "fail",
            "permission denied",
        ),
        ({"kvm": True}, "virtualisation", "ok", "KVM"),
        ({"cgroup": 1}, "cgroup", "note", "v1"),
        ({"missing_capabilities": ("SYS_RESOURCE",)}, "capabilities", "note", "SYS_RESOURCE"),
        ({"missing_capabilities": ("NET_ADMIN",)}, "capabilities", "fail", "NET_ADMIN missing"),
        ({"inotify_instances": 1024}, "inotify", "ok", "the lab may need 120"),
        ({"inotify_instances": 128}, "inotify", "note", "lab-up allows 1024"),
        (
            {"inotify_instances": 100, "is_root": False, "can_sudo": False},
            "inotify",
            "warn",
            "the lab may need 120",
        ),
        ({"system": "Darwin"}, "system", "warn", "Darwin"),
        ({"bridge_netfilter": True}, "bridge-netfilter", "ok", "br_netfilter is loaded"),
        ({"bridge_netfilter": False}, "bridge-netfilter", "install", "lab-up loads it"),
        (
            {"bridge_netfilter": False, "is_root": False, "can_sudo": False},
            "bridge-netfilter",
            "fail",
            "a Service would not answer the pods of its own node",
        ),
        (
            {"docker_engine": Engine("29.0.2", "laptop", ROOT, "overlayfs")},
            "docker-storage",
            "note",
            "overlayfs: lab-snapshot needs overlay2",
        ),
        ({"name_servers": ("192.0.2.9",)}, "name-servers", "ok", "192.0.2.9"),
        ({"name_servers": ()}, "name-servers", "warn", "/etc/resolv.conf has none that a pod can"),
        ({"name_servers": (), "resolver": None}, "name-servers", "warn", "no resolv.conf"),
    ],
)
def test_a_probe_has_a_status_a_detail_and_a_fix(
    lab: Lab, host: Callable[..., Host], changes: Any, identity: str, status: str, text: str
) -> None:
    finding = findings(lab, host(**changes))[identity]
    assert finding.status == status
    assert text in finding.detail
    assert finding.fix or status in ("ok", "note", "install")


def test_a_control_plane_needs_more_memory_than_a_worker(
    lab: Lab, host: Callable[..., Host]
) -> None:
    found = findings(replace(lab, control_planes=3, workers=1), host(memory_free=3999))
    assert found["memory"].detail == "3999 MiB free, 4 machine(s) need 4000"
    assert found["memory"].status == "fail"


@pytest.mark.parametrize(("provider", "need"), [("docker", 400), ("libvirt", 2048)])
def test_running_machines_need_no_more_memory_or_disk(
    lab: Lab, host: Callable[..., Host], provider: str, need: int
) -> None:
    """A second lab-up must not fail for the memory and disk that the first one already uses."""
    lab, states = replace(lab, provider=provider), {"control-plane-1": "running"}
    states["worker-1"] = "paused"
    lean = host(memory_free=need, disk_free=2000, docker_disk_free=2000)
    found = {one.id: one for one in doctor.examine(lab, lean, (), SOURCES, states)}
    assert (found["memory"].status, found["disk"].status) == ("ok", "ok")
    less = host(memory_free=need - 1, disk_free=1000)
    found = {one.id: one for one in doctor.examine(lab, less, (), SOURCES, states)}
    assert (found["memory"].status, found["disk"].status) == ("fail", "fail")


@pytest.mark.parametrize("kind", KINDS)
def test_an_unsuitable_engine_fails_with_a_fix(
    lab: Lab, host: Callable[..., Host], kind: Kind
) -> None:
    """The finding has a fix. Virtual machines only need the engine to build their images."""
    facts = host(docker_engine=Engine("28.0.1", "laptop", ROOT, kind=kind))
    found = findings(lab, facts)["docker-engine"]
    assert (found.status, found.detail, found.fix) == ("fail", kind.trouble, kind.fix)
    other = findings(replace(lab, provider="libvirt"), facts)["docker-engine"]
    assert other.status == ("ok" if kind.builds else "fail")


@pytest.mark.parametrize("engine", [ELSEWHERE, ROOTLESS])
def test_virtual_machines_accept_any_engine_that_builds(
    lab: Lab, host: Callable[..., Host], engine: Engine
) -> None:
    """The engine only builds their images."""
    facts = host(docker_engine=engine, bridge_netfilter=False)
    found = findings(replace(lab, provider="libvirt"), facts)
    assert found["docker-engine"].status == "ok"
    assert not {"docker-disk", "docker-storage", "bridge-netfilter", "name-servers"} & set(found)


def test_the_disk_of_another_host_is_not_checked(lab: Lab, host: Callable[..., Host]) -> None:
    assert "docker-disk" not in findings(lab, host(docker_engine=ELSEWHERE, docker_disk_free=1))


def test_virtual_machines_need_their_whole_memory(lab: Lab, host: Callable[..., Host]) -> None:
    found = findings(replace(lab, provider="libvirt"), host(memory_free=6000))
    assert found["memory"].detail == "6000 MiB free, 3 machine(s) need 6144"


def test_packages_are_installed_or_asked_for(lab: Lab, host: Callable[..., Host]) -> None:
    allowed = findings(lab, host(vagrant=None), ["vagrant"])["packages"]
    assert (allowed.status, allowed.detail) == ("install", "vagrant")
    forbidden = findings(lab, host(vagrant=None, can_sudo=False), ["vagrant"])["packages"]
    assert forbidden.status == "fail"
    assert "apt-get install --yes --no-install-recommends vagrant" in forbidden.fix
    elsewhere = findings(lab, host(distribution="fedora", is_root=True), ["vagrant"])["packages"]
    assert elsewhere.status == "fail"


def test_files_with_carriage_returns_fail(lab: Lab, host: Callable[..., Host]) -> None:
    bent = ["vagrant/machine.sh", "vagrant/registry.sh", "vagrant/snapshot.sh"]
    found = doctor.examine(lab, host(), (), SOURCES, crooked=bent)[0]
    assert (found.id, found.status) == ("line-ends", "fail")
    assert found.detail.startswith("vagrant/machine.sh and 2 more end lines with CR LF")
    (one, *_) = doctor.examine(lab, host(), (), SOURCES, crooked=bent[:1])
    assert one.detail.startswith("vagrant/machine.sh end")


def test_ubuntu_gets_vagrant_from_hashicorp(lab: Lab, host: Callable[..., Host]) -> None:
    ubuntu = host(vagrant=None, distribution="ubuntu")
    allowed = findings(lab, ubuntu, ["vagrant", "docker.io"])["packages"]
    assert allowed.detail == (
        "vagrant docker.io; Vagrant from releases.hashicorp.com if apt-get has no package"
    )
    forbidden = findings(lab, replace(ubuntu, can_sudo=False), ["vagrant"])["packages"]
    assert "developer.hashicorp.com/vagrant/install" in forbidden.fix
    assert findings(lab, ubuntu, ["docker.io"])["packages"].detail == "docker.io"


def test_tools_without_a_source_fail(lab: Lab, host: Callable[..., Host]) -> None:
    found = findings(lab, host(), sources={"kubectl": ()})["source-none"]
    assert (found.status, found.detail) == ("fail", "kubectl: no source has them")


def test_all_failures_are_reported_together(lab: Lab, host: Callable[..., Host]) -> None:
    bad = doctor.examine(lab, host(python=(3, 9), disk_free=1, memory_free=1), (), SOURCES)
    with pytest.raises(PrerequisiteError) as caught:
        doctor.refuse(bad)
    for identity in ("[python]", "[disk]", "[memory]"):
        assert identity in caught.value.message
    assert caught.value.hint
    doctor.refuse(doctor.examine(lab, host(), (), SOURCES))


def test_text_has_a_row_for_each_finding(lab: Lab, host: Callable[..., Host]) -> None:
    found = doctor.examine(lab, host(cpus=1), (), SOURCES)
    found.append(doctor.chosen(Choice("ports.http", "8081", "8080 is in use")))
    text = doctor.as_text(found)
    assert "processors: give this machine a second processor" in text
    assert "8081: 8080 is in use" in text
    assert doctor.as_data(found)[-1]["id"] == "choice-ports-http"
