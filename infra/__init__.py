"""The lab's Pulumi programs: the baseline of the cluster, and one program for each exercise."""

import os


def slowness() -> float:
    """How many times slower than usual the lab's machines are, from `lab-env`; 1 by default."""
    return float(os.environ.get("LAB_SLOWNESS", "1"))
