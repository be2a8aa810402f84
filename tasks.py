"""Everything a user types: each task loads the configuration, makes one call and prints."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke import Collection, Context, task
from invoke.exceptions import Exit

from lab import config
from lab.errors import LabError
from lab.output import Status

ROOT = Path(__file__).resolve().parent


def guarded(body: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the lab's errors into one message and the exit code of the table in lab/errors.py."""

    @functools.wraps(body)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return body(*args, **kwargs)
        except LabError as error:
            raise Exit(str(error), error.exit_code) from None

    return call


def load(**flags: Any) -> config.Lab:
    return config.load(ROOT, flags)


@task
@guarded
def lab_up(
    c: Context, lab: str | None = None, provider: str | None = None, install: bool = True
) -> None:
    """Bring up machines, cluster and baseline; again: nothing that is there already."""
    from lab import lifecycle

    lifecycle.up(load(name=lab, provider=provider), Status(), may_install=install)


@task
@guarded
def lab_down(c: Context, lab: str | None = None) -> None:
    """Stop the machines; the next lab-up brings everything back."""
    from lab import lifecycle

    lifecycle.down(load(name=lab), Status())


@task
@guarded
def lab_destroy(c: Context, lab: str | None = None, cache: bool = False) -> None:
    """Remove everything of a lab; --cache also clears what labs share."""
    from lab import lifecycle

    lifecycle.destroy(load(name=lab), Status(), cache=cache)


namespace = Collection(lab_up, lab_down, lab_destroy)
