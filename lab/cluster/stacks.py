"""Pulumi stacks: the baseline `cluster` and one stack for each exercise.

Every command of Pulumi runs with the environment that `invoke lab-env` prints. So a student's
`pulumi up --stack NAME` does exactly the same.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lab import encoding, proxies, runner, wait
from lab.cluster import health
from lab.cluster.client import Cluster, cluster_of, in_namespace
from lab.config import Lab
from lab.errors import CommandError, DeadlineExceeded, NotFoundError, ResourceError
from lab.machines.ssh import ssh_config
from lab.machines.vagrantfile import environment as vagrant_environment
from lab.output import Status
from lab.state import remembered

PROJECT = "lecture-lab"
# How often `up` is tried, and the errors of a slow API server or etcd, for which it is retried. An
# emulated API server takes a minute for its OpenAPI document, and the provider waits half of that.
ATTEMPTS = 5
LATE = ("Client.Timeout ", "context deadline exceeded", "etcdserver: request timed out")


def environment(lab: Lab, tools: Path) -> dict[str, str]:
    """Every variable that Vagrant, Pulumi, kubectl and the checks read to mean this lab."""
    python = Path(sys.prefix)
    return {
        **vagrant_environment(lab),
        **proxies.environment(lab),
        **encoding.VARIABLES,
        "PATH": f"{tools}:{python / 'bin'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(python),
        "KUBECONFIG": str(lab.state / "kubeconfig"),
        # By default, kubectl caches what an address serves, also of a lab that had it before.
        "KUBECACHEDIR": str(lab.state / "kube-cache"),
        "PULUMI_BACKEND_URL": f"file://{quote(str(lab.state / 'pulumi'))}",
        "PULUMI_HOME": str(pulumi_home(lab)),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase_file(lab)),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        # Server-side apply rejects changes of a field that `kubectl scale` or `edit` has set since.
        "PULUMI_K8S_ENABLE_PATCH_FORCE": "true",
        "LAB_NAME": lab.name,
        "LAB_SSH_CONFIG": str(ssh_config(lab)),
        "LAB_MACHINES": ",".join(machine.name for machine in lab.machines),
        "LAB_HTTP_PORT": str(lab.ports.http),
        "LAB_ADDRESS_POOL": lab.address_pool,
        "LAB_API_ADDRESS": lab.machines[0].address,
        # The factor by which programs and checks wait longer.
        "LAB_SLOWNESS": f"{wait.limit(1):g}",
    }


def pulumi_home(lab: Lab) -> Path:
    """The folder of Pulumi's plugins and of the selected stack."""
    return lab.state / "pulumi" / "home"


def link_plugins(lab: Lab, tools: Path) -> None:
    """Let Pulumi find the lab's plugins; several threads may do it at the same time.

    Pulumi skips a folder that is a symbolic link, so the link is the program inside.
    """
    for plugin in tools.glob("plugins/*/*"):
        link = pulumi_home(lab) / plugin.relative_to(tools)
        if not (link.is_symlink() and link.readlink() == plugin):
            link.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=pulumi_home(lab)) as aside:
                made = Path(aside) / link.name
                made.symlink_to(plugin)
                made.replace(link)


def passphrase_file(lab: Lab) -> Path:
    """Encrypts the stacks' secrets; shared by the labs of one checkout, as their settings are."""
    return lab.state.parent / "passphrase"


