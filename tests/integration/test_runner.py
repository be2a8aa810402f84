"""The module that starts processes, with real ones."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import runner, wait
from lab.errors import CommandError, DeadlineExceeded, PrerequisiteError
from tests.integration.conftest import ROOT

Script = Callable[[str], Path]


def gone(process: int) -> bool:
    """Whether a process has ended. A zombie counts as ended."""
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_child_gets_its_input_and_returns_code_and_output(script: Script) -> None:
    path = script("cat; echo progress >&2; exit 3")
    result = runner.run([path], ok=(3,), stdin="grüße".encode())
    assert (result.code, result.stdout, result.stderr) == (3, "grüße", "progress\n")


def test_the_exit_code_counts_when_a_child_does_not_read_its_input(script: Script) -> None:
    with pytest.raises(CommandError, match="ended with code 3"):
        runner.run([script("exit 3")], stdin=b"x" * 1_000_000)


def test_no_shell_interprets_the_arguments() -> None:
    words = ["a b", "$HOME", "'", "*"]
    printed = runner.run([sys.executable, "-c", "import sys; print(sys.argv[1:])", *words]).stdout
    assert printed.strip() == str(words)


def test_on_line_gets_the_lines_of_both_outputs(script: Script) -> None:
    seen: list[str] = []
    runner.run([script("echo one; echo two >&2")], on_line=seen.append)
    assert sorted(seen) == ["one", "two"]


def test_an_unexpected_exit_code_raises_an_error(script: Script) -> None:
    with pytest.raises(CommandError, match="ended with code 7") as caught:
        runner.run([script("echo because >&2; exit 7")])
    assert caught.value.code == 7
    assert "because" in caught.value.output


def test_a_missing_program_raises_an_error() -> None:
    with pytest.raises(PrerequisiteError, match="`no-such-program` cannot be started"):
        runner.run(["no-such-program"])


def test_a_program_without_permission_raises_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the same if PATH has a folder that this user cannot enter."""
    (tmp_path / "no-program").touch()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(PrerequisiteError, match="cannot be started: Permission denied"):
        runner.run(["no-program"])


def test_a_timeout_ends_the_child_and_its_children(script: Script, tmp_path: Path) -> None:
    path = script(f"sleep 300 & echo $! >{tmp_path}/child; echo the reason; wait")
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"timed out after 3 s\n  \| the reason"):
        runner.run([path], timeout=3)
    assert time.monotonic() - begin < 20
    child = int((tmp_path / "child").read_text())
    # Both get the signal at the same time. The runner does not wait for the child's child.
    wait.until(lambda: gone(child) or None, what="the child's child to end", timeout=5)


def test_interrupted_tests_have_time_to_clean_up(script: Script, tmp_path: Path) -> None:
    """Otherwise, the runner would kill them a quarter of a second later."""
    made = tmp_path / "made"
    path = script(
        f"trap 'sleep 2; rm {made}; exit 2' INT; touch {made}; while :; do sleep 0.1; done"
    )
    program = (
        "import signal, sys\nfrom pathlib import Path\nfrom lab import runner\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"runner.attach([{str(path)!r}], Path('/'))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as task:
        wait.until(lambda: made.exists() or None, what="the tests", timeout=20)
        task.send_signal(signal.SIGINT)
        task.wait(20)
    assert not made.exists()


def test_standard_input_is_closed(script: Script) -> None:
    assert runner.run([script("read line || echo nothing")]).stdout == "nothing\n"


def test_the_runner_does_not_wait_for_a_daemon_that_keeps_the_pipes(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LAST_WORDS", 2)
    begin = time.monotonic()
    assert runner.run([script("sleep 20 & echo started")]).stdout == "started\n"
    assert time.monotonic() - begin < 2 * runner.LAST_WORDS


def test_a_child_continues_when_its_output_cannot_be_written(script: Script) -> None:
    """With a log on a full disk, the child must not block on its pipe until it times out."""
    path = script("seq 100000")

    def full(_: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        runner.run([path], timeout=20, on_line=full)


def test_sudo_ends_a_child_of_sudo(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child belongs to root, and an ordinary user may not send it a signal."""

    def refuse(*_: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", refuse)
    script('shift; exec "$@"').rename(tmp_path / "sudo")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = script(f"echo $$ >{tmp_path}/child; sleep 300 & wait")
    with pytest.raises(DeadlineExceeded):
        runner.run([path], timeout=3)
    assert gone(int((tmp_path / "child").read_text()))


def test_children_that_ignore_sigterm_are_killed_together(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, each would delay an interrupted task for a quarter of a minute."""
    monkeypatch.setattr(runner, "POLITE", 1)
    path = script("trap '' TERM; echo ready; sleep 300")
    pipe = subprocess.PIPE
    children = [subprocess.Popen([path], stdout=pipe, start_new_session=True) for _ in range(4)]
    for child in children:
        assert child.stdout and child.stdout.readline() == b"ready\n"
    begin = time.monotonic()
    runner._end(*children)
    assert time.monotonic() - begin < 3
    for child in children:
        assert child.returncode == -signal.SIGKILL
        assert child.stdout
        child.stdout.close()


def test_misleading_variables_are_not_passed_to_children(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in runner.MISLEADING:
        monkeypatch.setenv(name, "elsewhere")
    seen = runner.run(["env"]).stdout
    assert "elsewhere" not in seen and "PATH=" in seen
    assert "GOROOT=here" in runner.run(["env"], env={"GOROOT": "here"}).stdout


def test_an_interrupt_ends_the_children(tmp_path: Path) -> None:
    """After Ctrl-C in a task, no child of the task may continue."""
    program = (
        "import signal\n"
        "from lab import runner\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"runner.run(['sh', '-c', 'echo $$ >{tmp_path}/child; exec sleep 300'], timeout=300)\n"
    )
    task = subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.DEVNULL, start_new_session=True
    )
    child = tmp_path / "child"
    deadline = time.monotonic() + 20
    while not (child.exists() and child.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    task.send_signal(signal.SIGINT)
    assert task.wait(20) != 0
    assert gone(int(child.read_text()))


@pytest.mark.parametrize("end", ["time.sleep(300)", "raise errors.ResourceError('broken')"])
def test_a_task_that_ends_early_ends_the_children_of_its_threads(tmp_path: Path, end: str) -> None:
    """Otherwise, a build in a thread delays a failed or interrupted lab-up for minutes."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    child = tmp_path / "child"
    (folder / "tasks.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "import os, sys, time\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('real', {str(ROOT / 'tasks.py')!r})\n"
        "real = importlib.util.module_from_spec(spec); spec.loader.exec_module(real)\n"
        "from lab import errors, runner\n"
        "@real.task\n"
        "def build(c):\n"
        "    pool = ThreadPoolExecutor()\n"
        f"    shell = 'echo $$ >{child}.new; mv {child}.new {child}; exec sleep 300'\n"
        "    pool.submit(runner.run, ['sh', '-c', shell], timeout=300)\n"
        f"    while not os.path.exists({str(child)!r}): time.sleep(0.05)\n"
        f"    {end}\n"
    )
    command = [sys.executable, "-m", "invoke", "build"]
    task = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 20
    while not child.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if "sleep" in end:
        task.send_signal(signal.SIGTERM)
    assert task.wait(10) != 0
    assert gone(int(child.read_text()))


def test_a_spawned_daemon_writes_to_its_log(script: Script, tmp_path: Path) -> None:
    log = tmp_path / "log"
    runner.spawn([str(script("echo hello"))], log)
    deadline = time.monotonic() + 10
    while "hello" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert log.read_text() == "hello\n"
