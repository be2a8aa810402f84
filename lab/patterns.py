"""Regular expressions for numbers in a range and for networks, as JSON Schema needs them.

They use what Python and ECMA-262 understand alike: literals, `[0-9]` and groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network


def numbers(low: int, high: int) -> str:
    """Alternatives that match the decimal numbers from `low` to `high`, without leading zeros."""
    found: list[str] = []
    for length in range(len(str(low)), len(str(high)) + 1):
        smallest = 10 ** (length - 1) if length > 1 else 0
        found += _equally_long(str(max(low, smallest)), str(min(high, 10**length - 1)))
    return "|".join(found)


def _equally_long(first: str, last: str) -> list[str]:
    """The same for two numbers with equally many digits."""
    if first[:1] == last[:1]:
        rest = _equally_long(first[1:], last[1:]) if first else [""]
        return [first[:1] + more for more in rest]
    below, above = int(first[0]), int(last[0])
    zeros, nines = "0" * (len(first) - 1), "9" * (len(first) - 1)
    begin, end = [], []
    if first[1:] != zeros:
        begin = [first[0] + more for more in _equally_long(first[1:], nines)]
        below += 1
    if last[1:] != nines:
        end = [last[0] + more for more in _equally_long(zeros, last[1:])]
        above -= 1
    middle = [f"{_digit(below, above)}{'[0-9]' * len(zeros)}"] if below <= above else []
    return [*begin, *middle, *end]


def _digit(low: int, high: int) -> str:
    return str(low) if low == high else f"[{low}-{high}]"


OCTET = f"(?:{numbers(0, 255)})"


def networks(prefixes: Iterable[int]) -> str:
    """Alternatives that match every IPv4 network with one of these prefixes."""
    return "|".join(f"{_network(prefix)}/{prefix}" for prefix in prefixes)


def _network(prefix: int) -> str:
    """Addresses whose bits after the prefix are 0."""
    octets = []
    for begin in range(0, 32, 8):
        free = 8 - min(max(prefix - begin, 0), 8)
        multiples = "|".join(map(str, range(0, 256, 2**free)))
        octets.append("0" if free == 8 else f"(?:{multiples})" if free else OCTET)
    return r"\.".join(octets)


def subnets(inside: Iterable[IPv4Network], prefix: int) -> str:
    """Alternatives that match every network with this prefix inside one of these networks.

    `prefix` is 8, 16 or 24, and none of the networks is smaller.
    """
    return "|".join(f"{_subnet(network, prefix)}/{prefix}" for network in inside)


def _subnet(network: IPv4Network, prefix: int) -> str:
    first, last = network.network_address.packed, network.broadcast_address.packed
    octets = [
        str(low) if low == high else f"(?:{numbers(low, high)})"
        for low, high in zip(first, last, strict=True)
    ]
    fixed = prefix // 8
    return r"\.".join(octets[:fixed] + ["0"] * (4 - fixed))
