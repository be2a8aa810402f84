"""Bundles: manifest, packing, verification, and the bill of materials."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.config import Lab
from lab.distributions.kubeadm import RECORD
from lab.errors import ConfigError, NotFoundError, PrerequisiteError, UnexpectedChange
from lab.homework import data
from lab.images import builder, docker
from lab.offline import bundle, sbom, serve
from lab.offline.sbom import Package
from lab.output import Status
from lab.platforms import this_platform
from lab.toolchain import Toolchain, mirror, packing
from lab.toolchain.mirror import Entry, Mirrored
from lab.toolchain.store import file_digest
from tests.unit.conftest import ROOT

WHEELS = ("demo_tool-1.0-py3-none-any.whl", "other-2.0-py3-none-any.whl")


def entry(folder: Path, path: str, content: bytes, packed: str = "") -> Entry:
    """Write a file of a mirror."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    digest = file_digest(target).partition(":")[2]
    return Entry(path, digest, len(content), packed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small bundle with a tool, an image and two wheels."""
    place = tmp_path / "bundle"
    raw = tmp_path / "raw"
    raw.write_bytes(b"a program " * 1000)
    packing.pack(raw, tmp_path / "packed")
    tool = entry(place, "tools/demo/demo.zst", (tmp_path / "packed").read_bytes(), "zstd")
    image = entry(place, "images/node.tar", b"layers")
    wheels = {name: entry(place, f"wheels/{name}", name.encode()) for name in WHEELS}
    items = [
        Mirrored("demo", "1.0", {"demo": tool}),
        Mirrored("image/node", "0123456789ab", {"node.tar": image}),
        Mirrored("wheels/cp311", "feedfeedfeed", wheels),
    ]
    (place / "manifest.toml").write_text(mirror.render(items, this_platform()))
    return place


@pytest.fixture
def tools(tmp_path: Path, folder: Path) -> Any:
    """A factory of toolchains that use the small bundle."""

    def make(source: str = "auto") -> Toolchain:
        return Toolchain(ROOT, tmp_path / "cache", Status(io.StringIO()), source, str(folder))

    return make


# The manifest


def test_a_manifest_is_read_as_it_was_written(folder: Path) -> None:
    items = mirror.read(str(folder), this_platform())
    assert list(items) == ["demo", "image/node", "wheels/cp311"]
    assert items["demo"].files["demo"].packed == "zstd"
    assert items["image/node"].size == 6
    text = (folder / "manifest.toml").read_text()
    assert mirror.render(items.values(), this_platform()) == text


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "a/../../b"])
def test_paths_outside_of_a_mirror_are_rejected(folder: Path, path: str) -> None:
    text = (folder / "manifest.toml").read_text().replace("images/node.tar", path)
    (folder / "manifest.toml").write_text(text)
    with pytest.raises(ConfigError, match="is not a file of a mirror"):
        mirror.read(str(folder), this_platform())


@pytest.mark.parametrize("name", ["../demo", "a/b", "..", "/demo"])
def test_names_with_a_path_are_rejected(folder: Path, name: str) -> None:
    text = (folder / "manifest.toml").read_text().replace('"demo" = {', f'"{name}" = {{')
    (folder / "manifest.toml").write_text(text)
    with pytest.raises(ConfigError, match="is not a file name"):
        mirror.read(str(folder), this_platform())


def test_an_unknown_compression_is_rejected(folder: Path) -> None:
    text = (folder / "manifest.toml").read_text().replace('packed = "zstd"', 'packed = "arj"')
    (folder / "manifest.toml").write_text(text)
    with pytest.raises(ConfigError, match="is not a file of a mirror"):
        mirror.read(str(folder), this_platform())


# Packing


def test_packing_is_reproducible_and_reversible(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"the same again and again " * 100_000)
    for name in ("first", "second"):
        packing.pack(source, tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert (tmp_path / "first").stat().st_size < source.stat().st_size / 100
    packing.unpack(tmp_path / "first", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("content", [b"", b"no archive at all", None])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    source, packed = tmp_path / "source", tmp_path / "packed.zst"
    source.write_bytes(bytes(range(256)) * 100)
    packing.pack(source, packed)
    packed.write_bytes(packed.read_bytes()[:-5] if content is None else content)
    with pytest.raises(PrerequisiteError, match=r"packed\.zst cannot be unpacked"):
        packing.unpack(packed, tmp_path / "target")


def test_a_packed_tool_is_unpacked(tools: Any, folder: Path, tmp_path: Path) -> None:
    item = mirror.read(str(folder), this_platform())["demo"]
    target = tmp_path / "target"
    target.mkdir()
    mirror.fetch(str(folder), item, target, tmp_path, Status(io.StringIO()))
    assert (target / "demo").read_bytes() == b"a program " * 1000
    assert (target / "demo").stat().st_mode & 0o111


# Images and other items of a mirror


def test_a_mirrored_item_exists_while_the_block_runs(tools: Any) -> None:
    with tools().mirrored("image/node", "0123456789ab") as files:
        assert files["node.tar"].read_bytes() == b"layers"
    assert not files["node.tar"].exists()


@pytest.mark.parametrize(
    ("source", "name", "version"),
    [
        ("modules", "image/node", "0123456789ab"),
        ("release", "image/node", "0123456789ab"),
        ("mirror", "image/node", "ba9876543210"),
        ("mirror", "image/pytorch", "0123456789ab"),
    ],
)
def test_other_sources_and_versions_do_not_use_the_mirror(
    tools: Any, source: str, name: str, version: str
) -> None:
    with tools(source).mirrored(name, version) as files:
        assert files == {}


def test_a_changed_image_is_rejected(tools: Any, folder: Path) -> None:
    (folder / "images" / "node.tar").write_bytes(b"LAYERS")
    with (
        pytest.raises(PrerequisiteError, match=r"node\.tar cannot be used: expected sha256"),
        tools().mirrored("image/node", "0123456789ab"),
    ):
        pass


@pytest.mark.parametrize("inside", ["lecture-lab/node:0123456789ab", "lecture-lab/node:else"])
def test_an_image_is_loaded_if_its_tag_is_right(
    tools: Any, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    loaded: list[str] = []

    def run(words: list[Any], **_: Any) -> None:
        assert words[:3] == ["docker", "load", "--input"] and words[3].read_bytes() == b"layers"
        loaded.append(inside)

    monkeypatch.setattr(docker.runner, "run", run)
    monkeypatch.setattr(docker, "exists", lambda tag: tag in loaded)
    tag = "lecture-lab/node:0123456789ab"
    if inside == tag:
        assert docker.load(tag, tools())
    else:
        with pytest.raises(PrerequisiteError, match="has another image inside"):
            docker.load(tag, tools())
    assert not docker.load("lecture-lab/node:000000000000", tools())
    assert loaded == [inside]


def test_the_node_images_tag_depends_on_the_mirrors_content(tmp_path: Path) -> None:
    """The mirror's own path does not matter."""

    def tag(folder: Path, content: bytes) -> str:
        items = [
            Mirrored(name, "1.0", {name: entry(folder, name, content)})
            for name in RECORD.image.tools
        ]
        (folder / "manifest.toml").write_text(mirror.render(items, this_platform()))
        made = Toolchain(ROOT, tmp_path, Status(io.StringIO()), "mirror", str(folder))
        return builder.Builder(ROOT, made, (), Status(io.StringIO())).node_tag(RECORD.image)

    first = tag(tmp_path / "one", b"first")
    assert first == tag(tmp_path / "two", b"first")
    assert first != tag(tmp_path / "three", b"second")
    assert docker.mirror_item(first) == ("image/node", first[-12:])


def test_mnist_is_taken_from_the_mirror(tmp_path: Path) -> None:
    entries = {name: entry(tmp_path, name, name.encode()) for name in data.FILES}
    text = mirror.render([Mirrored(*data.MIRRORED, entries)], this_platform())
    (tmp_path / "manifest.toml").write_text(text)
    status = Status(io.StringIO())
    tools = Toolchain(ROOT, tmp_path / "cache", status, "auto", str(tmp_path))
    found = data.obtain(tmp_path / "cache", "pytorch", status, tools)
    assert found.name == "MNIST" and data.whole(found.folder)


# Verification


def test_a_whole_bundle_is_right(folder: Path) -> None:
    verdict = bundle.verify(folder, Status(io.StringIO()))
    assert (verdict.files, verdict.wrong) == (4, {})
    assert verdict.digest == file_digest(folder / "manifest.toml")
    verdict.raise_for_status()


def test_every_difference_is_named(folder: Path) -> None:
    (folder / "images" / "node.tar").write_bytes(b"LAYERS")
    (folder / "wheels" / WHEELS[0]).write_bytes(b"short")
    (folder / "wheels" / WHEELS[1]).unlink()
    (folder / "wheels" / "more").mkdir()
    (folder / "wheels" / "more" / "notes").touch()
    (folder / "link").symlink_to("/nowhere")
    verdict = bundle.verify(folder, Status(io.StringIO()))
    assert verdict.wrong == {
        "missing": [f"wheels/{WHEELS[1]}"],
        "changed": ["images/node.tar", f"wheels/{WHEELS[0]}"],
        "surplus": ["link", "wheels/more/notes"],
    }
    assert verdict.text().splitlines()[0] == f"missing: wheels/{WHEELS[1]}"
    with pytest.raises(UnexpectedChange, match=r"5 file\(s\)") as caught:
        verdict.raise_for_status()
    assert caught.value.answered


def test_a_folder_without_a_manifest_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"has no manifest\.toml"):
        bundle.verify(tmp_path, Status(io.StringIO()))


