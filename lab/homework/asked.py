"""What a student requests of a run: options, program, processors and memory."""

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
    """The request for one run.

    `options` are those of main.py. `program` replaces main.py. `cpus` is a list of processors such
    as 0,1 (all by default). `memory` is a limit in MiB, which only Docker and Job support.
    `resume` continues an interrupted training if its options are the same.
    """

    options: tuple[str, ...] = ()
    program: Path | None = None
    cpus: str = ""
    memory: int | None = None
    resume: bool = False

    @property
    def own(self) -> bool:
        """Whether the program knows main.py's options for results. Its text is searched for them.

        Raises ConfigError for an unreadable program.
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
    """The request that a task's flags describe; `more` are options as a student types them.

    Options whose value is empty or False are left out. Raises ConfigError for invalid values.
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
        raise ConfigError(f"the program {program} does not exist")
    if cpus and not re.fullmatch(r"\d+([,-]\d+)*", cpus):
        raise ConfigError(f"`{cpus}` is not a list of processors such as 0,1 or 0-3")
    if memory and not re.fullmatch(r"[1-9]\d*", memory):
        raise ConfigError(f"`{memory}` is not a number of MiB")
    return Ask(
        options=tuple(options),
        program=Path(program) if program else None,
        cpus=cpus,
        memory=int(memory) if memory else None,
        resume=True,
    )
