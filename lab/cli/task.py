"""What is around every task: its configuration, and errors that become one message and a code."""

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
    """An Invoke task whose errors become one message and a code of the table in lab/errors.py."""

    @functools.wraps(body)
    def call(*args: Any, **kwargs: Any) -> Any:
        encoding.insist()
        # Being ended is like being interrupted: children are ended too (lab/runner.py).
        for sign in (signal.SIGTERM, signal.SIGHUP):
            # But `nohup` ignores one of them.
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

            # Threads wait for their children, and Python for its threads: minutes, for a build.
            runner.end_children()
            if isinstance(error, BrokenPipeError) and silence_broken():
                # Whoever reads has seen enough, `head` for instance.
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
    """The story of a task on stderr, which knows how long its steps usually take."""
    return Status(history=History(config.cache_folder()))


def load(**flags: Any) -> config.Settings:
    """The lab that flags, LAB_* variables and lab.toml describe; children know its way outside."""
    from lab import proxies
    from lab.host import groups

    groups.take()
    lab = config.load(ROOT, flags)
    os.environ.update(proxies.environment(lab))
    return lab
