"""What tasks do with a lab after its bring-up: stop, pause, save, diagnose, destroy."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lab import runner
from lab.cluster import health
from lab.cluster.client import cluster_of
from lab.config import Lab, Settings, cache_folder
from lab.errors import ConfigError, LabError, PrerequisiteError
from lab.host import doctor, facts, prerequisites
from lab.images import docker
from lab.lifecycle import lock, snapshots
from lab.lifecycle.bringup import READY, examine
from lab.lifecycle.lock import locked
from lab.lifecycle.opened import known, resolve_on, toolchain_of
from lab.machines import boxes, containers, driver, libvirt
from lab.machines.driver import Machines
from lab.output import Status


def down(settings: Settings, status: Status) -> None:
    """Stop the machines and keep their contents."""
    with locked(settings, "lab-down", status):
        lab = known(settings)
        (lab.state / READY).unlink(missing_ok=True)
        with status.step("stop the machines"):
            Machines(lab, status).stop()


def suspend(settings: Settings, status: Status) -> None:
    """Pause the machines in memory, which frees their processors."""
    with locked(settings, "lab-suspend", status):
        lab = known(settings)
        with status.step("suspend the machines"):
            Machines(lab, status).pause()


def resume(settings: Settings, status: Status) -> None:
    """Resume the machines, and wait until every node is Ready."""
    with locked(settings, "lab-resume", status):
        lab = known(settings)
        with status.step("resume the machines"):
            Machines(lab, status).resume()
        _wait_for_nodes_since(datetime.now(UTC), lab, status)


def snapshot(settings: Settings, words: Sequence[str], status: Status) -> list[snapshots.Snapshot]:
    """Save, restore or delete a snapshot, or list them; returns the snapshots that exist.

    `words` are an action and a name, or `list`. A restore returns once every node is Ready. Raises
    ConfigError for other words.
    """
    changes = {
        "save": snapshots.save,
        "restore": snapshots.restore,
        "delete": snapshots.delete,
    }
    action, *names = words
    if action == "list" and not names:
        return snapshots.listing(known(settings))
    if action not in changes or len(names) != 1:
        raise ConfigError(
            "lab-snapshot takes save NAME, restore NAME, delete NAME or list, "
            f"and not {' '.join(words)!r}"
        )
    (name,) = names
    with locked(settings, f"lab-snapshot {action} {name}", status):
        lab = known(settings)
        begin = datetime.now(UTC)
        with status.step(f"{action} snapshot `{name}`"):
            changes[action](Machines(lab, status), name)
        if action == "restore":
            _wait_for_nodes_since(begin, lab, status)
    return snapshots.listing(lab)


def _wait_for_nodes_since(begin: datetime, lab: Lab, status: Status) -> None:
    with status.step("nodes ready"):
        cluster = cluster_of(lab, toolchain_of(lab, status).bin_folder())
        health.wait_nodes(lab, cluster, begin)


def destroy(settings: Settings, status: Status, *, cache: bool = False) -> None:
    """Remove machines, volumes, network and state of a lab; missing ones are no error.

    With `cache`, also clear the cache that all labs share.
    """
    if settings.state.exists():
        with locked(settings, "lab-destroy", status):
            (settings.state / READY).unlink(missing_ok=True)
            if not (rendered := settings.state / "machines.json").exists():
                # No machine was ever made, or the folder was deleted and made again.
                _remove_unrecorded(settings, status, f"lab `{settings.name}` had no machines")
            else:
                with status.step(f"destroy lab `{settings.name}`"):
                    # Nothing else is read, because the host and the mirror may have changed since.
                    made = replace(settings, provider=json.loads(rendered.read_text())["provider"])
                    host = facts.gather(cache_folder())
                    if made.provider == "docker" and not host.docker_engine:
                        prerequisites.start_docker(host, cache_folder(), status)
                    if made.provider == "libvirt":
                        prerequisites.start_libvirt(host, cache_folder(), status)
                    driver.remove(made, status)
            lock.remove(settings.state)
        _forget_shared(settings.state.parent)
    else:
        nothing = f"lab `{settings.name}` does not exist: nothing to destroy"
        _remove_unrecorded(settings, status, nothing)
    if cache:
        with status.step("clear the cache"):
            if (cache_folder() / "boxes").exists():
                boxes.clear(cache_folder())
            docker.clear()
            # Go makes the folders of its modules read-only.
            with contextlib.suppress(LabError):
                runner.run(["chmod", "--recursive", "u+w", cache_folder()], ok=range(256))
            shutil.rmtree(cache_folder(), ignore_errors=True)
        if cache_folder().exists():
            status.say(f"some files could not be removed: sudo rm -r {cache_folder()}")


def _remove_unrecorded(settings: Settings, status: Status, nothing: str) -> None:
    """Remove machines of a lab whose state folder is gone; their labels identify them.

    `nothing` is the message when there are none.
    """
    removals = {"containers": containers.remove, "virtual machines": libvirt.remove}
    gone, unasked = [], []
    for kind, remove in removals.items():
        try:
            if remove(settings):
                gone.append(kind)
        except PrerequisiteError:
            # Without Docker there are no containers, and without libvirt no virtual machines.
            continue
        except LabError as error:
            why = f"cannot look for its {kind} ({error.reason})"
            unasked.append(f"{why}; then: invoke lab-destroy")
    if gone:
        what = " and ".join(gone)
        status.say(f"removed the {what} of lab `{settings.name}`, which had no record of them")
    else:
        status.say(nothing)
    for line in unasked:
        status.say(line)


def _forget_shared(folder: Path) -> None:
    """Remove what the labs of a checkout share when the last lab is gone."""
    if not any(folder.glob("*/machines.json")):
        shutil.rmtree(folder / "stacks", ignore_errors=True)
        (folder / "passphrase").unlink(missing_ok=True)


def diagnose(settings: Settings) -> tuple[list[dict[str, str]], str]:
    """The doctor's findings as data and as text; changes nothing."""
    toolchain = toolchain_of(settings, Status())
    host = facts.gather(toolchain.cache)
    resolved, choices = resolve_on(settings, host, toolchain)
    findings = examine(resolved, host, toolchain)
    findings += [doctor.chosen(choice) for choice in choices]
    return doctor.as_data(findings), doctor.as_text(findings)
