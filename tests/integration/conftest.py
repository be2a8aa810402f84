"""Integration tests use real processes and files, and a web server on loopback."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab.output import Status

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def progress() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def status(progress: io.StringIO) -> Status:
    return Status(progress)


class Web:
    """A web server on loopback. `cut` is the number of bytes before it closes the next response.

    `ranges` is whether it answers range requests. `requests` records paths and ranges.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.ranges = True
        self.requests: list[tuple[str, str | None]] = []
        self.address = ""

    def put(self, path: str, content: bytes) -> tuple[str, str]:
        """Serve a file. Returns its address and its digest."""
        self.files[path] = content
        return f"{self.address}{path}", f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def web() -> Iterator[Web]:
    site = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.requests.append((self.path, wanted))
            content = site.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.split("=")[1].rstrip("-")) if wanted and site.ranges else 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if self.path.endswith(".html"):
                self.send_header("Content-Type", "text/html")
            self.end_headers()
            body = content[start:]
            if site.cut is not None:
                body, site.cut = body[: site.cut], None
                self.close_connection = True
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield site
    server.shutdown()
    server.server_close()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes an executable shell script and returns its path."""

    def make(text: str) -> Path:
        path = tmp_path / f"script-{len(list(tmp_path.iterdir()))}"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return make
