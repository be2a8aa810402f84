"""A proxy that looks into TLS with a CA of its own, and answers by itself: nothing leaves the host.

It answers as web servers do: whole files and parts of them, redirects, and faults that are planned.
A test may let other hosts pass; the proxy then hands their bytes on without looking at them.

As a program, `python -m tests.intercept ADDRESS FOLDER` listens until it is ended, writes its CA to
FOLDER/ca.pem and what it was asked to FOLDER/asked.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import select
import shutil
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.authority import Authority


@dataclass(frozen=True)
class Answer:
    """An answer of the proxy. `length` is what it announces, where that is not what it sends.

    `reset` ends the connection with a reset after the content.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    length: int | None = None
    reset: bool = False


@dataclass
class Interceptor:
    """What it serves, as `host/path` -> content, and what it was asked, as `METHOD host/path`.

    `files` may be files on disk. `redirects` maps a place to an address. `faults` are answers that
    come first, each once. `open` lets hosts pass that have none of these.
    """

    folder: Path
    address: str = ""
    files: dict[str, bytes | Path] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    faults: dict[str, list[Answer]] = field(default_factory=dict)
    open: bool = False
    asked: list[str] = field(default_factory=list)
    authority: Authority = field(default_factory=lambda: Authority(datetime.timedelta(days=1)))
    contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def passes(self, host: str) -> bool:
        """Whether the proxy hands on what a client says to a host."""
        known = (*self.files, *self.redirects, *self.faults)
        return self.open and host not in {place.partition("/")[0] for place in known}

    def fault(self, place: str) -> Answer | None:
        """The next fault that is planned for a place, once."""
        with self.lock:
            planned = self.faults.get(place)
            return planned.pop(0) if planned else None

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
            self.host, _, port = self.path.rpartition(":")
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            if proxy.passes(self.host):
                self.close_connection = True
                with socket.create_connection((self.host, int(port)), 30) as other:
                    hand_on(self.connection, other)
                return
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
            host = self.host or parts.netloc
            if proxy.passes(host):
                self.hand_on_request(host)
                return
            place = f"{host}{parts.path}"
            with proxy.lock:
                proxy.asked.append(f"{self.command} {place}")
                with (proxy.folder / "asked").open("a") as log:
                    print(f"{self.command} {place}", file=log)
            if fault := proxy.fault(place):
                self.answer(fault)
            elif place in proxy.redirects:
                self.answer(Answer(302, {"Location": proxy.redirects[place]}))
            elif place in proxy.files:
                self.send_file(proxy.files[place], proxy.types.get(place, ""))
            else:
                self.answer(Answer(404))

        def answer(self, answer: Answer) -> None:
            self.send_response(answer.status)
            length = len(answer.content) if answer.length is None else answer.length
            for name, value in {"Content-Length": str(length), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(answer.content)
            self.wfile.flush()
            if answer.reset:
                # Without lingering, closing a socket resets its connection.
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            if answer.reset or length != len(answer.content):
                self.connection.close()
                self.close_connection = True

        def send_file(self, source: bytes | Path, kind: str) -> None:
            size = source.stat().st_size if isinstance(source, Path) else len(source)
            wanted = self.headers.get("Range", "")
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if start and start >= size:
                self.answer(Answer(416))
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(size - start))
            if kind or self.path.endswith("/"):
                self.send_header("Content-Type", kind or "text/html")
            self.end_headers()
            if self.command == "GET" and isinstance(source, Path):
                with source.open("rb") as file:
                    file.seek(start)
                    shutil.copyfileobj(file, self.wfile)
            elif self.command == "GET" and isinstance(source, bytes):
                self.wfile.write(source[start:])
            self.wfile.flush()

        def hand_on_request(self, host: str) -> None:
            """A request in clear text, as apt's are."""
            parts = urlsplit(self.path)
            there = http.client.HTTPConnection(host, timeout=30)
            headers = {name: value for name, value in self.headers.items() if "roxy" not in name}
            there.request(
                self.command, parts._replace(scheme="", netloc="").geturl(), None, headers
            )
            answer = there.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            shutil.copyfileobj(answer, self.wfile)
            self.wfile.flush()
            there.close()
            self.close_connection = True

        do_HEAD = do_GET

        def log_message(self, *args: Any) -> None: ...

    return Handler


def hand_on(one: socket.socket, other: socket.socket) -> None:
    """Hand bytes on between two sockets, both ways, until one of them has no more."""
    to = {one: other, other: one}
    while ready := select.select(list(to), [], [], 300)[0]:
        for source in ready:
            if not (block := source.recv(1 << 16)):
                return
            to[source].sendall(block)


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
