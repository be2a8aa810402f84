"""Errors have exit codes, messages and hints."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lab import errors
from lab.version import versions


def test_the_exit_codes_are_stable() -> None:
    assert list(errors.exit_codes()) == [0, 1, 2, 3, 4, 5, 6, 7, 9, 70]


def test_an_error_shows_its_message_and_hint() -> None:
    error = errors.NotFoundError("lab `a` does not exist", hint="invoke lab-up")
    assert str(error) == "error: lab `a` does not exist\nhint: invoke lab-up"


def test_a_failed_command_can_be_pasted_into_a_shell() -> None:
    error = errors.CommandError(["ls", "a b"], 2, "no\n" * 30, where="worker-1")
    assert error.message.startswith("`ls 'a b'` on worker-1 ended with code 2")
    assert error.message.count("| no") == 15


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    try:
        raise RuntimeError("unforeseen")
    except RuntimeError as cause:
        bug = errors.LabBug.wrap(cause, tmp_path / ".lab")
    assert bug.exit_code == 70
    assert bug.log
    told = bug.log.read_text()
    assert told.startswith(versions().text()) and "Traceback" in told


def test_a_bug_without_a_log_shows_everything(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    try:
        raise RuntimeError("unforeseen")
    except RuntimeError as cause:
        bug = errors.LabBug.wrap(cause, tmp_path / "file" / ".lab")
    assert bug.exit_code == 70
    assert versions().text() in bug.message and "Traceback" in bug.message


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "df -h '{}'"),
        (errno.EROFS, "findmnt --target '{}'"),
        (errno.EACCES, "ls -ld '{}'"),
        (errno.EDQUOT, "quota"),
    ],
)
def test_a_refusal_of_the_host_is_no_bug(tmp_path: Path, number: int, hint: str) -> None:
    """The user can type the hint as it is, even if the file does not exist."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    refused = errors.refusal(OSError(number, "no", str(folder / "new" / "file")))
    assert refused and refused.exit_code == 3
    assert refused.message == f"this host refuses {folder}/new/file: no"
    assert refused.hint == hint.format(folder)
    nameless = errors.refusal(OSError(number, "no"))
    assert nameless and (nameless.message, nameless.hint) == ("this host refuses: no", "")


def test_other_errors_are_bugs() -> None:
    assert errors.refusal(OSError(errno.EINVAL, "Invalid argument")) is None
    assert errors.refusal(RuntimeError("unforeseen")) is None
