"""A web server whose updates lose no requests, and a client that counts lost requests."""

from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Namespace, Pod, Service

from infra.images import BUSYBOX, NGINX
from infra.manifests import SKIP_AWAIT

LABELS = {"app": "web"}
REPLICAS = 4
# Two seconds simulate a program that starts slowly.
SERVE = """\
sleep 2
echo "$VERSION-${HOSTNAME##*-}" > /usr/share/nginx/html/index.html
exec nginx -g "daemon off;"
"""
# Reading the time from /proc/uptime starts no process. All counts only grow.
ASK = """\
trap exit TERM
until wget -qO /dev/null -T 3 http://web/; do echo waiting for a first answer; sleep 1; done
asked=0 answered=0 by=
read -r second rest < /proc/uptime
while true; do
  asked=$((asked + 1))
  if who=$(wget -qO- -T 3 http://web/ 2>/dev/null); then
    answered=$((answered + 1))
    case "$by " in *" $who "*) ;; *) by="$by $who" ;; esac
  fi
  read -r now rest < /proc/uptime
  if [ "${now%.*}" != "${second%.*}" ]; then
    echo "$(date +%T) asked $asked answered $answered lost $((asked - answered)) by$by"
    second=$now by=
  fi
  sleep 0.05
done
"""
RESOURCES = {"requests": {"cpu": "10m", "memory": "16Mi"}}


def deploy() -> None:
    """Deploy four web servers behind one Service, and a client; export name, version and image.

    The setting `version` is the servers' answer, `tag` their image's tag. Other settings make
    rollouts worse: `strategy` Recreate, a number of `unavailable` pods, `readiness` false and
    `drain` 0 seconds.
    """
    config = pulumi.Config()
    version = config.get("version") or "1"
    tag = config.get("tag")
    image = f"nginx:{tag}" if tag else NGINX
    namespace = Namespace("rollout", metadata={"name": "rollout"})

    def metadata(name: str, **more: dict[str, str]) -> dict[str, Any]:
        return {"name": name, "namespace": namespace.metadata["name"], **more}

    deployment = Deployment(
        "web",
        # Students observe the rollout, so Pulumi does not wait for it. It would wait ten minutes
        # for a stalled one.
        metadata=metadata("web", annotations=SKIP_AWAIT),
        spec={
            "replicas": REPLICAS,
            "selector": {"match_labels": LABELS},
            "strategy": strategy(config),
            "min_ready_seconds": 1,
            "progress_deadline_seconds": 30,
            "revision_history_limit": 5,
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "termination_grace_period_seconds": 15,
                    "containers": [container(config, version, image)],
                },
            },
        },
    )
    ports = [{"port": 80, "target_port": 80}]
    Service("web", metadata=metadata("web"), spec={"selector": LABELS, "ports": ports})
    client = {"name": "client", "image": BUSYBOX, "command": ["sh", "-c", ASK]}
    Pod(
        "client",
        metadata=metadata("client", labels={"app": "client"}),
        spec={
            "termination_grace_period_seconds": 1,
            "containers": [{**client, "resources": RESOURCES}],
        },
    )
    pulumi.export("deployment", deployment.metadata["name"])
    pulumi.export("version", version)
    pulumi.export("image", image)


def strategy(config: pulumi.Config) -> dict[str, Any]:
    """The update strategy. By default, new pods start before old ones stop."""
    if config.get("strategy") == "Recreate":
        return {"type": "Recreate"}
    unavailable = config.get_int("unavailable") or 0
    return {
        "type": "RollingUpdate",
        "rolling_update": {"max_surge": 2, "max_unavailable": unavailable},
    }


def container(config: pulumi.Config, version: str, image: str) -> dict[str, Any]:
    """The web server, with a readiness probe and a pause before it stops."""
    made: dict[str, Any] = {
        "name": "web",
        "image": image,
        "command": ["sh", "-c", SERVE],
        "env": [{"name": "VERSION", "value": version}],
        "ports": [{"container_port": 80}],
        "resources": RESOURCES,
    }
    if config.get_bool("readiness") is not False:
        made["readiness_probe"] = {"http_get": {"path": "/", "port": 80}, "period_seconds": 1}
    drain = config.get_int("drain")
    drain = 5 if drain is None else drain
    if drain:
        made["lifecycle"] = {"pre_stop": {"exec": {"command": ["sleep", str(drain)]}}}
    return made
