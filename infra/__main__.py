"""Pulumi's entry point: the stack's name selects the program."""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pulumi

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from infra import slowness  # noqa: E402


def programs() -> dict[str, str]:
    """A mapping from stack names to the modules of their programs."""
    found = {"cluster": "infra.cluster.program"}
    for path in sorted(HERE.glob("workloads/*/program.py")):
        found[path.parent.name.replace("_", "-")] = f"infra.workloads.{path.parent.name}.program"
    return found


def deploy(stack: str) -> None:
    """Run the program of a stack. Raises RunError for a name without a program."""
    known = programs()
    if stack not in known:
        raise pulumi.RunError(f"no program for stack `{stack}`; choose one of {', '.join(known)}")
    importlib.import_module(known[stack]).deploy()


def need_cluster() -> None:
    """Raise RunError, in one sentence, if no cluster answers.

    A refused connection fails at once, but on slow machines only after the time limit. Other errors
    may be temporary and are retried.
    """
    if not {"KUBECONFIG", "LAB_API_ADDRESS"} <= os.environ.keys():
        raise pulumi.RunError('this shell has no lab selected; next: eval "$(invoke lab-env)"')
    slow = slowness()
    question = ["kubectl", "get", "--raw", "/readyz", "--request-timeout", f"{5 * slow:.0f}s"]
    # On a busy machine etcd may miss the API server's limit of two seconds.
    deadline = time.monotonic() + 30 * slow
    while True:
        answer = subprocess.run(
            question, capture_output=True, text=True, timeout=5 * slow + 5, check=False
        )
        if answer.returncode == 0:
            return
        none = "refused" in answer.stderr and slow == 1
        if none or time.monotonic() >= deadline:
            lab = os.environ.get("LAB_NAME")
            raise pulumi.RunError(
                f"the cluster of lab `{lab}` does not answer ({reason(answer.stderr)}); "
                "next: invoke lab-up"
            )
        time.sleep(1)


def reason(said: str) -> str:
    """The reason in kubectl's error output: the failed checks of /readyz, or the last line."""
    lines = said.strip().splitlines() or ["no error message"]
    return ", ".join(line for line in lines if line.startswith("[-]")) or lines[-1]


if __name__ == "__main__":
    need_cluster()
    deploy(pulumi.get_stack())
