"""The Vagrantfile's input, and the arguments that let a container act as a machine."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import runner
from lab.cluster import health
from lab.config import Forward, Lab
from lab.distributions import distribution
from lab.errors import ConfigError, NotFoundError
from lab.host import resolvers
from lab.host.facts import Engine
from lab.machines import containers, driver, vagrantfile
from lab.machines.boxes import EMULATED, Box
from lab.machines.ssh import Remote
from lab.output import Status
from tests.name_servers import TEXTS
from tests.unit.conftest import HEALTHY


def render(lab: Lab) -> dict[str, Any]:
    return vagrantfile.rendering(
        lab, vagrantfile.docker_settings(lab, HEALTHY, "node:1"), distribution(lab).ingress_port
    )


def write_key(lab: Lab) -> None:
    lab.state.mkdir(parents=True)
    (lab.state / "id_ed25519.pub").write_text("ssh-ed25519 AAAAkey lab\n")


@pytest.fixture
def key(lab: Lab) -> None:
    """Write the lab's public key."""
    write_key(lab)


def test_an_unreadable_checkout_of_another_user_counts_as_existing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its machines seem abandoned, or lab-up fails with a PermissionError."""
    monkeypatch.setattr(containers, "made_by", lambda _: {"1234": Path("/home/other/lab")})

    def refuse(path: Path, **_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(ConfigError, match="/home/other/lab has a lab `lab` on this host already"):
        containers.prepare(lab, "node:1", ())


@pytest.mark.parametrize("name", TEXTS)
def test_the_name_servers_that_pods_can_use(name: str) -> None:
    text, expected = TEXTS[name]
    assert resolvers.name_servers(text) == expected


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The two files in which a host may list its name servers. Neither exists yet."""
    usual, systemd = tmp_path / "etc.conf", tmp_path / "systemd.conf"
    monkeypatch.setattr(resolvers, "RESOLVERS", (usual, systemd))
    return usual, systemd


def test_a_host_without_a_list_of_name_servers(
    lab: Lab, lists: tuple[Path, Path], tmp_path: Path
) -> None:
    """The file is missing or a broken link. lab-up failed, or Docker created a folder there."""
    usual, _ = lists
    for _ in range(2):
        assert resolvers.resolver() is None
        assert resolvers.name_servers_of_host() == []
        assert containers.former_name_servers(lab) == []
        given = containers.access_arguments(tmp_path / "key")
        assert not any("resolv.conf" in word for word in given)
        usual.unlink(missing_ok=True)
        usual.symlink_to(tmp_path / "nowhere")


def test_the_file_with_name_servers_for_pods_is_used(lists: tuple[Path, Path]) -> None:
    usual, systemd = lists
    usual.write_text("nameserver 127.0.0.53\n")
    assert resolvers.resolver() == usual
    systemd.write_text("nameserver 192.0.2.7\n")
    assert resolvers.resolver() == systemd
    assert resolvers.name_servers_of_host() == ["192.0.2.7"]
    # If another program writes the usual file, systemd's file is out of date.
    usual.write_bytes(b"# M\xfcller\nnameserver 192.0.2.8\n")
    assert resolvers.name_servers_of_host() == ["192.0.2.8"]


@pytest.mark.parametrize(
    ("host", "machine", "former"),
    [
        ("nameserver 10.0.0.1", "nameserver 10.0.0.1", []),
        ("nameserver 10.0.0.1", "nameserver 10.0.0.1\nnameserver 192.168.0.1", []),
        ("nameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch x", "nameserver 10.0.0.1", []),
        ("nameserver 10.0.0.1\nnameserver 10.0.0.2", "nameserver 10.0.0.1", ["10.0.0.1"]),
        ("nameserver 10.0.0.1", "nameserver 192.168.0.1", ["192.168.0.1"]),
        # A host without name servers has no network at the moment.
        ("# nothing\nnameserver", "nameserver 10.0.0.1", []),
    ],
)
def test_name_servers_of_another_network(
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    machine: str,
    former: list[str],
) -> None:
    own = tmp_path / "resolv.conf"
    own.write_text(host)
    monkeypatch.setattr(resolvers, "RESOLVERS", (own,))
    answer = runner.Result(0, machine, "")
    monkeypatch.setattr(runner, "run", lambda _: answer)
    assert containers.former_name_servers(lab) == former


