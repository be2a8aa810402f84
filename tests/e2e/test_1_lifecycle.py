"""One lab from nothing to nothing, as a student would type it. The tests build on each other."""

from __future__ import annotations

import fcntl
import json
import re
import shlex
import shutil
import signal
import socket
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import config, wait
from lab.exercises import catalogue
from lab.host.facts import vagrant_home
from lab.host.resolvers import name_servers_of_host
from lab.lifecycle import lock
from lab.machines import cgroups
from lab.machines.vagrant import LOCKED
from lab.output import Status
from lab.toolchain import Toolchain
from tests.e2e.support import KEPT, ROOT, Invoke, containers, docker, names, ready

# Those that need no image of the homework's: `--all` leaves the others out.
EXERCISES = [exercise.name for exercise in catalogue.discover(ROOT) if not exercise.image]
pytestmark = pytest.mark.e2e


def states(invoke: Invoke) -> dict[str, Any]:
    return invoke.json("lab-status")


def test_two_lab_ups_at_once(invoke: Invoke, request: pytest.FixtureRequest) -> None:
    """The second one says who holds the lab, waits, and finds nothing to do."""
    both = [invoke.begin("lab-up", "--workers", "2") for _ in range(2)]
    while not containers(invoke.lab) and all(process.poll() is None for process in both):
        time.sleep(0.5)
    # Others begin when this lab has made what they are made of, and has its network.
    request.getfixturevalue("beside")
    stories = [process.communicate(timeout=3000)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], stories
    assert sum("waiting for lab `e2e`: held by lab-up" in story for story in stories) == 1
    assert sum("nothing to do" in story for story in stories) == 1


def test_lab_is_up(invoke: Invoke) -> None:

    def available() -> dict[str, Any] | None:
        """Beside other labs that come up, a probe may be missed."""
        state = states(invoke)
        return state if all(addon["available"] for addon in state["addons"]) else None

    state = wait.until(available, what="all add-ons", timeout=60)
    assert names(state["machines"]) == ["control-plane-1", "worker-1", "worker-2"]
    assert all(machine["state"] == "running" for machine in state["machines"])
    assert ready(state) == 3
    assert len(state["addons"]) == 5
    # A second lab's machines count as well: with the usual 128 their kube-proxy would end.
    assert int(Path("/proc/sys/fs/inotify/max_user_instances").read_text()) >= 1024


def test_vagrant_by_hand(invoke: Invoke, tmp_path: Path) -> None:
    """`vagrant status` knows the lab's machines, and works without a lab as well."""

    def status() -> str | None:
        """None while a Vagrant of another lab of this checkout holds the machines' entry."""
        said = invoke.shell('vagrant status; echo "exit code $?"')
        return None if LOCKED[0] in said else said

    said = wait.until(status, what="an answer of Vagrant's", timeout=60)
    assert "exit code 0" in said and said.count("running (docker)") == 3
    nothing = f"LAB_MACHINES_FILE={tmp_path}/none VAGRANT_DOTFILE_PATH={tmp_path}/vagrant"
    assert "not created" in invoke.shell(f"env {nothing} vagrant status")


def test_machines_by_name(invoke: Invoke) -> None:
    assert "there is no machine `worker-9`" in invoke("lab-ssh", "worker-9", code=6).err


def test_doctor_knows_the_choices(invoke: Invoke) -> None:
    findings = {item["id"]: item for item in invoke.json("doctor")["findings"]}
    assert findings["choice-provider"]["detail"].startswith("docker")
    assert findings["choice-workers"]["detail"].startswith("2")


def test_files_are_private(invoke: Invoke) -> None:
    for name in ("kubeconfig", "id_ed25519", "token", "../passphrase"):
        assert (invoke.state / name).stat().st_mode & 0o077 == 0, name


def test_checks_fail_before_the_programs_ran(invoke: Invoke) -> None:
    report = invoke.json("check", "--all", code=5, LAB_PATIENCE="0.05")
    assert report["score"] == 0
    assert {check["status"] for check in report["checks"]} == {"failed"}
    assert all(check["message"] for check in report["checks"])
    assert set(names(report["checks"], "exercise")) == set(EXERCISES)


