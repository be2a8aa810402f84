"""Serve a bundle over TLS. Clients must trust the room's CA, and get no other file."""

from __future__ import annotations

import datetime
import http.client
import socket
import ssl
import stat
import threading
import urllib.request
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.errors import ConfigError, NotFoundError, PrerequisiteError
from lab.offline import authority, serve
from lab.output import Status
from lab.toolchain import mirror
from lab.toolchain.mirror import Entry, Mirrored
from lab.toolchain.store import file_digest

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with one tool. The server must not serve the other files."""
    place = tmp_path / "bundle"
    (place / "tools").mkdir(parents=True)
    (place / "tools" / "a tool").write_bytes(CONTENT)
    (tmp_path / "secret").write_text("secret")
    (place / "notes").write_text("mine")
    (place / "tools" / "link").symlink_to(tmp_path / "secret")
    digest = file_digest(place / "tools" / "a tool").partition(":")[2]
    entries = {
        "tool": Entry("tools/a tool", digest, len(CONTENT)),
        "link": Entry("tools/link", "0" * 64),
    }
    text = mirror.render([Mirrored("tool", "1.0", entries)], "linux-amd64")
    (place / "manifest.toml").write_text(text)
    return place


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return authority.identity(tmp_path / "keys", "127.0.0.1")


@pytest.fixture
def port(folder: Path, keys: Path) -> Iterator[int]:
    """The port of a running server for a room."""
    with serve.server(serve.files(folder), keys, "127.0.0.1", 0) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield served.server_port
        served.shutdown()


@pytest.fixture
def client(port: int, keys: Path) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)


def ask(
    client: http.client.HTTPSConnection, method: str, path: str, **headers: str
) -> tuple[int, bytes]:
    client.request(method, path, headers=headers)
    answer = client.getresponse()
    return answer.status, answer.read()


def test_only_clients_that_trust_the_ca_read_the_mirror(
    port: int, keys: Path, tmp_path: Path, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"https://127.0.0.1:{port}"
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(ConfigError, match="CERTIFICATE_VERIFY_FAILED"):
        mirror.read(address, "linux-amd64")
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("SSL_CERT_FILE", str(keys / "ca.pem"))
    item = mirror.read(address, "linux-amd64")["tool"]
    wanted = Mirrored("tool", "1.0", {"tool": item.files["tool"]})
    target = tmp_path / "target"
    target.mkdir()
    mirror.fetch(address, wanted, target, tmp_path / "downloads", status)
    assert (target / "tool").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/tools", "/tools/", "/notes", "/tools/link", "/secret"),
        *("/../secret", "/tools/../../secret", "/%2e%2e/secret", "/tools/..%2f..%2fsecret"),
    ],
)
def test_no_other_file_is_served(client: http.client.HTTPSConnection, path: str) -> None:
    assert ask(client, "GET", path)[0] == 404
    assert ask(client, "GET", "/manifest.toml")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_the_server_is_read_only(
    client: http.client.HTTPSConnection, folder: Path, method: str
) -> None:
    assert ask(client, method, "/manifest.toml")[0] == 501
    assert (folder / "tools" / "a tool").read_bytes() == CONTENT


def test_range_and_head_requests_are_answered(client: http.client.HTTPSConnection) -> None:
    path = "/tools/a%20tool"
    assert ask(client, "HEAD", path) == (200, b"")
    assert ask(client, "GET", path, Range="bytes=1000-") == (206, CONTENT[1000:])
    assert ask(client, "GET", path, Range="bytes=5-9") == (200, CONTENT)
    assert ask(client, "GET", path, Range=f"bytes={len(CONTENT)}-")[0] == 416
    assert ask(client, "GET", path) == (200, CONTENT)


def test_a_silent_client_does_not_delay_others(
    port: int, client: http.client.HTTPSConnection
) -> None:
    with socket.create_connection(("127.0.0.1", port), 5):
        assert ask(client, "HEAD", "/manifest.toml")[0] == 200


def test_keys_are_private_and_kept(tmp_path: Path, keys: Path) -> None:
    for name in ("ca.key", "server.pem"):
        assert stat.S_IMODE((keys / name).stat().st_mode) == 0o600
    before = (keys / "ca.pem").read_text()
    assert authority.identity(tmp_path / "keys", "127.0.0.1") == keys
    assert (keys / "ca.pem").read_text() == before
    assert "PRIVATE" not in before


def test_an_authority_that_expires_soon_is_replaced(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (keys / "ca.pem").read_text()
    monkeypatch.setattr(authority, "RENEW", authority.VALID + datetime.timedelta(days=1))
    authority.identity(tmp_path / "keys", "127.0.0.1")
    assert (keys / "ca.pem").read_text() != before


def test_the_authority_is_valid_for_one_address(tmp_path: Path, folder: Path, keys: Path) -> None:
    """A client rejects a certificate for another address, although the same key has signed it."""
    key = serialization.load_pem_private_key((keys / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    own = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    ca = authority.certificate(keys / "ca.pem")
    forged = authority.issue(key, ca, own, IPv4Address("127.0.0.2"), now)
    other = tmp_path / "other"
    other.mkdir()
    (other / "server.pem").write_text(authority.private(own) + authority.public(forged))
    context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    with serve.server(serve.files(folder), other, "127.0.0.2", 0) as served:
        threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
        client = http.client.HTTPSConnection(
            "127.0.0.2", served.server_port, timeout=10, context=context
        )
        with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
            ask(client, "GET", "/manifest.toml")
        served.shutdown()


@pytest.mark.parametrize("address", ["0.0.0.0", "localhost", "::", "256.1.1.1"])
def test_an_address_that_clients_cannot_use_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        authority.identity(tmp_path, address)


def test_a_port_in_use_is_refused(folder: Path, keys: Path, port: int) -> None:
    with pytest.raises(PrerequisiteError, match=f"cannot listen on 127.0.0.1:{port}"):
        serve.server(serve.files(folder), keys, "127.0.0.1", port)


def test_a_folder_without_a_bundle_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        serve.files(tmp_path)
