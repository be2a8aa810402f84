"""One training by Docker, by Singularity, as a Kubernetes Job, or `bare`, without a container.

All run on the first machine, as its ordinary user, with the same image. Docker and Kubernetes use
its layers, Singularity a SIF. `bare` enters a folder with the image's root by chroot.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab import wait
from lab.cluster.client import Cluster
from lab.config import Lab, Settings
from lab.errors import ConfigError, LabError, NotFoundError, ResourceError
from lab.homework import image, ways
from lab.homework.asked import WAYS, Ask
from lab.homework.job import DELETED, Job
from lab.homework.listener import Listener, OnLine, seen, teller
from lab.homework.metrics import SCHEMA, Metrics, parse
from lab.interrupts import held_back
from lab.lifecycle.lock import locked
from lab.lifecycle.opened import running
from lab.machines.ssh import Remote, connections
from lab.output import Status
from lab.state import write_aside

RUNS = f"{image.HOME}/runs"
# The folder below the lab's state on the host with the last runs and their comparison.
KEPT = "mnist"
# The time limit of a training, in seconds.
LIMIT = 4 * 3600


@dataclass(frozen=True)
class Run:
    """A finished training.

    `asked` is when its command started, in Unix seconds by the machine's clock. `seconds` is the
    time until the command ended. `code` is the exit code, `reason` the runtime's reason for the
    end, for instance OOMKilled. `metrics` is None for a program that writes none.
    """

    way: str
    asked: float
    seconds: float
    code: int
    output: str
    metrics: Metrics | None
    reason: str = ""

    def raise_for_status(self) -> None:
        """Raise ResourceError, or ConfigError for wrong options, if the training failed."""
        if self.code:
            raise failure(self)


def failure(run: Run) -> LabError:
    """The error that explains a failed run."""
    again = f"invoke mnist-run {run.way}"
    if run.reason == "OOMKilled":
        return ResourceError(
            f"the kernel killed the training ({run.way}) because it exceeded the memory limit of "
            "its cgroup (OOMKilled)",
            hint=f"raise the limit: {again} --memory 1024",
        )
    if run.reason == DELETED:
        return ResourceError(
            f"the training ({run.way}) is gone: its Job or its namespace was deleted",
            hint=f"resume it from its checkpoint: {again}",
        )
    lines = [text for line in run.output.splitlines() if (text := seen(line).strip())]
    last = lines[-1].removeprefix("error: ") if lines else "it printed nothing"
    message = f"the training ({run.way}) ended with code {run.code}: {last}"
    if run.code == ways.WRONG:
        return ConfigError(message, hint=f"{again} with other options")
    return ResourceError(message, hint=f"resume it from its checkpoint: {again}")


@dataclass
class Runs:
    """Runs on a lab whose image exists. `halt` raises a pending interrupt."""

    lab: Lab
    cluster: Cluster
    machine: Remote
    status: Status
    made: image.Made
    halt: Callable[[], None] = field(default=lambda: None)

    def run(self, way: str, ask: Ask, on_line: OnLine | None = None) -> Run:
        """Run one training to its end; `on_line` gets its lines as they arrive.

        An error or interrupt stops the training, too. Raises ConfigError for an unknown way or an
        unreadable program, and LabError for failures outside of the training. A failed training
        raises nothing and has its exit code in `Run.code`.
        """
        if way not in WAYS:
            raise ConfigError(f"unknown way `{way}`; choose one of {', '.join(WAYS)}")
        options = [*ask.options, *(ways.RESULTS if ask.own else ())]
        self._prepare(way, ask)
        heard = Listener(on_line)
        if way == "job":
            return self._in_cluster(ask, options, heard)
        return self._on_machine(way, ask, options, heard)

    def drop_caches(self) -> bool:
        """Clear the page cache of the machine's kernel; False if the machine does not permit it."""
        line = "sync && echo 3 >/proc/sys/vm/drop_caches"
        try:
            self._shell(line, sudo=True, timeout=120)
        except LabError:
            return False
        return True

    def unpack_root(self) -> None:
        """Unpack the image's root into the folder of the way `bare`, unless it exists."""
        root = ways.ROOT
        if self._read(f"{root}.digest").strip() == self.made.digest:
            return
        with self.status.step("unpack the image into a folder"):
            line = (
                f"rm -rf {root} && mkdir -p {root}/out && one=$(docker create {image.IMAGE}) && "
                f"docker export $one | tar -x -C {root}; docker rm $one >/dev/null"
            )
            self._shell(line, sudo=True, timeout=300)
            self.machine.put(f"{self.made.digest}\n", f"{root}.digest")

    # A run's folder on the machine. The program sees its `out` as /out.

    def _prepare(self, way: str, ask: Ask) -> None:
        """Create the folder; keep an earlier run's files only to resume that run."""
        folder = f"{RUNS}/{way}"
        self._sweep(way)
        words = json.dumps({"options": ask.options, "program": str(ask.program or "")})
        same = self._read(f"{folder}/wanted").strip() == words
        unfinished = '"complete": false' in self._read(f"{folder}/out/metrics.json")
        if not (ask.resume and same and unfinished):
            self.machine.run(["rm", "-rf", folder], sudo=True)
        self.machine.run(["mkdir", "-p", f"{folder}/out", f"{folder}/mnist"])
        self.machine.put(words, f"{folder}/wanted", owner=image.USER)
        if ask.program:
            # The program sees /mnist/main.py in a writable folder, next to /data.
            self.machine.run(["cp", f"{image.HOME}/record.py", f"{folder}/mnist/"])
            content = ask.program.read_bytes()
            self.machine.put(content, f"{folder}/mnist/main.py", owner=image.USER)

    def _metrics(self, way: str) -> Metrics | None:
        """The program's metrics; None if it wrote none."""
        text = self._read(f"{RUNS}/{way}/out/metrics.json")
        return parse(text) if text else None

    def _sweep(self, way: str) -> None:
        """Stop and remove what is left of a run, including an interrupted one."""
        if way == "job":
            self._job().remove()
        else:
            self._shell(ways.sweep(way, f"{RUNS}/{way}"), sudo=True)

    # By a command of the machine: docker, singularity, bare

    def _on_machine(self, way: str, ask: Ask, options: Sequence[str], heard: Listener) -> Run:
        if way == "bare":
            self.unpack_root()
        folder, end = f"{RUNS}/{way}", ways.stop(way, f"{RUNS}/{way}")
        text = ways.script(folder, ways.COMMANDS[way](folder, ask, options), end)
        self.machine.put(text, f"{folder}/run", mode="0755", owner=image.USER)
        old = " ".join(ways.FILES)
        begin = f"setsid --fork {folder}/run >/dev/null 2>&1 </dev/null"
        self._shell(f"cd {folder} && rm -f {old} && touch seen output && {begin}")
        try:
            wait.until(
                lambda: self._poll(folder, heard),
                what=f"the end of the training ({way})",
                timeout=LIMIT,
                interval=0.3,
                longest=0.5,
                silence=ways.SILENCE,
                hint=f"invoke lab-up, then resume the training: invoke mnist-run {way}",
            )
            asked, ended, code, *reason = self._shell(
                f"cd {folder} && cat asked ended code; {REASON.get(way, '')}"
            ).split()
        except BaseException:
            # On an unreachable machine nothing can be stopped; the run's script does it.
            with contextlib.suppress(LabError):
                self._shell(end, timeout=3 * ways.GRACE)
                last = lambda: self._poll(folder, heard, halt=False)  # noqa: E731
                wait.until(last, what="its last output", timeout=ways.GRACE)
            with contextlib.suppress(LabError):
                self._sweep(way)
            raise
        self._sweep(way)
        seconds = float(ended) - float(asked)
        metrics = self._metrics(way)
        return Run(way, float(asked), seconds, int(code), heard.text, metrics, "".join(reason))

    def _poll(self, folder: str, heard: Listener, *, halt: bool = True) -> bool | None:
        """Read the new output; True once the run is over."""
        if halt:
            self.halt()
        text = self._shell(
            f"cd {folder} && touch seen && over=$(cat code 2>/dev/null); "
            f"tail -c +{heard.bytes + 1} output; printf '\\036%s' \"$over\""
        )
        words, _, over = text.rpartition("\036")
        heard.hear(words)
        return True if over.strip() else None

    # In the cluster

    def _in_cluster(self, ask: Ask, options: Sequence[str], heard: Listener) -> Run:
        folder = f"{RUNS}/job"
        objects = ways.job(folder, self.machine.name, ask, options, self.lab.cpus)
        asked, end = self._job().run(objects, heard, LIMIT)
        metrics = self._metrics("job")
        return Run("job", asked, end.at - asked, end.code, heard.text, metrics, end.reason)

    def _job(self) -> Job:
        def clock() -> float:
            return float(self.machine.run(["date", "+%s.%N"]))

        return Job(self.cluster, clock, self.halt)

    def _shell(self, lines: str, *, sudo: bool = False, timeout: int = 60) -> str:
        return self.machine.run(["sh", "-c", lines], sudo=sudo, timeout=timeout)

    def _read(self, path: str) -> str:
        """The content of a file on the machine; empty if there is none."""
        return self.machine.run(["cat", path], ok=(0, 1))


