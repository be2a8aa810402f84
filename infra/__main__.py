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

    It does so at once, and on slow machines after minutes.
    """
    if not {"KUBECONFIG", "LAB_API_ADDRESS"} <= os.environ.keys():
        raise pulumi.RunError('this shell means no lab; next: eval "$(invoke lab-env)"')
    limit = 5 * slowness()
    question = ["kubectl", "get", "--raw", "/readyz", "--request-timeout", f"{limit:.0f}s"]
    # An emulated API server that is busy may be ready again a minute later.
    deadline = time.monotonic() + 60 * (slowness() - 1)
    while subprocess.run(question, capture_output=True, timeout=limit + 5, check=False).returncode:
        if time.monotonic() >= deadline:
            lab = os.environ.get("LAB_NAME")
            raise pulumi.RunError(
                f"the cluster of lab `{lab}` does not answer; next: invoke lab-up"
            )
        time.sleep(1)


if __name__ == "__main__":
    need_cluster()
    deploy(pulumi.get_stack())
