"""The API server's own opinion: a dry run of the manifests on the lab's cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lab import runner
from lab.config import Settings
from lab.lint.given import Given
from lab.lint.rule import ERROR, Found, rule

# kubectl's words around what the server says.
_NOISE = re.compile(r"^(error: |Error from server \(\w+\): )?(error when \w+ing \S+: )?")


def ask(settings: Settings, given: Given) -> Iterator[Found]:
    """What `kubectl apply --dry-run=server --validate=strict` has against each file.

    Nothing is changed. Raises what practice.running raises when the lab has no cluster.
    """
    from lab.lifecycle import opened

    command = [*opened.running(settings).cluster.command, "apply"]
    command += ["--dry-run=server", "--validate=strict", "--filename=-"]
    # A dry run makes no namespace, so what belongs into a new one is refused for the lack of it.
    made = {item.title for item in given.of("Namespace")}
    for file in given.files:
        if file.tree.documents and not file.tree.failure:
            text = file.source.text.encode()
            answer = runner.run(command, stdin=text, timeout=30, ok=(0, 1))
            for message in complaints(answer.stderr, made):
                yield Found(file, 0, message)


def complaints(stderr: str, made: set[str]) -> list[str]:
    """The sentences of kubectl that are complaints, but for namespaces that the files make."""
    found = []
    for line in filter(None, map(str.strip, stderr.splitlines())):
        missing = re.search(r'namespaces "([^"]+)" not found', line)
        if line.startswith("Warning:") or (missing and f"Namespace `{missing[1]}`" in made):
            continue
        found.append(_NOISE.sub("", line))
    return found


@rule(
    ERROR,
    "The API server refuses it",
    concept="The API server knows more than the schema: ranges, names, what is there already. It "
    "is asked only with `--server`, by a dry run that changes nothing.",
    fix="the sentence is the server's own; `kubectl explain` tells more",
)
def server(given: Given) -> Iterator[Found]:
    # Not a fact about the files: `ask` finds these.
    yield from ()
