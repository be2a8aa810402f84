"""Serve a bundle from an instructor's host to a room, read-only and over TLS.

Only files that the manifest names are served, so clients can neither leave nor list the folder. A
pull-through registry can also serve images of a registry that the room does not reach.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives import hashes

from lab import runner, wait
from lab.config import cache_folder
from lab.distributions import DISTRIBUTIONS
from lab.errors import ConfigError, PrerequisiteError, ResourceError
from lab.images import catalogue, docker
from lab.images.docker import ROOM
from lab.offline.authority import certificate, identity
from lab.output import Status
from lab.platforms import this_platform
from lab.proxies import proxy_variables
from lab.state import write_aside
from lab.toolchain import Toolchain, mirror
from lab.toolchain.mirror import MANIFEST, entries

# Seconds until a silent or stalled client's connection times out.
PATIENCE = 60
CHUNK = 1 << 20


@dataclass(frozen=True)
class Place:
    """The server's place: an address of this host, and the ports for files and images."""

    address: str
    port: int
    images_port: int


def serve(root: Path, folder: Path, place: Place, upstream: str, status: Status) -> None:
    """Serve a bundle until an interrupt, and images of the registry `upstream` if given.

    Raises what `files`, `identity`, `server` and `registry` raise.
    """
    served = files(folder)
    keys = identity(root / ".lab" / ".room", place.address)
    with ExitStack() as stack:
        room = stack.enter_context(server(served, keys, place.address, place.port))
        address = f"https://{place.address}:{room.server_port}"
        variables = {"LAB_MIRROR": address, "LAB_CA": "ca.pem"}
        if upstream:
            image = machine_image(root, folder, status)
            stack.enter_context(registry(image, keys, place, upstream, status))
            variables["LAB_REGISTRY_MIRROR"] = f"https://{place.address}:{place.images_port}"
        fingerprint = certificate(keys / "ca.pem").fingerprint(hashes.SHA256()).hex()
        status.say(f"serving {folder} at {address} until Ctrl-C")
        status.say(f"give the students {keys / 'ca.pem'} (SHA-256 {fingerprint}) and this command:")
        status.say(f"  export {' '.join(f'{name}={value}' for name, value in variables.items())}")
        try:
            room.serve_forever()
        except KeyboardInterrupt:
            status.say("stopped serving")


def machine_image(root: Path, folder: Path, status: Status) -> str:
    """The tag of the bundle's machine image, which contains a registry. Loaded if it is missing.

    Raises ConfigError for a bundle without such an image.
    """
    toolchain = Toolchain(root, cache_folder(), status, "mirror", str(folder.absolute()))
    items = mirror.read(str(folder), this_platform()).values()
    sources = {record.image.source for record in DISTRIBUTIONS.values()}
    for item in items:
        name = item.name.removeprefix("image/")
        tag = f"{catalogue.REPOSITORY}/{name}:{item.version}"
        if name in sources and item.name.startswith("image/"):
            if not docker.exists(tag):
                docker.load(tag, toolchain)
            return tag
    raise ConfigError(f"{folder} has no machine image for {this_platform()}", hint="invoke bundle")


def registry_settings(place: Place, upstream: str) -> dict[str, Any]:
    """The configuration of a pull-through registry, which rejects pushes."""
    pair = "/keys/server.pem"
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}},
        "http": {
            "addr": f"{place.address}:{place.images_port}",
            "tls": {"certificate": pair, "key": pair},
        },
        "proxy": {"remoteurl": upstream},
    }


@contextmanager
def registry(image: str, keys: Path, place: Place, upstream: str, status: Status) -> Iterator[None]:
    """Run a registry in a container while the block runs. A volume keeps its images.

    Raises DeadlineExceeded with the end of its log if it does not answer.
    """
    settings = registry_settings(place, upstream)
    write_aside(keys / "registry.json", json.dumps(settings, indent=1))
    words = ["docker", "run", "--detach", "--name", ROOM, "--network", "host"]
    words += ["--volume", f"{keys}:/keys:ro", "--volume", f"{ROOM}:/var/lib/registry"]
    for name in proxy_variables():
        words += ["--env", name]
    words += ["--entrypoint", "docker-registry", image, "serve", "/keys/registry.json"]

    def answers() -> bool:
        try:
            with socket.create_connection((place.address, place.images_port), 2):
                return True
        except OSError as error:
            said = runner.run(["docker", "logs", "--tail", "3", ROOM])
            raise ResourceError(f"{error}; its log: {said.stderr or said.stdout}") from error

    runner.run(["docker", "rm", "--force", ROOM], ok=(0, 1))
    try:
        with status.step(f"images of {upstream}"):
            runner.run(words)
            wait.until(answers, what="an answer of the room's registry", timeout=20)
        yield
    finally:
        runner.run(["docker", "rm", "--force", ROOM], ok=(0, 1))


def files(folder: Path) -> dict[str, Path]:
    """The served files by the path of their URL: the manifest and every file that it names.

    Raises NotFoundError or ConfigError for a folder without a valid manifest.
    """
    inside = folder.resolve()
    wanted = [MANIFEST, *(entry.path for entry in entries(folder))]
    paths = {f"/{name}": (folder / name).resolve() for name in wanted}
    return {name: path for name, path in paths.items() if path.is_relative_to(inside)}


def server(served: Mapping[str, Path], keys: Path, address: str, port: int) -> ThreadingHTTPServer:
    """A listening server. Raises PrerequisiteError if it cannot listen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(keys / "server.pem")
    try:
        return _Server((address, port), _handler(served), context)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot listen on {address}:{port}: {error.strerror}",
            hint="use another --port, or an address of this host, see: ip -4 address",
        ) from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        place: tuple[str, int],
        handler: Callable[..., BaseHTTPRequestHandler],
        context: ssl.SSLContext,
    ) -> None:
        self._context = context
        super().__init__(place, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. Its thread does the handshake, so slow clients block no others."""
        connection, peer = super().get_request()
        connection.settimeout(PATIENCE)
        wrapped = self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        return wrapped, peer

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect or do not speak TLS."""


def _handler(served: Mapping[str, Path]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "lecture-lab", ""
        timeout = PATIENCE

        def do_GET(self) -> None:
            path = served.get(unquote(urlsplit(self.path).path))
            if path is None or not path.is_file():
                self.send_error(404)
                return
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                start = _start(self.headers.get("Range", ""))
                if start and start >= size:
                    self.send_error(416)
                    return
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
                kind = "text/html" if path.suffix == ".html" else "application/octet-stream"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(size - start))
                self.end_headers()
                if self.command == "GET":
                    file.seek(start)
                    shutil.copyfileobj(file, self.wfile, CHUNK)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            """Do not log a room's downloads."""

    return Handler


def _start(wanted: str) -> int:
    """The first byte of a range `bytes=N-`; 0 for any other range, which gives the whole file."""
    unit, _, rest = wanted.partition("=")
    first = rest.removesuffix("-")
    return int(first) if unit == "bytes" and rest.endswith("-") and first.isdigit() else 0
