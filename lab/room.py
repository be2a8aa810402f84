"""An instructor's host serves a bundle to the room: over TLS, to be read only.

Nothing is served but what the manifest names, so there is no way out of the folder and no listing.
The certificate authority is made for one address and can vouch for no other.
"""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import ssl
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.bundle import entries
from lab.errors import ConfigError, PrerequisiteError
from lab.output import Status
from lab.state import write_aside
from lab.toolchain.mirror import MANIFEST

# A course, and the days before its end on which a new authority is made.
VALID, RENEW = datetime.timedelta(days=365), datetime.timedelta(days=30)
# Seconds that somebody may take for the next word, or for a piece of a file.
PATIENCE = 60
CHUNK = 1 << 20


def serve(root: Path, folder: Path, address: str, port: int, status: Status) -> None:
    """Serve a bundle until interrupted. Raises what `files`, `identity` and `server` raise."""
    served = files(folder)
    keys = identity(root / ".lab" / ".room", address)
    with server(served, keys, address, port) as room:
        place = f"https://{address}:{room.server_port}"
        fingerprint = certificate(keys / "ca.pem").fingerprint(hashes.SHA256()).hex()
        status.say(f"serving {folder} at {place} until Ctrl-C; give the room {keys / 'ca.pem'}")
        status.say(f"(its SHA-256 is {fingerprint}), and say:")
        status.say(f"  export LAB_MIRROR={place} LAB_CA=ca.pem")
        try:
            room.serve_forever()
        except KeyboardInterrupt:
            status.say("no longer served")


def files(folder: Path) -> dict[str, Path]:
    """What is served of a bundle: paths of addresses to files, the manifest and all it names.

    Raises NotFoundError or ConfigError for a folder that is no bundle.
    """
    inside = folder.resolve()
    wanted = [MANIFEST, *(entry.path for entry in entries(folder))]
    paths = {f"/{name}": (folder / name).resolve() for name in wanted}
    return {name: path for name, path in paths.items() if path.is_relative_to(inside)}


def identity(folder: Path, address: str) -> Path:
    """The folder of an address with ca.pem, and with a fresh server.pem signed by that authority.

    Raises ConfigError for an address that is none of a network card's.
    """
    try:
        number = IPv4Address(address)
    except ValueError:
        raise ConfigError(f"{address!r} is no IPv4 address", hint="see: ip -4 address") from None
    if number.is_unspecified:
        raise ConfigError(
            f"{address} is no address that the room could use",
            hint="the address of one network card: ip -4 address",
        )
    place = folder / address
    key_file, ca_file = place / "ca.key", place / "ca.pem"
    now = datetime.datetime.now(datetime.UTC)
    if not ca_file.exists() or certificate(ca_file).not_valid_after_utc - RENEW < now:
        key = ec.generate_private_key(ec.SECP256R1())
        write_aside(key_file, private(key))
        write_aside(ca_file, public(authority(key, number, now)), mode=0o644)
    loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    own = ec.generate_private_key(ec.SECP256R1())
    issued = issue(loaded, certificate(ca_file), own, number, now)
    write_aside(place / "server.pem", private(own) + public(issued))
    return place


def authority(
    key: ec.EllipticCurvePrivateKey, address: IPv4Address, now: datetime.datetime
) -> x509.Certificate:
    """A certificate authority for one address: what it signs for others nobody accepts."""
    name = _name(f"Kubernetes lecture lab: {address}")
    only = [x509.IPAddress(IPv4Network(address)), x509.DNSName("invalid")]
    builder = _certificate(name, name, key, now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(x509.NameConstraints(only, None), critical=True)
    return builder.sign(key, hashes.SHA256())


def issue(
    ca_key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    address: IPv4Address,
    now: datetime.datetime,
) -> x509.Certificate:
    """A server's certificate for an address."""
    names = x509.SubjectAlternativeName([x509.IPAddress(address)])
    builder = _certificate(_name("mirror"), ca.subject, key, now)
    builder = builder.add_extension(names, critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def certificate(file: Path) -> x509.Certificate:
    """The certificate in a file."""
    return x509.load_pem_x509_certificate(file.read_bytes())


def private(key: ec.EllipticCurvePrivateKey) -> str:
    """A private key as PEM, not encrypted: for files that nobody else may read."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def public(signed: x509.Certificate) -> str:
    """A certificate as PEM."""
    return signed.public_bytes(serialization.Encoding.PEM).decode()


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


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A room's clocks do not all agree.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + VALID)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
