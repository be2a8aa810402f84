"""The checks reach the API through a kubectl that starts to listen on its socket late."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.workloads.api import SOCKET, Api, CannotCheck, Proxy, server
from lab import wait
from tests.integration.conftest import ROOT
from tests.integration.test_runner import gone

# A stand-in for `kubectl proxy --unix-socket=PATH`. The socket exists before it listens.
LATE = """
import http.server, socket, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    address_string = lambda self: "unix"
    log_message = lambda self, *_: None
    asked = 0
    def do_GET(self):
        # The first two requests for /busy/N get the status N.
        Handler.asked += 1
        busy = self.path.startswith("/busy/") and Handler.asked < 3 or self.path == "/dead"
        status = int(self.path.rpartition("/")[2]) if "/busy/" in self.path else 502
        self.send_response(status if busy else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"no" if busy else b"ok")
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[2].partition("=")[2])
time.sleep(0.5)
listener.listen()
while True:
    connection, _ = listener.accept()
    Handler(connection, ("unix", 0), None)
"""


def late(folder: Path) -> str:
    """A script that runs LATE. The interpreter's path may have a blank, which `#!` rejects."""
    source = folder / "late.py"
    source.write_text(LATE)
    return f'#!/bin/sh\nexec {shlex.join([sys.executable, str(source)])} "$@"\n'


def kubectl(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program with the name kubectl first in PATH."""
    program = folder / "kubectl"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A client of the late kubectl."""
    kubectl(tmp_path, late(tmp_path), monkeypatch)
    proxy = Proxy()
    client = Api(proxy.socket)
    yield client
    client.close()
    proxy.close()


def test_a_client_waits_until_the_proxy_listens(api: Api) -> None:
    assert api.ask("/readyz") == (200, "ok")
    assert api.ask("/readyz") == (200, "ok")


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_request_to_a_busy_cluster_is_retried(status: int, api: Api) -> None:
    assert api.ask(f"/busy/{status}") == (200, "ok")


def test_a_request_to_an_unreachable_cluster_is_not_retried(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubectl answers 502 for such a cluster. A busy one is retried for a limited time."""
    begin = time.monotonic()
    with pytest.raises(CannotCheck, match="does not answer: no"):
        api.ask("/dead")
    assert time.monotonic() - begin < 3
    monkeypatch.setattr("infra.workloads.api.PATIENCE", 0)
    with pytest.raises(CannotCheck, match="does not answer: no"):
        api.ask("/busy/503")


def test_processes_share_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl(tmp_path, late(tmp_path), monkeypatch)
    proxy = Proxy()
    kubectl(tmp_path, "#!/bin/sh\necho a second one >&2; exit 1\n", monkeypatch)
    monkeypatch.setenv(SOCKET, str(proxy.socket))
    server.cache_clear()
    try:
        assert server().ask("/readyz") == (200, "ok")
        server().close()
    finally:
        server.cache_clear()
        proxy.close()


def test_a_proxy_that_exits_raises_cannot_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl(tmp_path, "#!/bin/sh\necho no configuration >&2; exit 1\n", monkeypatch)
    with pytest.raises(CannotCheck, match="no configuration"):
        Proxy()
    with pytest.raises(CannotCheck, match="no-kubectl: not found"):
        Proxy(["no-kubectl"])


def test_a_proxy_ends_with_the_process_that_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process that reaches the proxy's socket has the student's access to the cluster."""
    kubectl(tmp_path, late(tmp_path), monkeypatch)
    folders = tmp_path / "folders"
    folders.mkdir()
    monkeypatch.setenv("TMPDIR", str(folders))
    script = "import infra.workloads.api as api; p = api.Proxy(); print(p._process.pid); input()"
    command = [sys.executable, "-uc", script]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout
        proxy = int(starter.stdout.readline())
        assert not gone(proxy) and list(folders.iterdir())
        starter.kill()
        starter.wait(20)
        wait.until(lambda: gone(proxy) or None, what="the end of the proxy", timeout=5)
        wait.until(
            lambda: not list(folders.iterdir()) or None, what="the end of its folder", timeout=5
        )