@dataclass(frozen=True)
class Stacks:
    """The stacks of one lab. `tools` is the folder with Pulumi and its plugins."""

    lab: Lab
    tools: Path
    status: Status

    @property
    def cluster(self) -> Cluster:
        """The cluster that the stacks deploy to."""
        return cluster_of(self.lab, self.tools)

    def up(self, name: str, timeout: float = 300) -> None:
        """Deploy a stack, and create it first if necessary; retry while the cluster is too slow.

        Creates objects again that were deleted from the cluster. Raises CommandError with Pulumi's
        output, and DeadlineExceeded with the reasons why pods are not Ready.
        """
        self.create(name)
        self.release(name)
        words = ["up", "--yes", "--skip-preview", "--suppress-outputs"]
        for attempt in range(1, ATTEMPTS + 1):
            self.settle(name)
            if self.deleted(name):
                self.status.say(f"stack `{name}` has lost objects; they are created again")
                self._pulumi("refresh", "--yes", "--skip-preview", stack=name, timeout=180)
            try:
                self._pulumi(*words, stack=name, timeout=timeout)
                return
            except CommandError as error:
                if attempt == ATTEMPTS or not late(error.output):
                    raise
            except DeadlineExceeded as error:
                hint = f"kubectl describe pods --namespace {name}"
                raise health.with_complaints(error, self.cluster, name, hint) from error

    def preview(self, name: str) -> str:
        """What `up` would change, as Pulumi prints it."""
        self.create(name)
        also = ["--refresh"] if self.deleted(name) else []
        return self._pulumi("preview", "--diff", *also, stack=name, timeout=180)

    def deleted(self, name: str) -> bool:
        """Whether the cluster lacks an object of the stack; Pulumi does not notice that."""
        for namespace, names in objects(self._state(name)).items():
            place = in_namespace(namespace)
            words = ["get", *place, "--ignore-not-found", "--output", "name", *names]
            try:
                found = self.cluster.kubectl(*words, timeout=60).split()
            except CommandError as error:
                if "doesn't have a resource type" not in error.output:
                    raise
                return True
            if len(found) < len(names):
                return True
        return False

    def destroy(self, name: str, timeout: float = 300) -> None:
        """Delete everything that a stack deployed; nothing to do where it holds nothing."""
        self.release(name)
        if self.exists(name) and not empty(self._state(name)):
            self.settle(name)
            self._pulumi("destroy", "--yes", "--skip-preview", stack=name, timeout=timeout)

    def outputs(self, name: str) -> dict[str, Any]:
        """The exported values of a deployed stack."""
        if not self.exists(name):
            raise NotFoundError(
                f"stack `{name}` was never deployed", hint=f"invoke exercise-up {name}"
            )
        answer: dict[str, Any] = json.loads(self._pulumi("stack", "output", "--json", stack=name))
        return answer

    def resources(self, name: str) -> int:
        """The number of a stack's resources in its checkpoint; 0 without a checkpoint."""
        if not self.exists(name):
            return 0
        found = latest(self._state(name)).get("resources") or []
        return sum(resource.get("custom", False) for resource in found)

    def exists(self, name: str) -> bool:
        """Whether the stack exists."""
        return self._checkpoint(name).exists()

    def exercises(self) -> list[str]:
        """The stacks of the exercises: infra/__main__.py finds their programs in the same way."""
        programs = sorted(self.lab.root.glob("infra/workloads/*/program.py"))
        return [path.parent.name.replace("_", "-") for path in programs]

    def create(self, name: str) -> None:
        """Create a stack without deploying it, so that `pulumi up --stack NAME` finds it."""
        remembered(passphrase_file(self.lab), lambda: secrets.token_urlsafe(24))
        (self.lab.state / "pulumi").mkdir(parents=True, exist_ok=True)
        (self.lab.root / ".lab" / "stacks").mkdir(exist_ok=True)
        if not self.exists(name):
            self._pulumi("stack", "init", f"organization/{PROJECT}/{name}", "--no-select")

    def release(self, name: str) -> None:
        """Remove the lock of a `pulumi` that was killed; raises ResourceError while one runs."""
        locks = self.lab.state / "pulumi/.pulumi/locks/organization" / PROJECT / name
        for path in locks.glob("*.json"):
            if not alive(path.read_text()):
                self.status.say(f"stack `{name}` was locked by a dead process: unlocked")
                self._pulumi("cancel", "--yes", stack=name)
                return
            raise ResourceError(
                f"stack `{name}` is being changed by another `pulumi`",
                hint="wait until it has finished",
            )

    def settle(self, name: str) -> None:
        """Undo creations that a killed `pulumi` left unfinished.

        The checkpoint names the objects, but not whether they exist. Existing ones are deleted, so
        that the next `up` creates them instead of failing.
        """
        pending = pending_creations(self._state(name))
        if not pending:
            return
        self.status.say(f"stack `{name}` was interrupted while it created {len(pending)} object(s)")
        for kind, namespace, named in pending:
            words = ["delete", kind, named, *in_namespace(namespace), "--ignore-not-found"]
            words.append(f"--timeout={wait.limit(60):.0f}s")
            self.cluster.kubectl(*words, timeout=90)
        self._pulumi("refresh", "--yes", "--clear-pending-creates", stack=name, timeout=180)

    def _checkpoint(self, name: str) -> Path:
        return self.lab.state / "pulumi/.pulumi/stacks" / PROJECT / f"{name}.json"

    def _state(self, name: str) -> dict[str, Any]:
        """The checkpoint of a stack that exists."""
        path = self._checkpoint(name)
        try:
            state: dict[str, Any] = json.loads(path.read_text())
        except ValueError as error:
            raise ResourceError(
                f"the checkpoint of stack `{name}` is damaged: {error}",
                hint=shlex.join(["cp", f"{path}.bak", str(path)]),
            ) from error
        return state

    def _pulumi(self, *words: str, stack: str = "", timeout: float = 60) -> str:
        target = ["--stack", stack] if stack else []
        link_plugins(self.lab, self.tools)
        try:
            return runner.run(
                [self.tools / "pulumi", *words, *target, "--non-interactive"],
                cwd=self.lab.root,
                env=environment(self.lab, self.tools),
                timeout=timeout,
                on_line=lambda line: self.status.note(line.strip()),
            ).stdout
        except CommandError as error:
            raise CommandError(error.argv, error.code, told(error.output)) from None


