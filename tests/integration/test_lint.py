"""The task `lint`: its limits, its repairs and its exit codes, with Kubernetes' own document."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import config
from lab import lint as linter
from lab.config import Settings
from lab.lint import schema
from lab.lint.rules import RULES
from lab.lint.source import Source
from lab.output import Status
from lab.toolchain import Tool
from tests.integration.conftest import ROOT
from tests.unit.lint.test_lint import LECTURE, POD, SERVICE
from tests.unit.lint.test_text import BOMB

MEGABYTE = 1 << 20
# The limits are one second and 100 MB. A busy machine gets some more time.
SECONDS = 3
# The limit for a thousand files is five seconds. An idle machine takes 3.5 s.
THOUSAND = 9


@pytest.fixture(scope="module")
def known() -> schema.Schema:
    """The document of the lock file, from the cache or downloaded."""
    found = schema.load(config.Settings(root=ROOT), Status())
    assert found, "no source has the OpenAPI document"
    return found


def lint(*words: str, stdin: bytes = b"", limit: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `invoke lint`, with at most `limit` bytes of memory; 0 means no limit."""

    def bound() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), "lint", *words]
    found = subprocess.run(
        command, input=stdin, capture_output=True, timeout=60, preexec_fn=bound, check=False
    )
    out, err = found.stdout.decode(), found.stderr.decode()
    assert "Traceback" not in err
    return subprocess.CompletedProcess(command, found.returncode, out, err)


def write(folder: Path, text: str) -> str:
    path = folder / "manifest.yaml"
    path.write_text(text)
    return str(path)


def used() -> float:
    """Processor seconds of this process's children, because other suites run at the same time."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


HOSTILE = {
    "alias-bomb": BOMB,
    "self-reference": "a: &a\n  b: *a\n",
    "brackets": "a: " + "[" * 2000 + "]" * 2000,
    "documents": "---\na: b\n" * 10_000,
    "large": "a: b\n" * 10_000_000,
    "language-tag": "a: !!python/object/apply:os.system ['touch /tmp/never']\n",
    "pairs": "".join(f"k{i}: v\n" for i in range(80_000)),
    "one-scalar": "a: " + "x" * 990_000,
    "one-line-of-tabs": "\ta\t" * 30_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_take_little_time_and_memory(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    before = used()
    found = lint(path, limit=100 * MEGABYTE)
    assert used() - before < SECONDS
    assert found.returncode == 5 and " error " in found.stdout, found.stderr


def test_lint_reads_standard_input_and_prints_one_document(known: schema.Schema) -> None:
    found = lint("-", "--json", stdin=LECTURE.encode())
    answer: dict[str, Any] = json.loads(found.stdout)
    assert found.returncode == 5 and answer["schema"] == 1 and answer["errors"] == 1
    (error,) = [item for item in answer["findings"] if item["severity"] == "error"]
    assert (error["file"], error["line"], error["code"]) == ("<stdin>", 17, "doubled-field")
    assert error["concept"] and error["fix"]


def test_a_repaired_file_has_no_errors_and_stays_unchanged(
    tmp_path: Path, known: schema.Schema
) -> None:
    path = write(tmp_path, LECTURE.replace("'", "\u2019") + SERVICE)
    assert lint(path).returncode == 5
    found = lint(path, "--fix")
    assert found.returncode == 0 and f"repaired: {path}" in found.stdout
    again = Path(path).read_bytes()
    assert lint(path, "--fix").returncode == 0
    assert Path(path).read_bytes() == again


def test_several_files_are_checked_together(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(POD)
    (tmp_path / "service.yaml").write_text(SERVICE)
    both = (str(tmp_path / "service.yaml"), str(tmp_path / "pod.yaml"))
    assert "service-selector" not in lint(both[0]).stdout
    assert "service-selector" in lint(*both).stdout
    found = lint(both[0], "-", "--json", stdin=POD.encode())
    assert "service-selector" in found.stdout and json.loads(found.stdout)


def test_exit_codes_for_missing_files_and_wrong_flags(tmp_path: Path) -> None:
    assert lint(str(tmp_path / "no.yaml")).returncode == 6
    assert lint(str(tmp_path)).returncode == 6
    assert lint("-", "--fix").returncode == 2
    found = lint(str(tmp_path / "no.yaml"), "--json")
    assert json.loads(found.stdout)["error"]["id"] == "not-found"


def test_kubernetes_own_document_accepts_the_exercises(known: schema.Schema) -> None:
    files = sorted((ROOT / "infra" / "workloads").glob("*/manifests/*.yaml"))
    given = linter.look([Source(path.name, path.read_text()) for path in files], known)
    found = {(item.file, item.code) for item in linter.findings(given)}
    # The homework's image is the one that the student has built last, so it has no pinned tag.
    others = {code for file, code in found if (file, code) != ("mnist.yaml", "unpinned-image")}
    assert others <= {"missing-requests"}


def test_the_folder_in_the_documentation_has_no_errors(known: schema.Schema) -> None:
    folder = ROOT / "infra" / "workloads"
    found = lint(str(folder), "--json")
    answer = json.loads(found.stdout)
    assert found.returncode == 0 and answer["errors"] == 0
    # lint leaves Compose's files out of a folder. If the user names one, lint reports an error.
    assert answer["left_out"] == 2
    assert lint(str(folder / "orchestrators" / "app" / "compose.yaml")).returncode == 5


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES.values() if rule.good], ids=lambda rule: rule.code
)
def test_the_rules_good_examples_have_no_errors_with_the_real_document(
    rule: Any, known: schema.Schema
) -> None:
    given = linter.look([Source("x", rule.good)], known)
    wrong = {item.code for item in linter.findings(given) if item.severity == "error"}
    whole = "apiVersion" in rule.good
    assert not whole or wrong == set()


def test_the_real_document_knows_its_kinds(known: schema.Schema) -> None:
    assert known.versions("Deployment") == ["apps/v1"]
    assert known.versions("Ingress") == ["networking.k8s.io/v1"]
    pod = known.type(known.kind("v1", "Pod"))
    assert pod and known.type(pod.fields["spec"])


def test_a_thousand_manifests_take_less_than_the_limit(
    tmp_path: Path, known: schema.Schema
) -> None:
    files = sorted((ROOT / "infra" / "workloads").glob("*/manifests/*.yaml"))
    for i in range(1000):
        (tmp_path / f"{i}.yaml").write_text(files[i % len(files)].read_text())
    before = used()
    found = lint(str(tmp_path))
    assert found.returncode == 0 and used() - before < THOUSAND


def test_a_damaged_cache_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: schema.Schema
) -> None:
    """lint uses another document than the pinned one, but does not cache it under that name."""
    _, good = schema.pinned(ROOT)
    monkeypatch.setenv("LAB_CACHE", str(tmp_path))
    _, bad = schema.pinned(ROOT)
    bad.parent.mkdir(parents=True)
    bad.write_text(good.read_text()[:1000])
    other = tmp_path / "swagger.json"
    other.write_text('{"definitions": {}}')
    tool = Tool("openapi", "1.35.0", "mirror", {schema.FILE: other})
    monkeypatch.setattr(schema, "_document", lambda lab, status: tool)
    assert schema.load(Settings(root=ROOT), Status()) == schema.Schema("1.35.0", {}, {})
    assert bad.stat().st_size == 1000
    monkeypatch.undo()
    assert schema.load(Settings(root=ROOT), Status()) == known
