"""Rules about pods: images, commands, requests, and access to the node."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby

from lab.lint import tree
from lab.lint.given import Given
from lab.lint.objects import Pod
from lab.lint.rule import ERROR, WARNING, Found, rule
from lab.lint.tree import Mapping, Node, Scalar

# Official images below these versions were published before images had today's format. A test pull
# gave nginx's version. The others follow the images' age, and are low to avoid false findings.
OLDEST = {
    "busybox": (1, 24),
    "golang": (1, 6),
    "httpd": (2, 4, 18),
    "mongo": (2, 6),
    "mysql": (5, 5),
    "nginx": (1, 14),
    "node": (4,),
    "postgres": (9,),
    "redis": (3,),
    "wordpress": (4, 4),
}
# Registries that only have images of that time.
OLD_HOMES = ("gcr.io/google_containers/", "docker.io/kubernetes/", "kubernetes/")
# Images whose default command is a shell, which ends at once without a terminal.
SHELLS = ("alpine", "bash", "busybox", "debian", "ubuntu")
BRIEF = re.compile(
    "cat|cd|chmod|chown|cp|date|echo|exit|export|false|hostname|id|ls|mkdir|printf|ps|pwd|rm|set|"
    "touch|true|uname|whoami"
)
# Files in these folders may be pipes or devices without an end.
ENDLESS = ("/dev/", "/run/", "/var/run/", "/proc/kmsg")
POD = """
    apiVersion: v1
    kind: Pod
    metadata:
      name: web
    spec:
      containers:
        - name: web
          image: nginx:1.26
"""


@rule(
    ERROR,
    "An image that can no longer be pulled",
    concept="The first images had a format (Docker schema 1) that containerd 2.1 and today's "
    "Docker no longer read. The pod stays in ImagePullBackOff.",
    fix="use a version that is still published",
    bad=POD.replace("1.26", "1.7.9"),
    good=POD,
)
def old_image(given: Given) -> Iterator[Found]:
    for pod, _, image in _images(given):
        name, tag, _ = split_image(image.text)
        numbers = tuple(map(int, re.findall(r"\d+", re.sub(r"[^\d.].*", "", tag))))
        oldest = OLDEST.get(name)
        if oldest and len(numbers) > 1 and numbers < oldest[: len(numbers)]:
            version = ".".join(map(str, oldest))
            message = f"`{image.text}` has a format that containerd no longer reads"
            fix = f"use `{name}:{version}` or later"
            yield Found(pod.owner.file, image.start, message, fix)
        elif image.text.startswith(OLD_HOMES):
            message = f"`{image.text}` is from a registry that is no longer maintained"
            fix = "look for the image on registry.k8s.io"
            yield Found(pod.owner.file, image.start, message, fix)


@rule(
    WARNING,
    "An image without a version",
    concept="Without a tag, Kubernetes pulls `latest`, the newest version when the pod starts. Two "
    "pods of one Deployment may then run different programs, and a rollback changes nothing.",
    fix="write a version after the image, such as `nginx:1.26`",
    bad=POD.replace(":1.26", ""),
    good=POD,
)
def unpinned_image(given: Given) -> Iterator[Found]:
    for pod, _, image in _images(given):
        _, tag, digest = split_image(image.text)
        if tag in ("", "latest") and not digest:
            means = "no version" if not tag else "`latest`, which is not a fixed version"
            message = f"`{image.text}` names {means}"
            yield Found(pod.owner.file, image.start, message)


@rule(
    WARNING,
    "A container without requests",
    concept="The scheduler places a pod by the requests of its containers. A pod without requests "
    "may run on any node, and the kubelet evicts it first if the node runs out of memory. Requests "
    "of the pod itself count for all its containers.",
    fix="add `resources.requests` with cpu and memory",
    bad=POD,
    good=POD
    + """\
          resources:
            requests:
              cpu: 100m
              memory: 64Mi
