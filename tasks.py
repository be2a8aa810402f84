"""Everything a user types: each task loads the configuration, makes one call and prints."""

from __future__ import annotations

import functools
import os
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from invoke import Collection, Context, Task
from invoke.exceptions import Exit

from lab import config, encoding
from lab.errors import LabBug, LabError, refusal
from lab.output import Status, document, silence_broken, table
from lab.state import write_aside
from lab.words import Words, WordsTask

ROOT = Path(__file__).resolve().parent
# Invoke keeps nothing compiled of what is imported after a file like this one, which is a lot here.
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))


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

    several = [name for name, kind in body.__annotations__.items() if kind == "list[str]"]
    return WordsTask(call, auto_shortflags=False, iterable=several)


def load(**flags: Any) -> config.Lab:
    """The lab that flags, LAB_* variables and lab.toml describe; children know its way outside."""
    from lab import groups, outside

    groups.take()
    lab = config.load(ROOT, flags)
    os.environ.update(outside.environment(lab))
    return lab


@task
def doctor(
    c: Context, lab: str | None = None, provider: str | None = None, json_: bool = False
) -> None:
    """Look at this host: what it has, what it lacks, what lab-up would choose and why."""
    from lab import lifecycle

    findings, text = lifecycle.diagnose(load(name=lab, provider=provider))
    print(document({"findings": findings}) if json_ else text)


@task
def lab_up(
    c: Context,
    lab: str | None = None,
    provider: str | None = None,
    distribution: str | None = None,
    workers: str | None = None,
    source: str | None = None,
    mirror: str | None = None,
    install: bool = True,
) -> None:
    """Bring up machines, cluster and baseline; what is there already is left alone."""
    from lab import lifecycle

    given = {"name": lab, "provider": provider, "distribution": distribution, "source": source}
    wanted = load(**given, mirror=mirror, **{"machines.workers": workers})
    lifecycle.up(wanted, Status(), may_install=install)


@task
def lab_status(c: Context, lab: str | None = None, json_: bool = False) -> None:
    """Show machines, nodes, add-ons, stacks and exercises."""
    from lab import overview

    state = overview.look(load(name=lab))
    print(document(state) if json_ else overview.text(state))


@task
def lab_down(c: Context, lab: str | None = None) -> None:
    """Stop the machines; the next lab-up brings everything back."""
    from lab import lifecycle

    lifecycle.down(load(name=lab), Status())


@task
def lab_suspend(c: Context, lab: str | None = None) -> None:
    """Hold the machines where they are; lab-resume lets them go on."""
    from lab import lifecycle

    lifecycle.suspend(load(name=lab), Status())


@task
def lab_resume(c: Context, lab: str | None = None) -> None:
    """Let machines go on that lab-suspend held, and wait until the nodes are Ready."""
    from lab import lifecycle

    lifecycle.resume(load(name=lab), Status())


@task
def lab_snapshot(c: Context, action: Words, lab: str | None = None, json_: bool = False) -> None:
    """Snapshots of machines and cluster: save NAME, restore NAME, delete NAME, or list."""
    from lab import lifecycle

    found = lifecycle.snapshot(load(name=lab), action, Status())
    rows = [(item.name, item.saved, ", ".join(item.machines)) for item in found]
    print(
        document({"snapshots": [asdict(item) for item in found]})
        if json_
        else table(("name", "saved", "machines"), rows)
    )


@task
def lab_destroy(c: Context, lab: str | None = None, cache: bool = False) -> None:
    """Remove everything of a lab; --cache also clears what labs share."""
    from lab import lifecycle

    lifecycle.destroy(load(name=lab), Status(), cache=cache)


@task
def lab_env(c: Context, lab: str | None = None) -> None:
    """Print what a shell needs to work on the lab by hand: eval "$(invoke lab-env)"."""
    from lab import completion, practice, runner, stacks

    resolved, tools = practice.opened(load(name=lab))
    stacks.link_plugins(resolved, tools)
    for name in sorted(runner.MISLEADING & os.environ.keys()):
        print(f"unset {name}")
    for name, value in stacks.environment(resolved, tools).items():
        print(f"export {name}={shlex.quote(value)}")
    print(completion.line(ROOT))


@task
def lab_ssh(c: Context, machine: str, lab: str | None = None) -> None:
    """Open a shell on a machine."""
    from lab import lifecycle, machines

    resolved = lifecycle.known(load(name=lab))
    name = machines.find(resolved, machine).name
    os.execvp("ssh", ["ssh", "-F", str(resolved.state / "ssh_config"), name])


@task
def lab_logs(c: Context, lab: str | None = None, output: str = "lab-logs") -> None:
    """Collect the logs of machines, cluster and stacks into a folder."""
    from lab import logs

    print(logs.collect(load(name=lab), Path(output), Status()))


@task
def exercise_list(c: Context, json_: bool = False) -> None:
    """List the exercises in the lecture's order."""
    from lab import exercises

    found = exercises.discover(ROOT)
    rows = [(item.name, item.title, item.slide) for item in found]
    print(
        document({"exercises": [item.data() for item in found]})
        if json_
        else table(("name", "title", "slide"), rows)
    )


