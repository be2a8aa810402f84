"""kubectl against one cluster, and its proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.workloads.api import CannotCheck, Proxy
from lab import runner
from lab.config import Lab
from lab.errors import ResourceError


def kubectl(lab: Lab, tools: Path, *words: str, stdin: str = "", timeout: float = 15) -> str:
    """Run kubectl against this lab's cluster and no other."""
    given = stdin.encode() if stdin else None
    command = [*client(lab, tools), *words]
    return runner.run(command, stdin=given, timeout=timeout).stdout


def client(lab: Lab, tools: Path) -> list[str]:
    """The words that every call of kubectl begins with."""
    config, cache = lab.state / "kubeconfig", lab.state / "kube-cache"
    return [str(tools / "kubectl"), f"--kubeconfig={config}", f"--cache-dir={cache}"]


@contextmanager
def proxy(lab: Lab, tools: Path) -> Iterator[Path]:
    """The socket of a `kubectl proxy` while the block runs: to look without a kubectl every time.

    Raises ResourceError when it does not start.
    """
    try:
        started = Proxy(client(lab, tools))
    except CannotCheck as error:
        raise ResourceError(str(error)) from error
    try:
        yield started.socket
    finally:
        started.close()


def get(lab: Lab, tools: Path, *words: str) -> list[dict[str, Any]]:
    """`kubectl get ... -o json`: the items of a list."""
    answer = json.loads(kubectl(lab, tools, "get", *words, "--output", "json"))
    items: list[dict[str, Any]] = answer.get("items", [answer])
    return items
