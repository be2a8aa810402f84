"""Write files to a machine with a real SFTP client. The machine is an SFTP server in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import paramiko
import pytest
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.sftp import SFTP_FAILURE, SFTP_OK

from lab.errors import ResourceError
from lab.machines.ssh import Remote

if TYPE_CHECKING:
    from typing_extensions import Buffer

# The size of the machine's disk in bytes.
DISK = 40_000


class Login(paramiko.ServerInterface):
    """A login without a key, for every user."""

    def check_auth_none(self, username: str) -> int:
        """Accept the login."""
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Accept every kind of session."""
        return OPEN_SUCCEEDED


class File(paramiko.SFTPHandle):
    """A file on a small disk. For a full disk, SFTP answers `Failure`."""

    def __init__(self, sizes: dict[str, int], path: str) -> None:
        super().__init__()
        self.sizes, self.path = sizes, path

    def chattr(self, attr: paramiko.SFTPAttributes) -> int:
        """Accept every mode."""
        return SFTP_OK

    def write(self, offset: int, data: Buffer) -> int:
        """Keep only the size of the file."""
        end = offset + memoryview(data).nbytes
        if end > DISK:
            return SFTP_FAILURE
        self.sizes[self.path] = end
        return SFTP_OK


class Disk(paramiko.SFTPServerInterface):
    """The files of the machine."""

    def __init__(self, server: paramiko.ServerInterface, sizes: dict[str, int]) -> None:
        super().__init__(server)
        self.sizes = sizes

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> File:
        """Create a file."""
        self.sizes[path] = 0
        return File(self.sizes, path)

    def stat(self, path: str) -> paramiko.SFTPAttributes:
        """The size of a file."""
        found = paramiko.SFTPAttributes()
        found.st_size = self.sizes[path]
        return found

    def remove(self, path: str) -> int:
        """Remove a file."""
        del self.sizes[path]
        return SFTP_OK


@pytest.fixture
def sizes() -> dict[str, int]:
    return {}


@pytest.fixture
def remote(sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """A machine that only receives files."""
    ours, theirs = socket.socketpair()
    server, client = paramiko.Transport(theirs), paramiko.Transport(ours)
    server.add_server_key(paramiko.RSAKey.generate(2048))
    server.set_subsystem_handler("sftp", paramiko.SFTPServer, Disk, sizes)
    server.start_server(threading.Event(), Login())
    client.start_client()
    client.auth_none("vagrant")
    sftp = paramiko.SFTPClient.from_transport(client)
    machine = Remote("worker-1", Path("/ssh_config"))
    vars(machine)["_connection"] = SimpleNamespace(sftp=lambda: sftp)
    monkeypatch.setattr(Remote, "run", lambda *_, **__: "")
    yield machine
    client.close()
    server.close()


@pytest.mark.parametrize("size", [0, 10, DISK])
def test_a_file_that_fits_is_written(remote: Remote, sizes: dict[str, int], size: int) -> None:
    remote.put(b"x" * size, "/etc/hosts")
    assert list(sizes.values()) == [size]


@pytest.mark.parametrize("size", [DISK + 1, 1_000_000, 10_000_000])
def test_a_full_disk_leaves_no_part_of_a_file(
    remote: Remote, sizes: dict[str, int], size: int
) -> None:
    """The client does not wait for the response to each write, so it must check the result."""
    with pytest.raises(ResourceError, match="worker-1 cannot write /etc/hosts"):
        remote.put(b"x" * size, "/etc/hosts")
    assert not sizes
