"""A client of the cluster's API that does not start kubectl for every request.

Starting kubectl takes 0.1 s of processor time, and checks send many requests. One `kubectl proxy`
serves the requests of one process or several, so the client reaches every cluster that kubectl
reaches.
"""

from __future__ import annotations

import atexit
import functools
import http
import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import websocket

# The API groups of the exercises' kinds.
GROUPS = (
    "api/v1",
    "apis/apps/v1",
    "apis/batch/v1",
    "apis/discovery.k8s.io/v1",
    "apis/networking.k8s.io/v1",
    "apis/storage.k8s.io/v1",
)
# The variable with the socket of a proxy that serves several processes.
SOCKET = "LAB_API_SOCKET"
# Seconds until the proxy listens, and until it answers.
START = 15
ANSWER = 20
# A gateway that cannot reach the cluster answers with one of these.
GATEWAY = (http.HTTPStatus.BAD_GATEWAY, http.HTTPStatus.SERVICE_UNAVAILABLE)
# The answers of an overloaded API server or etcd, and the seconds for which the client retries.
BUSY = (
    http.HTTPStatus.TOO_MANY_REQUESTS,
    http.HTTPStatus.INTERNAL_SERVER_ERROR,
    http.HTTPStatus.SERVICE_UNAVAILABLE,
    http.HTTPStatus.GATEWAY_TIMEOUT,
)
PATIENCE = 5
# The protocol of a command in a container, the newest first, and its channels:
# https://pkg.go.dev/k8s.io/apimachinery/pkg/util/remotecommand
REMOTE_COMMAND = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDOUT, STDERR, ENDED = 1, 2, 3


class CannotCheck(Exception):
    """The check could not be made: says nothing about the student's work."""


class _Connection(http.client.HTTPConnection):
    """HTTP by a Unix socket in a private folder."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER)
        self.sock.connect(str(self.path))


# Runs a program, terminates it and removes its folder ($0) when its input is closed. The proxy must
# not outlive a parent that was killed, because its socket gives access to the cluster.
TIED = """\
exec 3<&0
{ read -r end <&3; kill $$; rm -rf "$0"; } 2>/dev/null &
exec "$@" 3<&- </dev/null
"""


class Proxy:
    """A `kubectl proxy` until `close`, whose socket leads to the cluster.

    `command` is kubectl with the options that select the cluster. Raises CannotCheck when the proxy
    does not start.
    """

    def __init__(self, command: Sequence[str] = ("kubectl",)) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lab-api-")
        self.socket = Path(self._folder.name) / "socket"
        # By default, it rejects commands in containers, because others might reach it.
        words = [*command, "proxy", f"--unix-socket={self.socket}", "--reject-paths=^$"]
        self._process = subprocess.Popen(
            ["sh", "-c", TIED, self._folder.name, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + START
        # The socket exists a moment before the proxy listens.
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise CannotCheck(f"kubectl proxy: {self._process.communicate()[1].strip()}")
            time.sleep(0.01)

    def close(self) -> None:
        """Stop the proxy."""
        self._process.terminate()
        self._process.communicate()
        self._folder.cleanup()

    def _listens(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(str(self.socket))
        except OSError:
            return False
        return True


class Api:
    """Questions to the cluster by the socket of a proxy; for one thread. Only `execute`, which
    opens a connection of its own, may go on in others."""

    def __init__(self, path: Path) -> None:
        self._connection = _Connection(path)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, path: str, method: str = "GET", document: Any = None) -> tuple[int, str]:
        """HTTP status and body of the answer. Raises CannotCheck when there is none.

        Retries while the cluster is overloaded, unless the request changes something.
        """
        deadline = time.monotonic() + PATIENCE
        status, body = self._exchange(path, method, document)
        while method == "GET" and status in BUSY and time.monotonic() < deadline:
            time.sleep(0.2)
            status, body = self._exchange(path, method, document)
        if status >= 500:
            raise CannotCheck(f"the cluster does not answer: {body.strip()}")
        return status, body

    def _exchange(self, path: str, method: str, document: Any) -> tuple[int, str]:
        sent = None if document is None else json.dumps(document)
        headers = {"Content-Type": "application/json"} if sent else {}
        for _ in range(2):
            try:
                self._connection.request(method, path, sent, headers)
                answer = self._connection.getresponse()
                return answer.status, answer.read().decode(errors="replace")
            except (OSError, http.client.HTTPException) as error:
                # The server may have closed an idle connection, but not a new one.
                self._connection.close()
                silence = error
        raise CannotCheck(f"the cluster does not answer: {silence}") from silence

    def read(self, path: str, method: str = "GET", document: Any = None) -> tuple[int, Any]:
        """HTTP status and JSON document of the answer; raises like `ask`."""
        status, body = self.ask(path, method, document)
        try:
            return status, json.loads(body)
        except ValueError as error:
            raise CannotCheck(f"the cluster answers {path} with {body[:200]!r}") from error

    def execute(
        self, namespace: str, pod: str, container: str, command: Sequence[str]
    ) -> tuple[int, str]:
        """Run a command in a container: its exit code, and what it wrote, both streams together.

        Where it could not be begun the code is 1, and the text says why. Raises CannotCheck when
        the cluster does not answer.
        """
        wanted = [("container", container), ("stdout", "true"), ("stderr", "true")]
        query = urlencode([*wanted, *(("command", word) for word in command)])
        place = f"{self.path('pod', namespace, pod)}/exec?{query}"
        try:
            with closing(socket.socket(socket.AF_UNIX)) as way:
                way.settimeout(ANSWER)
                way.connect(str(self._connection.path))
                return _heard(
                    websocket.create_connection(
                        f"ws://localhost{place}", socket=way, subprotocols=REMOTE_COMMAND
                    )
                )
        except websocket.WebSocketBadStatusException as error:
            text = (error.resp_body or b"").decode(errors="replace")
            if error.status_code in GATEWAY:
                raise CannotCheck(f"the cluster does not answer: {text.strip()}") from error
            return 1, text
        except (OSError, websocket.WebSocketException) as error:
            raise CannotCheck(f"the cluster does not answer: {error}") from error

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


def _heard(connection: websocket.WebSocket) -> tuple[int, str]:
    """Exit code and output of the command at the other end, which has begun."""
    output, ended = b"", b""
    # The exit status comes last. The server may already be gone when a client waits for the close.
    while not ended:
        kind, message = connection.recv_data()
        if kind == websocket.ABNF.OPCODE_CLOSE:
            break
        if message[0] in (STDOUT, STDERR):
            output += message[1:]
        elif message[0] == ENDED:
            ended = message[1:]
    status = json.loads(ended or b"{}")
    causes = status.get("details", {}).get("causes", [])
    codes = [int(one["message"]) for one in causes if one.get("reason") == "ExitCode"]
    failed = status.get("status") != "Success"
    if failed and not codes:
        output += str(status.get("message", "")).encode()
    return (codes or [int(failed)])[0], output.decode(errors="replace")


@functools.cache
def server() -> Api:
    """The one of this process: by the socket that LAB_API_SOCKET names, or by a proxy of its own.

    That proxy is for the cluster that KUBECONFIG names, and ends with the process.
    """
    given = os.environ.get(SOCKET)
    if not given:
        proxy = Proxy()
        atexit.register(proxy.close)
    return Api(Path(given) if given else proxy.socket)
