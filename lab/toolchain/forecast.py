"""Forecast the builds and downloads of a first lab-up, and their approximate duration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.output import count
from lab.progress import duration

# Processor seconds of each build from Go modules, in the order of toolchain/lock.toml, in which a
# build reuses compiled packages of earlier items. A lab-up with an empty cache took 27 processor
# minutes for all items.
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
    """A missing item of the toolchain, and the source that will provide it."""

    name: str
    source: str


def seconds(work: Sequence[Work], processors: int) -> float:
    """The approximate seconds of the builds on a usual host, without downloads."""
    built = [item.name for item in work if item.source == "modules"]
    return sum(BUILD.get(name, 0) for name in built) / max(1, processors)


def sentence(work: Sequence[Work], *, images: bool, processors: int, slowness: float = 1) -> str:
    """A sentence on the missing items and their approximate duration; empty without missing ones.

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
