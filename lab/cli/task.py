"""What every task shares: its configuration, and errors as one message and an exit code."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from invoke import Task
from invoke.exceptions import Exit

from lab import config, encoding
from lab.cli.words import WordsTask
from lab.errors import LabBug, LabError, refusal
from lab.output import Status, document, silence_broken
from lab.progress import History

ROOT = Path(__file__).resolve().parents[2]


def task(body: Callable[..., Any]) -> Task[Any]:
    """An Invoke task; errors become a message and the exit code of their class (lab/errors.py)."""

    @functools.wraps(body)
    def call(*args: Any, **kwargs: Any) -> Any:
        encoding.insist()
        # Handle termination like an interrupt, which also terminates children (lab/runner.py).
        for sign in (signal.SIGTERM, signal.SIGHUP):
            # `nohup` ignores SIGHUP.
            if signal.getsignal(sign) is not signal.SIG_IGN:
                signal.signal(sign, signal.default_int_handler)
        try:
            answer = body(*args, **kwargs)
            if sys.stdout:
                sys.stdout.flush()
            return answer
        except Exit:
            raise
        except BaseException as error:
            from lab import runner

            # Python waits for threads, and those for their children, which takes a build minutes.
            runner.end_children()
            if isinstance(error, BrokenPipeError) and silence_broken():
                # The reader of the output has closed the pipe, as `head` does.
                raise Exit(code=128 + signal.SIGPIPE) from None
            known: LabError
            if isinstance(error, LabError):
                known = error
            elif refused := refusal(error):
                known = refused
            elif isinstance(error, Exception) and os.environ.get("LAB_LOG") != "debug":
                known = LabBug.wrap(error, ROOT / ".lab")
            else:
                raise
            if kwargs.get("json_") and not known.answered:
                failure = {"code": known.exit_code, "id": known.id, "message": known.message}
                print(document({"error": {**failure, "hint": known.hint}}))
            raise Exit(str(known), known.exit_code) from None

    several = [name for name, kind in get_type_hints(body).items() if kind == list[str]]
    return WordsTask(call, auto_shortflags=False, iterable=several)


def story() -> Status:
    """The progress of a task on stderr, with the usual duration of its steps."""
    return Status(history=History(config.cache_folder()))


def load(**flags: Any) -> config.Settings:
    """The settings from flags, LAB_* variables and lab.toml.

    Children of this process get their proxies and certificate authorities.
    """
    from lab import proxies
    from lab.host import groups

    groups.take()
    lab = config.load(ROOT, flags)
    os.environ.update(proxies.environment(lab))
    return lab
