"""The errors of SSH and SFTP for a faulty machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from invoke import Result
from invoke.exceptions import CommandTimedOut

from lab import errors
from lab.errors import ResourceError
from lab.machines.ssh import Remote


def test_a_full_disk_on_a_machine_is_not_reported_as_a_lost_connection() -> None:
    """For a full disk, SFTP only answers `Failure`, here when it creates a file."""

    def refuse(*_: str) -> None:
        raise OSError("Failure")

    remote = Remote("worker-1", Path("/ssh_config"))
    sftp = SimpleNamespace(open=refuse, remove=refuse)
    vars(remote)["_connection"] = SimpleNamespace(sftp=lambda: sftp)
    with pytest.raises(ResourceError, match="worker-1 cannot write /etc/hosts: Failure; its disk"):
        remote.put("", "/etc/hosts")


class Slow:
    """A connection on which a command prints some output and then times out."""

    def run(self, *_: object, **__: object) -> None:
        said = Result(stdout="preparing", stderr="kubelet is not healthy\n")
        raise CommandTimedOut(said, timeout=5)


def test_the_error_of_a_command_that_timed_out_has_its_last_output(tmp_path: Path) -> None:
    machine = Remote("worker-1", tmp_path)
    machine.__dict__["_connection"] = Slow()
    with pytest.raises(errors.DeadlineExceeded) as caught:
        machine.run(["kubeadm", "init"], timeout=5)
    assert str(caught.value).splitlines() == [
        "error: `kubeadm init` on worker-1 timed out after 5 s",
        "  | kubelet is not healthy",
        "hint: invoke lab-logs",
    ]
