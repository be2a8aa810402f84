"""The host's name servers: where it lists them, and which of them pods may ask."""

from __future__ import annotations

import re
from pathlib import Path

# Where a host lists its name servers, the usual place first.
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
# Addresses as `name-servers` of vagrant/machine takes them: neither loopback nor with a zone.
FOUR = re.compile(r"(?!0\.|127\.)[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
SIX = re.compile(r"(?!fe[89ab])[0-9a-f:]*:[0-9a-f:]*", re.IGNORECASE)


def resolver() -> Path | None:
    """The host's list of name servers; None where there is none, or where its link leads nowhere.

    Where the usual one has only a resolver of the host's own, systemd's list of those that it asks.
    """
    there = [file for file in RESOLVERS if file.is_file()]
    useful = [file for file in there if name_servers(_text(file))]
    return next(iter((*useful, *there)), None)


def name_servers_of_host() -> list[str]:
    """The name servers that this host has for pods, two at most."""
    file = resolver()
    return name_servers(_text(file)) if file else []


def name_servers(text: str) -> list[str]:
    """The addresses in a resolv.conf that pods may ask, two at most.

    A machine reads its files by the same rule: vagrant/machine's `name-servers` says why.
    """
    lines = [re.findall(r"[^ \t\r]+", line) for line in text.split("\n")]
    given = [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
    four = [address for address in given if FOUR.fullmatch(address)]
    six = [address for address in given if SIX.fullmatch(address)]
    beyond = [address for address in six if re.sub("[0:]", "", address) not in ("", "1")]
    return (four or beyond)[:2]


def _text(file: Path) -> str:
    """A file's text; empty where this user may not read it."""
    try:
        return file.read_bytes().decode(errors="replace")
    except OSError:
        return ""
