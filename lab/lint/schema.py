"""The kinds and fields of a version of Kubernetes, from its OpenAPI document.

The document has 4 MB. Lint needs a tenth of it. The cache keeps this compact form under the digest
of the document. A type is a string. The basic types are `string`, `integer`, `number`, `boolean`,
`quantity`, `port` (a number or a name), `object` and `any`. `[]T` is a list of T, and `{}T` is a
mapping to T. Every other string is the name of a type with fields.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.config import Settings, cache_folder
from lab.errors import CommandError, DeadlineExceeded, PrerequisiteError
from lab.output import Status
from lab.state import write_aside

if TYPE_CHECKING:
    from lab.toolchain import Tool

ITEM = "openapi"
FILE = "swagger.json"
# The version of the compact form.
FORM = 1
_KIND = "x-kubernetes-group-version-kind"
_SPECIAL = {"Quantity": "quantity", "IntOrString": "port", "FieldsV1": "object"}


class Type(NamedTuple):
    """A type's fields, each with its own type, and the names of the required ones."""

    fields: Mapping[str, str]
    required: Sequence[str]

    def twin(self, name: str) -> str:
        """The field whose name differs only in case; empty if there is none."""
        return next((field for field in self.fields if field.lower() == name.lower()), "")


@dataclass(frozen=True)
class Schema:
    """The schema of one version of Kubernetes: apiVersion -> kind -> type, and the types."""

    version: str
    kinds: Mapping[str, Mapping[str, str]]
    types: Mapping[str, Mapping[str, Any]]

    def kind(self, api: str, kind: str) -> str:
        """The type of a kind; empty for an unknown kind."""
        return self.kinds.get(api, {}).get(kind, "")

    def type(self, name: str) -> Type | None:
        """A type with fields by its name; None for any other type."""
        found = self.types.get(name)
        return Type(found["fields"], found["required"]) if found else None

    def versions(self, kind: str) -> list[str]:
        """Every apiVersion that has a kind, stable ones first."""
        found = [api for api, kinds in self.kinds.items() if kind in kinds]
        return sorted(found, key=lambda api: ("alpha" in api, "beta" in api, api))


def compact(swagger: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The part of an OpenAPI document that `Schema` needs, as a value for JSON."""
    kinds: dict[str, dict[str, str]] = {}
    types: dict[str, dict[str, Any]] = {}
    definitions = swagger["definitions"]
    for name, definition in definitions.items():
        if "properties" in definition:
            types[name] = {
                "fields": {
                    field: _type(of, definitions) for field, of in definition["properties"].items()
                },
                "required": definition.get("required", []),
            }
        groups = definition.get(_KIND, ())
        # A type of every group, e.g. DeleteOptions, is not a kind that manifests contain.
        if len(groups) == 1:
            (group,) = groups
            api = "/".join(filter(None, (group["group"], group["version"])))
            kinds.setdefault(api, {})[group["kind"]] = name
    return {"version": version, "kinds": kinds, "types": types}


def load(settings: Settings, status: Status) -> Schema | None:
    """The schema of the lock file's Kubernetes. The first call writes it into the cache.

    Says so and returns None if neither the cache nor a source has it.
    """
    digest, path = pinned(settings.root)
    try:
        return Schema(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        # The cache has no schema or a damaged one.
        pass
    try:
        tool = _document(settings, status)
    except (PrerequisiteError, CommandError, DeadlineExceeded) as error:
        status.say(f"kinds, fields and types are not checked: {error.message}")
        return None
    document = tool.files[FILE].read_bytes()
    form = compact(json.loads(document), tool.version)
    # A mirror may have the document of another version, which must not be cached under this digest.
    if hashlib.sha256(document).hexdigest() == digest:
        write_aside(path, json.dumps(form, separators=(",", ":")))
    return Schema(**form)


def pinned(root: Path) -> tuple[str, Path]:
    """The SHA-256 of the lock file's document in hexadecimal, and the path of its compact form."""
    item = tomllib.loads((root / "toolchain" / "lock.toml").read_text())[ITEM]
    digest = next(iter(item["release"].values()))[0]["digest"].removeprefix("sha256:")
    return digest, cache_folder() / ITEM / f"{digest[:16]}-{FORM}.json"


def _document(settings: Settings, status: Status) -> Tool:
    # Slow to import, and only needed if the cache has no schema.
    from lab.lifecycle.opened import toolchain_of

    return toolchain_of(settings, status).ensure([ITEM])[ITEM]


def _type(of: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in of:
        name = of["$ref"].rsplit("/", 1)[-1]
        target = definitions.get(name, {})
        short = _SPECIAL.get(name.rsplit(".", 1)[-1])
        return short or (name if "properties" in target else target.get("type", "any"))
    if of.get("type") == "array":
        return "[]" + _type(of["items"], definitions)
    if isinstance(of.get("additionalProperties"), dict):
        return "{}" + _type(of["additionalProperties"], definitions)
    return str(of.get("type", "any"))
