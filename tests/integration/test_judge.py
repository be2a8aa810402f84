"""The judge of exercise `mnist`. The checks run it in the homework's image, this test without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.workloads.mnist.test_mnist import JUDGE

OPTIONS = {"epochs": 1, "lr": 1.0}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The results of a training, beside a student's program."""
    kept = tmp_path / "results" / "single"
    kept.mkdir(parents=True)
    for name in ("mnist_cnn.pt", "checkpoint.pt"):
        (kept / name).write_bytes(b"no model")
    (kept / "metrics.json").write_text(json.dumps({"options": OPTIONS}))
    (tmp_path / "main.py").write_text("import sys\nprint('called with', *sys.argv[1:])\n")
    (tmp_path / "torch.py").write_text("def load(*_, **__): raise ValueError('no model')\n")
    return kept


def judged(results: Path) -> dict[str, Any]:
    """Run the judge, and return its findings."""
    folder = results.parent.parent
    script = JUDGE.replace("/results", str(results.parent)).replace("/tmp/copy", f"{folder}/copy")
    done = subprocess.run(
        [sys.executable, "-c", script, "1"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.rpartition("\nfound ")[2])
    return found


def test_a_program_without_its_parts_is_a_finding(results: Path) -> None:
    found = judged(results)
    assert found["accuracy"] is None
    assert found["trouble"].startswith("AttributeError: module 'main' has no attribute 'Net'")
    assert found["single"] == {"options": OPTIONS} and found["workers"] is None
    assert "called with --epochs=1 --lr=1.0 --checkpoint" in found["resumed"]


@pytest.mark.parametrize("options", [None, ["lr"], {}])
def test_options_in_a_wrong_format_are_ignored(results: Path, options: Any) -> None:
    (results / "metrics.json").write_text(json.dumps({"options": options}))
    assert "called with --checkpoint" in judged(results)["resumed"]


def test_a_program_that_exits_at_its_import_is_a_finding(results: Path) -> None:
    (results.parent.parent / "main.py").write_text("import sys\nsys.exit('no arguments')\n")
    found = judged(results)
    assert found["trouble"] == "SystemExit: no arguments"
    assert found["resumed"] == "no arguments\n"


def test_a_program_that_does_not_end_is_a_finding(results: Path) -> None:
    text = (
        "import time\nif __name__ == '__main__':\n print('training', flush=True)\n time.sleep(60)"
    )
    (results.parent.parent / "main.py").write_text(text)
    assert judged(results)["resumed"] == "training\n\nno end within 1 s"


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_broken_metrics_are_ignored(results: Path, text: str) -> None:
    (results / "metrics.json").write_text(text)
    found = judged(results)
    assert found["single"] is None and found["resumed"] == ""
