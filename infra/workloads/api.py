"""The cluster's API, asked without a kubectl for every question.

Starting kubectl takes a tenth of a second of processor time, and checks look again and again. One
`kubectl proxy` serves all looks of a process, so any cluster that kubectl reaches is reached.
"""

from __future__ import annotations

import atexit
import functools
import http.client
import json
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Where the kinds are that exercises are about.
GROUPS = (
    "api/v1",
    "apis/apps/v1",
    "apis/batch/v1",
    "apis/discovery.k8s.io/v1",
    "apis/networking.k8s.io/v1",
    "apis/storage.k8s.io/v1",
)
# Seconds until the proxy listens, and until it has an answer.
START = 15
ANSWER = 20


class CannotCheck(Exception):
    """The check could not be made: says nothing about the student's work."""


class _Connection(http.client.HTTPConnection):
    """HTTP by a Unix socket, whose folder nobody else may enter."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER)
        self.sock.connect(str(self._path))


class Api:
    """The API server that KUBECONFIG names, until `close`. Raises CannotCheck without kubectl."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lab-api-")
        path = Path(self._folder.name) / "socket"
        try:
            self._proxy = subprocess.Popen(
                ["kubectl", "proxy", f"--unix-socket={path}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        except FileNotFoundError as error:
            raise CannotCheck(f"kubectl: {error}") from error
        self._connection = _Connection(path)
        deadline = time.monotonic() + START
        # The socket is there a moment before anybody listens to it.
        while not self._listens():
            if self._proxy.poll() is not None or time.monotonic() > deadline:
                self._proxy.kill()
                raise CannotCheck(f"kubectl proxy: {self._proxy.communicate()[1].strip()}")
            time.sleep(0.01)

    def _listens(self) -> bool:
        try:
            self._connection.connect()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End the proxy."""
        self._connection.close()
        self._proxy.terminate()
        self._proxy.communicate()
        self._folder.cleanup()

    def ask(self, path: str) -> tuple[int, str]:
        """HTTP status and body of a GET. Raises CannotCheck when the cluster does not answer."""
        for last in (False, True):
            try:
                self._connection.request("GET", path)
                answer = self._connection.getresponse()
                status, body = answer.status, answer.read().decode(errors="replace")
                break
            except (OSError, http.client.HTTPException) as error:
                # A connection that was idle may have been closed; a new one may not.
                self._connection.close()
                if last:
                    raise CannotCheck(f"the cluster does not answer: {error}") from error
        if status >= 500:
            raise CannotCheck(f"the cluster does not answer: {body.strip()}")
        return status, body

    def read(self, path: str) -> tuple[int, Any]:
        """HTTP status and JSON document of a GET; raises like `ask`."""
        status, body = self.ask(path)
        try:
            return status, json.loads(body)
        except ValueError as error:
            raise CannotCheck(f"the cluster answers {path} with {body[:200]!r}") from error

    def path(self, kind: str, namespace: str, name: str = "", selector: str = "") -> str:
        """Where objects of a kind are (`pods`, `pod`, `po`). Raises CannotCheck for no such kind.

        The namespace counts for kinds that lie in one. `selector` is of labels, as for kubectl -l.
        """
        if kind not in self.kinds:
            raise CannotCheck(f"the cluster knows no {kind}")
        group, plural, namespaced = self.kinds[kind]
        place = f"namespaces/{quote(namespace, safe='')}/" if namespaced else ""
        one = f"/{quote(name, safe='')}" if name else ""
        query = f"?labelSelector={quote(selector)}" if selector else ""
        return f"/{group}/{place}{plural}{one}{query}"

    @functools.cached_property
    def kinds(self) -> dict[str, tuple[str, str, bool]]:
        """Every name of a kind -> its group, its name in paths, and whether it has namespaces."""
        found: dict[str, tuple[str, str, bool]] = {}
        for group in GROUPS:
            for item in self.read(f"/{group}")[1].get("resources", []):
                # `pods/log` and its like are parts of a kind.
                if "/" not in item["name"]:
                    place = (group, item["name"], item["namespaced"])
                    for name in (item["name"], item["kind"].lower(), *item.get("shortNames", ())):
                        found.setdefault(name, place)
        return found


@functools.cache
def server() -> Api:
    """The one that this process shares; ended with it."""
    api = Api()
    atexit.register(api.close)
    return api
