"""Official releases: downloads by pinned address and digest, resumed where they were cut off."""

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

# Tries in a row that bring nothing; a try that brings a chunk (bytes) starts the count again.
TRIES = 3
CHUNK = 1 << 20
# Bytes that are read at once: what a reset connection costs.
BLOCK = 1 << 16
# Bytes of one file. The largest that is pinned has less than a quarter of them.
LARGEST = 2 << 30
# Seconds: the longest wait that a server may ask for, and the pause after a first failure.
LONGEST_WAIT = 60.0
PAUSE = 1.0
# Answers that another try may change: too early, rate limits, a server that is overloaded.
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
OTHER_SOURCE = "another source: see docs/toolchain.md"


class Refused(OSError):
    """An answer that is not the file: the client does not use it; `hint` is what may help."""

    def __init__(self, reason: str, hint: str, *, final: bool = True) -> None:
        super().__init__(reason)
        self.hint = hint
        self.final = final


@dataclass(frozen=True)
class Failure:
    """Why a try failed, what to do then, and the seconds until the next try; None for no more."""

    reason: str
    hint: str = "invoke doctor"
    pause: float | None = PAUSE


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, as GitHub sends them to other hosts, but never from https to http."""

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
                "look for a proxy or a network that wants a sign-in, then run the command again",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


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


def fetch(
    download: Download, folder: Path, downloads: Path, status: Status, *, keep: bool = False
) -> None:
    """Put the programs of a release into `folder`.

    `keep` leaves the archive in `downloads`, for another item that is in it.

    Raises PrerequisiteError when the file cannot be had, or is not the one that was pinned.
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
    """Download one file and verify it before it gets its name; a rest of an earlier try is used.

    Several that want the same file wait for the first.
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
        # A line that brings something is taken up again at once.
        pause = failure.pause if misses or failure.pause > PAUSE else 0
        if pause > PAUSE:
            status.say(f"{failure.reason}: the next try is in {pause:.0f} s ({url})")
        wait.pause(pause)


def judge(error: OSError | HTTPException, now: float) -> Failure:
    """What a failed try means; `now` is the time in seconds since 1970.

    Raises the error again when this host refuses to write, for a full disk for instance.
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
    # GitHub tells clients of its rate limit by 403 as well.
    if error.code not in TEMPORARY and not (error.code == 403 and asked is not None):
        return Failure(reason, pause=None)
    if asked is not None and asked > LONGEST_WAIT:
        hint = f"run the command again in {asked / 60:.0f} min, or take {OTHER_SOURCE}"
        return Failure(f"{reason} and asks for {asked:.0f} s of patience", hint, None)
    hint = f"run the command again in some minutes, or take {OTHER_SOURCE}"
    return Failure(reason, hint, max(PAUSE, asked or 0))


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a header Retry-After, which has seconds or a date; None without one."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def extract(archive: Path, members: Mapping[str, str], folder: Path) -> None:
    """Take single files out of a tar or zip archive, executable, under names of our own.

    Raises PrerequisiteError for an archive that cannot be read, or that lacks a member.
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
                    raise KeyError(f"{member} is no file")
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
    """Continue a download at the length of its part; begin anew where the server cannot."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.build_opener(Redirects).open(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return
        raise
    with answer:
        # Before the part is opened: a page in between must not cost what is there already.
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
            "open the address in a browser: the network may want a sign-in",
            final=False,
        )


def _discard(part: Path, reason: str, *, final: bool) -> None:
    """Remove a part whose content is wrong, and raise Refused with the reason."""
    part.unlink()
    raise Refused(reason, f"report it, and take {OTHER_SOURCE}", final=final)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
