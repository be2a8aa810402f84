"""The data set in MNIST's files: the real MNIST if available, else other handwritten digits.

Both have 28x28 pixels and ten classes, in MNIST's file format. So a program needs no change for
either. The file `NAME` says which one it is, and SHA256SUMS has the files' digests.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import runner
from lab.errors import CommandError, DeadlineExceeded, ResourceError
from lab.output import Status
from lab.state import write_aside
from lab.toolchain import Toolchain

RAW = "MNIST/raw"
DIGITS = "digits (not MNIST)"
# File -> (magic number, whether it contains images).
FILES = {
    "train-images-idx3-ubyte": (0x803, True),
    "train-labels-idx1-ubyte": (0x801, False),
    "t10k-images-idx3-ubyte": (0x803, True),
    "t10k-labels-idx1-ubyte": (0x801, False),
}
# Item and version of the real MNIST in a mirror.
MIRRORED = ("mnist", "1998")
# Pixels of a side: of an image, of the digit in it, and of a scanned digit.
SIDE, INNER, SCANNED = 28, 20, 8
# A scanned pixel has a value from 0 to this.
BRIGHTEST = 16
# Images for testing. The last lines of the table come from other writers than the rest.
TESTS = 297
# Every training image appears once per move, shifted by these pixels right and down.
MOVES = tuple(itertools.product((0, -2, 2), repeat=2))
# The digits' path in the base image.
SCANS = "/usr/share/digits/digits.csv.gz"
# torchvision knows the addresses and digests of the real MNIST.
DOWNLOAD = """
import socket
from torchvision import datasets
socket.setdefaulttimeout(10)
datasets.MNIST("/data", download=True)
"""
Pixels = tuple[int, ...]


@dataclass(frozen=True)
class DataSet:
    """A data set on the host: its name, and the folder that contains MNIST/raw."""

    name: str
    folder: Path

    @property
    def files(self) -> list[Path]:
        """Its files, including NAME and SHA256SUMS."""
        return sorted(path for path in (self.folder / RAW).iterdir() if path.is_file())


def obtain(cache: Path, base: str, status: Status, toolchain: Toolchain | None = None) -> DataSet:
    """The real MNIST from the cache, the toolchain's mirror or a download, else the digits.

    `base` is an image with torchvision. Raises CommandError if Docker cannot run it.
    """
    real = cache / "mnist" / "MNIST"
    if whole(real) or (toolchain and _take(real, toolchain)):
        return DataSet("MNIST", real)
    status.note("MNIST by torchvision")
    if found := download(real, base):
        return found
    status.say("MNIST cannot be downloaded here; other handwritten digits replace it")
    made = cache / "mnist" / f"digits-{len(MOVES)}"
    if not whole(made):
        with status.step(f"data ({DIGITS})"):
            command = ["docker", "run", "--rm", "--entrypoint", "gzip", base, "-cd", SCANS]
            write(made, DIGITS, digits(runner.run(command).stdout))
    return DataSet(DIGITS, made)


def _take(folder: Path, toolchain: Toolchain) -> bool:
    with toolchain.mirrored(*MIRRORED) as files:
        if files:
            write(folder, "MNIST", {name: files[name].read_bytes() for name in FILES})
        return bool(files)


def download(folder: Path, base: str) -> DataSet | None:
    """Download the real MNIST into `folder`; None if the download fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Run as this user, so that the user can remove the container's files.
    options = ["--rm", "--interactive", "--entrypoint", "python3"]
    options += ["--user", f"{os.getuid()}:{os.getgid()}", "--env", "HOME=/tmp"]
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        options += ["--volume", f"{aside}:/data"]
        try:
            runner.run(["docker", "run", *options, base, "-"], stdin=DOWNLOAD.encode(), timeout=600)
        except (CommandError, DeadlineExceeded):
            return None
        content = {name: Path(aside, RAW, name).read_bytes() for name in FILES}
    write(folder, "MNIST", content)
    return DataSet("MNIST", folder)


