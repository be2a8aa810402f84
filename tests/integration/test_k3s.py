"""Download and install k3s, and write its units and settings, up to the start of its program.

The conformance list checks what the program does after its start.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab import runner
from lab.config import Lab, Ports
from lab.distributions import k3s
from lab.errors import ConfigError, PrerequisiteError
from lab.images.builder import Builder
from lab.observe import logs
from lab.output import Status
from lab.toolchain import Toolchain
from lab.toolchain.lock import Download, Item
from tests.integration.conftest import ROOT, Web
from tests.integration.machine import Folder

VAGRANT = ROOT / "vagrant"
SYSTEMD = Path("/usr/lib/systemd/system")
VERSION = "1.21.2+k3s1"
IMAGES = "k3s-airgap-images.tar.zst"
CONTENT = {"k3s": os.urandom(300_000), IMAGES: os.urandom(700_000)}


@dataclass
class Place:
    """A mirror that a test fills. It is a folder, or a web server with the same files."""

    address: str
    put: Callable[[str, bytes], None]

    def fill(self, served: dict[str, bytes], digests: dict[str, str]) -> None:
        """Write the served files, and a manifest with these digests, without the empty ones."""
        lines = [f'[k3s]\nversion = "{VERSION}"\n[k3s.linux-amd64]']
        for name, digest in digests.items():
            sha256 = f', sha256 = "{digest}"' if digest else ""
            lines.append(f'"{name}" = {{ path = "files/{name}"{sha256} }}')
        self.put("manifest.toml", "\n".join(lines).encode())
        for name, content in served.items():
            self.put(f"files/{name}", content)


@pytest.fixture(params=["folder", "address"])
def place(request: pytest.FixtureRequest, web: Web, tmp_path: Path) -> Place:
    folder = tmp_path / "mirror"

    def write(name: str, content: bytes) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    if request.param == "folder":
        return Place(str(folder), write)
    return Place(f"{web.address}/m", lambda name, content: void(web.put(f"/m/{name}", content)))


def void(value: object) -> None:
    """Discard a value, so that a lambda returns None."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


RIGHT = {name: sha256(content) for name, content in CONTENT.items()}


def tools(cache: Path, status: Status, address: str) -> Toolchain:
    made = Toolchain(ROOT, cache, status, "mirror", address)
    made.platform = "linux-amd64"
    # The mirror is the only source, so a faulty mirror must raise an error.
    made.items = {**made.items, "k3s": Item("k3s", "1.34.2+k3s1")}
    return made


def test_a_mirror_provides_both_files(place: Place, tmp_path: Path, status: Status) -> None:
    place.fill(CONTENT, RIGHT)
    tool = tools(tmp_path / "cache", status, place.address).ensure(["k3s"])["k3s"]
    assert (tool.source, tool.version) == ("mirror", VERSION)
    assert {name: path.read_bytes() for name, path in tool.files.items()} == CONTENT


@pytest.mark.parametrize("name", list(CONTENT))
@pytest.mark.parametrize("fault", ["changed", "truncated", "absent"])
def test_a_faulty_file_of_a_mirror_is_refused(
    place: Place, tmp_path: Path, status: Status, name: str, fault: str
) -> None:
    right = CONTENT[name]
    faulty = {"changed": bytes([right[0] ^ 1]) + right[1:], "truncated": right[:-1]}
    served = {**CONTENT, name: faulty.get(fault, b"")}
    if fault == "absent":
        del served[name]
    place.fill(served, RIGHT)
    with pytest.raises(PrerequisiteError, match=rf"k3s.*files/{name}") as caught:
        tools(tmp_path / "cache", status, place.address).ensure(["k3s"])
    if fault != "absent":
        assert f"expected sha256:{RIGHT[name]}" in caught.value.message
    # The store stays empty, and the next attempt with the right file succeeds.
    assert not list((tmp_path / "cache" / "tools").glob("k3s-*"))
    place.fill(CONTENT, RIGHT)
    assert tools(tmp_path / "cache", status, place.address).ensure(["k3s"])


@pytest.mark.parametrize("name", list(CONTENT))
def test_a_mirror_without_a_digest_is_refused(
    place: Place, tmp_path: Path, status: Status, name: str
) -> None:
    place.fill(CONTENT, {**RIGHT, name: ""})
    with pytest.raises(ConfigError, match=r"no usable manifest\.toml: .*'sha256'"):
        tools(tmp_path / "cache", status, place.address).version("k3s")


