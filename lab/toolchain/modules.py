"""Programs built from published Go modules; go.sum and the checksum database verify every byte."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab import runner
from lab.errors import CommandError, PrerequisiteError
from lab.output import Status
from lab.platforms import architecture_of
from lab.toolchain.lock import Modules

OLDEST_GO = (1, 24)


@dataclass(frozen=True)
class Go:
    """A Go toolchain, the folder of its caches, and the platform that it builds for."""

    program: Path
    caches: Path
    platform: str

    def environment(self, cgo: bool) -> dict[str, str]:
        """What makes a build depend on nothing but the pins. The module proxy is the user's own."""
        return {
            "GOOS": self.platform.partition("-")[0],
            "GOARCH": architecture_of(self.platform),
            "GOCACHE": str(self.caches / "build"),
            "GOMODCACHE": str(self.caches / "mod"),
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "CGO_ENABLED": "1" if cgo else "0",
            # A compiler that collects its garbage less often takes an eighth less of the
            # processors; the limit keeps it from taking a small host's memory instead.
            "GOGC": "400",
            "GOMEMLIMIT": "2GiB",
        }


def build_commands(modules: Modules, go: Path, target: Path) -> list[list[str]]:
    """The `go build` calls for one set; packages that are named like their programs share one.

    A set without packages is files that are copied: their modules are downloaded.
    """
    if not modules.packages:
        wanted = sorted({module_of(source) for source in modules.copies.values()})
        return [[str(go), "mod", "download", *wanted]]
    common = [str(go), "build", "-mod=readonly", "-trimpath", "-buildvcs=false"]
    # With these tags programs with and without C consist of the same packages, compiled once; and
    # what the linker strips anyway need not be compiled, a tenth of the time.
    common += ["-tags", "netgo,osusergo", "-gcflags", "all=-dwarf=false"]
    common += ["-ldflags", f"-s -w {modules.ldflags}".strip()]
    named = all(package.endswith(f"/{file}") for file, package in modules.packages.items())
    if named:
        return [[*common, "-o", f"{target}/", *modules.packages.values()]]
    return [
        [*common, "-o", str(target / file), package] for file, package in modules.packages.items()
    ]


def build(
    modules: Modules, root: Path, go: Go, target: Path, status: Status, behind: bool = False
) -> None:
    """Build every program of a set into `target`; `behind` what else the processors have to do.

    Raises CommandError with the compiler's words.
    """
    folder = root / modules.folder
    environment = go.environment(modules.cgo)
    for command in build_commands(modules, go.program, target):
        nice = ["nice", "-n", "10"] if behind else []
        runner.run(
            [*nice, *command], cwd=folder, env=environment, timeout=3600, on_line=status.note
        )
    for name, source in modules.copies.items():
        shutil.copyfile(go.caches / "mod" / module_path(source), target / name)
        (target / name).chmod(0o755)


def module_of(source: str) -> str:
    """The module of a file that is copied, as `path@version`."""
    path, _, rest = source.partition("@")
    return f"{path}@{rest.split('/')[0]}"


def module_path(source: str) -> str:
    """Where a file of a module lies in the module cache: upper case is written `!` and lower."""
    return re.sub(r"[A-Z]", lambda letter: f"!{letter[0].lower()}", source)


def find_go() -> Path | None:
    """The host's Go, where it is new enough."""
    found = shutil.which("go")
    if not found:
        return None
    try:
        version = runner.run([found, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"}).stdout
    except (CommandError, PrerequisiteError):
        return None
    return Path(found) if go_version(version) >= OLDEST_GO else None


def go_version(text: str) -> tuple[int, int]:
    """(1, 26) out of `go1.26.8`; (0, 0) for anything else."""
    found = re.search(r"go(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
