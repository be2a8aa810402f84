"""The first lab-up announces its builds and downloads, and estimates its duration."""

from __future__ import annotations

import pytest

from lab.distributions.kubeadm import RECORD
from lab.toolchain import HOST_TOOLS
from lab.toolchain.forecast import BUILD, Work, seconds, sentence
from lab.toolchain.lock import read_lock
from tests.unit.conftest import ROOT

KUBERNETES, TRAEFIK = Work("kubernetes", "modules"), Work("traefik", "wheel")


def test_every_item_that_is_built_has_a_duration() -> None:
    items = read_lock(ROOT / "toolchain" / "lock.toml", "linux-amd64")
    wanted = {*RECORD.image.tools, *HOST_TOOLS}
    assert {name for name in wanted if items[name].modules} == set(BUILD)


def test_builds_share_the_processors() -> None:
    assert seconds([KUBERNETES, TRAEFIK], 2) == seconds([KUBERNETES], 1) / 2


@pytest.mark.parametrize(
    ("work", "images", "told"),
    [
        ([], False, ""),
        ([TRAEFIK], False, "this lab-up downloads 1 program."),
        ([], True, "this lab-up makes the image of the machines: about 2 min with 2 processors."),
        (
            [KUBERNETES, TRAEFIK],
            True,
            "this lab-up builds 1 program from Go modules, downloads 1 program and makes the image "
            "of the machines: about 7 min with 2 processors, and the time of the downloads.",
        ),
    ],
)
def test_the_forecast_names_builds_downloads_and_images(
    work: list[Work], images: bool, told: str
) -> None:
    said = sentence(work, images=images, processors=2)
    assert said == (f"{told} The cache keeps it for the next one." if told else "")


def test_a_slow_host_takes_longer() -> None:
    told = sentence([KUBERNETES], images=False, processors=2, slowness=10)
    assert "about 47 min" in told