# The command that prints why a run ended.
REASON = {
    "docker": f"docker container inspect {ways.NAME} --format "
    "'{{if .State.OOMKilled}}OOMKilled{{end}}'"
}


@contextmanager
def opened(settings: Settings, task: str, status: Status) -> Iterator[Runs]:
    """Runs on a lab that no other task changes meanwhile.

    Interrupts are deferred to a safe point, where an interrupted run is stopped and removed.
    Raises NotFoundError before the first `invoke mnist-up`, and what `running` raises.
    """
    found = running(settings)
    resolved = found.lab
    made = image.refuse_without(resolved)
    machine = connections(resolved)[0]
    with locked(resolved, task, status), held_back() as halt:
        try:
            yield Runs(resolved, found.cluster, machine, status, made, halt)
        finally:
            machine.close()


def one(settings: Settings, way: str, ask: Ask, status: Status) -> Run:
    """`invoke mnist-run`: run one training, report its lines, keep output and metrics on the host.

    Raises what `Runs.run` raises. The exit code of the training is `Run.code`.
    """
    with opened(settings, f"mnist-run {way}", status) as runs:
        status.say(f"{way}: {' '.join(ask.options)}; data: {runs.made.data}")
        run = runs.run(way, ask, teller(status))
        remember(runs.lab, run)
    return run


