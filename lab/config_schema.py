"""lab.schema.json: what lab.toml may contain, for editors that know JSON Schema.

`python -m lab.config_schema` makes the file of the rules in lab/config.py; a unit test compares the
two. An editor finds it by the first line of lab.toml. A schema cannot compare keys with each other:
`config.load` alone refuses networks that overlap or ports that are taken twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.config import AUTO, FORWARD_KEYS, KEYS, Forward, Settings

FILE = "lab.schema.json"
DIALECT = "http://json-schema.org/draft-07/schema#"
# What an editor shows beside a key; docs/configuration.md says more.
DESCRIPTIONS: Mapping[str, str] = {
    "version": "The version of this file's format.",
    "name": "The name of the lab: several labs run side by side.",
    "provider": "What the machines are made by.",
    "distribution": "What makes a cluster of the machines.",
    "kubernetes": "The version of Kubernetes, such as 1.35.4.",
    "source": "Where programs come from: see docs/toolchain.md.",
    "mirror": "A folder or an http(s) address with a manifest.toml.",
    "machines.control_planes": "How many control planes: 1, or 3 with an etcd of three members.",
    "machines.workers": "How many workers: 0 to 5, beside three control planes 0 to 3.",
    "machines.cpus": "Processors of each machine.",
    "machines.memory": "Memory of each machine: MiB, or a text such as 2GiB.",
    "network.subnet": "The machines' network: a private /24.",
    "network.pods": "The network of pods: a prefix from /12 to /20.",
    "network.services": "The network of Services: a prefix from /12 to /20.",
    "network.registry_mirror": "An http(s) address, asked for Docker Hub's images.",
    "network.ca": "A file of PEM certificates to trust besides the system's.",
    "ports.api": "The API server's port on 127.0.0.1.",
    "ports.http": "The Ingress controller's port on 127.0.0.1.",
    "ports.registry": "The image registry's port on 127.0.0.1.",
    "ports.ssh": "The SSH port of the first machine on 127.0.0.1; the others' follow.",
    "forward": "A further port of a machine on 127.0.0.1.",
    "forward.host": "The port on 127.0.0.1.",
    "forward.guest": "The port of the machine.",
    "forward.machine": "The name of the machine.",
}


def text() -> str:
    """The content of lab.schema.json."""
    return f"{json.dumps(document(), indent=2)}\n"


def document() -> dict[str, Any]:
    """The JSON Schema of lab.toml."""
    properties: dict[str, Any] = {}
    for key, rule in KEYS.items():
        *tables, last = key.split(".")
        place = properties
        for table in tables:
            place = place.setdefault(table, _table({}))["properties"]
        place[last] = {"description": DESCRIPTIONS[key], "default": default(key), **rule.schema}
    properties["forward"] = {
        "description": DESCRIPTIONS["forward"],
        "type": "array",
        "items": {**_table(_forward()), "required": ["host", "guest"]},
    }
    return {"$schema": DIALECT, "title": "lab.toml", **_table(properties)}


def default(key: str) -> Any:
    """The value of a key that lab.toml does not set, as it is written there."""
    if key == "version":
        return 1
    lab = Settings(root=Path())
    value = getattr(lab.ports if key.startswith("ports.") else lab, key.split(".")[-1])
    if value is None:
        return AUTO
    return value if isinstance(value, int) else str(value)


def _forward() -> dict[str, Any]:
    properties: dict[str, Any] = {
        key: {"description": DESCRIPTIONS[f"forward.{key}"], **rule.schema}
        for key, rule in FORWARD_KEYS.items()
    }
    properties["machine"]["default"] = Forward.machine
    return properties


def _table(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a TOML table that has these keys at most."""
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


if __name__ == "__main__":
    (Path(__file__).resolve().parents[1] / FILE).write_text(text())
