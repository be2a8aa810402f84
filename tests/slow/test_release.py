"""`lab-up --source release`, from a proxy that plays the hosts of all official releases.

The archives there have the right names and layout. Their programs are those that the lab builds,
so the cluster comes up; k3s is a script that says no.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lab.config import cache_folder
from lab.distributions.kubeadm import RECORD
from lab.output import Status
from lab.platforms import this_platform
from lab.toolchain import HOST_TOOLS, Toolchain
from lab.toolchain.store import place
from tests import official
from tests.e2e.support import Done, Invoke, copy_checkout, scrub
from tests.intercept import Answer, Interceptor, intercepting

pytestmark = pytest.mark.e2e
NAME = "release"
TOOLS = tuple(dict.fromkeys((*HOST_TOOLS, *RECORD.image.tools)))
PROGRAM = b'#!/bin/sh\necho "$1: this is not k3s" >&2\nexit 1\n'
PAGE = Answer(headers={"Content-Type": "text/html"}, content=b"<html>Please sign in</html>")
# What goes wrong once, by the item that it happens to.
FAULTS = {
    "kubernetes": Answer(content=b"\x1f\x8b", length=400 << 20),
    "etcd": Answer(503),
    "coredns": Answer(429, {"Retry-After": "1"}),
    "flannel": Answer(content=b"\x7fELF", length=40 << 20, reset=True),
    "pulumi": PAGE,
}


@dataclass(frozen=True)
class Internet:
    """A checkout whose lock file names the stand-ins, and the way to them."""

    invoke: Invoke
    proxy: Interceptor
    tools: Toolchain
    variables: dict[str, str]

    def __call__(self, *words: str, code: int = 0) -> Done:
        return self.invoke(*words, code=code, **self.variables)

    def addresses(self, name: str) -> list[str]:
        """The places that the lock file names for an item, as the proxy notes them."""
        urls = [urlsplit(one.url) for one in self.tools.items[name].release]
        return [f"GET {url.netloc}{url.path}" for url in urls]


@pytest.fixture(scope="module")
def internet(engine: None) -> Iterator[Internet]:
    scrub(NAME)
    # The programs are gigabytes: no folder of pytest's, which are kept for some runs.
    folder = Path(tempfile.mkdtemp(prefix="lab-release-"))
    checkout = copy_checkout(folder / "checkout")
    lock = checkout / "toolchain" / "lock.toml"
    built = Toolchain(checkout, cache_folder(), Status(), "modules")
    files = {name: tool.files for name, tool in built.ensure(TOOLS).items()}
    files |= {"openapi": built.ensure(["openapi"])["openapi"].files}

    def program(item: str, _: str, name: str) -> Path:
        if item in files:
            return files[item][name]
        script = folder / name
        # Files of other names have other digests.
        script.write_bytes(PROGRAM + f"# {name}\n".encode())
        return script

    # Machines are told of the proxy, so it is not on a loopback.
    show = ["ip", "-4", "-json", "address", "show", "docker0"]
    link = json.loads(subprocess.run(show, check=True, capture_output=True).stdout)[0]
    gateway = link["addr_info"][0]["local"]
    with intercepting(folder, gateway) as proxy:
        proxy.open = True
        archives = folder / "archives"
        archives.mkdir()
        platform = this_platform()
        official.play(proxy, lock, archives, official.stand_ins(lock, [platform], program))
        tools = Toolchain(
            checkout, folder / "cache" / "kubernetes-lecture-lab", Status(), "release"
        )
        for name in TOOLS:
            if not (tools.items[name].release or tools.items[name].wheel):
                # No release has it, so it is built; that is tried elsewhere.
                source = next(iter(files[name].values())).parent
                target = tools.cache / "tools" / tools.key(name)
                target.mkdir(parents=True)
                for file in source.iterdir():
                    place(file, target / file.name)
        variables = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), proxy.address)
        variables |= {"LAB_CA": str(proxy.ca), "LAB_CACHE": str(folder / "cache")}
        found = Internet(Invoke(checkout, NAME), proxy, tools, variables)
        try:
            yield found
        finally:
            found("lab-destroy")
            shutil.rmtree(folder)


def test_a_lab_of_official_releases(internet: Internet) -> None:
    """From an empty cache, with a fault of each kind on the way."""
    proxy, items = internet.proxy, internet.tools.items
    for name, fault in FAULTS.items():
        url = urlsplit(items[name].release[0].url)
        first = f"{url.netloc}{url.path}"
        last = urlsplit(proxy.redirects.get(first, f"https://{first}"))
        proxy.faults[f"{last.netloc}{last.path}"] = [fault]
    words = ("--source", "release", "--provider", "docker", "--distribution", "kubeadm")
    done = internet("lab-up", *words, "--workers", "1")
    print(done.err)
    assert not any(proxy.faults.values())
    assert "built from" not in done.err
    published = [name for name in TOOLS if items[name].release]
    for name in published:
        version = items[name].release[0].version or items[name].version
        assert f"  {name} {version} from release" in done.err
        assert set(internet.addresses(name)) <= set(proxy.asked)
    assert len(published) >= 7


def test_its_exercise(internet: Internet) -> None:
    internet("exercise-up", "pod")
    assert "failed" not in internet("check", "pod").out


def test_lint_has_the_document_of_this_version(internet: Internet, tmp_path: Path) -> None:
    manifest = tmp_path / "pod.yaml"
    manifest.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {conainers: []}\n")
    told = internet("lint", str(manifest), code=5)
    assert "conainers" in told.out
    assert set(internet.addresses("openapi")) <= set(internet.proxy.asked)


def test_again_downloads_nothing(internet: Internet) -> None:
    asked = list(internet.proxy.asked)
    assert "nothing to do" in internet("lab-up").err
    assert internet.proxy.asked == asked


def test_k3s_up_to_the_start_of_its_program(internet: Internet) -> None:
    internet("lab-destroy")
    words = ("--source", "release", "--distribution", "k3s", "--workers", "0")
    done = internet("lab-up", *words, code=4)
    assert "this is not k3s" in done.err
    assert set(internet.addresses("k3s")) <= set(internet.proxy.asked)
