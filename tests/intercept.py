"""A proxy that looks into TLS with a CA of its own, and answers by itself: nothing leaves the host.

As a program, `python -m tests.intercept ADDRESS FOLDER` listens until it is ended, writes its CA to
FOLDER/ca.pem and what it was asked to FOLDER/asked.
"""

from __future__ import annotations

import contextlib
import datetime
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.authority import Authority


@dataclass
class Interceptor:
    """What it serves, as `host/path` -> content, and what it was asked, as `METHOD host/path`."""

    folder: Path
    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authority: Authority = field(default_factory=lambda: Authority(datetime.timedelta(days=1)))
    contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ca(self) -> Path:
        """The file with the certificate that has to be trusted."""
        return self.folder / "ca.pem"

    def context(self, host: str) -> ssl.SSLContext:
        """The server's side of TLS for a host that somebody asks for."""
        with self.lock:
            if host not in self.contexts:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.authority.issue(host, self.folder / f"{host}.pem"))
                self.contexts[host] = context
            return self.contexts[host]


def handler(proxy: Interceptor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        host = ""

        def do_CONNECT(self) -> None:
            self.host = self.path.rpartition(":")[0]
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            try:
                inner = proxy.context(self.host).wrap_socket(self.connection, server_side=True)
            except OSError:
                # The client does not trust us.
                self.close_connection = True
                return
            self.connection = inner
            self.rfile, self.wfile = inner.makefile("rb"), inner.makefile("wb")
            # Python's own client asks for a tunnel in HTTP/1.0, and stays.
            self.close_connection = False

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            place = f"{self.host or parts.netloc}{parts.path}"
            with proxy.lock:
                proxy.asked.append(f"{self.command} {place}")
                with (proxy.folder / "asked").open("a") as log:
                    print(f"{self.command} {place}", file=log)
            content = proxy.files.get(place)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            if place.endswith("/"):
                self.send_header("Content-Type", "text/html")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")
            self.wfile.flush()

        do_HEAD = do_GET

        def log_message(self, *args: Any) -> None: ...

    return Handler


@contextlib.contextmanager
def intercepting(folder: Path, address: str = "127.0.0.1", port: int = 0) -> Iterator[Interceptor]:
    """A proxy in a thread while the block runs."""
    proxy = Interceptor(folder)
    (folder / "asked").touch()
    proxy.ca.write_text(proxy.authority.pem)
    server = ThreadingHTTPServer((address, port), handler(proxy))
    server.daemon_threads = True
    proxy.address = f"http://{address}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    listen, _, number = sys.argv[1].rpartition(":")
    with intercepting(Path(sys.argv[2]), listen, int(number)):
        threading.Event().wait()
