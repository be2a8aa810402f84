"""Pulumi's entry point: the stack's name picks the program."""

import importlib
import sys
from pathlib import Path

import pulumi

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


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


if __name__ == "__main__":
    deploy(pulumi.get_stack())
