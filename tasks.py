"""The tasks that users type: each loads the configuration, makes one call and prints."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from invoke import Collection, Context, Task
from invoke.exceptions import Exit

from lab import config
from lab.cli.task import ROOT, load, story, task
from lab.cli.words import Words
from lab.output import document, table
from lab.state import write_aside

# Invoke stops Python from caching what it compiles after this file, which is most of the lab.
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))


@task
def doctor(
    c: Context, lab: str | None = None, provider: str | None = None, json_: bool = False
) -> None:
    """Examine this computer: what it has, what it lacks, what lab-up would choose and why."""
    from lab.lifecycle import operations

    findings, text = operations.diagnose(load(name=lab, provider=provider))
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
    """Bring up machines, cluster and baseline; keeps what already exists."""
    from lab.lifecycle import bringup

    given = {"name": lab, "provider": provider, "distribution": distribution, "source": source}
    wanted = load(**given, mirror=mirror, **{"machines.workers": workers})
    bringup.up(wanted, story(), may_install=install)


@task
def lab_status(c: Context, lab: str | None = None, json_: bool = False) -> None:
    """Show machines, nodes, add-ons and exercises."""
    from lab.observe import status

    state = status.look(load(name=lab))
    print(document(state) if json_ else status.text(state))


@task
def lab_down(c: Context, lab: str | None = None) -> None:
    """Stop the machines; the next lab-up brings everything back."""
    from lab.lifecycle import operations

    operations.down(load(name=lab), story())


@task
def lab_suspend(c: Context, lab: str | None = None) -> None:
    """Pause the machines in memory; lab-resume resumes them."""
    from lab.lifecycle import operations

    operations.suspend(load(name=lab), story())


@task
def lab_resume(c: Context, lab: str | None = None) -> None:
    """Resume machines after lab-suspend, and wait until the nodes are Ready."""
    from lab.lifecycle import operations

    operations.resume(load(name=lab), story())


@task
def lab_snapshot(c: Context, action: Words, lab: str | None = None, json_: bool = False) -> None:
    """Snapshots of machines and cluster: save NAME, restore NAME, delete NAME, or list."""
    from lab.lifecycle import operations

    found = operations.snapshot(load(name=lab), action, story())
    rows = [(item.name, item.saved, ", ".join(item.machines)) for item in found]
    print(
        document({"snapshots": [asdict(item) for item in found]})
        if json_
        else table(("name", "saved", "machines"), rows)
    )


@task
def lab_destroy(c: Context, lab: str | None = None, cache: bool = False) -> None:
    """Remove everything of a lab; --cache also clears what labs share."""
    from lab.lifecycle import operations

    operations.destroy(load(name=lab), story(), cache=cache)


@task
def lab_env(c: Context, lab: str | None = None) -> None:
    """Print the environment for working on the lab by hand: eval "$(invoke lab-env)"."""
    from lab import runner
    from lab.cli import completion
    from lab.cluster import stacks
    from lab.lifecycle.opened import opened

    found = opened(load(name=lab))
    stacks.link_plugins(found.lab, found.tools)
    for name in sorted(runner.MISLEADING & os.environ.keys()):
        print(f"unset {name}")
    for name, value in found.environment.items():
        print(f"export {name}={shlex.quote(value)}")
    print(completion.line(ROOT))


@task
def lab_ssh(c: Context, machine: str, lab: str | None = None) -> None:
    """Open a shell on a machine."""
    from lab.lifecycle.opened import known
    from lab.machines import driver

    resolved = known(load(name=lab))
    name = driver.find(resolved, machine).name
    os.execvp("ssh", ["ssh", "-F", str(resolved.state / "ssh_config"), name])


@task
def lab_logs(c: Context, lab: str | None = None, output: str = "lab-logs") -> None:
    """Collect the logs of machines, cluster and stacks into a folder."""
    from lab.observe import logs

    print(logs.collect(load(name=lab), Path(output), story()))


@task
def exercise_list(c: Context, json_: bool = False) -> None:
    """List the exercises in the lecture's order."""
    from lab.exercises import catalogue

    found = catalogue.discover(ROOT)
    rows = [(item.name, item.title, item.slide) for item in found]
    print(
        document({"exercises": [item.data() for item in found]})
        if json_
        else table(("name", "title", "slide"), rows)
    )


@task
def exercise_up(c: Context, names: Words, lab: str | None = None, all_: bool = False) -> None:
    """Deploy these exercises, or --all, as `pulumi up --stack NAME --yes` does."""
    from lab.exercises import practice

    status = story()
    wanted = practice.wanted(names, every=all_)
    practice.deploy(load(name=lab), wanted, status)
    status.say(f"next: invoke check {wanted}")


@task
def exercise_preview(c: Context, name: str, lab: str | None = None) -> None:
    """Show what exercise-up would change."""
    from lab.exercises import practice

    print(practice.preview(load(name=lab), name, story()))


@task
def exercise_down(c: Context, names: Words, lab: str | None = None, all_: bool = False) -> None:
    """Delete everything that these exercises, or --all, deployed."""
    from lab.exercises import practice

    practice.withdraw(load(name=lab), practice.wanted(names, every=all_), story())