def test_a_corrupted_tool_is_refused_and_made_again(invoke: Invoke) -> None:
    cache, name = config.cache_folder(), "pulumi-language-python"
    # There may be others, of another version or architecture.
    tool = cache / "tools" / Toolchain(ROOT, cache, Status()).key(name) / name
    whole = tool.read_bytes()
    # Another lab may run it, and what runs cannot be written to.
    damaged = tool.with_name("damaged")
    shutil.copy2(tool, damaged)
    with damaged.open("ab") as file:
        file.write(b"one byte more")
    damaged.replace(tool)
    preview = invoke("exercise-preview", "pod")
    # Labs beside this one use it as well, and may have refused it first.
    made_by_another = f"waiting: another task already makes {tool.parent.name.rpartition('-')[0]}"
    assert (
        f"{tool} has changed since it was stored" in preview.err or made_by_another in preview.err
    )
    assert "myapp-pod" in preview.out
    assert tool.read_bytes() == whole


def test_pulumi_by_hand(invoke: Invoke) -> None:
    """As the lecture teaches: a preview first, then up, on a stack that lab-up prepared."""
    preview = invoke.shell("pulumi preview --stack pod --non-interactive")
    assert "myapp-pod" in preview
    up = invoke.shell("pulumi up --stack pod --yes --non-interactive")
    # Pulumi warns of a plugin on PATH, and of one with another version than the Python package's.
    assert "warning" not in preview + up
    assert "myapp-pod" in invoke.shell("pulumi stack output pod --stack pod")


def test_what_was_deleted_by_hand_comes_back(invoke: Invoke) -> None:
    """Pulumi itself believes what it wrote down."""
    invoke.shell("kubectl delete pod myapp-pod --namespace pod --now")
    assert "stack `pod` has lost objects" in invoke("exercise-up", "pod").err
    invoke.shell("kubectl get pod myapp-pod --namespace pod")


def test_smoke_by_the_job_files(invoke: Invoke) -> None:
    """Every exercise at once, as GitHub's and GitLab's jobs type it; what was there stays."""
    github = yaml.safe_load((ROOT / "docs/ci/github.yml").read_text())
    gitlab = yaml.safe_load((ROOT / "docs/ci/gitlab.yml").read_text())
    steps = {step["run"] for step in github["jobs"]["smoke"]["steps"] if "run" in step}
    (line,) = steps | set(gitlab["smoke"]["script"])
    launcher, *words = shlex.split(line)
    assert launcher == "./inv"
    done = invoke(*words)
    assert done.out.rstrip().endswith("points")
    suite = ElementTree.parse(invoke.checkout / "smoke" / "junit.xml").getroot()
    assert {part.get("name") for part in suite} == set(EXERCISES)
    assert not list(suite.iter("failure"))
    (listed,) = ElementTree.parse(invoke.checkout / "smoke" / "conformance.xml").getroot()
    assert int(listed.get("tests", "0")) >= 18 and not list(listed.iter("failure"))
    assert (invoke.checkout / "smoke/logs/control-plane-1/journal.log").stat().st_size
    state = states(invoke)
    assert [item["name"] for item in state["exercises"] if item["resources"]] == ["pod"]
    left = invoke.shell("kubectl get namespaces,pv --output name")
    assert not [name for name in EXERCISES if f"/{name}\n" in left and name != "pod"], left


def test_grade(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("grade", "pod", "--output", str(tmp_path), "--student", "ada")
    assert str(tmp_path / "report.html") in done.out
    assert "Pod myapp-pod" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "grades.csv").read_text().splitlines()[1] == "ada,5,5,5"
    assert json.loads((tmp_path / "results.json").read_text())["score"] == 5


def test_update_and_rollback(invoke: Invoke) -> None:
    invoke("exercise-up", "deployment")
    invoke.shell('pulumi config set --stack deployment message "Hello Kubernetes! I am updated!!"')
    assert "updat" in invoke("exercise-preview", "deployment").out
    invoke("exercise-up", "deployment")
    assert invoke.json("check", "deployment")["score"] == 5
    # Pods of the version before may still be on their way out, and are gone before they are asked.
    log = invoke.shell("kubectl logs -n deployment -l app=hello-d --tail=1 --ignore-errors")
    assert log.count("I am updated!!") == 3
    rollout = "kubectl rollout {} deployment/hello-deployment -n deployment"
    history = invoke.shell(rollout.format("history"))
    assert len([line for line in history.splitlines() if line[:1].isdigit()]) == 2
    invoke.shell(f"{rollout.format('undo')} && {rollout.format('status')}")
    template = "kubectl get deployment hello-deployment -n deployment -o jsonpath={.spec.template}"
    assert "updated" not in invoke.shell(template)
    # The command is kubectl's field now, and `pulumi up` takes it back.
    invoke.shell('pulumi config set --stack deployment message "Hello Kubernetes! Once more."')
    assert "conflict" not in invoke.shell("pulumi up --stack deployment --yes --non-interactive")
    assert "Once more" in invoke.shell(template)


