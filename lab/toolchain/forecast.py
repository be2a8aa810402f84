"""What a first lab-up has to make and to download, and about how long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.output import count
from lab.progress import duration

# Processor seconds of a build from Go modules, with the packages compiled that the items before it
# in toolchain/lock.toml share with it. From a lab-up with an empty cache, which took 27 processor
# minutes for all of them together.
BUILD = {
    "kubernetes": 560,
    "pulumi-kubernetes": 420,
    "pulumi": 330,
    "coredns": 65,
    "pulumi-language-python": 60,
    "kubectl": 40,
    "metrics-server": 40,
    "flannel": 30,
    "metallb": 25,
    "etcd": 20,
    "local-path-provisioner": 10,
    "flannel-cni": 5,
}
# Seconds for the images of machines and of the cluster, which use one processor most of the time.
IMAGES = 150


@dataclass(frozen=True)
class Work:
    """An item of the toolchain that is still to be made, and the source that will make it."""

    name: str
    source: str


def seconds(work: Sequence[Work], processors: int) -> float:
    """About how long builds take on so many processors of a usual host; downloads not counted."""
    built = [item.name for item in work if item.source == "modules"]
    return sum(BUILD.get(name, 0) for name in built) / max(1, processors)


def sentence(work: Sequence[Work], *, images: bool, processors: int, slowness: float = 1) -> str:
    """What is missing and about how long it takes; empty where nothing is missing.

    `images` says whether the image of the machines is missing, too. `slowness` is how many times
    slower than a usual host this one is.
    """
    built = [item for item in work if item.source == "modules"]
    fetched = [item for item in work if item.source != "modules"]
    parts = []
    if built:
        parts.append(f"builds {count(len(built), 'program')} from Go modules")
    if fetched:
        parts.append(f"downloads {count(len(fetched), 'program')}")
    if images:
        parts.append("makes the image of the machines")
    if not parts:
        return ""
    total = (seconds(work, processors) + (IMAGES if images else 0)) * slowness
    what = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    text = f"this lab-up {what}"
    if total >= 60:
        minutes = duration(60 * round(total / 60)).removesuffix(" 0 s")
        text += f": about {minutes} with {count(processors, 'processor')}"
        text += ", and the time of the downloads" if fetched or built else ""
    return f"{text}. The cache keeps it for the next one."