@task
def check(
    c: Context,
    names: Words,
    lab: str | None = None,
    all_: bool = False,
    hint: int = 0,
    json_: bool = False,
    junit: str | None = None,
) -> None:
    """Check these exercises, or --all: what works, what fails and why; --hint 1 to 3."""
    from lab.exercises import practice

    report = practice.check(load(name=lab), practice.wanted(names, every=all_), story())
    if junit:
        write_aside(Path(junit), report.junit, mode=0o644)
    print(document(report.data()) if json_ else report.text(hints=hint))
    report.raise_for_status()


@task
def grade(
    c: Context,
    names: Words,
    lab: str | None = None,
    all_: bool = False,
    output: str = "grade",
    student: str = "",
) -> None:
    """Check these exercises, or --all, and write the report in every format into a folder."""
    from lab.exercises import practice

    wanted = practice.wanted(names, every=all_)
    report, files = practice.grade(load(name=lab), wanted, Path(output), student, story())
    print("\n".join([report.text(), *map(str, files)]))
    report.raise_for_errors()


@task
def mutants(
    c: Context,
    names: Words,
    lab: str | None = None,
    all_: bool = False,
    json_: bool = False,
) -> None:
    """Try the wrong answers to these exercises, or --all: each must fail its check."""
    from lab.exercises import mutants as laboratory
    from lab.exercises import practice

    outcomes = practice.try_mutants(load(name=lab), practice.wanted(names, every=all_), story())
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
    """Measure one app with docker run, Compose, podman, Swarm, Kubernetes; --output FOLDER."""
    from lab import orchestrators as compared

    found = compared.compare(load(name=lab), story())
    if output:
        compared.write(found, Path(output))
    print(document(found.data()) if json_ else compared.text(found))


@task
def mnist_up(c: Context, lab: str | None = None, base: str = "") -> None:
    """Make the homework's image and its SIF on the first machine; --base IMAGE starts from it."""
    from lab.homework import image

    image.up(load(name=lab), story(), base)


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
    """Train with docker, singularity or job (or bare); --program FILE runs another main.py."""
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
    run = runs.one(load(name=lab), way, ask, story())
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
    """Measure the training bare, with docker, singularity and job in turns; --output FOLDER."""
    from lab.homework import asked, compare, markdown

    ask = asked.ask({"--epochs": epochs}, option)
    found = compare.compare(
        load(name=lab), ask.options, story(), repetitions=repetitions, cold=cold
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
    """Make the homework's bundle, and list what it lacks of the rubric."""
    from lab.homework import bundle

    sources = {"app": app, "program": program}
    paths = {name: Path(path) for name, path in sources.items() if path}
    made = bundle.submit(load(name=lab), story(), output=Path(output), student=student, **paths)
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
    from lab import lint as linter

    report = linter.lint(load(name=lab), paths, story(), fix=fix, server=server)
    print(document(report.data()) if json_ else report.text())
    report.raise_for_status()


@task
def timeline(c: Context, lab: str | None = None, json_: bool = False) -> None:
    """Create a small Deployment, and show what each component of Kubernetes did for it and when."""
    from lab.observe import timeline as measured

    told = measured.run(load(name=lab), story())
    print(document({"timeline": told.data()}) if json_ else told.text())


@task
def experiment(c: Context, name: str, lab: str | None = None, json_: bool = False) -> None:
    """Stop the scheduler, controller-manager, a kubelet or kube-proxy, and see what still works."""
    from lab.faults import experiment as bench

    outcome = bench.run(load(name=lab), name, story())
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
    """For CI: lab-up, the conformance list, every --exercise (or all), reports, clean-up."""
    from lab.conformance import smoke as smoke_run

    given = {"name": lab, "distribution": distribution, "source": source, "mirror": mirror}
    found = smoke_run.run(load(**given), exercise, Path(output), story())
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
    """Write a folder with everything that the lab needs, for hosts without internet; --archive."""
    from lab.offline import bundle as bundles

    wanted = load(name=lab, provider=provider, distribution=distribution)
    made = bundles.make(
        wanted,
        Path(output),
        story(),
        architecture=architecture,
        pythons=python,
        mnist=mnist,
        archive=archive,
    )
    print(document({"bundle": made.data()}) if json_ else made.text())


@task
def bundle_verify(c: Context, folder: str, json_: bool = False) -> None:
    """Compare every file of a bundle with its manifest."""
    from lab.offline import bundle as bundles

    verdict = bundles.verify(Path(folder), story())
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
    """Serve a bundle to a classroom until Ctrl-C; --images REGISTRY also serves its images."""
    from lab.offline import serve

    place = serve.Place(address, port, images_port)
    serve.serve(ROOT, Path(folder), place, images, story())


@task
def pins(c: Context, json_: bool = False) -> None:
    """For maintainers: compare the pins of the lock file with the newest versions."""
    from lab.lifecycle.opened import toolchain_of
    from lab.toolchain import pins as comparison

    status = story()
    found = comparison.look(toolchain_of(load(), status), ROOT, status)
    print(document({"pins": [pin.data() for pin in found]}) if json_ else comparison.text(found))


@task
def pins_verify(c: Context) -> None:
    """For maintainers: download every pinned file for every platform and verify it; keep none."""
    from lab.toolchain import releases

    lab = load()
    number = releases.verify(lab.root / "toolchain" / "lock.toml", config.cache_folder(), story())
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