def release(web: Web, digests: dict[str, str]) -> Item:
    """The item k3s of a lock file, with addresses on loopback."""
    downloads = [
        Download(web.put(f"/release/{name}", content)[0], f"sha256:{digests[name]}", file=name)
        for name, content in CONTENT.items()
    ]
    return Item("k3s", "1.34.2+k3s1", tuple(downloads))


def test_the_release_provides_both_files(web: Web, tmp_path: Path, status: Status) -> None:
    made = Toolchain(ROOT, tmp_path, status, "release")
    made.items = {**made.items, "k3s": release(web, RIGHT)}
    # The connection breaks once, and the client requests the rest.
    web.cut = 100_000
    tool = made.ensure(["k3s"])["k3s"]
    assert (tool.source, tool.version) == ("release", "1.34.2+k3s1")
    assert {name: path.read_bytes() for name, path in tool.files.items()} == CONTENT
    assert web.requests[1] == ("/release/k3s", "bytes=100000-")


@pytest.mark.parametrize("name", list(CONTENT))
def test_a_release_with_a_wrong_digest_is_refused(
    web: Web, tmp_path: Path, status: Status, name: str
) -> None:
    made = Toolchain(ROOT, tmp_path, status, "release")
    made.items = {**made.items, "k3s": release(web, {**RIGHT, name: "0" * 64})}
    with pytest.raises(PrerequisiteError, match=f"release/{name} cannot be used: expected"):
        made.ensure(["k3s"])
    assert not list((tmp_path / "tools").glob("k3s-*"))


@pytest.mark.parametrize("images", [IMAGES, "k3s-airgap-images.tar.gz", ""])
def test_a_node_has_the_files_in_their_folders(
    tmp_path: Path, status: Status, progress: io.StringIO, images: str
) -> None:
    programs = {}
    for name in filter(None, ["k3s", images]):
        programs[name] = tmp_path / name
        programs[name].write_bytes(name.encode())
        programs[name].chmod(0o755)
    context = tmp_path / "context"
    toolchain = Toolchain(ROOT, tmp_path / "cache", status)
    Builder(ROOT, toolchain, (), status)._lay_out(k3s.RECORD.image, programs, context)
    assert (context / "bin" / "k3s").read_bytes() == b"k3s"
    assert os.access(context / "bin" / "k3s", os.X_OK)
    assert [path.name for path in (context / "images").iterdir()] == [images] * bool(images)
    assert ("comes without images" in progress.getvalue()) is not bool(images)
    recipe = (context / "Dockerfile").read_text()
    assert "COPY bin/ /usr/local/bin/" in recipe
    assert "COPY images/ /var/lib/rancher/k3s/agent/images/" in recipe


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="the host has no systemd")
@pytest.mark.parametrize("unit", ["k3s", "k3s-agent"])
def test_systemd_finds_no_mistake_in_the_units(tmp_path: Path, unit: str) -> None:
    """The units lie in a root of their own, with Debian's usual targets."""
    targets = tmp_path / "root" / "usr/lib/systemd/system"
    shutil.copytree(
        SYSTEMD,
        targets,
        ignore=lambda folder, names: [name for name in names if not name.endswith(".target")],
    )
    for source in ("machine", "k3s"):
        shutil.copytree(VAGRANT / source / "rootfs", tmp_path / "root", dirs_exist_ok=True)
    program = tmp_path / "root" / "usr/local/bin/k3s"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    file = tmp_path / "root" / f"etc/systemd/system/{unit}.service"

    def verify() -> subprocess.CompletedProcess[str]:
        command = ["systemd-analyze", "verify", "--man=no", f"--root={tmp_path / 'root'}"]
        return subprocess.run([*command, file.name], capture_output=True, text=True, timeout=30)

    found = verify()
    assert (found.returncode, found.stderr) == (0, "")
    # systemd-analyze does read this file, because it reports a mistake in it.
    file.write_text(file.read_text().replace("Restart=", "Restrat="))
    assert "Restrat" in verify().stderr


V1 = "[plugins.opt]\n  path = 1\n[plugins.cri]\n  stream_server_port = 1\n"
V2 = 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  a = 1\n'
V3 = "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n  a = 1\n"


