"""The hosts of official releases, played by a proxy: their addresses, redirects and content types.

Files have the right names and a content of the tests', so a lock file of the tests' names them.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lab.toolchain.lock import read_lock
from lab.toolchain.store import file_digest
from tests.intercept import Interceptor


@dataclass(frozen=True)
class Host:
    """How a host of releases answers: the host that it redirects to, and the content type."""

    kind: str
    to: str = ""


HOSTS = {
    "github.com": Host("application/octet-stream", "release-assets.githubusercontent.com"),
    "dl.k8s.io": Host("application/x-tar", "cdn.dl.k8s.io"),
    "get.pulumi.com": Host("application/x-tar"),
    "api.pulumi.com": Host("application/x-tar", "get.pulumi.com"),
    "raw.githubusercontent.com": Host("text/plain; charset=utf-8"),
    "releases.hashicorp.com": Host("application/zip"),
}
# The file of an item's program: item, platform, name of the program -> a file on disk.
Program = Callable[[str, str, str], Path]


@dataclass
class StandIn:
    """One address of a lock file, what is in the file there, and the digests that name it."""

    url: str
    digest: str
    members: dict[str, Path] = field(default_factory=dict)
    whole: Path | None = None

    def write(self, target: Path) -> None:
        """Write the file as its name says: an archive of the members, or the program itself."""
        if self.whole:
            shutil.copyfile(self.whole, target)
        elif self.url.endswith(".zip"):
            with zipfile.ZipFile(target, "w") as zipped:
                for member, file in self.members.items():
                    zipped.write(file, member)
        else:
            with tarfile.open(target, "w:gz", compresslevel=1) as tarred:
                for member, file in self.members.items():
                    tarred.add(file, member)


def stand_ins(lock: Path, platforms: Iterable[str], program: Program) -> list[StandIn]:
    """One for every address of a lock file; items that share an address share the file."""
    found: dict[str, StandIn] = {}
    for platform in platforms:
        for item in read_lock(lock, platform).values():
            for download in item.release:
                one = found.setdefault(download.url, StandIn(download.url, download.digest))
                for name, member in download.members.items():
                    one.members[member] = program(item.name, platform, name)
                if not download.members:
                    one.whole = program(item.name, platform, download.file)
    return list(found.values())


def serve(proxy: Interceptor, url: str, file: bytes | Path) -> str:
    """Answer for an address as its host does; returns the place where the content comes from."""
    parts = urlsplit(url)
    host = HOSTS[parts.netloc]
    place = f"{parts.netloc}{parts.path}"
    if host.to:
        name = unquote(parts.path.rpartition("/")[2])
        last = f"{host.to}/{hashlib.sha256(url.encode()).hexdigest()[:12]}/{name}"
        proxy.redirects[place] = f"https://{last}?sp=r&sig=none"
        place = last
    proxy.files[place] = file
    proxy.types[place] = host.kind
    return place


def play(proxy: Interceptor, lock: Path, folder: Path, ones: Iterable[StandIn]) -> None:
    """Serve these, and put their digests into the lock file."""
    text = lock.read_text()
    for number, one in enumerate(ones):
        target = folder / f"{number}-{one.url.rpartition('/')[2]}"
        one.write(target)
        serve(proxy, one.url, target)
        assert one.digest in text, one
        text = text.replace(one.digest, file_digest(target, one.digest.partition(":")[0]))
    lock.write_text(text)
