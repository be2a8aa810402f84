"""The probe of the conformance list: a pod on every node, routes to it, and a volume."""

from __future__ import annotations

from typing import Any

from lab.config import REGISTRY

NAMESPACE = "conformance"
IMAGE = f"{REGISTRY}/library/busybox"
TAG = "1.37"
# The port of the LoadBalancer, which k3s opens on every node.
PORT = 8899
# The virtual host of the Ingress.
HOST = "conformance.lab"

Object = dict[str, Any]


def objects() -> list[Object]:
    """The objects, their namespace first."""
    labels = {"app": "probe"}
    serve = "mkdir /www; echo $NODE >/www/index.html; exec httpd -f -p 8080 -h /www"
    node = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    pod = {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                **_container("web", f"{IMAGE}:{TAG}", serve),
                "env": [node],
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
            },
            # Always pulled: the name leads to Docker Hub unless nodes ask the lab's registry.
            _container("hub", f"busybox:{TAG}", "exec sleep 3600"),
        ],
    }
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "16Mi"}},
    }
    writer = {
        **_container("writer", f"{IMAGE}:{TAG}", "echo kept >/data/word; exec sleep 3600"),
        "volumeMounts": [{"name": "kept", "mountPath": "/data"}],
    }
    volume = {"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}}
    backend = {"service": {"name": "probe", "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    kinds = {
        ("apps/v1", "DaemonSet", "probe"): {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
        ("v1", "Service", "probe"): {
            "selector": labels,
            "ports": [{"port": 80, "targetPort": 8080}],
        },
        ("v1", "Service", "public"): {
            "type": "LoadBalancer",
            "selector": labels,
            "ports": [{"port": PORT, "targetPort": 8080}],
        },
        ("networking.k8s.io/v1", "Ingress", "probe"): {
            "rules": [{"host": HOST, "http": {"paths": [path]}}]
        },
        ("v1", "PersistentVolumeClaim", "kept"): claim,
        ("v1", "Pod", "writer"): {
            "terminationGracePeriodSeconds": 0,
            "containers": [writer],
            "volumes": [volume],
        },
    }
    namespace: Object = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE},
    }
    return [
        namespace,
        *(
            {
                "apiVersion": version,
                "kind": kind,
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": spec,
            }
            for (version, kind, name), spec in kinds.items()
        ),
    ]


def _container(name: str, image: str, line: str) -> Object:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "Always",
        "command": ["sh", "-c", line],
    }
