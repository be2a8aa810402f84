"""One training, by Docker, by Singularity, as a Kubernetes Job, or bare: in no container at all.

All are on the first machine, by its ordinary user, with the same image: Docker and Kubernetes have
it as layers, Singularity as a SIF, and bare is its root as a folder that is entered by chroot.
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
# On the host, below the lab's state: what is kept of the last runs and of their comparison.
KEPT = "mnist"
# The longest that a training may take, in seconds.
LIMIT = 4 * 3600


@dataclass(frozen=True)
class Run:
    """One training that is over.

    `asked` is when its command was given, in unix seconds by the machine's clock, `seconds` how
    long that took until all of it was gone, `code` its exit code, and `reason` what the runtime
    says of its end, OOMKilled for instance. `metrics` is None where the program writes none.
    """

    way: str
    asked: float
    seconds: float
    code: int
    output: str
    metrics: Metrics | None
    reason: str = ""

    def raise_for_status(self) -> None:
        """Raises ResourceError, or ConfigError for wrong options, that says why it failed."""
        if self.code:
            raise failure(self)


def failure(run: Run) -> LabError:
    """What went wrong in a run, in a sentence."""
    again = f"invoke mnist-run {run.way}"
    if run.reason == "OOMKilled":
        return ResourceError(
            f"the training ({run.way}) was ended because it wanted more memory than it may have "
            "(OOMKilled): who goes over the limit of its cgroup is killed, without a word",
            hint=f"give it more: {again} --memory 1024",
        )
    if run.reason == DELETED:
        return ResourceError(
            f"the training ({run.way}) is gone: somebody deleted its Job or its namespace",
            hint=f"the same again goes on from its checkpoint: {again}",
        )
    lines = [text for line in run.output.splitlines() if (text := seen(line).strip())]
    last = lines[-1].removeprefix("error: ") if lines else "it said nothing"
    message = f"the training ({run.way}) ended with code {run.code}: {last}"
    if run.code == ways.WRONG:
        return ConfigError(message, hint=f"{again}, otherwise")
    return ResourceError(message, hint=f"the same again goes on from its checkpoint: {again}")


@dataclass
class Runs:
    """Runs on a lab whose image is made. `halt` raises an interrupt that has come meanwhile."""

    lab: Lab
    cluster: Cluster
    machine: Remote
    status: Status
    made: image.Made
    halt: Callable[[], None] = field(default=lambda: None)

    def run(self, way: str, ask: Ask, on_line: OnLine | None = None) -> Run:
        """One training to its end; `on_line` gets its lines as they come.

        Whatever ends it, nothing of it goes on running. Raises ConfigError for a way or a program
        that is none, and what goes wrong around the training; `Run.code` tells of the training.
        """
        if way not in WAYS:
            raise ConfigError(f"there is no way `{way}`; there are: {', '.join(WAYS)}")
        options = [*ask.options, *(ways.RESULTS if ask.own else ())]
        self._prepare(way, ask)
        heard = Listener(on_line)
        if way == "job":
            return self._in_cluster(ask, options, heard)
        return self._on_machine(way, ask, options, heard)

    def drop_caches(self) -> bool:
        """Empty the page cache of the machine's kernel; False where that is not allowed."""
        line = "sync && echo 3 >/proc/sys/vm/drop_caches"
        try:
            self._shell(line, sudo=True, timeout=120)
        except LabError:
            return False
        return True

    def unpack_root(self) -> None:
        """The image's root as a folder, for the way `bare`, unless it is there."""
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

    # The folder of a run, on the machine: `out` in it is /out for the program.

    def _prepare(self, way: str, ask: Ask) -> None:
        """Make the folder, with what an earlier run has left only where that is gone on with."""
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
            # It is /mnist/main.py, in a folder that can be written to, beside /data.
            self.machine.run(["cp", f"{image.HOME}/record.py", f"{folder}/mnist/"])
            content = ask.program.read_bytes()
            self.machine.put(content, f"{folder}/mnist/main.py", owner=image.USER)

    def _metrics(self, way: str) -> Metrics | None:
        """What the program wrote down; None where it did not."""
        text = self._read(f"{RUNS}/{way}/out/metrics.json")
        return parse(text) if text else None

    def _sweep(self, way: str) -> None:
        """Nothing of a run goes on, also of one that was cut off."""
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
                hint=f"invoke lab-up; then the same goes on: invoke mnist-run {way}",
            )
            asked, ended, code, *reason = self._shell(
                f"cd {folder} && cat asked ended code; {REASON.get(way, '')}"
            ).split()
        except BaseException:
            # A machine that is gone has nothing more to be ended.
            with contextlib.suppress(LabError):
                self._shell(end, timeout=3 * ways.GRACE)
                last = lambda: self._poll(folder, heard, halt=False)  # noqa: E731
                wait.until(last, what="its last words", timeout=ways.GRACE)
            with contextlib.suppress(LabError):
                self._sweep(way)
            raise
        self._sweep(way)
        seconds = float(ended) - float(asked)
        metrics = self._metrics(way)
        return Run(way, float(asked), seconds, int(code), heard.text, metrics, "".join(reason))

    def _poll(self, folder: str, heard: Listener, *, halt: bool = True) -> bool | None:
        """Hear what was printed since; True when the run is over."""
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
        """A file of the machine; empty where there is none."""
        return self.machine.run(["cat", path], ok=(0, 1))


# What asks for the reason of an end.
REASON = {
    "docker": f"docker container inspect {ways.NAME} --format "
    "'{{if .State.OOMKilled}}OOMKilled{{end}}'"
}


@contextmanager
def opened(settings: Settings, task: str, status: Status) -> Iterator[Runs]:
    """Runs on a lab, which nobody else changes meanwhile.

    Interrupts are held back to moments that suit: a run that is interrupted is stopped and taken
    away. Raises NotFoundError where `invoke mnist-up` is still to come, and as `practice.running`.
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
    """`invoke mnist-run`: one training, told as it goes, its output and metrics kept on the host.

    Raises what `Runs.run` raises; how the training itself ended is `Run.code`.
    """
    with opened(settings, f"mnist-run {way}", status) as runs:
        status.say(f"{way}: {' '.join(ask.options)}; data: {runs.made.data}")
        run = runs.run(way, ask, teller(status))
        remember(runs.lab, run)
    return run


def kept(lab: Lab, way: str) -> tuple[Path, Path]:
    """Where the last run of a way is kept on the host: its output, and all of it as JSON."""
    folder = lab.state / KEPT
    return folder / f"{way}-run.out", folder / f"{way}-run.json"


def remember(lab: Lab, run: Run) -> None:
    """Keep a run on the host, in place of the last one of its way."""
    output, document = kept(lab, run.way)
    write_aside(output, run.output, mode=0o644)
    write_aside(document, json.dumps(data(run), indent=1), mode=0o644)


def last(lab: Lab, way: str) -> Run:
    """The last run of a way by `invoke mnist-run`. Raises NotFoundError when there is none."""
    _, document = kept(lab, way)
    if not document.exists():
        raise NotFoundError(f"there was no run by {way} yet", hint=f"invoke mnist-run {way}")
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
    """A run in a few lines, for people."""
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
