"""Values with their types from the schema: one walk for all rules about fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lab.lint.objects import File, Object
from lab.lint.schema import Schema, Type
from lab.lint.tree import Mapping, Node, Scalar, Sequence

# The fields of an object of an unknown kind.
HEAD = Type(dict.fromkeys(("apiVersion", "kind", "metadata", "spec", "status"), "any"), ())

# Keep the last characters of a path only: hostile names are long, and every value has a path.
MOST_OF_A_PATH = 200


class Value(NamedTuple):
    """One value with its path `where` and its type `wanted`, which is empty for an unknown field.

    `twin` is the known field whose name differs from an unknown one only in case. For a field,
    `key` is its name, `within` is the object that contains it, and `of` is the object's type.
    """

    file: File
    node: Node
    wanted: str
    where: str
    key: Scalar | None = None
    of: Type | None = None
    within: Value | None = None
    twin: str = ""

    @property
    def name(self) -> str:
        """The field's name as written; empty for a whole object."""
        return self.key.text if self.key else ""

    @property
    def title(self) -> str:
        """The value's path, for a message."""
        return f"`{self.where}`" if self.key else self.where

    @property
    def doubled(self) -> bool:
        """Whether the value is an unknown field inside a field of the same name."""
        inside = self.within is not None and self.within.name == self.name != ""
        return inside and not self.wanted and isinstance(self.node, Mapping)


def _path(where: str, key: Scalar) -> str:
    return f"{where}.{key.text[-MOST_OF_A_PATH:]}"[-MOST_OF_A_PATH:]


def values(item: Object, schema: Schema | None) -> Iterator[Value]:
    """Every value of an object, outer values first.

    For an unknown kind, only the common fields of objects with a name in the wrong case.
    """
    name = schema.kind(*_names(item)) if schema else ""
    whole = Value(item.file, item.node, name, item.title)
    if schema and name:
        yield from _walk(schema, whole)
    else:
        yield from (field for field in _fields(whole, HEAD) if field.twin)


def _names(item: Object) -> tuple[str, str]:
    return (item.api.text if item.api else "", item.kind.text if item.kind else "")


def _walk(schema: Schema, value: Value) -> Iterator[Value]:
    yield value
    node, wanted = value.node, value.wanted
    if isinstance(node, Sequence) and wanted.startswith("[]"):
        for i, item in enumerate(node.items):
            inner = value._replace(node=item, wanted=wanted[2:], where=f"{value.where}[{i}]")
            yield from _walk(schema, inner)
    elif isinstance(node, Mapping) and wanted.startswith("{}"):
        for key, item in node.pairs:
            inner = Value(value.file, item, wanted[2:], _path(value.where, key), key)
            yield from _walk(schema, inner)
    elif isinstance(node, Mapping) and (of := schema.type(wanted)):
        for field in _fields(value, of):
            if field.twin or field.doubled:
                yield field
                # Check the value with the type of the intended field.
                meant = of.fields[field.twin] if field.twin else wanted
                field = field._replace(wanted=meant, twin="")
            yield from _walk(schema, field)


def _fields(value: Value, of: Type) -> Iterator[Value]:
    assert isinstance(value.node, Mapping)
    for key, node in value.node.pairs:
        wanted = of.fields.get(key.text, "")
        twin = "" if wanted else of.twin(key.text)
        path = _path(value.where, key) if value.key else key.text[-MOST_OF_A_PATH:]
        yield Value(value.file, node, wanted, path, key, of, value, twin)
