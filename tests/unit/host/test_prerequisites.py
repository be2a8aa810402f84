"""The missing packages of each kind of host, and their installation."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lab import runner, wait
from lab.config import Lab
from lab.errors import CommandError, DeadlineExceeded, PrerequisiteError
from lab.host import prerequisites
from lab.host.facts import Host
from lab.output import Status
from lab.toolchain import Toolchain
from tests.unit.conftest import ROOT


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without any file."""
    monkeypatch.setattr(Path, "exists", lambda path: False)


@pytest.fixture
def tools(tmp_path: Path) -> Toolchain:
    """The tools of this checkout with an empty store."""
    return Toolchain(ROOT, tmp_path, Status(io.StringIO()))


def policy(*packages: str) -> str:
    """The output of `apt-cache policy` for packages that apt can install."""
    return "".join(f"{one}:\n  Installed: (none)\n  Candidate: 1.0-1\n" for one in packages)


def test_packages_with_a_candidate_can_be_installed() -> None:
    hidden = "vagrant:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n     2.3.7 -1\n"
    installed = "git:\n  Installed: 1:2.47\n  Candidate: 1:2.47\n"
    text = policy("docker.io") + hidden + installed
    assert prerequisites.parse_candidates(text) == {"docker.io", "git"}
    assert prerequisites.parse_candidates("") == set()


