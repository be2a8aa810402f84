"""Bytes, limits, positions, and the failures of broken texts."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from lab.errors import ConfigError, NotFoundError
from lab.lint import source, tree
from lab.lint.source import Source
from lab.lint.tree import Mapping, Scalar

LETTERS = "abcdefghi"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in pairwise(LETTERS)
)


def failure(text: str) -> tuple[str, int, int]:
    """The code of a text's failure, with line and column."""
    given = Source("x", text)
    found = tree.parse(given).failure
    assert found is not None
    return (found.code, *given.place(found.index))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOMB, ("limit", 6, 8)),
        ("a: &a\n  b: *a\n", ("limit", 2, 6)),
        ("a: &a [*a]\n", ("limit", 1, 8)),
        ("a: " + "[" * 2000 + "]" * 2000, ("limit", 1, 103)),
        ("- " * 2000, ("limit", 1, 201)),
        ("---\na: b\n" * 10_000, ("limit", 401, 1)),
        ("- &x [1]\n" + "- *x\n" * 49_000, ("limit", 1001, 3)),
        ("a: !!python/object/apply:os.system [ls]\n", ("language-tag", 1, 4)),
        ("a: !!python/none\n", ("language-tag", 1, 4)),
        ("a: !mine {}\n", ("language-tag", 1, 4)),
        ("a: \x00\n", ("not-text", 1, 4)),
        ("a:\n\tb: 1\n", ("tab", 2, 1)),
        ("a:\n  b: 1\n   c: 2\n", ("indentation", 3, 1)),
        ("a:\n  b: 1\n c: 2\n", ("indentation", 3, 1)),
        ("a:\n  - b: x\n   c: y\n", ("indentation", 3, 1)),
        ("a: 1\n  b: 2\n", ("indentation", 2, 1)),
        ("a: b: c\n", ("syntax", 1, 5)),
        ("a:b\nc: d\n", ("syntax", 1, 1)),
        ("a\nb: c\n", ("syntax", 1, 1)),
        ("a: [1\n\n", ("syntax", 1, 4)),
        ("a: 'x\n\n", ("syntax", 1, 4)),
        ("a: @x\n", ("syntax", 1, 4)),
        ("a: *x\n", ("syntax", 1, 4)),
        ("{{ name }}: x\n", ("syntax", 1, 2)),
    ],
)
def test_a_broken_text_has_a_failure_with_a_position(
    text: str, expected: tuple[str, int, int]
) -> None:
    assert failure(text) == expected


def test_documents_before_a_failure_are_kept() -> None:
    found = tree.parse(Source("x", "a: 1\n---\nb: [\n"))
    assert len(found.documents) == 1 and found.failure


def test_positions_count_characters() -> None:
    text = "\ufeffname: 😀\r\nother: b\r\n"
    root = tree.parse(Source("x", text)).documents[0]
    found = tree.get(root, "other")
    assert found and text[found.start : found.end] == "b"
    assert Source("x", text).place(found.start) == (2, 8)


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("", "null"),
        ("~", "null"),
        ("yes", "boolean"),
        ("off", "boolean"),
        ("True", "boolean"),
        ("012", "integer"),
        ("0x1F", "integer"),
        ("1.10", "number"),
        ("08", "number"),
        ("1e3", "number"),
        ("1.2.3", "string"),
        ("2024-01-01", "string"),
        ("'80'", "string"),
        ("!!str 80", "string"),
        ("8080:80", "string"),
    ],
)
def test_a_scalar_has_a_type(written: str, kind: str) -> None:
    found = tree.get(tree.parse(Source("x", f"a: {written}\n")).documents[0], "a")
    assert isinstance(found, Scalar) and found.kind == kind


def test_merge_keys_add_only_missing_fields() -> None:
    text = "base: &base {a: 1, b: 2}\nnew: {<<: *base, b: 3}\n"
    new = tree.get(tree.parse(Source("x", text)).documents[0], "new")
    assert isinstance(new, Mapping) and tree.strings(new) == {"a": "1", "b": "3"}


def test_large_files_and_other_encodings_are_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        os.truncate(file.fileno(), 50_000_000)
    refused = source.read(str(large)).failure
    assert refused and refused.code == "limit"
    refused = source.decode("x", "a: ä".encode("latin-1")).failure
    assert refused and refused.code == "not-text"
    refused = source.decode("x", "a: b".encode("utf-16")).failure
    assert refused and refused.code == "not-text"


def test_files_are_found_once_and_in_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", ".git/c.yaml", "sub/d.yaml", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = source.find([str(tmp_path), str(tmp_path / "*.yaml"), "-"])
    names = list(found)
    assert [os.path.relpath(name, tmp_path) for name in names[:-1]] == [
        "a.yml",
        "b.yaml",
        "sub/d.yaml",
    ]
    assert names[-1] == "-"
    # A pattern names the files that it finds. A folder does not name the files in it.
    assert list(found.values()) == [False, True, False, True]


def test_words_without_files_are_errors(tmp_path: Path) -> None:
    for word in (str(tmp_path / "no.yaml"), str(tmp_path), str(tmp_path / "*.yaml")):
        with pytest.raises(NotFoundError):
            source.find([word])
    with pytest.raises(ConfigError):
        source.find([])
