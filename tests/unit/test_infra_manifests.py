"""The YAML under infra/: objects that refer to one another, and to images that every lab has."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Object = dict[str, Any]
CLUSTER = sorted((ROOT / "infra" / "cluster").glob("*.yaml"))
EXERCISES = sorted((ROOT / "infra" / "workloads").glob("*/manifests"))
