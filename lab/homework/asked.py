"""What is asked of a run: which options, which program, how much of the machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import ConfigError

WAYS = ("docker", "singularity", "job", "bare")


@dataclass(frozen=True)
class Ask:
    """What is asked of a run.

    `options` are main.py's; `program` is another one to run in its place; `cpus` is a list of
    processors such as 0,1 (all by default); `memory` a limit in MiB (Docker and Job have one).
    With `resume` a training that was cut off is gone on with, where its options are the same.
    """

    options: tuple[str, ...] = ()
    program: Path | None = None
    cpus: str = ""
    memory: int | None = None
    resume: bool = False

    @property
    def own(self) -> bool:
        """Whether the program has the options of ours for results, seen in its text.

        Raises ConfigError for a program that cannot be read.
        """
        if not self.program:
            return True
        try:
            text = self.program.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.program} cannot be read: {error}") from error
        return all(f'"{option}"' in text for option in ("--metrics", "--checkpoint"))


def ask(
    given: Mapping[str, object],
    more: Sequence[str],
    *,
    program: str = "",
    cpus: str = "",
    memory: str = "",
) -> Ask:
    """What the flags of a task ask for; `more` are options as one would type them.

    Options whose value is empty or False are left out. Raises ConfigError for what cannot be.
    """
    options = []
    for name, value in given.items():
        if value is True:
            options.append(name)
        elif value not in ("", False, None):
            options += [name, str(value)]
    for words in more:
        options += shlex.split(words)
    if program and not Path(program).is_file():
        raise ConfigError(f"there is no program {program}")
    if cpus and not re.fullmatch(r"\d+([,-]\d+)*", cpus):
        raise ConfigError(f"`{cpus}` is no list of processors such as 0,1 or 0-3")
    if memory and not re.fullmatch(r"[1-9]\d*", memory):
        raise ConfigError(f"`{memory}` is no number of MiB")
    return Ask(
        options=tuple(options),
        program=Path(program) if program else None,
        cpus=cpus,
        memory=int(memory) if memory else None,
        resume=True,
    )
