"""Ask the API server: a dry run of the manifests on the lab's cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lab import runner
from lab.config import Settings
from lab.lint.given import Given
from lab.lint.rule import ERROR, Found, rule

# The prefixes that kubectl adds to the server's message.
_NOISE = re.compile(r"^(error: |Error from server \(\w+\): )?(error when \w+ing \S+: )?")


def ask(settings: Settings, given: Given) -> Iterator[Found]:
    """The errors of `kubectl apply --dry-run=server --validate=strict` for each file.

    Changes nothing. Raises what opened.running raises if the lab has no cluster.
    """
    from lab.lifecycle import opened

    command = [*opened.running(settings).cluster.command, "apply"]
    command += ["--dry-run=server", "--validate=strict", "--filename=-"]
    # A dry run creates no namespaces, so the server rejects the objects of new ones.
    made = {item.title for item in given.of("Namespace")}
    for file in given.files:
        if file.tree.documents and not file.tree.failure:
            text = file.source.text.encode()
            answer = runner.run(command, stdin=text, timeout=30, ok=(0, 1))
            for message in complaints(answer.stderr, made):
                yield Found(file, 0, message)


def complaints(stderr: str, made: set[str]) -> list[str]:
    """The errors in kubectl's output, except for namespaces that the files create.

    `made` has the titles of these Namespaces.
    """
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
    concept="The API server knows more than the schema: ranges, names and existing objects. Lint "
    "asks it only with `--server`, by a dry run that changes nothing.",
    fix="read the server's message; `kubectl explain` describes each field",
)
def server(given: Given) -> Iterator[Found]:
    # This rule cannot check the files. `ask` yields its findings.
    yield from ()
