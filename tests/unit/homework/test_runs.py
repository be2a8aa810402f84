"""The homework's data, commands and records, tested without a machine and without PyTorch."""

from __future__ import annotations

import fnmatch
import importlib.util
import io
import json
import shlex
import signal
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.cluster import registry
from lab.cluster.client import Cluster, cluster_of
from lab.config import Lab
from lab.errors import ConfigError, LabError, NotFoundError, ResourceError
from lab.exercises import practice
from lab.exercises.catalogue import Exercise
from lab.homework import asked, data, image, job, metrics, runs, ways
from lab.homework.asked import Ask
from lab.homework.listener import Listener, seen, teller
from lab.homework.runs import Run
from lab.lifecycle.opened import Opened
from lab.output import Status
from tests.unit.conftest import ROOT

APP = ROOT / "infra" / "workloads" / "mnist" / "app"
CLOCK = dict.fromkeys(("started", "first_line", "imported", "ready", "ended"), 1.0)
PLACE = {
    "kernel": "6.1", "cgroup": 2, "cpus": 2, "cpu_limit": None, "memory_limit": None, "seccomp": 2,
    "speculation": "vulnerable", "uid": 0, "hostname": "a", "root": "overlay", "mount": "overlay",
    "python": "3.13", "torch": "2.6", "blas": "libopenblas.so",
}  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "complete": True,
    "data": {"name": "MNIST", "train": 60000, "test": 10000},
    "options": {"epochs": 1},
    "clock": CLOCK,
    "epochs": [
        {"epoch": 1, "loss": 0.5, "test_loss": 0.4, "accuracy": 0.9, "seconds": 2.0,
         "processor": 3.5, "images_per_second": 30000.0}
    ],
    "steps": [[64, 2.3], [704, 1.1]],
    "peak_memory": 1,
    "threads": 2,
    "resumed": 0,
    "workers": 1,
    "environment": PLACE,
}  # fmt: skip


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file of the app as a module, in a process without PyTorch."""
    spec = importlib.util.spec_from_file_location(name, APP / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    # The module sets its own hook; monkeypatch restores this one.
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load("record", monkeypatch)


@pytest.fixture
def program(record: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """main.py with stand-ins for PyTorch's modules. Signal handlers are restored afterwards."""
    before = {sign: signal.getsignal(sign) for sign in record.STOPPED}
    for name in ("torch", "torch.nn", "torch.nn.functional", "torch.optim",
                 "torch.optim.lr_scheduler", "torchvision"):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    modules: Any = sys.modules
    modules["torch"].distributed = SimpleNamespace(is_initialized=lambda: False)
    modules["torch"].nn = modules["torch.nn"]
    modules["torch.nn"].Module = object
    modules["torch.nn"].functional = modules["torch.nn.functional"]
    modules["torch.optim"].Adadelta = modules["torch.optim.lr_scheduler"].StepLR = None
    modules["torchvision"].datasets = None
    yield load("main", monkeypatch)
    for sign, handler in before.items():
        signal.signal(sign, handler)


# Metrics


def test_metrics_survive_json() -> None:
    found = metrics.parse(json.dumps(DOCUMENT))
    assert found.accuracy == 0.9 and found.steps[1] == (704, 1.1)
    run = Run("docker", 1.0, 2.0, 0, "said", found)
    assert runs.data(run)["metrics"]["schema"] == 1
    assert metrics.parse(json.dumps(runs.data(run)["metrics"])) == found


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": 2}', json.dumps({**DOCUMENT, "clock": {"started": 1}})]
)
def test_an_invalid_document_is_rejected(text: str) -> None:
    with pytest.raises(ResourceError, match="metrics file"):
        metrics.parse(text)


# Data


def table(lines: int) -> str:
    return "\n".join(",".join(["16"] * 32 + ["0"] * 32 + [str(n % 10)]) for n in range(lines))


