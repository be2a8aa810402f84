"""The documentation, docstrings and comments name their actors and use short sentences."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.exercises import catalogue
from tests.unit.conftest import ROOT

LONGEST = 30
VAGUE = re.compile(r"\b(?:whoever|somebody|nobody|anybody|someone|anyone\s+who)\b", re.IGNORECASE)

PAGES = [
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))
    if path.exists()
]
# Folders and files whose docstrings and comments already keep the rules. Add a folder when it does.
PYTHON: tuple[str, ...] = (
    "benchmarks",
    "infra",
    "lab",
    "tasks.py",
    "tests/integration",
    "tests/unit/distributions",
    "tests/unit/exercises",
    "tests/unit/faults",
    "tests/unit/homework",
    "tests/unit/host",
    "tests/unit/images",
    "tests/unit/infra",
    "tests/unit/lint",
    "tests/unit/machines",
    "tests/unit/observe",
    "tests/unit/offline",
    "tests/unit/orchestrators",
    "tests/unit/pages",
    "tests/unit/test_docs.py",
    "tests/unit/test_errors.py",
    "tests/unit/test_interrupts.py",
    "tests/unit/test_output.py",
    "tests/unit/test_parallel.py",
    "tests/unit/test_prose.py",
    "tests/unit/test_selftest.py",
    "tests/unit/test_state.py",
    "tests/unit/test_wait.py",
    "tests/unit/toolchain",
)
SHELL: tuple[str, ...] = (
    "inv",
    ".ci/run",
    ".devcontainer/start-docker",
    "infra/workloads/orchestrators/app/client.sh",
    "infra/workloads/orchestrators/app/podman.sh",
    "infra/workloads/orchestrators/app/web.sh",
    "vagrant/experiment.sh",
    "vagrant/k3s.sh",
    "vagrant/kubeadm-companions.sh",
    "vagrant/kubeadm-control-plane.sh",
    "vagrant/kubeadm-discovery.sh",
    "vagrant/kubeadm-join.sh",
    "vagrant/kubelet.sh",
    "vagrant/registry.sh",
    "vagrant/snapshot.sh",
)

ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|cf|vs|[A-Z])\.$")
ITEM = re.compile(r"\s*(?:[-*]|\d+\.)\s+")
# Programs write these parts from data, and have their own texts.
MADE = re.compile(r"<!-- made by .*?(?:<!-- end -->|\Z)", re.DOTALL)


def prose(text: str, *, tables: bool = False) -> list[str]:
    """The paragraphs, headings and list items of a Markdown text, each on one line.

    Code blocks, block quotes and generated parts are left out. `tables` adds the rows of tables.
    """
    blocks: list[str] = []
    fenced = False
    before = ""
    for line in MADE.sub("", text).splitlines():
        fence = line.lstrip().startswith("```")
        code = line.startswith("    ") and before in ("", "heading", "code")
        kind = "text"
        if fence or fenced or (code and line.strip()):
            fenced ^= fence
            kind = "code"
        elif not line.strip():
            kind = "code" if before == "code" else ""
        elif line.lstrip().startswith((">", "<!--")):
            kind = "quote"
        elif line.startswith("|"):
            kind = "row"
            blocks += [line] if tables else []
        elif line.startswith("#"):
            kind = "heading"
            blocks.append(line.strip("# "))
        elif item := ITEM.match(line):
            blocks.append(line[item.end() :])
        elif before == "text":
            blocks[-1] += " " + line.strip()
        else:
            blocks.append(line.strip())
        before = kind
    return blocks


def sentences(block: str) -> Iterator[str]:
    """The sentences of one paragraph. A colon or a semicolon does not end a sentence."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", block)
    text = re.sub(r"``?[^`]+``?", "`code`", text)
    start = 0
    for end in re.finditer(r"[.!?][\"'”)*_]*\s+(?=[^a-z\s])", text):
        if not ABBREVIATION.search(text[start : end.start() + 1]):
            yield text[start : end.end()].strip()
            start = end.end()
    yield text[start:].strip()


def words(sentence: str) -> int:
    """How many words a sentence has. Inline code and a number with its dots count as one word."""
    return sum(1 for token in sentence.split() if re.search(r"\w", token))


def too_long(text: str) -> list[str]:
    return [
        sentence
        for block in prose(text)
        for sentence in sentences(block)
        if words(sentence) > LONGEST
    ]


def vague(text: str) -> list[str]:
    """Words that hide the actor, outside of code."""
    return [
        found
        for block in prose(text, tables=True)
        for found in VAGUE.findall(re.sub(r"`[^`]*`", "", block))
    ]


def docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield inspect.cleandoc(ast.get_docstring(node) or "")


def comments(source: str) -> str:
    """The comments of Python code, one a line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join(
        token.string.lstrip("#! ") for token in tokens if token.type == tokenize.COMMENT
    )


def shell_comments(source: str) -> str:
    return "\n".join(re.findall(r"(?:^|\s)#+ (.*)$", source, re.MULTILINE))


def under(scope: tuple[str, ...], pattern: str) -> list[Path]:
    """The files that a scope names, and those below its folders."""
    found = (
        [ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob(pattern))
        for name in scope
    )
    return [path for paths in found for path in paths]


def without_titles(text: str) -> str:
    """A page without the exercises' titles, which are quotations."""
    for exercise in catalogue.discover(ROOT):
        text = text.replace(f"| {exercise.title} |", "| |")
    return text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages(path: Path) -> None:
    text = without_titles(path.read_text())
    assert vague(text) == []
    assert too_long(text) == []


@pytest.mark.parametrize(
    "path", under(PYTHON, "*.py"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_python(path: Path) -> None:
    source = path.read_text()
    texts = list(docstrings(source))
    assert vague("\n\n".join([*texts, comments(source)])) == []
    assert [sentence for text in texts for sentence in too_long(text)] == []


@pytest.mark.parametrize("path", under(SHELL, "*.sh"), ids=lambda path: path.name)
def test_shell(path: Path) -> None:
    assert vague(shell_comments(path.read_text())) == []


def test_every_scope_exists() -> None:
    assert all((ROOT / name).exists() for name in (*PYTHON, *SHELL))


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Nodes, e.g. Debian's, start. All.", ["Nodes, e.g. Debian's, start.", "All."]),
        ("Version 1.35.4 is it. 1.36 is not.", ["Version 1.35.4 is it.", "1.36 is not."]),
        ("It runs (in a VM.) Then it stops.", ["It runs (in a VM.)", "Then it stops."]),
        ("See [the guide](a.md). `lab-up` starts.", ["See the guide.", "`code` starts."]),
        ("It keeps `a. B` together.", ["It keeps `code` together."]),
        ("It took 60 s. The rest took 2.", ["It took 60 s.", "The rest took 2."]),
        ("One: two; three.", ["One: two; three."]),
    ],
)
def test_a_paragraph_is_split_at_the_ends_of_its_sentences(block: str, expected: list[str]) -> None:
    assert list(sentences(block)) == expected


def test_headings_and_list_items_are_blocks_and_code_and_tables_are_none() -> None:
    text = (
        "# Title\n    code after a heading\nA paragraph\nof two lines:\n\n"
        "    code\n\n    more code\n\n"
        "- one\n  item\n- two\n1. three\n\n| a | b |\n> a slide\n\n```\nfenced\n```\nEnd.\n"
        "<!-- made by a program -->\nmade\n<!-- end -->\nAfter.\n"
    )
    expected = ["Title", "A paragraph of two lines:", "one item", "two", "three", "End.", "After."]
    assert prose(text) == expected
    assert "| a | b |" in prose(text, tables=True)


def test_words_are_counted_without_punctuation() -> None:
    assert words("One - two, `code` and 1.35.4 ...") == 5


def test_a_long_sentence_is_found_and_a_list_of_short_ones_is_not() -> None:
    long = " ".join(["word"] * (LONGEST + 1)) + "."
    assert too_long(f"Short.\n\n- {long}") == [long]
    assert too_long("- five words are in here\n" * LONGEST) == []
    assert too_long(f"| {long} |\n\n    {long}\n") == []


@pytest.mark.parametrize("text", ["Whoever waits.", "| nobody |", "For someone.", "anyone\nwho"])
def test_a_word_that_hides_the_actor_is_found(text: str) -> None:
    assert len(vague(text)) == 1


@pytest.mark.parametrize("text", ["`nobody` is a user.", "    chown nobody file", "anyone"])
def test_a_name_in_code_is_none(text: str) -> None:
    assert vague(text) == []


def test_docstrings_and_comments_of_python_are_found() -> None:
    source = '"""One."""\nx = "# no"  # two\n\n\ndef f():\n    """Three.\n\n    Four.\n    """\n'
    assert list(docstrings(source)) == ["One.", "Three.\n\nFour."]
    assert comments(source) == "two"


def test_comments_of_shell_scripts_are_found() -> None:
    assert shell_comments("#!/bin/sh\n# one\necho ${x#y}  # two\n") == "one\ntwo"