def kept(lab: Lab, way: str) -> tuple[Path, Path]:
    """The host's files of a way's last run: its output, and the whole run as JSON."""
    folder = lab.state / KEPT
    return folder / f"{way}-run.out", folder / f"{way}-run.json"


def remember(lab: Lab, run: Run) -> None:
    """Keep a run on the host. It replaces the last run of its way."""
    output, document = kept(lab, run.way)
    write_aside(output, run.output, mode=0o644)
    write_aside(document, json.dumps(data(run), indent=1), mode=0o644)


def last(lab: Lab, way: str) -> Run:
    """The last run of a way by `invoke mnist-run`. Raises NotFoundError when there is none."""
    _, document = kept(lab, way)
    if not document.exists():
        raise NotFoundError(f"there is no run by {way} yet", hint=f"invoke mnist-run {way}")
    found = json.loads(document.read_text())
    metrics = found.pop("metrics")
    return Run(**found, metrics=parse(json.dumps(metrics)) if metrics else None)


def data(run: Run) -> dict[str, Any]:
    """A run for JSON."""
    found = asdict(run)
    if found["metrics"]:
        found["metrics"] = {"schema": SCHEMA, **found["metrics"]}
    return found


def text(run: Run) -> str:
    """A summary of a run for a terminal."""
    lines = [f"{run.way}: {run.seconds:.1f} s from the command to its end"]
    if found := run.metrics:
        clock = found.clock
        lines += [
            f"data: {found.data.name}, {found.data.train} images, {found.data.test} for tests",
            f"start: {clock.first_line - run.asked:.2f} s to the first line of Python, "
            f"{clock.imported - clock.first_line:.2f} s to import PyTorch",
        ]
        if found.epochs:
            speeds = [epoch.images_per_second for epoch in found.epochs]
            lines.append(
                f"accuracy: {found.epochs[-1].accuracy:.2%} after epoch {found.epochs[-1].epoch}, "
                f"{sum(speeds) / len(speeds):.0f} images/s, "
                f"{found.peak_memory / 2**20:.0f} MiB at most"
            )
    return "\n".join(lines)
