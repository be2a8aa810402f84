"""Checks of exercise `volumes`."""

from typing import Any
from uuid import uuid4

import pytest

from infra.workloads.checks import (
    Cluster,
    Object,
    eventually,
    mounts_of,
    ready,
    ready_pods,
    sources_of,
    successor,
    text_of,
)

# Kubernetes' mark on a claim and on a volume that it has paired: on both where neither names the
# other.
BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def running(cluster: Cluster, name: str) -> Object:
    """A pod, which must be Ready."""
    pod = eventually(lambda: found if ready(found := cluster.get("pod", name)) else None)
    assert pod, f"expected pod `{name}` to be Ready\n{cluster.look(f'describe pod {name}')}"
    return pod


def mounted(cluster: Cluster, pod: Object, path: str) -> Object:
    """The volume that a pod has at a path."""
    spec = pod["spec"]
    mounts = {
        place: name
        for container in spec["containers"]
        for place, name in mounts_of(container).items()
    }
    name = pod["metadata"]["name"]
    assert path in mounts, (
        f"expected a volume at {path} in pod `{name}`, saw {sorted(mounts)}\n"
        f"{cluster.look(f'get pod {name} -o yaml')}"
    )
    volume: Object = next(item for item in spec["volumes"] if item["name"] == mounts[path])
    return volume


def said(cluster: Cluster, pod: str, *command: str) -> str:
    """What a command prints in a pod. What ends at once may be gone before it was heard."""
    return eventually(lambda: cluster.run_in(pod, *command)[1].strip(), 3) or ""


@pytest.mark.points(1)
@pytest.mark.hints(
    "A variable need not have its value written beside it.",
    "Under `env`, a variable has a `value` or a `valueFrom`.",
    "`valueFrom: {configMapKeyRef: {name: settings, key: greeting}}` for the variable `GREETING`.",
)
def test_setting_is_a_variable(cluster: Cluster) -> None:
    """The pod `reader` has the ConfigMap's greeting as the variable GREETING"""
    cluster.get("configmap", "settings")
    pod = running(cluster, "reader")
    found = {item["name"]: item for item in pod["spec"]["containers"][0].get("env", [])}
    source = found.get("GREETING", {}).get("valueFrom", {}).get("configMapKeyRef", {})
    value = said(cluster, "reader", "printenv", "GREETING")
    # It may be older than the ConfigMap is now: a variable does not follow changes.
    assert value and (source.get("name"), source.get("key")) == ("settings", "greeting"), (
        "expected GREETING to come from the key `greeting` of the ConfigMap `settings`, "
        f"saw {found.get('GREETING')} and the value {value!r}\n"
        f"{cluster.look('get pod reader -o yaml')}"
    )
    cluster.expect_image(pod, "busybox")