def write(folder: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Write a data set. Its digests come last, so an interrupted one is not `whole`."""
    raw = folder / RAW
    raw.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (raw / file).write_bytes(content)
    write_aside(raw / "NAME", f"{name}\n", mode=0o644)
    sums = [f"{hashlib.sha256(content).hexdigest()}  {file}" for file, content in files.items()]
    write_aside(raw / "SHA256SUMS", "\n".join(sums) + "\n", mode=0o644)


def whole(folder: Path) -> bool:
    """Whether a data set exists and its files match their digests."""
    try:
        lines = (folder / RAW / "SHA256SUMS").read_text().splitlines()
        sums = {name: total for total, name in (line.split() for line in lines)}
        found = {name: (folder / RAW / name).read_bytes() for name in FILES}
    except (OSError, ValueError):
        return False
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()} == sums


def digits(table: str) -> dict[str, bytes]:
    """MNIST's four files from a table of scanned digits. A line has 64 pixels and the digit.

    The last `TESTS` lines are for testing. Each other line gives several images, slightly shifted,
    in an order that does not help a training. Raises ResourceError for an invalid table.
    """
    scans = [read(line) for line in table.split()]
    if len(scans) <= TESTS:
        raise ResourceError(f"the table of digits has only {len(scans)} lines")
    enlarged = [(enlarge(pixels), digit) for pixels, digit in scans]
    train = [(moved(pixels, *move), digit) for move in MOVES for pixels, digit in enlarged[:-TESTS]]
    test = [(moved(pixels, 0, 0), digit) for pixels, digit in enlarged[-TESTS:]]
    halves = {"train": train, "t10k": test}
    return {name: idx(halves[name.partition("-")[0]], *kind) for name, kind in FILES.items()}


def read(line: str) -> tuple[Pixels, int]:
    """The pixels of a scan, 0 to 16, and the digit. Raises ResourceError for an invalid line."""
    try:
        *pixels, digit = (int(float(word)) for word in line.split(","))
    except ValueError as error:
        raise ResourceError(f"invalid line in the table of digits: {line[:60]}") from error
    if len(pixels) != SCANNED**2 or not 0 <= digit <= 9 or min(pixels) < 0:
        raise ResourceError(f"invalid line in the table of digits: {line[:60]}")
    return tuple(pixels), digit


def enlarge(pixels: Sequence[int]) -> Pixels:
    """Scale a scan of 8x8 pixels to 20x20 pixels, 0 to 255, by bilinear interpolation."""
    wide = [stretch(pixels[at : at + SCANNED]) for at in range(0, SCANNED**2, SCANNED)]
    columns = [stretch(column) for column in zip(*wide, strict=True)]
    bright = 255 / BRIGHTEST
    return tuple(
        min(255, round(value * bright)) for row in zip(*columns, strict=True) for value in row
    )


def stretch(values: Sequence[float]) -> list[float]:
    """Twenty values, interpolated linearly from eight."""
    return [values[left] * (1 - part) + values[left + 1] * part for left, part in _places()]


def _places() -> Iterable[tuple[int, float]]:
    """For each of the twenty: the index of the value to its left, and the next value's weight."""
    step = (SCANNED - 1) / (INNER - 1)
    for number in range(INNER):
        left = min(int(number * step), SCANNED - 2)
        yield left, number * step - left


def moved(pixels: Pixels, right: int, down: int) -> bytes:
    """A digit of 20x20 pixels in the middle of 28x28, shifted by pixels right and down."""
    margin = (SIDE - INNER) // 2
    image = bytearray(SIDE * SIDE)
    for row in range(INNER):
        at = (row + margin + down) * SIDE + margin + right
        image[at : at + INNER] = bytes(pixels[row * INNER : (row + 1) * INNER])
    return bytes(image)


def idx(items: Sequence[tuple[bytes, int]], magic: int, images: bool) -> bytes:
    """An IDX file of the images or of the labels: a header of 4-byte numbers, then bytes."""
    head = [magic, len(items), *((SIDE, SIDE) if images else ())]
    body = itertools.chain.from_iterable(image for image, _ in items)
    labels = (label for _, label in items)
    return b"".join(number.to_bytes(4, "big") for number in head) + bytes(
        body if images else labels
    )