@pytest.mark.parametrize(
    ("text", "section"),
    [
        (V1, ["plugins", "cri"]),
        (V2, ["plugins", "io.containerd.grpc.v1.cri"]),
        (V3, ["plugins", "io.containerd.cri.v1.runtime"]),
        (f"{V3}  restrict_oom_score_adj = false\n", ["plugins", "io.containerd.cri.v1.runtime"]),
    ],
)
def test_containerd_does_not_lower_oom_scores(text: str, section: list[str]) -> None:
    """Releases of k3s write the formats of containerd 1.4, 1.7 and 2."""
    before, after = tomllib.loads(text), tomllib.loads(restricted(text))
    for name in section:
        before, after = before[name], after[name]
    assert after == {**before, "restrict_oom_score_adj": True}


def restricted(text: str) -> str:
    script = VAGRANT / "k3s/rootfs/usr/local/lib/lab/restrict-oom"
    return runner.run([script], stdin=text.encode()).stdout


def test_a_containerd_of_an_unknown_format_is_an_error() -> None:
    with pytest.raises(Exception, match="containerd has no section for its CRI"):
        restricted("version = 9\n")


CONTAINERD = "var/lib/rancher/k3s/agent/etc/containerd"
CONFIG = "etc/rancher/k3s/config.yaml"
DROP_IN = "etc/systemd/system/k3s.service.d/lab-cgroups.conf"
# Lines of /proc/self/status, on a host with CAP_SYS_RESOURCE and on a host without it.
HAS, LACKS = "CapBnd:\t000001ffffffffff\n", "CapBnd:\t000001fffeffffff\n"


def machine(tmp_path: Path, groups: tuple[str, str], capabilities: str = HAS) -> Folder:
    """A machine with k3s' settings, before the start of k3s.

    `groups` are the file system and the list of cgroups that the script `cgroups` reads.
    """
    made = Folder(tmp_path)
    kind, listing = groups
    script = VAGRANT / "machine/rootfs/usr/local/lib/lab/cgroups"
    made.write("run/lab/cgroups.env", runner.run([script, kind], stdin=listing.encode()).stdout)
    made.write("proc/self/status", capabilities)
    lab = Lab(
        root=tmp_path,
        provider="docker",
        distribution="k3s",
        kubernetes=VERSION,
        workers=0,
        subnet=IPv4Network("192.168.56.0/24"),
        ports=Ports(api=6443, http=8080, registry=5000, ssh=2222),
    )
    made.write(CONFIG, json.dumps(k3s.server(lab, lab.machines[0], "secret"), indent=1))
    made.stand_in("ip", "echo '2: eth1 inet 192.168.56.11/24 brd 192.168.56.255 scope global eth1'")
    made.stand_in("k3s", "exit 1")
    return made


CONTAINER_V1 = ("tmpfs", "9:name=systemd:/docker/12/init.scope\n4:memory:/docker/12\n")
OWN_TREE = ("cgroup2fs", "0::/init.scope\n")


@pytest.mark.parametrize(
    ("groups", "arguments", "drop_in"),
    [
        # k3s' kubelet uses the machine's driver. Kubelet and containerd stay in k3s' group.
        (
            CONTAINER_V1,
            ["cgroup-root=/docker/12", "kubelet-cgroups=", "runtime-cgroups="],
            "[Service]\nUnsetEnvironment=INVOCATION_ID\n",
        ),
        # In a container on v2 and in a virtual machine, k3s chooses correctly by itself.
        (OWN_TREE, [], ""),
    ],
)
def test_k3s_uses_the_cgroups_of_the_machine(
    tmp_path: Path, groups: tuple[str, str], arguments: list[str], drop_in: str
) -> None:
    made = machine(tmp_path, groups)
    # An earlier boot has left this file.
    made.write(DROP_IN, "[Service]\n")
    done = made.run("k3s.sh", "k3s", "30")
    assert (done.returncode, done.stderr) == (0, "")
    settings = json.loads(made.read(CONFIG))
    given = settings["kubelet-arg"]
    assert given[: len(arguments)] == arguments
    assert given[len(arguments)] == "fail-swap-on=false"
    assert settings["flannel-iface"] == "eth1"
    assert made.read(DROP_IN) == drop_in
    assert made.calls() == ["daemon-reload", "enable --quiet k3s", "restart k3s"]


def test_the_error_of_a_k3s_that_does_not_start_has_its_output(tmp_path: Path) -> None:
    made = machine(tmp_path, OWN_TREE)
    made.started("exit 1")
    done = made.run("k3s.sh", "k3s", "30")
    assert (done.returncode, done.stderr) == (1, "the last line\nk3s does not start\n")


