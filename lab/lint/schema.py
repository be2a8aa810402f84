"""The kinds and fields that a version of Kubernetes knows, out of its own OpenAPI document.

The document has 4 MB; what lint needs of it has a tenth, and is kept in the cache, named after the
document's digest. A type is one text: `string`, `integer`, `number`, `boolean`, `quantity`, `port`
(a number or a name), `object` and `any` for themselves; `[]T` a list, `{}T` a mapping to T, and
everything else the name of a type with fields.
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
# Counts changes of the compact form.
FORM = 1
_KIND = "x-kubernetes-group-version-kind"
_SPECIAL = {"Quantity": "quantity", "IntOrString": "port", "FieldsV1": "object"}


class Type(NamedTuple):
    """A type's fields, each with its own type, and the names of those that must be there."""

    fields: Mapping[str, str]
    required: Sequence[str]

    def twin(self, name: str) -> str:
        """The field whose name differs in case only; empty when there is none."""
        return next((field for field in self.fields if field.lower() == name.lower()), "")


@dataclass(frozen=True)
class Schema:
    """What one version of Kubernetes accepts: apiVersion -> kind -> type, and the types."""

    version: str
    kinds: Mapping[str, Mapping[str, str]]
    types: Mapping[str, Mapping[str, Any]]

    def kind(self, api: str, kind: str) -> str:
        """The type of a kind; empty when there is none."""
        return self.kinds.get(api, {}).get(kind, "")

    def type(self, name: str) -> Type | None:
        """A type with fields by its name; None for every other."""
        found = self.types.get(name)
        return Type(found["fields"], found["required"]) if found else None

    def versions(self, kind: str) -> list[str]:
        """Every apiVersion that has a kind, stable ones first."""
        found = [api for api, kinds in self.kinds.items() if kind in kinds]
        return sorted(found, key=lambda api: ("alpha" in api, "beta" in api, api))


def compact(swagger: Mapping[str, Any], version: str) -> dict[str, Any]:
    """What `Schema` needs of the OpenAPI document of a version, as a value for JSON."""
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
        # What is of every group is no kind that is written in a manifest.
        if len(groups) == 1:
            (group,) = groups
            api = "/".join(filter(None, (group["group"], group["version"])))
            kinds.setdefault(api, {})[group["kind"]] = name
    return {"version": version, "kinds": kinds, "types": types}


def load(settings: Settings, status: Status) -> Schema | None:
    """The schema of the lock file's Kubernetes, made the first time.

    None, and a line that says so, when it is not in the cache and no source has it now.
    """
    digest, path = pinned(settings.root)
    try:
        return Schema(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        # Not there, or not what was written: it is made anew.
        pass
    try:
        tool = _document(settings, status)
    except (PrerequisiteError, CommandError, DeadlineExceeded) as error:
        status.say(f"kinds, fields and types are not checked: {error.message}")
        return None
    document = tool.files[FILE].read_bytes()
    form = compact(json.loads(document), tool.version)
    # A mirror may have the document of another version: that is not what the name promises.
    if hashlib.sha256(document).hexdigest() == digest:
        write_aside(path, json.dumps(form, separators=(",", ":")))
    return Schema(**form)


def pinned(root: Path) -> tuple[str, Path]:
    """The SHA-256 of the lock file's document, and where its compact form is kept."""
    item = tomllib.loads((root / "toolchain" / "lock.toml").read_text())[ITEM]
    digest = next(iter(item["release"].values()))[0]["digest"].removeprefix("sha256:")
    return digest, cache_folder() / ITEM / f"{digest[:16]}-{FORM}.json"


def _document(settings: Settings, status: Status) -> Tool:
    # Slow to import, and needed once.
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