def test_digits_are_written_as_mnists_files() -> None:
    files = data.digits(table(data.TESTS + 2))
    assert files.keys() == data.FILES.keys()
    train, labels = files["train-images-idx3-ubyte"], files["train-labels-idx1-ubyte"]
    count = 2 * len(data.MOVES)
    assert train[:16] == b"".join(n.to_bytes(4, "big") for n in (0x803, count, 28, 28))
    assert len(train) == 16 + count * 784 and len(labels) == 8 + count
    assert len(files["t10k-labels-idx1-ubyte"]) == 8 + data.TESTS
    assert set(labels[8:]) == {0, 1}


def test_a_digit_is_enlarged_in_the_middle_of_its_frame() -> None:
    pixels, digit = data.read(table(4).splitlines()[3])
    image_ = data.moved(data.enlarge(pixels), 0, 0)
    assert digit == 3
    rows = [image_[at : at + 28] for at in range(0, 784, 28)]
    assert not any(rows[3]) and rows[4][4] == 255 and rows[4][3] == 0 and rows[4][24] == 0
    assert (rows[23] == bytes(28) and 0 < rows[14][10] < 255) or rows[14][10] in (0, 255)
    assert data.moved(data.enlarge(pixels), 2, 0)[28 * 4 + 6] == 255


@pytest.mark.parametrize("text", ["", "1,2,3", table(5), table(300).replace("16", "x", 1)])
def test_an_invalid_table_is_rejected(text: str) -> None:
    with pytest.raises(ResourceError):
        data.digits(text)


def test_a_damaged_data_set_is_not_whole(tmp_path: Path) -> None:
    assert not data.whole(tmp_path)
    data.write(tmp_path, data.DIGITS, data.digits(table(data.TESTS + 1)))
    assert data.whole(tmp_path)
    (tmp_path / data.RAW / "t10k-labels-idx1-ubyte").write_bytes(b"")
    assert not data.whole(tmp_path)


def test_digits_replace_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[list[str]] = []

    def run(words: list[str], **_: Any) -> Any:
        said.append(words)
        return SimpleNamespace(stdout=table(data.TESTS + 1))

    monkeypatch.setattr(data, "download", lambda folder, base: None)
    monkeypatch.setattr(data.runner, "run", run)
    story = io.StringIO()
    status = Status(story)
    found = data.obtain(tmp_path, "pytorch", status)
    assert found.name == data.DIGITS and "digits replace it" in story.getvalue()
    assert {path.name for path in found.files} == {*data.FILES, "NAME", "SHA256SUMS"}
    data.obtain(tmp_path, "pytorch", status)
    assert len(said) == 1


# Requests and commands


def test_flags_become_options() -> None:
    given = {"--epochs": 2, "--lr": "", "--dry-run": True, "--no-accel": False}
    found = asked.ask(given, ["--name 'two words'"], cpus="0,1", memory="300")
    assert found.options == ("--epochs", "2", "--dry-run", "--name", "two words")
    assert (found.cpus, found.memory, found.resume) == ("0,1", 300, True)