@task
def exercise_up(c: Context, names: Words, lab: str | None = None) -> None:
    """Deploy these exercises, or --all: `pulumi up --stack NAME`, unasked."""
    from lab import practice

    status = Status()
    practice.deploy(load(name=lab), names, status)
    status.say(f"next: invoke check {' '.join(names)}")


@task
def exercise_preview(c: Context, name: str, lab: str | None = None) -> None:
    """Show what exercise-up would change."""
    from lab import practice

    print(practice.preview(load(name=lab), name, Status()))


@task
def exercise_down(c: Context, names: Words, lab: str | None = None) -> None:
    """Delete everything that these exercises, or --all, deployed."""
    from lab import practice

    practice.withdraw(load(name=lab), names, Status())


@task
def check(
    c: Context,
    names: Words,
    lab: str | None = None,
    hint: int = 0,
    json_: bool = False,
    junit: str | None = None,
) -> None:
    """Check these exercises, or --all: what works, what does not, and why; --hint 1 to 3."""
    from lab import practice

    report = practice.check(load(name=lab), names, Status())
    if junit:
        write_aside(Path(junit), report.junit, mode=0o644)
    print(document(report.data()) if json_ else report.text(hints=hint))
    report.raise_for_status()


@task
def grade(
    c: Context, name: str, lab: str | None = None, output: str = "grade", student: str = ""
) -> None:
    """Check one exercise, or --all, and write the report in every form into a folder."""
    from lab import practice

    report, files = practice.grade(load(name=lab), name, Path(output), student, Status())
    print("\n".join([report.text(), *map(str, files)]))
    report.raise_for_errors()


@task
def mutants(c: Context, names: Words, lab: str | None = None, json_: bool = False) -> None:
    """Try wrong answers to these exercises, or --all: each must fail its check."""
    from lab import mutants as laboratory
    from lab import practice

    outcomes = practice.try_mutants(load(name=lab), names, Status())
    rows = list(laboratory.table(outcomes))
    print(
        document({"mutants": [outcome.data() for outcome in outcomes]})
        if json_
        else table(("exercise", "mutant", "failed checks", "problem"), rows)
    )
    laboratory.raise_for_status(outcomes)


@task
def orchestrators(
    c: Context, lab: str | None = None, output: str | None = None, json_: bool = False
) -> None:
    """Measure one app by docker run, Compose, podman, Swarm and Kubernetes; --output FOLDER."""
    from lab import orchestrators as compared

    found = compared.compare(load(name=lab), Status())
    if output:
        compared.write(found, Path(output))
    print(document(found.data()) if json_ else compared.text(found))


@task
def mnist_up(c: Context, lab: str | None = None, base: str = "") -> None:
    """Make the homework's image and its SIF on the first machine; --base IMAGE begins with it."""
    from lab.homework import image

    image.up(load(name=lab), Status(), base)


@task
def mnist_run(
    c: Context,
    way: str,
    option: list[str],
    lab: str | None = None,
    epochs: int = 3,
    batch_size: str = "",
    test_batch_size: str = "",
    lr: str = "",
    gamma: str = "",
    seed: str = "",
    log_interval: str = "",
    threads: str = "",
    no_accel: bool = False,
    dry_run: bool = False,
    save_model: bool = False,
    program: str = "",
    cpus: str = "",
    memory: str = "",
    json_: bool = False,
) -> None:
    """Train by docker, singularity or job (or bare); --program FILE runs another main.py."""
    from lab.homework import asked, runs

    given = {
        "--epochs": epochs,
        "--batch-size": batch_size,
        "--test-batch-size": test_batch_size,
        "--lr": lr,
        "--gamma": gamma,
        "--seed": seed,
        "--log-interval": log_interval,
        "--threads": threads,
        "--no-accel": no_accel,
        "--dry-run": dry_run,
        "--save-model": save_model,
    }
    ask = asked.ask(given, option, program=program, cpus=cpus, memory=memory)
    run = runs.one(load(name=lab), way, ask, Status())
    run.raise_for_status()
    print(document({"run": runs.data(run)}) if json_ else runs.text(run))


@task
def mnist_compare(
    c: Context,
    option: list[str],
    lab: str | None = None,
    repetitions: int = 5,
    epochs: int = 3,
    cold: bool = True,
    output: str | None = None,
    json_: bool = False,
) -> None:
    """Measure the training bare, by docker, singularity and job, in turns; --output FOLDER."""
    from lab.homework import asked, compare, markdown

    ask = asked.ask({"--epochs": epochs}, option)
    found = compare.compare(
        load(name=lab), ask.options, Status(), repetitions=repetitions, cold=cold
    )
    if output:
        compare.write(found, Path(output))
    print(document(found.data()) if json_ else markdown.text(found))


