"""An instructor's host serves a bundle to the room: over TLS, to be read only.

Nothing is served but what the manifest names, so there is no way out of the folder and no listing.
Beside it a registry can hand on images of another one that the room does not reach.
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

# Seconds that somebody may take for the next word, or for a piece of a file.
PATIENCE = 60
CHUNK = 1 << 20


@dataclass(frozen=True)
class Place:
    """Where the room is served: an address of this host, and the ports of files and of images."""

    address: str
    port: int
    images_port: int


def serve(root: Path, folder: Path, place: Place, upstream: str, status: Status) -> None:
    """Serve a bundle until interrupted, and images of the registry `upstream` where one is given.

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
        status.say(f"serving {folder} at {address} until Ctrl-C; give the room {keys / 'ca.pem'}")
        status.say(f"(its SHA-256 is {fingerprint}), and say:")
        status.say(f"  export {' '.join(f'{name}={value}' for name, value in variables.items())}")
        try:
            room.serve_forever()
        except KeyboardInterrupt:
            status.say("no longer served")


def machine_image(root: Path, folder: Path, status: Status) -> str:
    """The bundle's image of machines, which has a registry inside, loaded where it is missing."""
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
    raise ConfigError(
        f"{folder} has no image of machines for {this_platform()}", hint="invoke bundle"
    )


def registry_settings(place: Place, upstream: str) -> dict[str, Any]:
    """The configuration of a registry that pulls through: such a one takes no pushes."""
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
    """A registry in a container while the block runs; what it has pulled stays in a volume.

    Raises ResourceError with its last words when it does not answer.
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
            raise ResourceError(f"{error}; it says: {said.stderr or said.stdout}") from error

    runner.run(["docker", "rm", "--force", ROOM], ok=(0, 1))
    try:
        with status.step(f"images of {upstream}"):
            runner.run(words)
            wait.until(answers, what="an answer of the room's registry", timeout=20)
        yield
    finally:
        runner.run(["docker", "rm", "--force", ROOM], ok=(0, 1))


def files(folder: Path) -> dict[str, Path]:
    """What is served of a bundle: paths of addresses to files, the manifest and all it names.

    Raises NotFoundError or ConfigError for a folder that is no bundle.
    """
    inside = folder.resolve()
    wanted = [MANIFEST, *(entry.path for entry in entries(folder))]
    paths = {f"/{name}": (folder / name).resolve() for name in wanted}
    return {name: path for name, path in paths.items() if path.is_relative_to(inside)}


def server(served: Mapping[str, Path], keys: Path, address: str, port: int) -> ThreadingHTTPServer:
    """A server that listens already. Raises PrerequisiteError where it cannot."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(keys / "server.pem")
    try:
        return _Server((address, port), _handler(served), context)
    except OSError as error:
        raise PrerequisiteError(
            f"{address}:{port} cannot be listened on: {error.strerror}",
            hint="another --port, or the address of one of this host's cards: ip -4 address",
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
        """The next connection; its thread does the handshake, so nobody holds up the others."""
        connection, peer = super().get_request()
        connection.settimeout(PATIENCE)
        wrapped = self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        return wrapped, peer

    def handle_error(self, request: object, client_address: object) -> None:
        """Somebody who hangs up, or speaks no TLS, is no story."""


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
            """A room's downloads are no story."""

    return Handler


def _start(wanted: str) -> int:
    """The first byte of `bytes=N-`; of any other range it is all that is sent."""
    unit, _, rest = wanted.partition("=")
    first = rest.removesuffix("-")
    return int(first) if unit == "bytes" and rest.endswith("-") and first.isdigit() else 0