def test_an_update_that_nobody_notices(invoke: Invoke) -> None:
    """A student's own rollout is judged by the client's record; who has none gets one made."""
    web = "-n rollout deployment/web"
    revision = f"kubectl get {web} -o jsonpath={{.metadata.annotations}}"
    kept = '"deployment.kubernetes.io/revision":"{}"'
    invoke("exercise-up", "rollout")
    invoke.shell(f"kubectl rollout restart {web} && kubectl rollout status {web}")
    assert invoke.json("check", "rollout")["score"] == 12
    assert kept.format(2) in invoke.shell(revision)
    # The client begins to count anew, and does not know how that rollout went. With process 1 its
    # namespace ends, and `kill` itself where it has not ended yet.
    invoke.shell(
        "kubectl exec -n rollout client -- kill 1; kubectl wait -n rollout pod/client"
        " --for=jsonpath='{.status.containerStatuses[0].restartCount}'=1"
    )
    assert invoke.json("check", "rollout")["score"] == 12
    assert kept.format(3) in invoke.shell(revision)
    # The way back still leads to the version before.
    history = invoke.shell(f"kubectl rollout history {web}")
    assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == ["1", "3"]
    invoke("exercise-down", "rollout")


def test_registry(invoke: Invoke) -> None:
    """docker build and push on a machine, pulled by the cluster, Singularity and the host."""
    line = 'ssh -F "$LAB_SSH_CONFIG" {} {}'
    build = (
        '\'printf "FROM busybox\\nRUN echo built >/built\\n" >Dockerfile && docker build -q -t'
        " registry.lab:5000/mine . && docker push -q registry.lab:5000/mine'"
    )
    invoke.shell(line.format("control-plane-1", build))
    invoke.shell(
        "kubectl run mine --image registry.lab:5000/mine --restart Never --command -- cat /built"
        " && kubectl wait --for=jsonpath={.status.phase}=Succeeded pod/mine --timeout 60s"
    )
    assert "built" in invoke.shell("kubectl logs mine && kubectl delete pod mine --now")
    pull = "'singularity exec --no-https docker://registry.lab:5000/mine cat /built'"
    assert "built" in invoke.shell(line.format("worker-1", pull))
    port = states(invoke)["lab"]["ports"]["registry"]
    catalog = invoke.shell(f"curl -s http://127.0.0.1:{port}/v2/_catalog")
    assert "mine" in catalog
    assert "library/busybox" in catalog


def test_services_outlive_a_full_sync_of_kube_proxy(invoke: Invoke) -> None:
    """Once an hour, and when a node's zone changes, it compares its rules with the kernel's."""
    machine = 'ssh -F "$LAB_SSH_CONFIG" worker-1 '
    count = "sync_full_proxy_rules_duration_seconds_count"

    def syncs() -> float:
        metrics = invoke.shell(f"{machine} curl -s http://127.0.0.1:10249/metrics")
        lines = [line for line in metrics.splitlines() if count in line and '"IPv4"' in line]
        return float(lines[0].split()[-1])

    def rules() -> list[str]:
        listing = invoke.shell(f"{machine} sudo nft list map ip kube-proxy service-ips")
        return sorted(word for word in listing.split() if word.startswith("service-"))

    before, done = rules(), syncs()
    assert any("kube-dns" in rule for rule in before)
    zone = "kubectl label node worker-1 topology.kubernetes.io/zone"
    invoke.shell(f"{zone}=here")
    deadline = time.monotonic() + 30
    while syncs() == done:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert rules() == before
    invoke.shell(f"{zone}-")


def test_timeline(invoke: Invoke) -> None:
    """From the API server to a started container, in this order on one clock."""
    entries = invoke.json("timeline")["timeline"]["entries"]
    first: dict[str, float] = {}
    for entry in entries:
        first.setdefault(entry["component"], entry["ms"])
    started = next(one["ms"] for one in entries if one["what"] == "has started the container")
    chain = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
    times = [first[component] for component in chain]
    assert [*times, started] == sorted([*times, started]), entries
    assert started < first["curl"] and "kube-proxy" in first


