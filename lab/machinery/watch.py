"""News of the API server as they come: watches, each on a connection of its own.

kubectl can watch one kind at a time and takes 0.1 s to start; these stand before anything happens.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from lab.errors import ResourceError

# The API server ends a watch by itself when nobody does.
LONGEST = 300


@dataclass(frozen=True)
class News:
    """One message of a watch: when it came (seconds since 1970, by the host's clock), whether the
    object was ADDED, MODIFIED or DELETED, and the object."""

    time: float
    change: str
    item: dict[str, Any]


@dataclass(frozen=True)
class Access:
    """What a kubeconfig says of a cluster: where it is, whom to trust, and who asks (all PEM)."""

    host: str
    port: int
    authority: str
    certificate: str
    key: str


def access(kubeconfig: str) -> Access:
    """The first cluster and user of a kubeconfig that carries its certificates in itself."""
    content = yaml.safe_load(kubeconfig)
    server, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
    address = urlsplit(server["server"])
    parts = (
        server["certificate-authority-data"],
        user["client-certificate-data"],
        user["client-key-data"],
    )
    authority, certificate, key = (base64.b64decode(part).decode() for part in parts)
    return Access(address.hostname or "", address.port or 443, authority, certificate, key)


def context(given: Access) -> ssl.SSLContext:
    """TLS with the user's certificate, which Python reads from a file only."""
    made = ssl.create_default_context(cadata=given.authority)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(given.certificate + given.key)
        file.flush()
        made.load_cert_chain(file.name)
    return made


@contextmanager
def watching(kubeconfig: Path, paths: Sequence[str]) -> Iterator[list[News]]:
    """Watch these paths of the API while the block runs; the list grows as news come.

    When the block begins, every watch stands. Raises ResourceError where one is refused.
    """
    given = access(kubeconfig.read_text())
    tls = context(given)
    news: list[News] = []
    connections: list[HTTPSConnection] = []

    def follow(answer: Any) -> None:
        # Ended by a shut connection, in the middle of whatever was being read.
        with suppress(OSError, ValueError, HTTPException, AttributeError):
            for line in answer:
                now = time.time()
                message = json.loads(line)
                news.append(News(now, message["type"], message["object"]))

    try:
        for path in paths:
            connection = HTTPSConnection(given.host, given.port, timeout=LONGEST, context=tls)
            connections.append(connection)
            try:
                connection.request("GET", f"{path}?watch=1&timeoutSeconds={LONGEST}")
                answer = connection.getresponse()
            except OSError as error:
                raise ResourceError(
                    f"the API server cannot be watched: {error}", hint="invoke lab-status"
                ) from error
            if answer.status != 200:
                raise ResourceError(f"the API server refuses to watch {path}: {answer.status}")
            threading.Thread(target=follow, args=(answer,), daemon=True).start()
        yield news
    finally:
        for connection in connections:
            with suppress(OSError):
                if connection.sock:
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