# Texts in k3s' program, by the way in which its containerd reads an additional file.
PROGRAMS = {
    "import": "config-v3.toml.tmpl config.toml.tmpl imports = [.../config-v3.toml.d/*.toml]",
    "template": "config-v3.toml.tmpl config.toml.tmpl",
    "second start": "config.toml.tmpl",
}
RUNTIME = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\n  b = 1\n'


@pytest.mark.parametrize("way", PROGRAMS)
def test_one_start_is_enough_for_containerd_2(tmp_path: Path, way: str) -> None:
    """The host lacks CAP_SYS_RESOURCE, so no process may lower an OOM score."""
    made = machine(tmp_path, CONTAINER_V1, LACKS)
    made.write("var/lib/rancher/k3s/data/x/bin/k3s", f"\0{PROGRAMS[way]}\0")
    # k3s unpacks itself at its first call. So does the stand-in.
    data = "@var/lib/rancher/k3s/data"
    made.stand_in("k3s", f"ln -sfn x {data}/current; exit 1")
    made.started(f"[ -e @{CONTAINERD}/config.toml ] || cp @rendered @{CONTAINERD}/config.toml")
    made.write("rendered", V2 + RUNTIME)
    scripts = VAGRANT / "k3s/rootfs/usr/local/lib/lab"
    shutil.copytree(scripts, made.root / "usr/local/lib/lab")
    # An earlier start, e.g. of another release, has left these files.
    for name in ("config-v3.toml.tmpl", "config.toml.tmpl", "config-v3.toml.d/lab.toml"):
        made.write(f"{CONTAINERD}/{name}", "old")
    done = made.run("k3s.sh", "k3s", "30")
    assert (done.returncode, done.stderr) == (0, "")
    starts = [call for call in made.calls() if call.startswith("restart")]
    assert len(starts) == (2 if way == "second start" else 1)
    files = {
        "import": "config-v3.toml.d/lab.toml",
        "template": "config-v3.toml.tmpl",
        "second start": "config.toml.tmpl",
    }
    texts = {name: made.read(f"{CONTAINERD}/{file}") for name, file in files.items()}
    assert [name for name, text in texts.items() if text] == [way]
    oom = {"io.containerd.cri.v1.runtime": {"restrict_oom_score_adj": True}}
    expected = {"version": 3, "plugins": oom}
    if way == "second start":
        cri = tomllib.loads(texts[way])["plugins"]["io.containerd.grpc.v1.cri"]
        assert cri["restrict_oom_score_adj"] is True and cri["a"] == 1
    elif way == "import":
        assert tomllib.loads(texts[way]) == expected
    else:
        first, second = texts[way].splitlines()
        assert second == '{{ template "base" . }}'
        (file,) = tomllib.loads(first)["imports"]
        assert tomllib.loads(Path(file).read_text()) == expected


def test_the_script_fails_when_an_old_k3s_exits_before_its_second_start(tmp_path: Path) -> None:
    made = machine(tmp_path, CONTAINER_V1, LACKS)
    made.started("echo activating >@active")
    done = made.run("k3s.sh", "k3s", "300")
    output, why = done.stderr.splitlines()
    assert (done.returncode, output) == (1, "the last line")
    assert why.startswith("k3s ended before it wrote ")


def test_containerd_keeps_its_defaults_on_a_host_with_all_capabilities(tmp_path: Path) -> None:
    made = machine(tmp_path, OWN_TREE, HAS)
    made.write(f"{CONTAINERD}/config-v3.toml.tmpl", "old")
    assert made.run("k3s.sh", "k3s", "30").returncode == 0
    assert not list((made.root / CONTAINERD).rglob("*.toml*"))
    assert made.calls().count("restart k3s") == 1


def test_the_logs_of_a_machine_include_its_containerds(tmp_path: Path) -> None:
    """k3s' containerd writes a file. Other ones write to the journal."""
    made = Folder(tmp_path)
    shell, option, line = (made.moved(word) for word in logs.COMMANDS["containerd.log"])

    def collected() -> str:
        path = f"{made.programs}:{os.environ['PATH']}"
        return runner.run([shell, option, line], env={"PATH": path}).stdout

    assert collected() == "the last line\n"
    made.write(logs.K3S_CONTAINERD.removeprefix("/"), "level=error\n")
    assert collected() == "level=error\n"
