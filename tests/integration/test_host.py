"""Facts about a host from its own kernel."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.integration.conftest import ROOT

# Routes of a network namespace. As with a VPN, the kernel looks up table 52 before the main one.
ROUTES = """
set -e
ip link set lo up
ip address add 192.168.1.5/16 dev lo
ip route add 10.9.0.0/16 dev lo
ip rule add priority 5200 lookup 52
ip route add 192.168.58.0/24 dev lo table 52
ip route add unreachable 172.20.0.0/16 table 53
ip route add 0.0.0.0/1 dev lo
exec "$0" -c "from lab.host.facts import _read, parse_routes
print(*parse_routes(_read('/proc/net/fib_trie')))"
"""


def test_routes_of_every_table_are_seen() -> None:
    alone = ["unshare", "--net", *(["--user", "--map-root-user"] if os.geteuid() else [])]
    words = [*alone, "sh", "-c", ROUTES, sys.executable]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = set(done.stdout.split())
    assert {"10.9.0.0/16", "192.168.58.0/24", "172.20.0.0/16", "192.168.1.5/32"} <= found
    assert "0.0.0.0/1" not in found
