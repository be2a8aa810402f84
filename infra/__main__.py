"""Pulumi's entry point: the stack's name picks the program."""

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
    """Stack name -> module of its program."""
    found = {"cluster": "infra.cluster.program"}
    for path in sorted(HERE.glob("workloads/*/program.py")):
        found[path.parent.name.replace("_", "-")] = f"infra.workloads.{path.parent.name}.program"
    return found


def deploy(stack: str) -> None:
    """Run the program of a stack. Raises RunError for a name that has none."""
    known = programs()
    if stack not in known:
        raise pulumi.RunError(f"no program for stack `{stack}`; there are: {', '.join(known)}")
    importlib.import_module(known[stack]).deploy()


def need_cluster() -> None:
    """Raises RunError, in one sentence, when there is no cluster to deploy to.

    A refused connection is believed at once, on slow machines after minutes; whatever else is
    said may be different a moment later.
    """
    if not {"KUBECONFIG", "LAB_API_ADDRESS"} <= os.environ.keys():
        raise pulumi.RunError('this shell means no lab; next: eval "$(invoke lab-env)"')
    slow = slowness()
    question = ["kubectl", "get", "--raw", "/readyz", "--request-timeout", f"{5 * slow:.0f}s"]
    # Where much goes on, etcd misses the two seconds that the API server gives it.
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
    """What of kubectl's complaint tells why: the failed checks of /readyz, or its last line."""
    lines = said.strip().splitlines() or ["without a word"]
    return ", ".join(line for line in lines if line.startswith("[-]")) or lines[-1]


if __name__ == "__main__":
    need_cluster()
    deploy(pulumi.get_stack())