def late(output: str) -> bool:
    """Whether Pulumi failed because the cluster did not answer in time."""
    return any(words in output for words in LATE)


def told(output: str) -> str:
    """Pulumi's output without warnings, which come last and would hide the error."""
    lines = output.splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("warning:"))


def alive(lock: str) -> bool:
    """Whether the Pulumi that a lock of its file back end names is running on this host.

    A lock that was only half written has no holder.
    """
    try:
        content: Mapping[str, Any] = json.loads(lock)
        process, host = int(content["pid"]), content["hostname"]
    except (ValueError, KeyError, TypeError):
        return False
    if host != os.uname().nodename:
        return True
    # After a power cut, another program may have its PID.
    try:
        return Path(f"/proc/{process}/comm").read_text().startswith("pulumi")
    except OSError:
        return False


def latest(state: Mapping[str, Any]) -> dict[str, Any]:
    """The deployment in a checkpoint; empty before the first one."""
    return state["checkpoint"].get("latest") or {}


def empty(state: Mapping[str, Any]) -> bool:
    """Whether a stack has neither resources nor unfinished operations."""
    deployment = latest(state)
    return not (deployment.get("resources") or deployment.get("pending_operations"))


def objects(state: Mapping[str, Any]) -> dict[str, list[str]]:
    """The Kubernetes objects in a checkpoint, by namespace (empty for none).

    Each as `kubectl get` takes it, e.g. Deployment.v1.apps/web.
    """
    found: dict[str, list[str]] = {}
    for resource in latest(state).get("resources") or []:
        made = resource.get("outputs") or {}
        if resource.get("custom") and "apiVersion" in made and "kind" in made:
            kind, namespace, name = identity(made)
            found.setdefault(namespace, []).append(f"{kind}/{name}")
    return found


def identity(item: Mapping[str, Any]) -> tuple[str, str, str]:
    """An object as kubectl takes it: (kind.version.group, namespace, name)."""
    group, _, version = item["apiVersion"].rpartition("/")
    kind = ".".join(filter(None, (item["kind"], version if group else "", group)))
    return kind, item["metadata"].get("namespace", ""), item["metadata"]["name"]


def pending_creations(state: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The Kubernetes objects whose creation a checkpoint has as unfinished.

    Each as (kind.version.group, namespace, name), as kubectl takes them.
    """
    found = []
    for operation in latest(state).get("pending_operations") or []:
        inputs = operation["resource"].get("inputs") or {}
        if operation.get("type") == "creating" and "kind" in inputs:
            found.append(identity(inputs))
    return found
