"""Official releases: downloads by pinned address and digest, resumed where they were cut off."""

from __future__ import annotations

import os
import shutil
import socket
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from lab.errors import PrerequisiteError
from lab.output import Status
from lab.toolchain.lock import Download
from lab.toolchain.store import alone, file_digest

TRIES = 3
CHUNK = 1 << 20


def reachable(url: str, timeout: float = 2) -> bool:
    """Whether the host of an address can be connected to; a proxy from the environment counts."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout):
            return True
    except OSError:
        return False


def fetch(download: Download, folder: Path, downloads: Path, status: Status) -> None:
    """Put the programs of a release into `folder`.

    Raises PrerequisiteError when the file cannot be had, or is not the one that was pinned.
    """
    archive = fetch_file(download.url, download.digest, downloads, status)
    if download.members:
        extract(archive, download.members, folder)
    else:
        target = folder / download.file
        shutil.copyfile(archive, target)
        target.chmod(0o755)
    archive.unlink()


def fetch_file(url: str, digest: str, downloads: Path, status: Status) -> Path:
    """Download one file and verify it before it gets its name; a rest of an earlier try is used.

    Several that want the same file wait for the first.
    """
    target = downloads / digest.replace(":", "-")
    with alone(target.with_suffix(".lock")):
        return _fetch_file(url, digest, target, status)


def _fetch_file(url: str, digest: str, target: Path, status: Status) -> Path:
    if target.exists() and file_digest(target, digest.split(":")[0]) == digest:
        return target
    part = target.with_suffix(".part")
    reason = ""
    for _ in range(TRIES):
        try:
            _append(url, part, status)
        except (OSError, HTTPException) as error:
            reason = _reason(error)
            continue
        found = file_digest(part, digest.split(":")[0])
        if found == digest:
            os.replace(part, target)
            return target
        reason = f"expected {digest}, got {found}"
        part.unlink()
    raise PrerequisiteError(f"{url} cannot be used: {reason}", hint="invoke doctor")


def extract(archive: Path, members: Mapping[str, str], folder: Path) -> None:
    """Take single files out of a tar or zip archive, executable, under names of our own."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for name, member in members.items():
                with zipped.open(member) as source:
                    _write(source, folder / name)
        return
    with tarfile.open(archive) as tarred:
        for name, member in members.items():
            content = tarred.extractfile(member)
            if content is None:
                raise PrerequisiteError(f"{archive} has no file {member}")
            _write(content, folder / name)


def _write(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(source, file)
    target.chmod(0o755)


def _append(url: str, part: Path, status: Status) -> None:
    """Continue a download at the length of its part; begin anew where the server cannot."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        total = file.tell() + int(answer.headers.get("Content-Length") or 0)
        while block := answer.read(CHUNK):
            file.write(block)
            status.note(
                f"{urlsplit(url).path.rsplit('/', 1)[-1]}  {file.tell() >> 20} of {total >> 20} MiB"
            )
        if file.tell() < total:
            raise OSError(f"the connection ended after {file.tell()} of {total} bytes")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    return str(getattr(error, "reason", "") or error)