@pytest.mark.parametrize(
    "wrong", [{"cpus": "all"}, {"memory": "1g"}, {"memory": "0"}, {"program": "/none/main.py"}]
)
def test_invalid_flags_are_rejected(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        asked.ask({}, [], **wrong)


def test_a_program_with_the_options_for_results_is_recognized(tmp_path: Path) -> None:
    assert Ask().own and Ask(program=APP / "main.py").own
    assert not Ask(program=ROOT / "tests/slow/foreign.py").own
    (tmp_path / "main.py").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        _ = Ask(program=tmp_path / "main.py").own


@pytest.mark.parametrize("way", ways.COMMANDS)
def test_each_way_gives_the_program_its_folders_and_options(way: str) -> None:
    ask = Ask(("--lr", "a b"), Path("other.py"), cpus="0,1", memory=300)
    words = ways.COMMANDS[way]("/runs/x", ask, [*ask.options, *ways.RESULTS])
    line = " ".join(words)
    assert "/runs/x/out" in line and "/runs/x/mnist" in line and "0,1" in line
    assert "--metrics /out/metrics.json" in line
    plain = " ".join(ways.COMMANDS[way]("/runs/x", Ask(), []))
    assert "/runs/x/mnist" not in plain and "0,1" not in plain


@pytest.mark.parametrize("way", ways.COMMANDS)
def test_the_machines_scripts_quote_correctly(way: str) -> None:
    command = ways.COMMANDS[way]("/runs/x", Ask(), ["--lr", "it's"])
    text = ways.script("/runs/x", command, ways.stop(way, "/runs/x")) + ways.sweep(way, "/runs/x")
    # shlex rejects an unbalanced quote. `bare` nests one shell line in another.
    words = shlex.split(text)
    inner = [word for line in words if "chroot" in line for word in shlex.split(line)]
    assert "it's" in [word.rstrip(";") for word in (inner if way == "bare" else words)]


def test_the_job_has_limits_and_a_failure_policy() -> None:
    ask = Ask(("--epochs", "1"), cpus="0,2-3", memory=200)
    namespace, made = ways.job("/runs/job", "one", ask, ["--epochs", "1"], 2)
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert namespace["metadata"]["name"] == made["metadata"]["namespace"] == ways.NAME
    assert container["resources"]["limits"] == {"cpu": "3", "memory": "200Mi"}
    assert container["command"][-2:] == ["python3", "main.py"] and pod["nodeName"] == "one"
    assert made["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]


@pytest.mark.parametrize(("cpus", "expected"), [("", 0), ("0", 1), ("0,1", 2), ("0,4-7", 5)])
def test_processors_are_counted(cpus: str, expected: int) -> None:
    assert ways.count(cpus) == expected


@pytest.mark.parametrize(
    ("code", "reason", "output", "kind", "said"),
    [
        (1, "", "epoch 1\nerror: cannot write x: No space left", ResourceError, "No space left"),
        (2, "", "\nerror: 'x' is no number\n", ConfigError, "code 2: 'x' is no number"),
        (137, "OOMKilled", "epoch 1", ResourceError, "memory limit"),
        (137, "", "", ResourceError, "it printed nothing"),
        (137, job.DELETED, "epoch 1", ResourceError, "was deleted"),
    ],
)
def test_a_failed_run_raises_its_reason(
    code: int, reason: str, output: str, kind: type[LabError], said: str
) -> None:
    run = Run("docker", 0, 1, code, output, None, reason)
    with pytest.raises(kind, match=said):
        run.raise_for_status()
    replace(run, code=0).raise_for_status()


def test_a_run_is_saved_and_read_back(lab: Lab) -> None:
    with pytest.raises(NotFoundError):
        runs.last(lab, "docker")
    run = Run("docker", 1.5, 2.0, 0, "said", metrics.parse(json.dumps(DOCUMENT)))
    runs.remember(lab, run)
    assert runs.last(lab, "docker") == run
    assert runs.kept(lab, "docker")[0].read_text() == "said"
    foreign = replace(run, way="job", metrics=None)
    runs.remember(lab, foreign)
    assert runs.last(lab, "job") == foreign
    assert "accuracy: 90.00%" in runs.text(run) and "accuracy" not in runs.text(foreign)


def test_only_whole_lines_are_passed_on() -> None:
    lines: list[str] = []
    heard = Listener(lines.append)
    for text in ("one\ntw", "o\nthr", "ee ü"):
        heard.hear(text)
    assert lines == ["one", "two"] and heard.text == "one\ntwo\nthree ü"
    assert heard.bytes == len(heard.text.encode())


def test_an_overwritten_bar_becomes_one_line() -> None:
    assert seen("\r\x1b[Kepoch 1 [#.]\r\x1b[Kepoch 1 done") == "epoch 1 done"
    story = io.StringIO()
    teller(Status(story))("epoch 1/3  64/128  loss 1.0  900 images/s  3 s left")
    assert "left" in story.getvalue()


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        ({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "no memory"}]}, "no memory"),
        ({"phase": "Pending", "containerStatuses": [
            {"state": {"waiting": {"reason": "ErrImagePull", "message": "refused"}}}]},
         "ErrImagePull refused"),
        ({"phase": "Pending"}, "pod a is Pending"),
    ],
)  # fmt: skip
def test_why_a_pod_has_not_started(pod: dict[str, Any], said: str) -> None:
    assert job.waiting({"metadata": {"name": "a"}, "status": pod}) == said


