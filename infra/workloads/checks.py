"""What checks are made of: a view of the live cluster, and waiting with a limit."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
Object = dict[str, Any]
# GET an address from the host: status code and body; code 0 and the reason when nobody answers.
Fetch = Callable[[str], tuple[int, str]]
UNREACHABLE = ("was refused", "Unable to connect", "i/o timeout", "no such host", "TLS handshake")


class CannotCheck(Exception):
    """The check could not be made: says nothing about the student's work."""


class Cluster:
    """A read-mostly view of the cluster through kubectl."""

    def kubectl(self, *words: str, timeout: float = 20) -> tuple[int, str]:
        """Exit code and output (both streams) of one kubectl call."""
        try:
            done = subprocess.run(
                ["kubectl", *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise CannotCheck(f"kubectl: {error}") from error
        output = done.stdout + done.stderr
        if done.returncode and any(words in output for words in UNREACHABLE):
            raise CannotCheck(f"the cluster does not answer: {output.strip()}")
        return done.returncode, output

    def get(self, kind: str, name: str, namespace: str) -> Object:
        """One object; fails the check when it does not exist."""
        command = ("get", kind, name, "--namespace", namespace)
        code, output = self.kubectl(*command, "--output", "json")
        if code:
            pytest.fail(
                f"expected {kind} `{name}` in namespace `{namespace}`, but: {output.strip()}\n"
                f"look: kubectl get {kind} --namespace {namespace}",
                pytrace=False,
            )
        answer: Object = json.loads(output)
        return answer

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """All objects of a kind in a namespace, those being deleted left out."""
        options = ["--selector", selector] if selector else []
        code, output = self.kubectl(
            "get", kind, "--namespace", namespace, *options, "--output", "json"
        )
        if code:
            raise CannotCheck(output.strip())
        items: list[Object] = json.loads(output)["items"]
        return [item for item in items if "deletionTimestamp" not in item["metadata"]]

    def logs(self, pod: str, namespace: str) -> str:
        """What a pod printed, at most its first 100 kB."""
        return self.kubectl("logs", pod, "--namespace", namespace, "--limit-bytes=100000")[1]

    def run_in(self, pod: str, namespace: str, *command: str) -> tuple[int, str]:
        """Run a command inside a pod; exit code and output."""
        return self.kubectl("exec", pod, "--namespace", namespace, "--", *command)


def ready(pod: Object) -> bool:
    """Whether a pod runs and is Ready."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def eventually(probe: Callable[[], T | None], seconds: float = 20) -> T | None:
    """The first answer of `probe` that is true, or its last one when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(0.2)


def answering(fetch: Fetch, url: str) -> tuple[int, str] | None:
    """The answer from an address when it is a good one."""
    found = fetch(url)
    return found if found[0] == 200 else None
