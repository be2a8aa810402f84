"""A bare `vagrant up --provider docker` without Invoke: image, key and container arguments.

The Vagrantfile runs this module with any Python 3.11, so nothing here needs a package. Virtual
machines of a public box do not need it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lab import config
from lab.errors import LabError, PrerequisiteError
from lab.host import doctor, facts
from lab.images.builder import Builder
from lab.machines import containers, keys
from lab.output import Status
from lab.state import write_aside
from lab.toolchain import Toolchain

ROOT = Path(__file__).resolve().parents[2]


def main(file: Path) -> None:
    """Write the docker settings of the Vagrantfile to `file`, its key beside it.

    Raises PrerequisiteError without a Docker engine.
    """
    status, cache = Status(), config.cache_folder()
    host = facts.gather(cache)
    if not host.docker_engine:
        reason = host.docker_trouble or "it does not answer"
        raise PrerequisiteError(f"this needs a Docker engine: {reason}", hint="start Docker")
    if kind := doctor.obstacle(host):
        raise PrerequisiteError(f"this engine cannot run machines: {kind.trouble}", hint=kind.fix)
    key = file.with_name("id_ed25519")
    keys.make(key)
    arguments = containers.run_arguments(host)
    image = Builder(ROOT, Toolchain(ROOT, cache, status), arguments, status).machine()
    arguments += [*containers.access_arguments(key), "--volume", containers.STORE]
    docker = {"image": image, "create_args": arguments, "key": str(key)}
    write_aside(file, json.dumps({"docker": docker}, indent=2))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except LabError as error:
        sys.exit(str(error))