def started(lab: Lab, monkeypatch: pytest.MonkeyPatch, *, pods: Any, jobs: Any) -> job.Job:
    """A Job in a cluster with these pods and Jobs. Every command succeeds."""
    found = {"pods": pods, "jobs": jobs}
    monkeypatch.setattr(Cluster, "get", lambda cluster, kind, *words: found[kind])
    monkeypatch.setattr(Cluster, "kubectl", lambda *words, **more: "")
    monkeypatch.setattr(job.runner, "run", lambda *words, **more: None)
    return job.Job(cluster_of(lab, Path()), lambda: 7.0, lambda: None)


POD = {
    "metadata": {"name": "a"},
    "status": {
        "phase": "Failed",
        "containerStatuses": [{"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}],
    },
}


def test_a_failed_job_gives_its_exit_code(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = [{"status": {"conditions": [{"type": "Failed", "status": "True"}]}}]
    one = started(lab, monkeypatch, pods=[POD], jobs=failed)
    asked, ending = one.run([{}, {}], Listener(None), 5)
    assert asked == 7.0 and ending == job.Ending(7.0, 1, "Error")


@pytest.mark.parametrize(("pods", "code"), [([], job.KILLED), ([POD], 1)])
def test_a_deleted_job_ends_the_wait(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, pods: Any, code: int
) -> None:
    """Its pod may exist a moment longer and report its own exit code."""
    one = started(lab, monkeypatch, pods=pods, jobs=[])
    assert one.run([{}, {}], Listener(None), 5)[1] == job.Ending(7.0, code, job.DELETED)


def test_an_interrupt_stops_the_jobs_follower(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def halt() -> None:
        raise KeyboardInterrupt

    one = started(lab, monkeypatch, pods=[], jobs=[{"status": {}}])
    one.halt = halt
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        one.run([{}, {}], Listener(None), 60)
    assert time.monotonic() - begin < 5


# Images


def test_the_build_context_has_only_the_images_files() -> None:
    lines = (APP / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    beside = [ways.ROOT, f"{ways.ROOT}.digest", runs.RUNS, image.SIF, f"{image.SIF}.new"]
    beside += [
        f"{image.SIF}.digest",
        *(f"{image.HOME}/{name}.{image.EDITED}" for name in image.APP),
    ]
    for path in beside:
        name = path.removeprefix(f"{image.HOME}/")
        assert any(fnmatch.fnmatch(name, rule) for rule in rules), name
    for name in (*image.APP, "data"):
        assert not any(fnmatch.fnmatch(name, rule) for rule in rules), name


def test_a_skipped_step_keeps_its_last_time(lab: Lab) -> None:
    with pytest.raises(NotFoundError, match="does not exist yet"):
        image.made(lab)
    first = image.Made("MNIST", "sha256:1", 3, 2, 1, base_seconds=60.0, build_seconds=9.0)
    image.remember(lab, first)
    image.remember(lab, replace(first, base_seconds=None, build_seconds=2.0))
    assert image.made(lab) == replace(first, build_seconds=2.0)


class Registry:
    """Stands for http.client.HTTPConnection."""

    status, digest, body, fails = 200, "sha256:1", b"{}", False

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def request(self, *_: Any, **__: Any) -> None:
        if self.fails:
            raise ConnectionRefusedError("refused")

    def getresponse(self) -> Any:
        headers = {"Docker-Content-Digest": self.digest}
        return SimpleNamespace(status=self.status, headers=headers, read=lambda: self.body)

    def close(self) -> None:
        pass


def test_the_registrys_answers_are_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.http.client, "HTTPConnection", Registry)
    assert registry.digest(lab, image.IMAGE) == "sha256:1"
    monkeypatch.setattr(Registry, "body", b'{"layers": [{"size": 3}, {"size": 4}]}')
    assert registry.size(lab, image.IMAGE) == 7
    monkeypatch.setattr(Registry, "status", 404)
    assert registry.digest(lab, image.IMAGE) == ""
    monkeypatch.setattr(Registry, "fails", True)
    with pytest.raises(ResourceError, match="does not answer"):
        registry.digest(lab, image.IMAGE)


def test_an_exercise_needs_its_image_and_machines(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    exercise = Exercise("mnist", Path(), "", 1, "", 1, image.IMAGE)
    monkeypatch.setattr(registry, "digest", lambda *_: "")
    assert "needs the image" in practice.lacking(Opened(lab, Path()), exercise)[0]
    monkeypatch.setattr(registry, "digest", lambda *_: "sha256:1")
    assert practice.lacking(Opened(lab, Path()), exercise) == ("", "")
    assert (
        "needs 9 machines" in practice.lacking(Opened(lab, Path()), replace(exercise, nodes=9))[0]
    )


def test_every_exercise_without_those_of_an_unreachable_registry(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = io.StringIO()
    monkeypatch.setattr(practice, "running", lambda lab: Opened(lab, Path()))
    monkeypatch.setattr(registry.http.client, "HTTPConnection", Registry)
    monkeypatch.setattr(Registry, "fails", True)
    lab = replace(lab, root=ROOT)
    chosen = practice.select(lab, practice.Wanted(every=True), Status(stream=story))
    assert "pod" in [exercise.name for exercise in chosen.exercises]
    assert "registry does not answer" in chosen.left_out["mnist"]
    assert "left out: exercise `mnist`: the lab's registry does not answer" in story.getvalue()
    with pytest.raises(ResourceError, match="does not answer"):
        practice.select(lab, practice.Wanted(("mnist",)), Status(stream=story))


# The program


def test_the_default_options(program: Any) -> None:
    found = program.options([])
    assert (found.batch_size, found.test_batch_size, found.epochs) == (64, 1000, 14)
    assert (found.lr, found.gamma, found.seed, found.log_interval) == (1.0, 0.7, 1, 10)
    assert not (found.no_accel or found.dry_run or found.save_model)


@pytest.mark.parametrize(
    "words",
    [["--epochs", "0"], ["--lr", "nan"], ["--lr", "-1"], ["--batch-size", "x"], ["--epoch", "1"],
     ["--unknown"], ["--metrics", "/none/m.json"], ["--progress", "loud"]],
)  # fmt: skip
def test_a_wrong_option_is_one_sentence(
    program: Any, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(words) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and "\n" not in said


@pytest.mark.parametrize(
    ("saved", "checkpoint", "said"),
    [
        (3, "/out/c.pt", "epoch 3 is in /out/c.pt: the same command goes on"),
        (0, "/out/c.pt", "nothing was kept: no epoch was over yet"),
        (0, None, "nothing was kept; --checkpoint FILE"),
    ],
)
def test_a_stopped_training_names_its_checkpoint(
    program: Any, saved: int, checkpoint: Any, said: str
) -> None:
    training = SimpleNamespace(saved=saved, args=SimpleNamespace(checkpoint=checkpoint))
    assert said in program.kept(training)


def test_damaged_data_are_named_with_their_digest(
    program: Any, record: Any, tmp_path: Path
) -> None:
    data.write(tmp_path, data.DIGITS, data.digits(table(data.TESTS + 1)))
    raw = tmp_path / data.RAW
    program.verify(raw)
    file = raw / "train-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)
    with pytest.raises(record.Refused, match=r"train-images-idx3-ubyte is damaged.*should be"):
        program.verify(raw)
    (raw / "SHA256SUMS").unlink()
    program.verify(raw)
    file.write_bytes(content[:-1])
    with pytest.raises(record.Refused, match="its header is wrong") as caught:
        program.verify(raw)
    assert caught.value.code == 2


def test_a_failed_write_keeps_the_old_file(
    record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    record.write(path, b"first")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record.os, "fsync", full)
    with pytest.raises(record.Refused, match=r"cannot write .*: No space left on device"):
        record.write(path, b"second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ([("/", "overlay"), ("/proc", "proc")], ("overlay", "overlay")),
        ([("/", "ext4"), ("/x", "fuse.squashfuse_ll"), ("/", "overlay")],
         ("overlay", "fuse.squashfuse_ll")),
        ([], ("unknown", "unknown")),
    ],
)  # fmt: skip
def test_how_the_image_is_mounted(record: Any, mounts: Any, expected: Any) -> None:
    assert record.image_mount(mounts) == expected


@pytest.mark.parametrize(
    ("groups", "files", "cpus", "memory"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000", "a/cpu.max": "max 100000",
                       "a/memory.max": "1000", "memory.max": "max"}, 0.5, 1000),
        ("2:cpu:/x\n3:memory:/x\n", {"cpu/x/cpu.cfs_quota_us": "200000",
                       "cpu/x/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1",
                       "cpu/cpu.cfs_period_us": "100000",
                       "memory/memory.limit_in_bytes": "9223372036854771712"}, 2.0, None),
        ("0::/\n", {}, None, None),
    ],
)  # fmt: skip
def test_limits_of_the_cgroup(
    record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    groups: str, files: dict[str, str], cpus: float | None, memory: int | None,
) -> None:  # fmt: skip
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        (tmp_path / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys" / name).write_text(text)
    monkeypatch.setattr(record, "PROC", tmp_path / "proc")
    monkeypatch.setattr(record, "CGROUPS", tmp_path / "sys")
    assert (record.cpu_limit(), record.memory_limit()) == (cpus, memory)


def test_progress_is_shown_as_a_bar_or_as_lines(
    record: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    record.Progress("plain", 2).step(1, 64, 128, 64, 2.3, True)
    assert "epoch 1/2  64/128  loss 2.3000" in capsys.readouterr().out
    record.Progress("auto", 2).step(1, 64, 128, 64, 2.3, False)
    assert capsys.readouterr().out == ""
    record.Progress("bar", 2).step(1, 64, 128, 64, 2.3, False)
    assert "[####" in capsys.readouterr().out.replace("#...", "####")


def test_a_second_stop_signal_is_ignored(record: Any) -> None:
    before = {sign: signal.getsignal(sign) for sign in record.STOPPED}
    try:
        record.stop_on_signals()
        with pytest.raises(record.Stopped) as caught:
            signal.raise_signal(signal.SIGTERM)
        assert (caught.value.name, caught.value.code) == ("SIGTERM", 143)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def test_the_start_and_memory_of_this_process(record: Any) -> None:
    age = record.time.time() - record.process_start()
    assert 0 < age < 24 * 3600 and record.peak_memory() > 1 << 20


def test_a_stop_before_the_training_is_one_sentence(
    record: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(record.os, "_exit", codes.append)
    record.told(record.Stopped, record.Stopped(signal.SIGTERM), None)
    assert codes == [143]
    assert capsys.readouterr().err == "\nstopped by SIGTERM before the training began\n"
    record.told(ValueError, ValueError("why"), None)
    assert codes == [143] and "ValueError: why" in capsys.readouterr().err
