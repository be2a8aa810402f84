"""Sample objects: a Deployment `web`, Services for it, and pods that sleep."""

from __future__ import annotations

from lab.cluster.objects import Object

IMAGE = "busybox:1.37"
PORT = 9376
SERVE = f"mkdir /www && hostname >/www/index.html && exec httpd -f -p {PORT} -h /www"


def workload(replicas: int, node: str = "") -> list[Object]:
    """A Deployment `web` that serves PORT, on one node if given, and its Service."""
    container = {
        "name": "web",
        "image": IMAGE,
        "command": ["sh", "-c", SERVE],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    spec: Object = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    labels = {"app": "web"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    return [deployment, service("web")]


def service(name: str) -> Object:
    """A Service of this name for the pods of `web`."""
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def sleeper(name: str, node: str = "") -> Object:
    """A pod that sleeps; `node` binds it without a scheduler."""
    spec: Object = {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "sleep", "image": IMAGE, "command": ["sleep", "600"]}],
    }
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
