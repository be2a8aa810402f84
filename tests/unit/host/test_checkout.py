"""A checkout with line ends of Windows is found."""

from __future__ import annotations

from pathlib import Path

from lab.host import checkout
from tests.unit.conftest import ROOT


def test_files_for_machines_with_carriage_returns_are_found(tmp_path: Path) -> None:
    texts = {
        "vagrant/machine/install": b"#!/bin/sh\r\ntrue\r\n",
        "vagrant/machine.sh": b"#!/bin/sh\ntrue\n",
        "infra/workloads/mnist/app/main.py": b"import os\r\n",
        "infra/workloads/pod/manifests/pod.yaml": b"kind: Pod\r\n",
        "docs/ci.md": b"text\r\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text)
    assert checkout.with_carriage_returns(tmp_path) == [
        "infra/workloads/mnist/app/main.py",
        "vagrant/machine/install",
    ]
    assert checkout.with_carriage_returns(ROOT) == []
