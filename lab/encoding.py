"""Use UTF-8 with every locale, for the lab's files and its output."""

from __future__ import annotations

import io
import locale
import os
import sys

# Variables for children: https://docs.python.org/3/using/cmdline.html#envvar-PYTHONUTF8
VARIABLES = {"PYTHONUTF8": "1"}


def insist() -> None:
    """Restart the task's process in UTF-8 mode if it would read files in another encoding.

    A running process cannot change its mode. `./inv` and the shell of `lab-env` set it at their
    start. If PYTHONIOENCODING sets another encoding, the output escapes other characters.
    """
    os.environ.update(VARIABLES)
    if not sys.flags.utf8_mode and locale.getencoding().lower() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-m", "invoke", *sys.argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
