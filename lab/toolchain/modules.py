"""Build programs from published Go modules. go.sum and the checksum database verify every byte."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab import runner
from lab.errors import CommandError, PrerequisiteError
from lab.output import Status
from lab.platforms import architecture_of
from lab.toolchain.lock import Modules


@dataclass(frozen=True)
class Go:
    """A Go toolchain, the folder of its caches, and the platform of the programs that it builds."""

    program: Path
    caches: Path
    platform: str

    def file(self, source: str) -> Path:
        """The path of a file of a downloaded module. `source` is `module@version/path`."""
        return self.caches / "mod" / module_path(source)

    def environment(self, cgo: bool) -> dict[str, str]:
        """The variables that make a build depend on the pins only. The module proxy is the user's.

        `cgo` allows packages in C.
        """
        return {
            "GOOS": self.platform.partition("-")[0],
            "GOARCH": architecture_of(self.platform),
            "GOCACHE": str(self.caches / "build"),
            "GOMODCACHE": str(self.caches / "mod"),
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "CGO_ENABLED": "1" if cgo else "0",
            # With fewer garbage collections, the compiler needs an eighth less processor time. The
            # memory limit protects small hosts.
            "GOGC": "400",
            "GOMEMLIMIT": "2GiB",
        }


def build_commands(
    modules: Modules, go: Path, target: Path, overlay: Path | None = None
) -> list[list[str]]:
    """The `go` commands for one set. Packages with the names of their programs share one build.

    First downloads modules with embedded files, and modules of copied files if there is no build.
    `overlay` is the file that tells Go the paths of the embedded files.
    """
    loose = modules.embeds if modules.packages else modules.copies
    wanted = sorted({module_of(source) for source in loose.values()})
    download = [[str(go), "mod", "download", *wanted]] if wanted else []
    if not modules.packages:
        return download
    common = [str(go), "build", "-mod=readonly", "-trimpath", "-buildvcs=false"]
    common += ["-overlay", str(overlay)] if overlay else []
    # With these tags, programs with and without C share compiled packages. Without debug data,
    # which the linker strips anyway, compiling takes a tenth less time.
    common += ["-tags", "netgo,osusergo", "-gcflags", "all=-dwarf=false"]
    common += ["-ldflags", f"-s -w {modules.ldflags}".strip()]
    named = all(package.endswith(f"/{file}") for file, package in modules.packages.items())
    if named:
        return [*download, [*common, "-o", f"{target}/", *modules.packages.values()]]
    builds = [
        [*common, "-o", str(target / file), package] for file, package in modules.packages.items()
    ]
    return [*download, *builds]


def build(
    modules: Modules, root: Path, go: Go, target: Path, status: Status, behind: bool = False
) -> None:
    """Build every program of a set into `target`. `behind` builds with a low priority.

    Raises CommandError with the compiler's output.
    """
    folder = root / modules.folder
    environment = go.environment(modules.cgo)
    with tempfile.TemporaryDirectory(prefix="lab-overlay-") as aside:
        overlay = Path(aside) / "overlay.json" if modules.embeds else None
        if overlay:
            overlay.write_text(overlay_of(modules, folder, go))
        for command in build_commands(modules, go.program, target, overlay):
            nice = ["nice", "-n", "10"] if behind else []
            runner.run(
                [*nice, *command], cwd=folder, env=environment, timeout=3600, on_line=status.note
            )
    for name, source in modules.copies.items():
        shutil.copyfile(go.file(source), target / name)
        (target / name).chmod(0o755)


def overlay_of(modules: Modules, folder: Path, go: Go) -> str:
    """The JSON for `go build -overlay`, which puts the embedded files into the program's folder.

    The files are megabytes of another project, so the checkout does not contain them.
    """
    files = {str(folder / name): str(go.file(source)) for name, source in modules.embeds.items()}
    return json.dumps({"Replace": files})


def module_of(source: str) -> str:
    """The module of a file, as `path@version`. `source` is `module@version/path`."""
    path, _, rest = source.partition("@")
    return f"{path}@{rest.split('/')[0]}"


def module_path(source: str) -> str:
    """The path of a module's file in the module cache, which writes `A` as `!a`."""
    return re.sub(r"[A-Z]", lambda letter: f"!{letter[0].lower()}", source)


def find_go(oldest: tuple[int, ...]) -> Path | None:
    """The host's Go; None if it is missing or older than `oldest`."""
    found = shutil.which("go")
    if not found:
        return None
    try:
        version = runner.run([found, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"}).stdout
    except (CommandError, PrerequisiteError):
        return None
    return Path(found) if go_version(version) >= oldest else None


def oldest_go(texts: Iterable[str]) -> tuple[int, ...]:
    """The oldest Go that builds all of these go.mod files: the newest of their `go` lines.

    >>> oldest_go(["go 1.26.4", "go 1.25"])
    (1, 26, 4)
    """
    found = (re.search(r"^go (\S+)$", text, re.MULTILINE) for text in texts)
    return max(go_version(f"go{one[1]}") for one in found if one)


def go_version(text: str) -> tuple[int, ...]:
    """(1, 26, 8) for `go1.26.8`, (1, 27) for `go1.27rc1`, (0,) for any other text."""
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(number) for number in found.groups() if number) if found else (0,)