def test_a_killed_experiment_is_put_back_by_the_machine(invoke: Invoke) -> None:
    """SIGKILL while the scheduler is away: a pod that waits for it runs without any help."""
    process = invoke.begin("experiment", "scheduler")
    assert process.stderr
    story = []
    for line in process.stderr:
        story.append(line)
        if "kube-scheduler does not answer" in line:
            break
    process.kill()
    assert process.wait() == -signal.SIGKILL and story[-1].startswith("✓"), "".join(story)
    invoke.shell("kubectl run late --image busybox:1.37 -- sleep 60")
    phase = "kubectl get pod late -o jsonpath={.status.phase}{.spec.nodeName}"
    assert invoke.shell(phase) == "Pending"
    invoke.shell("kubectl wait --for condition=Ready pod/late --timeout 120s")
    invoke.shell('ssh -F "$LAB_SSH_CONFIG" control-plane-1 test ! -e /etc/lab/aside')
    invoke.shell("kubectl delete --now --wait=false pod/late namespace/machinery-experiment")


def test_second_lab_up_changes_nothing(invoke: Invoke) -> None:
    started = docker("inspect", "--format", "{{.State.StartedAt}}", *containers(invoke.lab))
    begin = time.monotonic()
    # As it is typed the second time: what the first one said is remembered.
    story = invoke("lab-up").err
    assert "nothing to do" in story and "name servers" not in story
    assert time.monotonic() - begin < 10
    assert docker("inspect", "--format", "{{.State.StartedAt}}", *containers(invoke.lab)) == started


def test_a_lab_that_came_from_another_network(invoke: Invoke) -> None:
    """Machines ask the name servers of their boot; `lab-down` and `lab-up` follow."""
    away = "echo nameserver 192.0.2.9 >/run/lab/resolv.conf"
    docker("exec", f"{invoke.lab}-control-plane-1", "sh", "-c", away)
    told = "still use 192.0.2.9: run lab-down, then lab-up" in invoke("lab-up").err
    # A host that asks nobody but itself has none to bring.
    assert told is bool(name_servers_of_host())


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Hold the lock of a file that its last holder may have taken away a moment before."""
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if lock._is_at(file, path):
                yield
                return


def test_down_and_up_keep_everything(invoke: Invoke) -> None:
    invoke("exercise-up", *KEPT)
    addresses = names(states(invoke)["machines"], "address")
    # As another lab's Vagrant does it, for moments: the labs of a checkout share an entry.
    entry = (invoke.state / "vagrant/machines/control-plane-1/docker/index_uuid").read_text()
    log = invoke.state / "logs/vagrant.log"
    held = vagrant_home() / "data/machine-index" / f"{entry}.lock"
    refused = log.read_text().count(LOCKED[0])
    with locked_file(held):
        process = invoke.begin("lab-down")
        while log.read_text().count(LOCKED[0]) == refused:
            assert process.poll() is None
            time.sleep(0.1)
    assert process.wait(120) == 0
    assert not containers(invoke.lab)
    stopped = states(invoke)
    # systemd has shut them down; they were not killed.
    made = [f"{invoke.lab}-{machine}" for machine in names(stopped["machines"])]
    assert "137" not in docker("inspect", "--format", "{{.State.ExitCode}}", *made)
    assert all(machine["state"] != "running" for machine in stopped["machines"])
    assert "invoke lab-up" in invoke("exercise-up", "pod", code=4).err
    by_hand = invoke.shell("pulumi up --stack pod --yes --non-interactive --skip-preview", code=1)
    expected = r"the cluster of lab `e2e` does not answer \(.*refused.*\); next: invoke lab-up"
    assert re.search(expected, by_hand)
    assert "Traceback" not in by_hand
    # Somebody else listens at the lab's Ingress meanwhile.
    port = stopped["lab"]["ports"]["http"]
    with socket.create_server(("127.0.0.1", port)):
        assert f"{port} is in use by " in invoke("lab-up", code=2).err
    assert "name servers" not in invoke("lab-up").err
    assert names(states(invoke)["machines"], "address") == addresses
    report = invoke.json("check", *KEPT)
    assert report["score"] == report["points"], report
    # All pods of a machine are below its own control group, after every boot.
    for machine in containers(invoke.lab):
        settings = docker("exec", machine, "cat", cgroups.FILE)
        groups = cgroups.parse("\n".join(settings))
        assert ("LAB_KUBELET_ARGS=" in settings) == (groups.version == 2), settings


def test_logs(invoke: Invoke) -> None:
    folder = invoke.checkout / "logs"
    invoke("lab-logs", "--output", str(folder))
    journal = (folder / "control-plane-1" / "journal.log").read_text()
    assert "kubelet" in journal
    assert "Ready" in (folder / "control-plane-1" / "cluster.txt").read_text()
    assert list((folder / "stacks" / "pod").glob("*.history.json"))