def test_install_waits_for_another_apt_get(
    host: Callable[..., Host], tools: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host may update itself after its start."""
    answers = [100, 100, 0]
    done: list[str] = []

    def run(argv: Sequence[str], **_: object) -> runner.Result:
        done.append(" ".join(argv))
        code = answers.pop(0) if argv[-1] == "update" else 0
        held = "E: Could not get lock /var/lib/apt/lists/lock" * bool(code)
        return runner.Result(code, policy("docker.io"), held)

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(wait.time, "sleep", lambda _: None)
    story = io.StringIO()
    prerequisites.install(["docker.io"], host(), Status(story), tools)
    assert story.getvalue().count("another apt-get is running") == 1
    assert answers == [] and done[-1].endswith("install --no-install-recommends docker.io")


def test_an_apt_get_that_times_out_is_not_retried(
    host: Callable[..., Host], tools: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error appears after the command's own timeout, without a retry."""
    tries: list[int] = []

    def run(*_: object, **__: object) -> None:
        tries.append(1)
        raise DeadlineExceeded("`apt-get update` timed out after 300 s")

    monkeypatch.setattr(runner, "run", run)
    with pytest.raises(CommandError, match="timed out after 300 s"):
        prerequisites.install(["docker.io"], host(), Status(io.StringIO()), tools)
    assert tries == [1]


@pytest.mark.parametrize(
    ("package", "hint"),
    [
        ("mmdebstrap", "invoke doctor"),
        ("vagrant-libvirt", "vagrant plugin install vagrant-libvirt"),
    ],
)
def test_a_missing_package_is_an_error_with_a_hint(
    host: Callable[..., Host],
    tools: Toolchain,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    hint: str,
) -> None:
    def run(argv: Sequence[str], **_: object) -> runner.Result:
        return runner.Result(0, policy("docker.io"), "")

    monkeypatch.setattr(runner, "run", run)
    with pytest.raises(PrerequisiteError, match=f"apt-get has no package {package} here") as failed:
        prerequisites.install(["docker.io", package], host(), Status(io.StringIO()), tools)
    assert hint in failed.value.hint


def test_the_archives_vagrant_is_preferred(
    host: Callable[..., Host], tools: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def run(argv: Sequence[str], **_: object) -> runner.Result:
        done.append(" ".join(map(str, argv)))
        return runner.Result(0, policy("vagrant", "docker.io"), "")

    monkeypatch.setattr(runner, "run", run)
    prerequisites.install(["vagrant", "docker.io"], host(), Status(io.StringIO()), tools)
    assert done[-1].endswith("install --no-install-recommends vagrant docker.io")


def test_an_apt_get_that_fails_is_an_error(
    host: Callable[..., Host], tools: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "run", lambda *_, **__: runner.Result(100, "", "E: no such mirror"))
    with pytest.raises(CommandError, match="no such mirror"):
        prerequisites.install(["docker.io"], host(), Status(io.StringIO()), tools)


def test_a_bare_debian_lacks_four_packages(lab: Lab, host: Callable[..., Host]) -> None:
    bare = host(vagrant=None, docker_cli=False, docker_engine=None, mmdebstrap=False)
    assert prerequisites.missing(lab, bare) == [
        "vagrant",
        "docker.io",
        "mmdebstrap",
        "openssh-client",
    ]


def test_without_root_mmdebstrap_is_not_missing(lab: Lab, host: Callable[..., Host]) -> None:
    """A user with only the group docker cannot use it, so the lab must not ask for it."""
    assert "mmdebstrap" in prerequisites.missing(lab, host(mmdebstrap=False))
    guest = host(mmdebstrap=False, is_root=False, can_sudo=False)
    assert "mmdebstrap" not in prerequisites.missing(lab, guest)


def test_trixie_has_a_package_of_the_client(lab: Lab, host: Callable[..., Host]) -> None:
    def docker(**facts: object) -> list[str]:
        found = prerequisites.missing(lab, host(codename="trixie", **facts))
        return [package for package in found if package.startswith("docker")]

    assert docker(docker_cli=False, docker_engine=None) == ["docker.io", "docker-cli"]
    assert docker(docker_cli=False) == ["docker-cli"]
    assert docker() == []


def test_a_client_without_an_engine_needs_the_engine(lab: Lab, host: Callable[..., Host]) -> None:
    assert "docker.io" in prerequisites.missing(lab, host(docker_engine=None))
    assert "docker.io" not in prerequisites.missing(lab, host())


def test_ubuntu_needs_debians_keyring(lab: Lab, host: Callable[..., Host]) -> None:
    assert "debian-archive-keyring" in prerequisites.missing(lab, host(distribution="ubuntu"))
    assert "debian-archive-keyring" not in prerequisites.missing(lab, host())


def test_a_compiler_is_only_needed_for_builds(lab: Lab, host: Callable[..., Host]) -> None:
    bare = host(c_compiler=False)
    assert {"gcc", "libc6-dev"} <= set(prerequisites.missing(lab, bare, compiler=True))
    assert "gcc" not in prerequisites.missing(lab, bare)


def test_virtual_machines_need_more(lab: Lab, host: Callable[..., Host]) -> None:
    found = prerequisites.missing(replace(lab, provider="libvirt"), host())
    assert {"vagrant-libvirt", "qemu-utils", "libvirt-clients", "dnsmasq-base"} <= set(found)


def test_the_emulator_matches_the_hosts_architecture(
    lab: Lab, host: Callable[..., Host], arm64: None
) -> None:
    found = prerequisites.missing(replace(lab, provider="libvirt"), host())
    assert "qemu-system-arm" in found and "qemu-system-x86" not in found


def test_virtualbox_needs_qemu_utils(
    lab: Lab, host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prerequisites.Path, "exists", lambda path: path.name != "qemu-img")
    assert prerequisites.missing(replace(lab, provider="virtualbox"), host()) == ["qemu-utils"]
    assert prerequisites.missing(lab, host()) == []


# Programs of another architecture


def test_another_platform_needs_qemu_user_static(
    lab: Lab, host: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(prerequisites, "FORMATS", tmp_path)
    assert "qemu-user-static" not in prerequisites.missing(lab, host())
    assert "qemu-user-static" in prerequisites.missing(lab, host(), platform="linux-arm64")
    (tmp_path / "qemu-aarch64.conf").touch()
    assert "qemu-user-static" not in prerequisites.missing(lab, host(), platform="linux-arm64")


@dataclass
class Kernel:
    """A kernel that accepts registrations of interpreters, or refuses them."""

    folder: Path
    willing: bool = True

    def run(self, words: Sequence[str | Path], stdin: bytes = b"") -> None:
        if words[-4:-2] == ["-t", "binfmt_misc"] and self.willing:
            self.folder.mkdir()
            (self.folder / "register").touch()
        elif words[-2] == "tee" and self.willing:
            assert words[-1] == self.folder / "register"
            (self.folder / "qemu-aarch64").write_bytes(stdin)
        else:
            raise CommandError([str(word) for word in words], 1, "not permitted")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(tmp_path / "binfmt_misc")
    monkeypatch.undo()
    monkeypatch.setattr(prerequisites, "BINFMT", made.folder)
    monkeypatch.setattr(prerequisites, "FORMATS", tmp_path)
    (tmp_path / "qemu-aarch64.conf").write_bytes(rb":qemu-aarch64:M::\x7f\x45:\xff\xff:/q:OPF")
    monkeypatch.setattr(prerequisites.runner, "run", made.run)
    return made


def test_qemu_is_registered_once(kernel: Kernel, host: Callable[..., Host]) -> None:
    story = io.StringIO()
    for _ in range(2):
        prerequisites.allow_platform("linux-arm64", host(), Status(story))
    assert (kernel.folder / "qemu-aarch64").read_bytes().startswith(rb":qemu-aarch64:M::\x7f")
    assert story.getvalue().count("registering QEMU") == 1


def test_a_kernel_that_refuses_the_registration_is_an_error(
    kernel: Kernel, host: Callable[..., Host]
) -> None:
    kernel.willing = False
    with pytest.raises(PrerequisiteError, match="cannot run programs of linux-arm64") as caught:
        prerequisites.allow_platform("linux-arm64", host(), Status(io.StringIO()))
    assert caught.value.hint == "make the bundle on a host of linux-arm64"