@pytest.mark.parametrize("text", ["[demo", "demo = 1", '[demo]\nversion = "1"\nlinux-amd64 = 2'])
def test_an_invalid_manifest_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.toml").write_text(text)
    with pytest.raises(ConfigError, match="is not a manifest of a bundle"):
        bundle.verify(tmp_path, Status(io.StringIO()))


# Making a bundle


def test_another_folder_is_not_replaced(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    with pytest.raises(ConfigError, match="thesis exists and is not a bundle"):
        bundle.make(lab, tmp_path / "thesis", Status(io.StringIO()))


def test_an_unknown_architecture_is_rejected(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="architecture 'arm' is not one of amd64, arm64"):
        bundle.make(lab, tmp_path / "usb", Status(io.StringIO()), architecture="arm")


@pytest.mark.parametrize("python", ["3", "3.10", "2.7", "3.13.1", "cp313"])
def test_an_invalid_version_of_python_is_rejected(lab: Lab, tmp_path: Path, python: str) -> None:
    with pytest.raises(ConfigError, match=rf"Python '{python}' is not a version like 3\.11"):
        bundle.make(lab, tmp_path / "usb", Status(io.StringIO()), pythons=["3.12", python])


def test_markers_are_evaluated_for_the_target() -> None:
    """pip would evaluate them for its own Python."""
    locked = """# by hand
always==1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
old==1 ; python_full_version < '3.12' \\
    --hash=sha256:cc
new==2 ; python_version >= '3.12' and platform_machine == 'aarch64' \\
    --hash=sha256:dd
"""
    always = "always==1 --hash=sha256:aa --hash=sha256:bb\n"
    old, new = (
        f"{pin} --hash=sha256:{digest}\n" for pin, digest in (("old==1", "cc"), ("new==2", "dd"))
    )
    assert bundle.applying(locked, "linux-amd64", "3.11") == always + old
    assert bundle.applying(locked, "linux-amd64", "3.12") == always
    assert bundle.applying(locked, "linux-arm64", "3.13") == always + new


def test_wheels_for_several_versions_of_python(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel for all versions exists once."""

    def download(requirements: Path, folder: Path, platform: str, python: str) -> None:
        assert platform == "linux-arm64" and "==" in requirements.read_text()
        folder.mkdir(exist_ok=True)
        for name in ("any-1-py3-none-any.whl", f"some-1-{python}.whl"):
            (folder / name).write_text(name)

    monkeypatch.setattr(bundle.wheel, "pip_download", download)
    toolchain = SimpleNamespace(platform="linux-arm64")
    up: Any = SimpleNamespace(lab=replace(lab, root=ROOT), toolchain=toolchain)
    filling = bundle._Filling(up, tmp_path, Status(io.StringIO()), ("3.11", "3.13"))
    filling.wheels()
    (item,) = filling.items
    assert item.name == "wheels/cp311-cp313"
    wheels = ["any-1-py3-none-any.whl", "some-1-3.11.whl", "some-1-3.13.whl"]
    assert list(item.files) == [*wheels, "index.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["wheels"]


@pytest.mark.parametrize(
    ("provider", "platform"),
    [("docker", "linux-amd64"), ("libvirt", "linux-amd64"), ("docker", "linux-arm64")],
)
def test_a_bundles_images_are_tagged_and_saved(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, platform: str
) -> None:
    """The tags are those that users of the mirror request. New tags are removed afterwards."""
    ran: list[list[str]] = []

    def run(words: list[Any], **_: Any) -> Any:
        ran.append([str(word) for word in words])
        if words[1] == "save":
            Path(words[3]).write_bytes(b"layers")
        return SimpleNamespace(stdout="libc6 2.41 amd64\n")

    monkeypatch.setattr(bundle.runner, "run", run)
    monkeypatch.setattr(docker, "exists", lambda tag: False)
    monkeypatch.setattr(bundle.boxes, "make_image", lambda *_: "lecture-lab/vm:1")
    up: Any = SimpleNamespace(
        lab=replace(lab, root=ROOT, provider=provider),
        image="lecture-lab/node:own",
        distribution=RECORD,
        toolchain=SimpleNamespace(cache=tmp_path / "cache", platform=platform),
    )
    filling = bundle._Filling(up, tmp_path, Status(io.StringIO()))
    for name in RECORD.image.tools:
        filling.items.append(Mirrored(name, "1.0", {name: entry(tmp_path, name, b"program")}))
    filling.node_image()
    (item,) = [item for item in filling.items if item.name == "image/node"]
    node = f"lecture-lab/node:{item.version}"
    expected = [node]
    if provider == "libvirt":
        expected.append(bundle.boxes.image_tag(ROOT, node))
    asked = next(words for words in ran if words[1] == "run")
    assert asked[3:5] == ["--platform", platform.replace("-", "/")]
    saved = next(words for words in ran if words[1] == "save")
    assert saved[4:] == expected
    assert ran[0] == ["docker", "tag", "lecture-lab/node:own", node]
    assert ran[-1] == ["docker", "rmi", "--no-prune", *expected]
    assert Package("deb", "libc6", "2.41", "amd64") in filling.inside["image/node"]
    assert Package("docker", "registry.k8s.io/etcd", "1.0-0") in filling.inside["image/node"]
    assert not (tmp_path / "image.tar").exists()


def test_a_new_bundle_replaces_the_old_one(folder: Path) -> None:
    aside = folder.with_name(".bundle.partial")
    aside.mkdir()
    (aside / "manifest.toml").write_text("# new")
    bundle._replace(aside, folder)
    assert [path.name for path in folder.iterdir()] == ["manifest.toml"]
    assert not list(folder.parent.glob(".bundle.*"))


def test_an_archive_depends_only_on_the_content(folder: Path) -> None:
    first = file_digest(bundle._tar(folder, Status(io.StringIO())))
    (folder / "manifest.toml").touch()
    (folder / "manifest.toml").chmod(0o600)
    archive = bundle._tar(folder, Status(io.StringIO()))
    assert file_digest(archive) == first
    with tarfile.open(archive) as tar:
        assert "bundle/images/node.tar" in tar.getnames() == sorted(tar.getnames())


def test_the_page_of_links_escapes_names() -> None:
    assert '<a href="a%2Bb-1.0.whl">a+b-1.0.whl</a>' in bundle.index(["a+b-1.0.whl"])


# The bill of materials


def test_the_bill_names_every_item_and_package(folder: Path) -> None:
    items = list(mirror.read(str(folder), this_platform()).values())
    inside = {
        "image/node": [
            *bundle.packages("libc6 2.41-12 amd64\nsystemd 257.8-1 amd64\n"),
            Package("docker", "registry.k8s.io/etcd", "3.6.7-0"),
        ]
    }
    text = sbom.document(items, inside)
    assert text == sbom.document(items, inside)
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"]: part for part in bill["components"]}
    assert set(parts) == {"demo", "image/node", "demo-tool", "other"}
    assert parts["demo-tool"]["purl"] == "pkg:pypi/demo-tool@1.0"
    within = {part["bom-ref"]: part for part in parts["image/node"]["components"]}
    assert "image/node#pkg:deb/debian/libc6@2.41-12?arch=amd64" in within
    assert "image/node#pkg:docker/registry.k8s.io/etcd@3.6.7-0" in within
    hashed = within["images/node.tar"]["hashes"]
    assert hashed == [{"alg": "SHA-256", "content": items[1].files["node.tar"].sha256}]


def test_different_bundles_have_different_serial_numbers(folder: Path) -> None:
    items = list(mirror.read(str(folder), this_platform()).values())
    numbers = {
        json.loads(sbom.document(part, {}))["serialNumber"] for part in (items, items[:1], [])
    }
    assert len(numbers) == 3


# Serving a room


def test_the_registry_pulls_through() -> None:
    settings = serve.registry_settings(serve.Place("10.1.2.3", 8443, 8444), "https://far.example")
    assert settings["http"]["addr"] == "10.1.2.3:8444"
    assert settings["proxy"] == {"remoteurl": "https://far.example"}


def test_the_machine_image_is_loaded_for_its_registry(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(serve.docker, "exists", lambda tag: tag in loaded)
    monkeypatch.setattr(serve.docker, "load", lambda tag, toolchain: loaded.append(tag))
    for _ in range(2):
        tag = serve.machine_image(ROOT, folder, Status(io.StringIO()))
        assert loaded == [tag] == ["lecture-lab/node:0123456789ab"]
    text = (folder / "manifest.toml").read_text().replace("image/node", "image/pytorch")
    (folder / "manifest.toml").write_text(text)
    with pytest.raises(ConfigError, match="has no machine image"):
        serve.machine_image(ROOT, folder, Status(io.StringIO()))