def test_virtual_machines(lab: Lab, key: None) -> None:
    box = Box("lecture-lab/abc", "/images/vmlinuz", "/images/initrd.img")
    emulated = vagrantfile.rendering(
        lab, vagrantfile.libvirt_settings(lab, box, kvm=False), 30080, cpus=1
    )
    assert emulated["box"] == {"name": "lecture-lab/abc"}
    assert emulated["libvirt"]["driver"] == "qemu"
    assert emulated["libvirt"]["description"] == f"lab.root={lab.root}"
    assert emulated["libvirt"]["cmd_line"].startswith("root=/dev/vda2 ")
    assert f" lab.key=AAAAkey panic=1 {EMULATED['amd64']}" in emulated["libvirt"]["cmd_line"]
    assert {item["cpus"] for item in emulated["machines"]} == {1}
    real = vagrantfile.libvirt_settings(lab, box, kvm=True)["libvirt"]
    assert real["driver"] == "kvm"
    assert real["cmd_line"].endswith(" panic=1")


def test_virtual_machines_of_arm64(lab: Lab, key: None, arm64: None) -> None:
    settings = vagrantfile.libvirt_settings(lab, Box("lecture-lab/abc"), kvm=True)["libvirt"]
    assert settings["machine_type"] == "virt"
    assert settings["inputs"] == settings["features"] == []
    assert " console=ttyAMA0 " in settings["cmd_line"]
    assert "machine_arch" not in settings


def test_a_box_of_another_architecture_selects_its_machine_type(lab: Lab, key: None) -> None:
    box = Box("lecture-lab/abc", platform="linux-arm64")
    settings = vagrantfile.libvirt_settings(lab, box, kvm=False)["libvirt"]
    assert (settings["machine_type"], settings["machine_arch"]) == ("virt", "aarch64")


def test_a_checkouts_path_is_escaped_for_xml(lab: Lab) -> None:
    lab = replace(lab, root=lab.root / "r&d")
    write_key(lab)
    settings = vagrantfile.libvirt_settings(lab, Box("lecture-lab/abc"), kvm=True)["libvirt"]
    assert settings["description"].endswith("/r&amp;d")


@pytest.mark.parametrize(("cpus", "given"), [(1, 1), (2, 2), (8, 2)])
def test_emulated_machines_have_no_more_processors_than_the_host(
    lab: Lab, cpus: int, given: int
) -> None:
    assert vagrantfile.emulated_cpus(replace(lab, cpus=2), cpus) == given


def test_machines_of_virtualbox_get_the_labs_key(lab: Lab, key: None) -> None:
    found = vagrantfile.virtualbox_settings(lab, Box("lecture-lab/abc", key="/boxes/id_ed25519"))
    assert found["box"]["key"] == "/boxes/id_ed25519"
    assert found["box"]["accept"] == "ssh-ed25519 AAAAkey lab"


def test_states_of_virtualbox_have_the_labs_words(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {
        "running": "running",
        "saved": "paused",
        "paused": "paused",
        "poweroff": "stopped",
        "aborted": "stopped",
        "shutoff": "stopped",
        "not_created": "not_created",
    }
    virtual = driver.Machines(replace(lab, provider="virtualbox"), Status())
    monkeypatch.setattr(virtual.vagrant, "states", lambda: {word: word for word in expected})
    assert virtual.states() == expected


def test_a_clock_is_corrected_by_its_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's clock is 25 s behind, and each command on the machine takes 10 s."""

    class Slow:
        clock = 975.0
        adjustment = ""

        def run(self, argv: list[str], sudo: bool = False) -> str:
            now[0] += 10
            self.clock += 10
            self.adjustment = argv[-1]
            return f"{self.clock - 5}"

    now = [1000.0]
    monkeypatch.setattr(driver.time, "time", lambda: now[0])
    slow = Slow()
    assert driver._set_clock(slow)  # type: ignore[arg-type]
    assert slow.adjustment == "+25.000 seconds"


def test_ssh_tries_the_labs_key_before_the_boxs(tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text("Host one\n  HostName 127.0.0.1\n  IdentityFile /lab\n  IdentityFile /box\n")
    assert Remote("one", config)._connection.connect_kwargs["key_filename"] == ["/lab", "/box"]


def test_every_machine(lab: Lab) -> None:
    found = render(lab)["machines"]
    assert [(item["name"], item["address"], item["ssh_port"]) for item in found] == [
        ("control-plane-1", "192.168.56.11", 2222),
        ("worker-1", "192.168.56.21", 2223),
        ("worker-2", "192.168.56.22", 2224),
    ]
    assert {item["memory"] for item in found} == {2048}


def test_ports(lab: Lab) -> None:
    wanted = replace(lab, forwards=(Forward(9000, 80, "worker-2"),))
    first, second, third = (item["ports"] for item in render(wanted)["machines"])
    assert {(port["guest"], port["host"]) for port in first} == {
        (6443, 6443),
        (30080, 8080),
        (5000, 5000),
    }
    assert second == []
    assert third == [{"guest": 80, "host": 9000}]


def test_k3s_has_its_ingress_at_port_80(lab: Lab) -> None:
    first, *_ = render(replace(lab, distribution="k3s"))["machines"]
    assert {"guest": 80, "host": 8080} in first["ports"]


def test_a_machine_has_its_own_cgroups_of_version_2() -> None:
    """The kubelet's systemd driver needs a root that systemd made. The host's tree is not used."""
    arguments = containers.run_arguments(replace(HEALTHY, cgroup=2))
    assert "--cgroupns private" in " ".join(arguments)
    assert not [word for word in arguments if "/sys/fs/cgroup" in word]


def test_a_machine_uses_the_hosts_cgroups_of_version_1() -> None:
    arguments = " ".join(containers.run_arguments(replace(HEALTHY, cgroup=1)))
    assert "--cgroupns host --volume /sys/fs/cgroup:/sys/fs/cgroup:rw" in arguments


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("20.10.24+dfsg1", ["SYS_RESOURCE", "SYSLOG"]),
        # From version 23 on, Docker only adds the host's capabilities, and rejects --cap-drop of
        # a missing one.
        ("23.0.0", []),
        ("28.0.1", []),
        ("", ["SYS_RESOURCE", "SYSLOG"]),
    ],
)
def test_capabilities_that_the_host_lacks_are_dropped_where_docker_requires_it(
    version: str, expected: list[str]
) -> None:
    engine = Engine(version, "laptop", Path("/var/lib/docker"))
    lacking = replace(
        HEALTHY,
        missing_capabilities=("SYS_RESOURCE", "SYSLOG"),
        docker_engine=engine if version else None,
    )
    arguments = containers.run_arguments(lacking)
    dropped = [arguments[i + 1] for i, word in enumerate(arguments) if word == "--cap-drop"]
    assert dropped == expected
    assert "--privileged" not in arguments


