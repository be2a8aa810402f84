"""The client of a cluster, which can be any cluster that a kubeconfig names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.workloads.api import CannotCheck, Proxy
from lab import runner
from lab.cluster.objects import Object, listing
from lab.config import Lab
from lab.errors import ResourceError


@dataclass(frozen=True)
class Cluster:
    """A Kubernetes cluster; it knows nothing of machines.

    `kubeconfig` is the file that names it, `program` is kubectl, and `cache` is the folder where
    kubectl keeps what it has discovered of the cluster's API.
    """

    kubeconfig: Path
    program: Path
    cache: Path

    @property
    def command(self) -> list[str]:
        """The first words of every kubectl command, which select this cluster."""
        return [
            str(self.program),
            f"--kubeconfig={self.kubeconfig}",
            f"--cache-dir={self.cache}",
        ]

    def kubectl(self, *words: str, stdin: str = "", timeout: float = 15) -> str:
        """Run kubectl and return what it prints; `timeout` in seconds.

        Raises CommandError with the end of its output when it fails, and DeadlineExceeded.
        """
        given = stdin.encode() if stdin else None
        return runner.run([*self.command, *words], stdin=given, timeout=timeout).stdout

    def get(self, *words: str) -> list[Object]:
        """The objects that `kubectl get` finds; raises what `kubectl` raises."""
        answer = json.loads(self.kubectl("get", *words, "--output", "json"))
        items: list[Object] = answer.get("items", [answer])
        return items

    def raw(self, path: str) -> str:
        """The API server's answer to a path such as /version; raises what `kubectl` raises."""
        return self.kubectl("get", "--raw", path)

    def apply(
        self, objects: Sequence[Mapping[str, Any]], namespace: str = "", timeout: float = 60
    ) -> None:
        """Create or change objects; raises what `kubectl` raises."""
        text = listing(objects)
        self.kubectl(
            *in_namespace(namespace), "apply", "--filename", "-", stdin=text, timeout=timeout
        )

    def create_namespace(self, name: str) -> None:
        """Create a namespace; raises CommandError when there is one of this name."""
        self.kubectl("create", "namespace", name)

    def remove_namespace(self, name: str, *, wait: bool = True, timeout: float = 90) -> None:
        """Delete a namespace with all that is in it, if there is one of this name.

        Returns when it is gone, or at once without `wait`. Raises what `kubectl` raises.
        """
        words = ("delete", "namespace", name, "--ignore-not-found", f"--wait={str(wait).lower()}")
        self.kubectl(*words, timeout=timeout)

    @contextmanager
    def proxy(self) -> Iterator[Path]:
        """The socket of a `kubectl proxy` while the block runs, which saves a kubectl per request.

        Raises ResourceError when it does not start.
        """
        try:
            started = Proxy(self.command)
        except CannotCheck as error:
            raise ResourceError(str(error)) from error
        try:
            yield started.socket
        finally:
            started.close()


def cluster_of(lab: Lab, tools: Path) -> Cluster:
    """The cluster of a lab; `tools` is the folder of the lab's programs."""
    return Cluster(lab.state / "kubeconfig", tools / "kubectl", lab.state / "kube-cache")


def in_namespace(namespace: str) -> list[str]:
    """The words of a kubectl command that select a namespace; none for an empty name."""
    return ["--namespace", namespace] if namespace else []
