"""Watches of the API server, each on a connection of its own.

kubectl watches one kind at a time and takes 0.1 s to start. These watches are open beforehand.
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

# Seconds after which the API server ends a watch by itself.
LONGEST = 300


@dataclass(frozen=True)
class News:
    """One event of a watch.

    `time` is when it arrived, in seconds since 1970 by the host's clock. `change` is ADDED,
    MODIFIED or DELETED, and `item` is the object.
    """

    time: float
    change: str
    item: dict[str, Any]


@contextmanager
def watching(kubeconfig: Path, paths: Sequence[str]) -> Iterator[list[News]]:
    """Watch these paths of the API while the block runs; the list grows with each event.

    All watches are open when the block starts. Raises ResourceError when one is rejected.
    """
    given = access(kubeconfig.read_text())
    tls = context(given)
    news: list[News] = []
    connections: list[HTTPSConnection] = []

    def follow(answer: Any) -> None:
        # The end of the block shuts the connection, also in the middle of an event.
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
                    f"cannot watch the API server: {error}", hint="invoke lab-status"
                ) from error
            if answer.status != 200:
                raise ResourceError(f"the API server rejects a watch of {path}: {answer.status}")
            threading.Thread(target=follow, args=(answer,), daemon=True).start()
        yield news
    finally:
        for connection in connections:
            with suppress(OSError):
                if connection.sock:
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
