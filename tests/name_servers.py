"""What pods may ask of a resolv.conf. Two programs read it: lab/host/resolvers.py on the host, and
vagrant/machine's `name-servers` on a machine. Both are tried with this table."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, list[str]]] = {
    "nothing": ("", []),
    "one": ("nameserver 192.0.2.53\n", ["192.0.2.53"]),
    "no newline at the end": ("nameserver 192.0.2.53", ["192.0.2.53"]),
    "at most two": (
        "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n",
        ["192.0.2.1", "192.0.2.2"],
    ),
    "a router that announces itself by IPv6": (
        "# NetworkManager\nsearch campus.example.org\nnameserver fe80::1%wlan0\n"
        "nameserver 192.0.2.53\noptions edns0 trust-ad\n",
        ["192.0.2.53"],
    ),
    "tabs": ("nameserver\t127.0.0.53\nnameserver\t \t192.0.2.53\n", ["192.0.2.53"]),
    "indented": ("  nameserver 192.0.2.53\n\tnameserver ::1\n", ["192.0.2.53"]),
    "more words in the line": ("nameserver 192.0.2.53 # the router\n", ["192.0.2.53"]),
    "lines of Windows": ("nameserver 127.0.0.53\r\nnameserver 192.0.2.53\r\n", ["192.0.2.53"]),
    "loopback of every kind": (
        "nameserver 127.0.0.1\nnameserver 127.8.8.8\nnameserver ::1\nnameserver 0.0.0.0\n"
        "nameserver ::\nnameserver 0:0:0:0:0:0:0:1\nnameserver 0000::0001\n",
        [],
    ),
    "zones and links": ("nameserver fe80::2%2\nnameserver FE80::1\nnameserver febf::1\n", []),
    "only IPv6": (
        "nameserver 2001:db8::53\nnameserver fd00::1\nnameserver fd00::2\n",
        ["2001:db8::53", "fd00::1"],
    ),
    "IPv6 before what pods can reach": (
        "nameserver 2001:db8::53\nnameserver fd00::1\nnameserver 192.0.2.53\n",
        ["192.0.2.53"],
    ),
    "no addresses": (
        "nameserver\nnameserver example.org\nnameserver 192.0.2.53#5353\nnameservers 192.0.2.1\n"
        "#nameserver 192.0.2.2\n; nameserver 192.0.2.3\nnameserver 192.0.2\n",
        [],
    ),
    "names in another alphabet": (
        "# Müller\nnameserver\u00a0192.0.2.1\nnameserver 192.0.2.2\n",
        ["192.0.2.2"],
    ),
}