""",
)
def missing_requests(given: Given) -> Iterator[Found]:
    for pod in given.pods:
        for container in pod.containers("initContainers", "containers"):
            # A limit without a request is also the request.
            has = {
                name
                for holder in (pod.spec, container)
                for field in ("limits", "requests")
                for name in tree.strings(holder, "resources", field)
            }
            if lacking := [name for name in ("cpu", "memory") if name not in has]:
                called = tree.text(container, "name")
                message = f"container `{called}` requests no {' and no '.join(lacking)}"
                yield Found(pod.owner.file, container.start, message)


@rule(
    WARNING,
    "A container that ends at once",
    concept="A container runs as long as its program. With `restartPolicy: Always`, the default, "
    "the kubelet restarts a container that ends again and again: CrashLoopBackOff. The effect of "
    "`args` without `command` depends on the image's own program.",
    fix="run a program that does not end, or set `restartPolicy: Never`, or use a Job",
    bad=POD.replace("nginx:1.26", "busybox:1.37") + "          command: [echo, hello]\n",
    good=POD.replace("nginx:1.26", "busybox:1.37") + "          command: [sleep, '3600']\n",
)
def container_exits(given: Given) -> Iterator[Found]:
    for pod in given.pods:
        if pod.owner.is_a("Job", "CronJob") or _policy(pod) != "Always":
            continue
        for container in pod.containers("containers"):
            command, args = (
                [tree.text(word) for word in tree.items(container, field)]
                for field in ("command", "args")
            )
            called = tree.text(container, "name")
            name, _, _ = split_image(tree.text(container, "image"))
            # With a terminal or standard input, a shell or `cat` waits for input.
            if _true(container, "tty") or _true(container, "stdin"):
                continue
            # `args` without `command` are arguments of the image's own program. For an image with
            # only a shell, they are the command.
            known = command or (args and name in SHELLS)
            if known and ends_at_once([*command, *args]):
                message = f"the command of container `{called}` ends at once"
            elif not (command or args) and name in SHELLS:
                message = f"container `{called}` runs the shell of `{name}`, which ends at once"
            else:
                continue
            node = tree.get(container, "command") or tree.get(container, "args") or container
            yield Found(pod.owner.file, node.start, message)


@rule(
    ERROR,
    "A Job that never ends",
    concept="A Job's pods run until they succeed. `restartPolicy: Always`, a pod's default, would "
    "restart them forever. So the API server requires another policy.",
    fix="write `restartPolicy: Never` or `OnFailure` in the pod's spec",
    bad="apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: web\nspec:\n  template:\n    spec:\n"
    "      containers:\n        - name: web\n          image: busybox:1.37\n",
    good="apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: web\nspec:\n  template:\n    spec:\n"
    "      restartPolicy: Never\n"
    "      containers:\n        - name: web\n          image: busybox:1.37\n",
)
def job_restart(given: Given) -> Iterator[Found]:
    for pod in given.pods:
        if pod.owner.is_a("Job", "CronJob") and _policy(pod) == "Always":
            node = tree.get(pod.spec, "restartPolicy") or pod.spec
            yield Found(pod.owner.file, node.start, f"{pod.owner.title} always restarts its pods")


@rule(
    WARNING,
    "A privileged container",
    concept="A privileged container is root on its node. It can use every device and see every "
    "other pod. Many clusters refuse it.",
    fix="remove it, or add only the capability that the program needs",
    bad=POD + "          securityContext:\n            privileged: true\n",
    good=POD,
)
def privileged(given: Given) -> Iterator[Found]:
    for pod in given.pods:
        for container in pod.containers():
            context = tree.get(container, "securityContext")
            called = tree.text(container, "name")
            if flag := _true(context, "privileged"):
                yield Found(pod.owner.file, flag.start, f"container `{called}` is privileged")
            for word in tree.items(context, "capabilities", "add"):
                if tree.text(word).removeprefix("CAP_") in ("ALL", "SYS_ADMIN"):
                    message = f"container `{called}` has the capability {tree.text(word)}"
                    yield Found(pod.owner.file, word.start, message)


@rule(
    WARNING,
    "A folder of the node",
    concept="`hostPath` mounts a folder of the node on which the pod runs. Another node has "
    "another folder. A pod that writes there can change the node itself.",
    fix="use a PersistentVolumeClaim, a ConfigMap or `emptyDir`",
    bad=POD
    + "      volumes:\n        - name: data\n          hostPath:\n            path: /data\n",
    good=POD + "      volumes:\n        - name: data\n          emptyDir: {}\n",
)
def host_path(given: Given) -> Iterator[Found]:
    for pod in given.pods:
        for volume in tree.items(pod.spec, "volumes"):
            if tree.get(volume, "hostPath"):
                path = tree.text(volume, "hostPath", "path")
                message = f"{pod.owner.title} uses `{path}` of its node"
                yield Found(pod.owner.file, volume.start, message)


@rule(
    WARNING,
    "A namespace of the node",
    concept="With hostNetwork, hostPID or hostIPC a pod shares namespaces with the node's own "
    "processes. Ports conflict, NetworkPolicies have no effect, and the pod can see other pods.",
    fix="remove it; a Service makes ports reachable",
    bad=POD + "      hostNetwork: true\n",
    good=POD,
)
def host_namespace(given: Given) -> Iterator[Found]:
    for pod in given.pods:
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if flag := _true(pod.spec, name):
                yield Found(pod.owner.file, flag.start, f"{pod.owner.title} sets `{name}`")


def split_image(image: str) -> tuple[str, str, str]:
    """Name, tag and digest of an image; empty without one. An official image has a short name."""
    rest, _, digest = image.partition("@")
    head, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    official = head in ("", "library", "docker.io", "docker.io/library")
    return (name if official else f"{head}{slash}{name}"), tag, digest


def ends_at_once(words: list[str]) -> bool:
    """Whether a command certainly ends at once; False if that is uncertain."""
    if words[0].rpartition("/")[2] in ("sh", "bash", "ash") and len(words) > 2:
        # A command inside a substitution may run for any time.
        if words[1] not in ("-c", "-ec", "-xc") or "$(" in words[2] or "`" in words[2]:
            return False
        try:
            lexer = shlex.shlex(words[2], posix=True, punctuation_chars=";&|\n")
            lexer.commenters = ""
            lexer.whitespace, lexer.whitespace_split = " \t", True
            parts = list(lexer)
        except ValueError:
            return False
        commands = [
            list(command)
            for between, command in groupby(parts, lambda part: set(part) <= set(";&|\n"))
            if not between
        ]
        return bool(commands) and all(_is_brief(head, rest) for head, *rest in commands)
    return _is_brief(words[0].rpartition("/")[2], words[1:])


def _is_brief(name: str, words: Sequence[str]) -> bool:
    """Whether a program soon ends by itself. `cat` ends after files, but not after devices."""
    files = [word for word in words if not word.startswith("-")]
    if name == "cat" and (not files or any(file.startswith(ENDLESS) for file in files)):
        return False
    return bool(BRIEF.fullmatch(name))


def _images(given: Given) -> Iterator[tuple[Pod, Mapping, Scalar]]:
    for pod in given.pods:
        for container in pod.containers():
            image = tree.get(container, "image")
            if isinstance(image, Scalar) and image.text:
                yield pod, container, image


def _policy(pod: Pod) -> str:
    return tree.text(pod.spec, "restartPolicy") or "Always"


def _true(node: Node | None, name: str) -> Scalar | None:
    found = tree.get(node, name)
    if isinstance(found, Scalar) and found.kind == "boolean" and found.text.lower() in tree.TRUE:
        return found
    return None