@pytest.mark.points(2)
@pytest.mark.hints(
    "A ConfigMap can be a folder.",
    "A volume needs two entries: what it is, in the pod; where it is, in the container.",
    "A volume with `configMap: {name: settings}`, mounted at /etc/settings without a `subPath`.",
)
def test_setting_is_a_file(cluster: Cluster) -> None:
    """The pod `reader` has the ConfigMap as files, which follow its changes"""
    pod = running(cluster, "reader")
    sources = sources_of(mounted(cluster, pod, "/etc/settings"))
    # What `cat` says is read without the end of its last line, too.
    wanted = cluster.get("configmap", "settings").get("data", {}).get("greeting", "").strip()
    file = "/etc/settings/greeting"
    # What is mounted with a subPath is a plain file and stays as it is.
    link = said(cluster, "reader", "readlink", file)

    def same() -> bool:
        return bool(wanted and said(cluster, "reader", "cat", file) == wanted)

    shown = ("configMap", "settings") in sources and link == "..data/greeting"
    assert shown and eventually(same, 90), (
        f"expected the ConfigMap `settings` at /etc/settings, and {wanted!r} in {file}, saw "
        f"{sorted(sources) or 'none'} and {said(cluster, 'reader', 'cat', file)!r}\n"
        f"{cluster.look('describe pod reader')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "Not everybody in a container should be able to read a secret.",
    "Files of a Secret can be read by all, unless the volume says otherwise.",
    "A volume with `secret: {secretName: password, defaultMode: 0400}`, at /etc/password.",
)
def test_secret_is_a_file_for_its_owner(cluster: Cluster) -> None:
    """The pod `reader` has the Secret as a file that only its owner can read"""
    pod = running(cluster, "reader")
    sources = sources_of(mounted(cluster, pod, "/etc/password"))
    wanted = text_of(cluster, cluster.get("secret", "password"), "password")
    file = "/etc/password/password"
    mode = said(cluster, "reader", "stat", "-L", "-c", "%a", file)
    # The password itself is not shown: messages end up in reports.
    same = bool(wanted) and said(cluster, "reader", "cat", file) == wanted
    assert ("secret", "password") in sources and (mode, same) == ("400", True), (
        f"expected the Secret `password` in {file}, mode 400, saw {sorted(sources) or 'none'}, "
        f"mode {mode[:80]}, {'the same' if same else 'another'} text\n"
        f"{cluster.look('describe pod reader')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "Who asks for nothing in particular gets what is usual here.",
    "`kubectl get storageclass` marks one as default; CLASS of the claim should be that one.",
    "A PersistentVolumeClaim without `storageClassName`, and a pod that uses it.",
)
def test_claim_is_bound_by_the_default_class(cluster: Cluster) -> None:
    """The claim `diary` got a volume of the default class"""
    classes = cluster.list("storageclasses")
    default = [
        item["metadata"]["name"]
        for item in classes
        if item["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true"
    ]

    def seen() -> tuple[str, str]:
        claim = cluster.get("persistentvolumeclaim", "diary")
        return claim["status"]["phase"], claim["spec"].get("storageClassName", "")

    eventually(lambda: seen()[0] == "Bound")
    phase, name = seen()
    assert phase == "Bound" and name in default, (
        f"expected `diary` to be Bound, of class {' or '.join(default)}, saw {phase}, {name!r}\n"
        f"{cluster.look('describe persistentvolumeclaim diary')}"
    )


@pytest.mark.points(3)
@pytest.mark.hints(
    "What should be there longer than a pod must not lie in it.",
    "Delete the pod of `diary`, and look at /diary in the new one.",
    "The Deployment's pod mounts the claim `diary` at /diary: no `emptyDir`, no folder of its own.",
)
def test_data_outlives_the_pod(cluster: Cluster) -> None:
    """What a pod of `diary` wrote is there for the next one"""
    before = eventually(lambda: ready_pods(cluster, "deployment", "diary")) or []
    assert before, f"expected a ready pod of `diary`, saw none\n{cluster.look('get pods')}"
    old = before[0]["metadata"]["name"]
    claim = mounted(cluster, before[0], "/diary").get("persistentVolumeClaim", {}).get("claimName")
    assert claim == "diary", (
        f"expected the claim `diary` at /diary in pod `{old}`, saw {claim}\n"
        f"{cluster.look(f'describe pod {old}')}"
    )
    line = f"check {uuid4().hex}"
    cluster.run_in(old, "sh", "-c", f"echo {line} > /diary/check")
    cluster.delete("pod", old, now=True)
    new = eventually(lambda: successor(cluster, "diary", old), 60)
    assert new, f"expected a new pod in place of `{old}`, saw none\n{cluster.look('get pods')}"
    seen = said(cluster, new, "cat", "/diary/check")
    cluster.run_in(new, "rm", "-f", "/diary/check")
    assert seen == line, (
        f"expected what `{old}` wrote into /diary in its successor `{new}`, saw {seen[:200]!r}\n"
        f"{cluster.look(f'exec {new} -- ls -l /diary')}"
    )


def volume_of(cluster: Cluster) -> Object:
    """The hand-made folder of a node that the claim `host` is bound to."""

    def bound() -> Object | None:
        claim = cluster.get("persistentvolumeclaim", "host")
        return claim if claim["status"]["phase"] == "Bound" else None

    claim = eventually(bound) or cluster.get("persistentvolumeclaim", "host")
    spec = claim["spec"]
    phase, wanted = claim["status"]["phase"], spec.get("volumeName")
    volume = cluster.find("persistentvolume", wanted) if wanted else None
    kind = spec.get("storageClassName")
    other = volume and volume["spec"].get("storageClassName", "")
    by_hand = volume and "pv.kubernetes.io/provisioned-by" not in volume["metadata"].get(
        "annotations", {}
    )
    assert volume and phase == "Bound" and by_hand and "hostPath" in volume["spec"], (
        "expected `host` to be Bound to a PersistentVolume that somebody wrote, with a hostPath, "
        f"saw {phase}, class {kind!r}, and the volume {wanted} of class {other!r}\n"
        f"{cluster.look('describe persistentvolumeclaim host')}"
    )
    return volume


@pytest.mark.points(2)
@pytest.mark.hints(
    "A claim and a volume must want the same of each other.",
    "Compare STORAGECLASS of the volume and of the claim; no word there is not always no class.",
    '`storageClassName: ""` in both, and `volumeName: volumes-host` in the claim.',
)
def test_claim_is_bound_by_name(cluster: Cluster) -> None:
    """The claim `host` is bound to the PersistentVolume that it names"""
    volume = volume_of(cluster)
    pair = (volume, cluster.get("persistentvolumeclaim", "host"))
    found = all(BY_CONTROLLER in one["metadata"].get("annotations", {}) for one in pair)
    assert not found, (
        f"expected the claim `host` to name `{volume['metadata']['name']}`, saw that it names "
        "none, and that the cluster chose this volume out of those that fit\n"
        f"{cluster.look('get persistentvolumeclaim host -o yaml')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A hostPath is a folder of the machine that the pod runs on.",
    "Write a file in the pod, and look for it on the machine: `invoke lab-ssh`.",
    "The pod `host` mounts the claim `host` at /host.",
)
def test_file_lies_on_the_machine(cluster: Cluster, machines: list[Any]) -> None:
    """What the pod `host` writes lies in the volume's folder on its machine"""
    pod = running(cluster, "host")
    folder = volume_of(cluster)["spec"]["hostPath"]["path"]
    node = pod["spec"]["nodeName"]
    machine = next(one for one in machines if one.check_output("hostname") == node)
    name = f"check-{uuid4().hex}"
    cluster.run_in("host", "touch", f"/host/{name}")
    try:
        there = machine.file(f"{folder}/{name}").exists
    finally:
        cluster.run_in("host", "rm", "-f", f"/host/{name}")
    assert there, (
        f"expected a file of /host in pod `host` to be in {folder} on {node}, saw none\n"
        f"look: invoke lab-ssh {node}, then ls -l {folder}"
    )
