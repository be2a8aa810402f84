"""Kubernetes manifests as Pulumi resources: one resource for each document of a YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pulumi
import yaml

# Tells Pulumi's plugin not to wait for an object to be ready.
SKIP_AWAIT = {"pulumi.com/skipAwait": "true"}


def documents(path: Path, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """The documents of a YAML file, after replacing every @NAME@ by its value."""
    text = path.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return [document for document in yaml.safe_load_all(text) if document]


def token(document: Mapping[str, Any]) -> str:
    """Pulumi's type of a Kubernetes object, e.g. kubernetes:apps/v1:Deployment."""
    version = document["apiVersion"]
    return f"kubernetes:{version if '/' in version else f'core/{version}'}:{document['kind']}"


def deploy(
    path: Path, values: Mapping[str, str] | None = None, needs: Sequence[pulumi.Resource] = ()
) -> list[pulumi.Resource]:
    """Register every document of a file after `needs`, and after its namespace."""
    first: list[pulumi.Resource] = list(needs)
    resources: list[pulumi.Resource] = []
    for document in documents(path, values or {}):
        metadata = document["metadata"]
        # The lab waits for all add-ons at the same time; Pulumi would wait for one after the other.
        metadata["annotations"] = {**metadata.get("annotations", {}), **SKIP_AWAIT}
        name = "/".join(
            filter(None, (document["kind"], metadata.get("namespace"), metadata["name"]))
        )
        options = pulumi.ResourceOptions(depends_on=list(first))
        resource = pulumi.CustomResource(token(document), name.lower(), document, options)
        resources.append(resource)
        if document["kind"] == "Namespace":
            first.append(resource)
    return resources