def test_containers_have_their_labs_network_labels_and_key(lab: Lab) -> None:
    arguments = " ".join(render(lab)["docker"]["create_args"])
    assert f"--network lab-lab --label=lab.name=lab --label=lab.root={lab.root}" in arguments
    assert f"{lab.state}/id_ed25519.pub:/etc/lab/authorized_keys:ro" in arguments


def test_variables_select_this_lab_for_vagrant(lab: Lab) -> None:
    variables = vagrantfile.environment(lab)
    assert variables["LAB_MACHINES_FILE"] == str(lab.state / "machines.json")
    assert variables["VAGRANT_DOTFILE_PATH"] == str(lab.state / "vagrant")


def test_the_error_for_an_unknown_machine_names_the_existing_ones(lab: Lab) -> None:
    assert driver.find(lab, "worker-2").address == "192.168.56.22"
    with pytest.raises(NotFoundError, match="there are: control-plane-1, worker-1, worker-2"):
        driver.find(lab, "worker-3")


def test_machines_that_the_configuration_no_longer_has_are_surplus(lab: Lab) -> None:
    folder = lab.state / "vagrant" / "machines"
    for number in (1, 2, 3):
        (folder / f"worker-{number}" / "docker").mkdir(parents=True)
        (folder / f"worker-{number}" / "docker" / "id").write_text(f"{number}\n")
    (folder / "worker-4" / "docker").mkdir(parents=True)
    assert driver.Machines(lab, Status()).surplus() == ["worker-3"]
    nodes = ["control-plane-1", "worker-1", "worker-2", "worker-3", "kwok-node-1"]
    assert health.surplus(nodes, lab) == ["worker-3"]


@pytest.mark.parametrize(
    ("provider", "expected"),
    [("libvirt", ["suspend", "snapshot", "up"]), ("virtualbox", ["snapshot", "up"])],
)
def test_a_machine_of_libvirt_is_suspended_before_it_is_restored(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, provider: str, expected: list[str]
) -> None:
    """vagrant-libvirt ends its processes that forward ports only when it suspends a machine."""
    done: list[str] = []
    one = driver.Machines(replace(lab, provider=provider), Status())
    monkeypatch.setattr(one.provider, "states", lambda: {"control-plane-1": "running"})
    monkeypatch.setattr(one, "_set_clocks", lambda: None)

    for name in ("up", "suspend"):
        monkeypatch.setattr(one.vagrant, name, lambda name=name: done.append(name))
    monkeypatch.setattr(one.vagrant, "run", lambda *words: done.append(words[0]))
    one.restore("before")
    assert done == expected


def test_containers_shut_down_cleanly_and_all_at_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vagrant would kill each container after a second."""
    ran: list[str] = []
    running = ["a1", "b2"]
    monkeypatch.setattr(containers, "_list", lambda *_: running)
    monkeypatch.setattr(
        containers.runner, "run", lambda argv, **_: ran.append(" ".join(map(str, argv)))
    )
    containers.stop(lab)
    assert ran == ["docker stop -t 60 a1 b2"]
    running.clear()
    containers.stop(lab)
    assert len(ran) == 1
