"""UTF-8, whatever the locale: files of the lab are, and so is what it prints."""

from __future__ import annotations

import io
import locale
import os
import sys

# What children are told: https://docs.python.org/3/using/cmdline.html#envvar-PYTHONUTF8
VARIABLES = {"PYTHONUTF8": "1"}


def insist() -> None:
    """Replace a task's process by itself in UTF-8 mode, where it would read files otherwise.

    The mode cannot be changed later. `./inv` and the shell of `lab-env` have it from the beginning.
    What an output still cannot show (PYTHONIOENCODING may have set another code) is escaped.
    """
    os.environ.update(VARIABLES)
    if not sys.flags.utf8_mode and locale.getencoding().lower() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-m", "invoke", *sys.argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
