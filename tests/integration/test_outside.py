"""Downloads of the lab, pip and curl through a proxy that intercepts TLS."""

from __future__ import annotations

import hashlib
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab import proxies, runner
from lab.config import Proxies, Settings
from lab.errors import CommandError, PrerequisiteError
from lab.output import Status
from lab.toolchain import release
from tests.integration.test_fetch import make_wheel
from tests.intercept import Interceptor, intercepting

CONTENT = b"a program" * 1000
HOST = "files.lab.test"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Interceptor]:
    with intercepting(tmp_path) as found:
        found.files[f"{HOST}/program"] = CONTENT
        yield found


@pytest.fixture
def enter(
    proxy: Interceptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, dict[str, str]]:
    """Environments with the proxy. Only `known` trusts its CA, as tasks do with `network.ca`."""
    lab = Settings(root=tmp_path, proxies=Proxies(proxy.address, proxy.address), ca=str(proxy.ca))
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    # Python reads the variables only once in each process.
    monkeypatch.setattr(urllib.request, "_opener", None)
    through = {"HTTP_PROXY": proxy.address, "HTTPS_PROXY": proxy.address}
    return {
        "known": {**through, **proxies.environment(lab, tmp_path)},
        "unknown": {**through, **proxies.environment(replace(lab, ca=""), tmp_path)},
    }


@pytest.mark.parametrize("authority", ["known", "unknown"])
def test_a_download_needs_the_proxys_ca(
    enter: dict[str, dict[str, str]],
    proxy: Interceptor,
    tmp_path: Path,
    status: Status,
    monkeypatch: pytest.MonkeyPatch,
    authority: str,
) -> None:
    for name, value in enter[authority].items():
        monkeypatch.setenv(name, value)
    digest = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    url = f"https://{HOST}/program"
    assert release.reachable(url)
    if authority == "known":
        found = release.fetch_file(url, digest, tmp_path / "downloads", status)
        assert found.read_bytes() == CONTENT
        assert proxy.asked == [f"GET {HOST}/program"]
    else:
        with pytest.raises(PrerequisiteError, match="CERTIFICATE_VERIFY_FAILED"):
            release.fetch_file(url, digest, tmp_path / "downloads", status)
        assert proxy.asked == []


@pytest.mark.parametrize("authority", ["known", "unknown"])
def test_pip_needs_the_proxys_ca(
    enter: dict[str, dict[str, str]], proxy: Interceptor, tmp_path: Path, authority: str
) -> None:
    digest = make_wheel(tmp_path)
    name = next(tmp_path.glob("*.whl")).name
    page = f'<a href="https://{HOST}/{name}">{name}</a>'
    proxy.files[f"{HOST}/simple/lab-tool/"] = page.encode()
    proxy.files[f"{HOST}/{name}"] = (tmp_path / name).read_bytes()
    wanted = tmp_path / "requirements.txt"
    wanted.write_text(f"lab-tool==1.0 --hash=sha256:{digest}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir"]
    command += ["--retries", "0", "--index-url", f"https://{HOST}/simple", "--require-hashes"]
    command += ["--dest", str(tmp_path / "out"), "--requirement", str(wanted)]
    if authority == "known":
        runner.run(command, env=enter[authority])
        assert (tmp_path / "out" / name).exists()
        assert proxy.asked == [f"GET {HOST}/simple/lab-tool/", f"GET {HOST}/{name}"]
    else:
        with pytest.raises(CommandError, match="No matching distribution"):
            runner.run(command, env=enter[authority])
        assert proxy.asked == []


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
@pytest.mark.parametrize("authority", ["known", "unknown"])
def test_curl_needs_the_proxys_ca(
    enter: dict[str, dict[str, str]], proxy: Interceptor, authority: str
) -> None:
    # Vagrant downloads with curl.
    command = ["curl", "--silent", "--show-error", "--fail", f"https://{HOST}/program"]
    # curl reads HTTPS_PROXY in capitals, but http_proxy only in small letters.
    done = runner.run(command, env=enter[authority], ok=(0, 60))
    assert done.code == (0 if authority == "known" else 60)
    assert proxy.asked == ([f"GET {HOST}/program"] if authority == "known" else [])


def test_loopback_is_reached_without_the_proxy(
    enter: dict[str, dict[str, str]], proxy: Interceptor
) -> None:
    """The client of a server on loopback would use the proxy for every other address."""
    program = (
        "import urllib.request as r\n"
        "from http.server import BaseHTTPRequestHandler as H, HTTPServer as S\n"
        "import threading\n"
        "class A(H):\n"
        "    def do_GET(self): self.send_response(204); self.end_headers()\n"
        "s = S(('127.0.0.1', 0), A)\n"
        "threading.Thread(target=s.handle_request, daemon=True).start()\n"
        "print(r.urlopen(f'http://127.0.0.1:{s.server_port}/', timeout=5).status)\n"
    )
    done = runner.run([sys.executable, "-c", program], env=enter["known"])
    assert done.stdout == "204\n" and proxy.asked == []
