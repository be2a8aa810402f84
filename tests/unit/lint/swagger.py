"""A small handmade OpenAPI document with the part of Kubernetes that the tests' manifests need."""

from __future__ import annotations

from typing import Any

from lab.lint.schema import Schema, compact

PREFIX = "io.k8s.api."
OBJECT = {"apiVersion": "string", "kind": "string", "metadata": "ObjectMeta"}
# Kind or type -> its fields. `*` marks a required field, `[]` a list, `{}` a mapping.
TYPES: dict[str, dict[str, str]] = {
    "ObjectMeta": {
        "name": "string",
        "namespace": "string",
        "labels": "{}string",
        "annotations": "{}string",
    },
    "LabelSelector": {"matchLabels": "{}string"},
    "v1/Namespace": {**OBJECT, "spec": "object"},
    "v1/Pod": {**OBJECT, "spec": "PodSpec"},
    "v1/ConfigMap": {**OBJECT, "data": "{}string"},
    "v1/Service": {**OBJECT, "spec": "ServiceSpec"},
    "v1/PersistentVolume": {**OBJECT, "spec": "object"},
    "v1/PersistentVolumeClaim": {**OBJECT, "spec": "object"},
    "apps/v1/Deployment": {**OBJECT, "spec": "DeploymentSpec"},
    "apps/v1/ReplicaSet": {**OBJECT, "spec": "DeploymentSpec"},
    "batch/v1/Job": {**OBJECT, "spec": "JobSpec"},
    "autoscaling/v1/HorizontalPodAutoscaler": OBJECT,
    "autoscaling/v2/HorizontalPodAutoscaler": OBJECT,
    "DeploymentSpec": {
        "replicas": "integer",
        "selector": "*LabelSelector",
        "template": "*PodTemplateSpec",
    },
    "JobSpec": {"template": "*PodTemplateSpec"},
    "PodTemplateSpec": {"metadata": "ObjectMeta", "spec": "PodSpec"},
    "PodSpec": {
        "containers": "*[]Container",
        "initContainers": "[]Container",
        "volumes": "[]any",
        "hostNetwork": "boolean",
        "restartPolicy": "string",
    },
    "Container": {
        "name": "*string",
        "image": "string",
        "command": "[]string",
        "args": "[]string",
        "env": "[]EnvVar",
        "ports": "[]ContainerPort",
        "resources": "ResourceRequirements",
        "securityContext": "object",
        "readinessProbe": "object",
    },
    "EnvVar": {"name": "*string", "value": "string"},
    "ContainerPort": {"containerPort": "*integer", "name": "string"},
    "ResourceRequirements": {"limits": "{}Quantity", "requests": "{}Quantity"},
    "ServiceSpec": {"selector": "{}string", "ports": "[]ServicePort", "type": "string"},
    "ServicePort": {"port": "*integer", "targetPort": "IntOrString", "protocol": "string"},
    "Quantity": {},
    "IntOrString": {},
}


def swagger() -> dict[str, Any]:
    """The document in the format that Kubernetes publishes."""
    definitions: dict[str, Any] = {}
    for title, fields in TYPES.items():
        api, _, name = title.rpartition("/")
        definition: dict[str, Any] = {"type": "object" if fields else "string"}
        if fields:
            definition["properties"] = {key: _property(of) for key, of in fields.items()}
            definition["required"] = [key for key, of in fields.items() if of.startswith("*")]
        if api:
            group, _, version = api.rpartition("/")
            kind = {"group": group, "version": version, "kind": name}
            definition["x-kubernetes-group-version-kind"] = [kind]
        definitions[PREFIX + title.replace("/", ".")] = definition
    return {"info": {"version": "unversioned"}, "definitions": definitions}


def schema() -> Schema:
    """The schema of that document."""
    return Schema(**compact(swagger(), "1.35.4"))


def _property(of: str) -> dict[str, Any]:
    of = of.removeprefix("*")
    if of.startswith("[]"):
        return {"type": "array", "items": _property(of[2:])}
    if of.startswith("{}"):
        return {"type": "object", "additionalProperties": _property(of[2:])}
    if of in TYPES:
        return {"$ref": f"#/definitions/{PREFIX}{of}"}
    return {} if of == "any" else {"type": of}