@task
def mnist_submit(
    c: Context,
    lab: str | None = None,
    output: str = "mnist-homework",
    app: str | None = None,
    program: str | None = None,
    student: str = "",
    json_: bool = False,
) -> None:
    """Put the homework's bundle together, and tell what the rubric asks for and is not there."""
    from lab.homework import bundle

    sources = {"app": app, "program": program}
    paths = {name: Path(path) for name, path in sources.items() if path}
    made = bundle.submit(load(name=lab), Status(), output=Path(output), student=student, **paths)
    print(document(made.data()) if json_ else made.text())
    made.raise_for_status()


@task
def lint(
    c: Context,
    paths: Words,
    fix: bool = False,
    server: bool = False,
    lab: str | None = None,
    json_: bool = False,
) -> None:
    """Find mistakes in manifests: files, folders, quoted patterns, or - for stdin."""
    from lab import manifests

    report = manifests.lint(load(name=lab), paths, Status(), fix=fix, server=server)
    print(document(report.data()) if json_ else report.text())
    report.raise_for_status()


@task
def timeline(c: Context, lab: str | None = None, json_: bool = False) -> None:
    """Deploy something small, and tell what every component of Kubernetes did for it, and when."""
    from lab.machinery import timeline as measured

    told = measured.run(load(name=lab), Status())
    print(document({"timeline": told.data()}) if json_ else told.text())


@task
def experiment(c: Context, name: str, lab: str | None = None, json_: bool = False) -> None:
    """Stop a component, see what goes on: scheduler, controller-manager, kubelet or kube-proxy."""
    from lab.machinery import experiment as bench

    outcome = bench.run(load(name=lab), name, Status())
    print(document({"experiment": outcome.data()}) if json_ else outcome.text())
    outcome.raise_for_status()


@task
def smoke(
    c: Context,
    exercise: list[str],
    lab: str | None = None,
    distribution: str | None = None,
    source: str | None = None,
    mirror: str | None = None,
    output: str = "smoke",
) -> None:
    """For CI: up, the conformance list, every --exercise (or all), reports left, all removed."""
    from lab import smoke as smoke_run

    given = {"name": lab, "distribution": distribution, "source": source, "mirror": mirror}
    found = smoke_run.run(load(**given), exercise, Path(output), Status())
    print(found.text())
    found.raise_for_status()


@task
def bundle(
    c: Context,
    python: list[str],
    lab: str | None = None,
    provider: str | None = None,
    distribution: str | None = None,
    architecture: str = "",
    output: str = "lab-bundle",
    mnist: bool = False,
    archive: bool = False,
    json_: bool = False,
) -> None:
    """Write a folder with all that this lab needs, for hosts without the internet; --archive."""
    from lab import bundle as bundles

    wanted = load(name=lab, provider=provider, distribution=distribution)
    made = bundles.make(
        wanted,
        Path(output),
        Status(),
        architecture=architecture,
        pythons=python,
        mnist=mnist,
        archive=archive,
    )
    print(document({"bundle": made.data()}) if json_ else made.text())


@task
def bundle_verify(c: Context, folder: str, json_: bool = False) -> None:
    """Compare every file of a bundle with its manifest."""
    from lab import bundle as bundles

    verdict = bundles.verify(Path(folder), Status())
    print(document({"bundle": verdict.data()}) if json_ else verdict.text())
    verdict.raise_for_status()


@task
def mirror_serve(
    c: Context,
    folder: str,
    address: str = "127.0.0.1",
    port: int = 8443,
    images: str = "",
    images_port: int = 8444,
) -> None:
    """Serve a bundle to the room until Ctrl-C; --images REGISTRY pulls images through as well."""
    from lab import room

    place = room.Place(address, port, images_port)
    room.serve(ROOT, Path(folder), place, images, Status())


@task
def pins(c: Context, json_: bool = False) -> None:
    """For maintainers: what the lock file pins, the newest versions, and which pins are behind."""
    from lab import lifecycle
    from lab import pins as comparison

    status = Status()
    found = comparison.look(lifecycle.toolchain_of(load(), status), ROOT, status)
    print(document({"pins": [pin.data() for pin in found]}) if json_ else comparison.text(found))


@task
def pins_verify(c: Context) -> None:
    """For maintainers: download every pinned file for every platform and verify it; keep none."""
    from lab import releases

    lab = load()
    number = releases.verify(lab.root / "toolchain" / "lock.toml", config.cache_folder(), Status())
    print(f"{number} pinned files are what the lock file says")


@task
def version(c: Context, json_: bool = False) -> None:
    """Show the versions of the lab, Kubernetes, Python and this host, for a report of a fault."""
    from lab.version import versions

    found = versions(ROOT)
    print(document({"versions": found.data()}) if json_ else found.text())


@task
def test(c: Context, only: str = "") -> None:  # noqa: PT028
    """Run what CI runs: lint, types, unit, integration, refusals, e2e; --only NAME: one suite."""
    from lab import selftest

    raise Exit(code=selftest.run(ROOT, only))


namespace = Collection(*(item for item in list(globals().values()) if isinstance(item, Task)))
