"""Download official releases by pinned address and digest, and resume interrupted downloads."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from lab import wait
from lab.errors import REFUSALS, PrerequisiteError
from lab.output import Status
from lab.toolchain.lock import Download
from lab.toolchain.store import alone, file_digest

# The most consecutive tries without progress. A try that downloads CHUNK bytes resets the count.
TRIES = 3
CHUNK = 1 << 20
# The bytes of one read. A reset connection loses at most these.
BLOCK = 1 << 16
# The most bytes of one file. The largest pinned file has less than a quarter of them.
LARGEST = 2 << 30
# Seconds: the longest wait that a server may ask for, and the pause after a first failure.
LONGEST_WAIT = 60.0
PAUSE = 1.0
# Status codes after which a retry may succeed: too early, rate limits, an overloaded server.
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
OTHER_SOURCE = "another source: see docs/toolchain.md"


class Refused(OSError):
    """The client rejects an answer that is not the file. `hint` says what may help.

    `final` means that a retry cannot succeed.
    """

    def __init__(self, reason: str, hint: str, *, final: bool = True) -> None:
        super().__init__(reason)
        self.hint = hint
        self.final = final


@dataclass(frozen=True)
class Failure:
    """Why a try failed, a hint, and the seconds until the next try; None for no retry."""

    reason: str
    hint: str = "invoke doctor"
    pause: float | None = PAUSE


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, which GitHub sends to other hosts, but never from https to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise Refused(
                f"the server redirects to {newurl}, which is not encrypted",
                "look for a proxy or a network that needs a sign-in, then run the command again",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def reachable(url: str, timeout: float = 2) -> bool:
    """Whether the host of an address accepts a connection within `timeout` seconds.

    If the environment names a proxy for the address, tests the proxy.
    """
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


def fetch(
    download: Download, folder: Path, downloads: Path, status: Status, *, keep: bool = False
) -> None:
    """Download a release and write its programs into `folder`.

    `keep` leaves the archive in `downloads`, for another item in it.

    Raises PrerequisiteError if the download fails, or if the file has another digest.
    """
    archive = fetch_file(download.url, download.digest, downloads, status)
    if download.members:
        extract(archive, download.members, folder)
    else:
        target = folder / download.file
        shutil.copyfile(archive, target)
        target.chmod(0o755)
    if not keep:
        archive.unlink()


def fetch_file(url: str, digest: str, downloads: Path, status: Status) -> Path:
    """Download and verify one file, and return its path. Resumes an interrupted download.

    Other tasks that need the same file wait for the first one. Raises PrerequisiteError if the
    download fails, or if the file has another digest.
    """
    target = downloads / digest.replace(":", "-")
    with alone(target.with_suffix(".lock")):
        return _fetch_file(url, digest, target, status)


def _fetch_file(url: str, digest: str, target: Path, status: Status) -> Path:
    algorithm = digest.split(":")[0]
    if target.exists() and file_digest(target, algorithm) == digest:
        return target
    part = target.with_suffix(".part")
    misses, most = 0, _size(part)
    while True:
        rest = _size(part)
        try:
            _append(url, part, status)
            found = file_digest(part, algorithm)
            if found == digest:
                os.replace(part, target)
                return target
            _discard(part, f"expected {digest}, got {found}", final=not rest)
        except (OSError, HTTPException) as error:
            failure = judge(error, time.time())
        if _size(part) >= most + CHUNK:
            misses, most = 0, _size(part)
        else:
            misses += 1
        if failure.pause is None or misses == TRIES:
            raise PrerequisiteError(f"{url} cannot be used: {failure.reason}", hint=failure.hint)
        # After progress, retry at once.
        pause = failure.pause if misses or failure.pause > PAUSE else 0
        if pause > PAUSE:
            status.say(f"{failure.reason}: the next try is in {pause:.0f} s ({url})")
        wait.pause(pause)


def judge(error: OSError | HTTPException, now: float) -> Failure:
    """Decide what follows a failed try. `now` is the time in seconds since 1970.

    Raises the error again if this host cannot write, e.g. because its disk is full.
    """
    if isinstance(error, Refused):
        return Failure(str(error), error.hint, None if error.final else PAUSE)
    if isinstance(error, urllib.error.HTTPError):
        return _judge_status(error, now)
    if isinstance(error, urllib.error.URLError):
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            return Failure(str(error.reason), "network.ca in lab.toml: see docs/outside.md", None)
        return Failure(str(error.reason))
    if isinstance(error, OSError) and error.errno in REFUSALS:
        raise error
    return Failure(str(error) or type(error).__name__)


def _judge_status(error: urllib.error.HTTPError, now: float) -> Failure:
    reason = f"the server answered {error.code} {error.reason}"
    asked = retry_after(error.headers.get("Retry-After"), now)
    # GitHub also uses status 403 for its rate limit.
    if error.code not in TEMPORARY and not (error.code == 403 and asked is not None):
        return Failure(reason, pause=None)
    if asked is not None and asked > LONGEST_WAIT:
        hint = f"run the command again in {asked / 60:.0f} min, or use {OTHER_SOURCE}"
        return Failure(f"{reason} and asks to wait {asked:.0f} s", hint, None)
    hint = f"run the command again in some minutes, or use {OTHER_SOURCE}"
    return Failure(reason, hint, max(PAUSE, asked or 0))


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds to wait by a header Retry-After, which has seconds or a date; None without."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def extract(archive: Path, members: Mapping[str, str], folder: Path) -> None:
    """Extract single files from a tar or zip archive, under our names, as executables.

    Raises PrerequisiteError if the archive cannot be read, or lacks a member.
    """
    try:
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
                    raise KeyError(f"{member} is not a file")
                _write(content, folder / name)
    except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise PrerequisiteError(
            f"{archive} is not the archive that toolchain/lock.toml describes: {error.args[0]}",
            hint="report it: the pinned release has another layout",
        ) from error


def _write(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(source, file)
    target.chmod(0o755)


def _append(url: str, part: Path, status: Status) -> None:
    """Continue a download after its part, or start again if the server cannot resume."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.build_opener(Redirects).open(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return
        raise
    with answer:
        # Check this before opening the part: a web page must not overwrite earlier progress.
        _refuse_page(url, answer.headers.get_content_type())
        with part.open("ab" if answer.status == 206 else "wb") as file:
            total = file.tell() + (answer.length or 0)
            while block := answer.read(BLOCK):
                file.write(block)
                done = file.tell()
                name = urlsplit(url).path.rsplit("/", 1)[-1]
                status.note(f"{name}  {done >> 20} of {total >> 20} MiB")
                if max(done, total) > LARGEST:
                    break
            done = file.tell()
    if max(done, total) > LARGEST:
        _discard(part, f"the server sends more than {LARGEST >> 20} MiB", final=True)
    if done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def _refuse_page(url: str, content_type: str) -> None:
    if content_type == "text/html" and not url.endswith(".html"):
        raise Refused(
            "the server sent a web page instead of the file",
            "open the address in a browser: the network may need a sign-in",
            final=False,
        )


def _discard(part: Path, reason: str, *, final: bool) -> None:
    """Remove a part with wrong content, and raise Refused with the reason."""
    part.unlink()
    raise Refused(reason, f"report it, and use {OTHER_SOURCE}", final=final)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
