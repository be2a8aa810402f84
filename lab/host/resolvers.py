"""The host's name servers: the file that lists them, and those that pods can use."""

from __future__ import annotations

import re
from pathlib import Path

# Files with a host's name servers, the usual file first.
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
# The addresses that `name-servers` of vagrant/machine accepts: neither loopback nor with a zone.
FOUR = re.compile(r"(?!0\.|127\.)[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
SIX = re.compile(r"(?!fe[89ab])[0-9a-f:]*:[0-9a-f:]*", re.IGNORECASE)


def resolver() -> Path | None:
    """The file with the host's name servers; None without a file, or if its link is broken.

    If the usual file only names the host's own resolver, returns systemd's file.
    """
    there = [file for file in RESOLVERS if file.is_file()]
    useful = [file for file in there if name_servers(_text(file))]
    return next(iter((*useful, *there)), None)


def name_servers_of_host() -> list[str]:
    """The host's name servers that pods can use, at most two."""
    file = resolver()
    return name_servers(_text(file)) if file else []


def name_servers(text: str) -> list[str]:
    """The name servers in a resolv.conf that pods can use, at most two.

    A machine applies the same rule to its files. `name-servers` of vagrant/machine explains it.
    """
    lines = [re.findall(r"[^ \t\r]+", line) for line in text.split("\n")]
    given = [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
    four = [address for address in given if FOUR.fullmatch(address)]
    six = [address for address in given if SIX.fullmatch(address)]
    beyond = [address for address in six if re.sub("[0:]", "", address) not in ("", "1")]
    return (four or beyond)[:2]


def _text(file: Path) -> str:
    """A file's text; empty if this user may not read it."""
    try:
        return file.read_bytes().decode(errors="replace")
    except OSError:
        return ""
