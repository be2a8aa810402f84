"""News of the API server as they come: watches, each on a connection of its own.

kubectl can watch one kind at a time and takes 0.1 s to start; these stand before anything happens.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from lab.cluster.kubeconfig import access, context
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
