"""Download releases through a proxy that acts as all official hosts and simulates faults."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lab import proxies, toolchain, wait
from lab.config import Proxies, Settings
from lab.errors import PrerequisiteError
from lab.output import Status
from lab.platforms import PLATFORMS
from lab.toolchain import Toolchain, modules, release, releases, wheel
from tests import official
from tests.integration.conftest import ROOT
from tests.intercept import Answer, Interceptor, intercepting

CONTENT = os.urandom(3 << 20)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
URL = "https://github.com/etcd-io/etcd/releases/download/v3.6.0/etcd-v3.6.0-linux-amd64.tar.gz"
PAGE = Answer(headers={"Content-Type": "text/html; charset=utf-8"}, content=b"<html>Sign in</html>")


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Interceptor]:
    """A proxy that this process uses and trusts, as with LAB_CA and HTTPS_PROXY."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    with intercepting(folder) as found:
        for name in ("http_proxy", "https_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        lab = Settings(
            root=tmp_path, proxies=Proxies(found.address, found.address), ca=str(found.ca)
        )
        for name, value in proxies.environment(lab, tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HTTPS_PROXY", found.address)
        monkeypatch.setenv("HTTP_PROXY", found.address)
        # Another test may have tried the same hosts without this proxy.
        toolchain._reachable.cache_clear()
        yield found
        toolchain._reachable.cache_clear()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of every pause of the client, which the fixture skips."""
    found: list[float] = []
    monkeypatch.setattr(wait, "pause", found.append)
    return found


@pytest.fixture
def get(
    proxy: Interceptor, pauses: list[float], tmp_path: Path, status: Status
) -> Callable[[], bytes]:
    """A function that downloads URL, whose host is GitHub, and returns the content."""
    official.serve(proxy, URL, CONTENT)
    folder = tmp_path / "downloads"
    return lambda: release.fetch_file(URL, DIGEST, folder, status).read_bytes()


def place(proxy: Interceptor) -> str:
    """The host and path to which GitHub redirects."""
    return next(iter(proxy.files))


@pytest.fixture
def program(tmp_path: Path) -> official.Program:
    """A function that makes a program. The program's text has the given words."""
    folder = tmp_path / "programs"
    folder.mkdir()

    def make(*words: str) -> Path:
        file = folder / "-".join(words)
        file.write_text(f"program {' '.join(words)}")
        return file

    return make


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder with the proxy's files."""
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def test_pinned_files_are_verified_one_by_one(
    proxy: Interceptor,
    program: official.Program,
    files: Path,
    tmp_path: Path,
    status: Status,
    progress: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It verifies the files of all platforms, continues after a failure, and keeps no file."""
    lock = tmp_path / "lock.toml"
    shutil.copyfile(ROOT / "toolchain" / "lock.toml", lock)
    official.play(proxy, lock, files, official.stand_ins(lock, PLATFORMS, program))
    wheels: list[str] = []
    monkeypatch.setattr(wheel, "fetch", lambda one, *_: wheels.append(one.package))
    pins = releases.pinned_files(lock)
    assert releases.verify(lock, tmp_path / "cache", status) == len(pins)
    assert progress.getvalue().count("✓") == len(pins) and len(wheels) >= 4
    etcd = next(pin for pin in pins if pin.items == ("etcd",))
    first = urlsplit(etcd.address)
    proxy.faults[f"{first.netloc}{first.path}"] = [Answer(404)]
    with pytest.raises(PrerequisiteError, match="1 pinned file of") as caught:
        releases.verify(lock, tmp_path / "cache", status)
    assert f"\n  - etcd {etcd.version} linux-amd64: {etcd.address}" in caught.value.message
    assert "the server answered 404" in caught.value.message
    assert progress.getvalue().count("✓") == 2 * len(pins) - 1
    assert not list((tmp_path / "cache").glob("pins-verify*"))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_all_pinned_releases_of_a_platform_are_downloaded(
    proxy: Interceptor,
    program: official.Program,
    files: Path,
    tmp_path: Path,
    status: Status,
    platform: str,
) -> None:
    """Every item with a release comes from the address in the lock file."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "toolchain", root / "toolchain")
    lock = root / "toolchain" / "lock.toml"
    ones = official.stand_ins(lock, [platform], program)
    official.play(proxy, lock, files, ones)
    tools = Toolchain(root, tmp_path / "cache", status, "release", platform=platform)
    published = [name for name, item in tools.items.items() if item.release]
    for name, tool in tools.ensure(published).items():
        assert tool.source == "release"
        for file, path in tool.files.items():
            assert path.read_text() == f"program {name} {platform} {file}"
    assert len(published) >= 9
    # One archive may contain several items, but the client requests it once.
    asked = [word.partition(" ")[2] for word in proxy.asked]
    assert sorted(asked) == sorted(set(asked))
    first = {f"{urlsplit(one.url).netloc}{urlsplit(one.url).path}" for one in ones}
    assert first <= set(asked)
    assert not [path for path in (tmp_path / "cache/downloads").iterdir() if path.suffix != ".lock"]


def test_a_redirect_to_another_host_is_followed(
    get: Callable[[], bytes], proxy: Interceptor
) -> None:
    assert get() == CONTENT
    assert proxy.asked == [f"GET {next(iter(proxy.redirects))}", f"GET {place(proxy)}"]


def test_a_download_resumes_after_a_closed_connection(
    get: Callable[[], bytes], proxy: Interceptor, pauses: list[float]
) -> None:
    """A try that receives some bytes does not count as one of the three failures."""
    half = Answer(content=CONTENT[: 1 << 20], length=len(CONTENT))
    nothing = Answer(length=len(CONTENT))
    proxy.faults[place(proxy)] = [nothing, nothing, half, nothing, nothing]
    assert get() == CONTENT
    assert pauses == [release.PAUSE, release.PAUSE, 0, release.PAUSE, release.PAUSE]


def test_a_download_resumes_after_a_reset_connection(
    get: Callable[[], bytes], proxy: Interceptor
) -> None:
    proxy.faults[place(proxy)] = [Answer(content=CONTENT[:9], length=len(CONTENT), reset=True)] * 2
    assert get() == CONTENT


@pytest.mark.parametrize(
    ("fault", "pause"),
    [
        (Answer(503), release.PAUSE),
        (Answer(500), release.PAUSE),
        (Answer(503, {"Retry-After": "7"}), 7),
        (Answer(429, {"Retry-After": "30"}), 30),
        (Answer(403, {"Retry-After": "5"}), 5),
        (Answer(429, {"Retry-After": "soon"}), release.PAUSE),
        (PAGE, release.PAUSE),
    ],
)
def test_a_server_that_recovers_is_tried_again(
    get: Callable[[], bytes], proxy: Interceptor, pauses: list[float], fault: Answer, pause: float
) -> None:
    proxy.faults[place(proxy)] = [fault]
    assert get() == CONTENT
    assert pauses == [pause]


def test_the_output_explains_a_pause(
    get: Callable[[], bytes], proxy: Interceptor, progress: io.StringIO
) -> None:
    proxy.faults[place(proxy)] = [Answer(429, {"Retry-After": "30"})]
    get()
    line = "the server answered 429 Too Many Requests: the next try is in 30 s"
    assert line in progress.getvalue()


@pytest.mark.parametrize(
    ("faults", "reason", "hint", "requests"),
    [
        (
            [Answer(503)] * 3,
            "the server answered 503 Service Unavailable",
            "use another source",
            3,
        ),
        ([Answer(429, {"Retry-After": "3600"})], "429 Too Many Requests and asks", "60 min", 1),
        ([Answer(403)], "the server answered 403 Forbidden", "invoke doctor", 1),
        ([Answer(404)], "the server answered 404 Not Found", "invoke doctor", 1),
        ([PAGE] * 3, "a web page instead of the file", "the network may need a sign-in", 3),
        (
            [Answer(302, {"Location": "http://portal.lab.test/"})],
            "redirects to http://portal.lab.test/, which is not encrypted",
            "a network that needs a sign-in",
            1,
        ),
        (
            [Answer(length=release.LARGEST + 1)],
            "sends more than 2048 MiB",
            "use another source",
            1,
        ),
        ([Answer(content=b"other")], f"expected {DIGEST}, got sha256:", "use another source", 1),
        ([Answer(content=b"", length=9)] * 3, "ended after 0 of 9 bytes", "invoke doctor", 3),
    ],
)
def test_a_faulty_response_is_refused(
    get: Callable[[], bytes],
    proxy: Interceptor,
    tmp_path: Path,
    faults: list[Answer],
    reason: str,
    hint: str,
    requests: int,
) -> None:
    """The error has the address, the reason and the next step. No file remains."""
    proxy.faults[place(proxy)] = list(faults)
    with pytest.raises(PrerequisiteError, match="cannot be used") as caught:
        get()
    assert caught.value.message.startswith(URL)
    assert reason in caught.value.message and hint in caught.value.hint
    assert proxy.asked.count(f"GET {place(proxy)}") == requests
    assert not (tmp_path / "downloads" / DIGEST.replace(":", "-")).exists()


@pytest.mark.parametrize("fault", [PAGE, Answer(503)])
def test_a_fault_keeps_the_partial_file(
    get: Callable[[], bytes], proxy: Interceptor, tmp_path: Path, fault: Answer
) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    part = folder / f"{DIGEST.replace(':', '-')}.part"
    part.write_bytes(CONTENT[: 2 << 20])
    proxy.faults[place(proxy)] = [fault] * 3
    with pytest.raises(PrerequisiteError):
        get()
    assert part.read_bytes() == CONTENT[: 2 << 20]
    assert get() == CONTENT


def test_a_full_disk_is_not_retried(
    get: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another try would fail, too. Tasks report the OSError of a host by themselves."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(release, "_append", full)
    with pytest.raises(OSError, match="No space left"):
        get()


def test_a_failed_release_keeps_its_hint(
    proxy: Interceptor, tmp_path: Path, status: Status
) -> None:
    """The error of the whole toolchain has the hint of the failed download."""
    tools = Toolchain(ROOT, tmp_path / "cache", status, "release", platform="linux-amd64")
    url = urlsplit(tools.items["etcd"].release[0].url)
    proxy.faults[f"{url.netloc}{url.path}"] = [Answer(429, {"Retry-After": "600"})]
    with pytest.raises(
        PrerequisiteError, match="no source provides `etcd`: release: https"
    ) as caught:
        tools.ensure(["etcd"])
    assert (
        caught.value.hint
        == "run the command again in 10 min, or use another source: see docs/toolchain.md"
    )


def test_the_next_source_is_announced_before_its_use(
    proxy: Interceptor,
    tmp_path: Path,
    status: Status,
    progress: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A build takes minutes, a download only seconds."""
    monkeypatch.setattr(modules, "build", lambda *given: (given[3] / "etcd").write_text("etcd"))
    tools = Toolchain(ROOT, tmp_path / "cache", status, "auto", platform="linux-amd64")
    url = tools.items["etcd"].release[0].url
    assert tools.ensure(["etcd"])["etcd"].source == "modules"
    failed, announced, made = progress.getvalue().splitlines()
    assert failed.startswith("  ✗ etcd ") and "from release" in failed
    assert announced.startswith(f"  etcd: {url} cannot be used: the server answered 404")
    assert announced.endswith("; the next source is modules")
    assert "etcd" in made and "built from Go modules" in made


def test_retry_after_may_be_a_date() -> None:
    assert release.retry_after(formatdate(1_000_030, usegmt=True), 1_000_000) == 30
    assert release.retry_after(formatdate(999_000, usegmt=True), 1_000_000) == 0


def test_an_archive_with_another_layout_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar.gz"
    one = official.StandIn("x.tar.gz", "", {"bin/etcd": ROOT / "README.md"})
    one.write(archive)
    with pytest.raises(PrerequisiteError, match="is not the archive that"):
        release.extract(archive, {"etcd": "etcd"}, tmp_path)
    archive.write_bytes(b"no archive")
    with pytest.raises(PrerequisiteError, match="is not the archive that"):
        release.extract(archive, {"etcd": "etcd"}, tmp_path)


def test_the_proxy_passes_on_the_responses_of_other_hosts(
    proxy: Interceptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so in clear text, and in a tunnel that it does not intercept."""
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY")
    folder = tmp_path / "other"
    folder.mkdir()
    proxy.open = True
    with intercepting(folder) as other:
        port = urlsplit(other.address).port
        other.files["/file"] = CONTENT
        clear = urllib.request.ProxyHandler({"http": proxy.address})
        with urllib.request.build_opener(clear).open(f"{other.address}/file") as answer:
            assert answer.read() == CONTENT
        tunnel = http.client.HTTPConnection("127.0.0.1", urlsplit(proxy.address).port)
        tunnel.set_tunnel("127.0.0.1", port)
        tunnel.request("GET", "/file")
        assert tunnel.getresponse().read() == CONTENT
        tunnel.close()
    assert proxy.asked == []
    assert other.asked == ["GET /file", "GET /file"]
