"""Checks of exercise `mnist`."""

import functools
import json
from typing import Any

import pytest

from infra import slowness
from infra.images import MNIST
from infra.workloads.checks import (
    CannotCheck,
    Cluster,
    Object,
    eventually,
    made_for_a_moment,
    mounts_of,
    owned_by,
    short,
)

# Seconds for pulling the image and for a training.
TRAINING = 240
# Seconds for resuming after the last epoch, when nothing is left to train.
GOING_ON = 90
# The accuracy that a network of this kind should reach, by the data's name.
BARS = {"MNIST": 0.95, "digits (not MNIST)": 0.88}
# The first losses of one worker and of several are equal. Their sums are rounded in another order,
# and training amplifies the difference. So later losses agree only on average.
BEGINNING, SAME, ALIKE = 2, 0.001, 0.05
# Key of the ConfigMap -> option in main.py's metrics.
OPTIONS = {
    "EPOCHS": "epochs",
    "BATCH_SIZE": "batch_size",
    "LR": "lr",
    "GAMMA": "gamma",
    "SEED": "seed",
}
# Runs in the image. It reads the metrics, tests the model on the image's own test images, and
# resumes the program from a copy of the checkpoint. The program is the students', so its errors are
# findings. The argument is the time limit for resuming, in seconds.
JUDGE = """
import json, shutil, subprocess, sys
from pathlib import Path

def read(path):
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None

def accuracy(model):
    import torch, main
    net = main.Net()
    net.load_state_dict(torch.load(model, weights_only=True))
    net.eval()
    images = main.Images(Path("/data"), False, "cpu")
    pixels, labels = images.batch(torch.arange(len(images)))
    with torch.no_grad():
        return float((net(pixels).argmax(dim=1) == labels).float().mean())

kept, copy = Path("/results/single"), Path("/tmp/copy")
found = {name: read(Path("/results", name, "metrics.json")) for name in ("single", "workers")}
found["accuracy"], found["trouble"] = None, ""
try:
    if (kept / "mnist_cnn.pt").exists():
        found["accuracy"] = accuracy(kept / "mnist_cnn.pt")
except (Exception, SystemExit) as error:
    found["trouble"] = f"{type(error).__name__}: {error}"
found["data"] = subprocess.run(
    ["sha256sum", "--check", "--quiet", "/data/MNIST/raw/SHA256SUMS"],
    cwd="/claim/MNIST/raw" if Path("/claim/MNIST/raw").exists() else "/tmp",
    capture_output=True,
).returncode == 0
found["resumed"] = ""
if (kept / "checkpoint.pt").exists() and found["single"]:
    copy.mkdir()
    shutil.copy(kept / "checkpoint.pt", copy)
    given = found["single"].get("options")
    given = given if isinstance(given, dict) else {}
    words = [f"--{name.replace('_', '-')}={given[name]}"
             for name in ("epochs", "batch_size", "lr", "gamma", "seed") if name in given]
    try:
        done = subprocess.run(
            [sys.executable, "main.py", *words, "--checkpoint", str(copy / "checkpoint.pt")],
            capture_output=True, text=True, timeout=float(sys.argv[1]),
        )
        found["resumed"] = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        found["resumed"] = f"{(error.stdout or b'').decode()}\\nno end within {error.timeout:.0f} s"
print("\\nfound " + json.dumps(found))
"""


def ended(cluster: Cluster, name: str) -> str:
    """The end of a Job: `Complete`, or `Failed` with the reason; empty while it runs."""
    for item in cluster.get("job", name).get("status", {}).get("conditions", []):
        if item["type"] in ("Complete", "Failed") and item["status"] == "True":
            reason = f" ({item.get('reason')})" if item["type"] == "Failed" else ""
            return f"{item['type']}{reason}"
    return ""


@functools.cache
def waited(namespace: str, name: str, _: str) -> str:
    """Wait for a Job's end, as in `ended`. The cache makes several checks wait only once."""
    cluster = Cluster(namespace)
    end = eventually(lambda: ended(cluster, name), TRAINING)
    # A small LAB_PATIENCE shortens useless waits, but a running training needs its time.
    for _more in range(4):
        if end or not cluster.get("job", name).get("status", {}).get("ready"):
            break
        end = eventually(lambda: ended(cluster, name), TRAINING)
    return end or ""


def complete(cluster: Cluster, name: str) -> Object:
    """A Job. Fails the check unless it is Complete."""
    end = waited(cluster.namespace, name, str(cluster.get("job", name)["metadata"]["uid"]))
    assert end == "Complete", (
        f"expected the Job `{name}` to be Complete, saw {end or 'that it still runs'}\n"
        f"{cluster.look(f'logs job/{name}')}"
    )
    return cluster.get("job", name)


def claims(job: Object) -> dict[str, str]:
    """A mapping from paths in a Job's container to the claims mounted there."""
    spec = job["spec"]["template"]["spec"]
    volumes = {
        item["name"]: item["persistentVolumeClaim"]["claimName"]
        for item in spec.get("volumes", [])
        if "persistentVolumeClaim" in item
    }
    mounts = mounts_of(spec["containers"][0])
    return {path: volumes[name] for path, name in mounts.items() if name in volumes}


def judged(cluster: Cluster) -> Object:
    """The judge's findings in the claims, once the Job `mnist` is Complete."""
    job = complete(cluster, "mnist")
    seen = claims(job)
    assert seen.get("/results") == "results", (
        f"expected the claim `results` at /results in the Job `mnist`, saw {seen}\n"
        f"{cluster.look('describe job mnist')}"
    )
    return look_into(cluster.namespace, str(job["metadata"]["uid"]))


@functools.cache
def look_into(namespace: str, _: str) -> Object:
    """The judge's findings, cached for each Job. Raises CannotCheck if the judge fails."""
    cluster = Cluster(namespace)
    found = {item["metadata"]["name"] for item in cluster.list("persistentvolumeclaims")}
    volumes = [
        {"name": name, "persistentVolumeClaim": {"claimName": name}}
        for name in ("data", "results")
        if name in found
    ]
    places = {"data": "/claim", "results": "/results"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "judge", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "judge",
                    "image": MNIST,
                    "command": ["python3", "-c", JUDGE, str(GOING_ON * slowness())],
                    "volumeMounts": [
                        {"name": item["name"], "mountPath": places[str(item["name"])]}
                        for item in volumes
                    ],
                }
            ],
            "volumes": volumes,
        },
    }
    with made_for_a_moment(cluster, pod) as name:

        def over() -> bool:
            return cluster.get("pod", name)["status"]["phase"] in ("Succeeded", "Failed")

        # The judge needs its time, also with a small LAB_PATIENCE.
        for _try in range(4):
            if eventually(over, 60):
                break
        said = cluster.logs(name)
    _, mark, document = said.rpartition("\nfound ")
    if not mark:
        raise CannotCheck(f"the pod `judge` failed: {said[-500:]}")
    answer: Object = json.loads(document)
    for name in ("single", "workers"):
        answer[name] = in_shape(answer[name] or {})
    return answer


def in_shape(metrics: Object) -> Object:
    """Metrics with every part in main.py's format. Parts in another format become empty."""

    def is_number(value: Any) -> bool:
        return isinstance(value, (int, float))

    def is_step(value: Any) -> bool:
        return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))

    def is_epoch(value: Any) -> bool:
        return isinstance(value, dict) and is_number(value.get("accuracy"))

    found = dict(metrics)
    for name in ("options", "data"):
        found[name] = found.get(name) if isinstance(found.get(name), dict) else {}
    for name, fits in (("epochs", is_epoch), ("steps", is_step)):
        given = found.get(name)
        found[name] = given if isinstance(given, list) and all(map(fits, given)) else []
    return found


@pytest.mark.points(1)
@pytest.mark.hints(
    "A Job is complete when its pod has succeeded, and the pod must run the homework's image.",
    "`kubectl describe job mnist` shows how it ended, `kubectl logs job/mnist` what it printed.",
    "The image is `registry.lab:5000/mnist`, which `invoke mnist-up` builds.",
)
def test_training_came_to_its_end(cluster: Cluster) -> None:
    """The Job `mnist` is Complete and ran the homework's image"""
    job = complete(cluster, "mnist")
    pods = [pod for pod in cluster.list("pods") if owned_by(pod, job)]
    states = [state for pod in pods for state in pod["status"].get("containerStatuses", [])]
    seen = sorted({short(state["image"]) for state in states})
    assert seen == [MNIST], (
        f"expected the Job's pod to run {MNIST}, saw {', '.join(seen) or 'no pod'}\n"
        f"{cluster.look('describe job mnist')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A number in a ConfigMap changes nothing by itself. The pod must pass it to the program.",
    "`kubectl get configmap training -o yaml` shows the request, and the metrics the result.",
    "`envFrom` with the ConfigMap `training`, and `args` such as `--lr=$(LR)` for every key.",
)
def test_training_had_the_options_asked_for(cluster: Cluster) -> None:
    """The training used the numbers of the ConfigMap `training`"""
    asked = cluster.get("configmap", "training").get("data", {})
    metrics = judged(cluster)["single"]
    done = metrics["options"]
    wrong = {
        key: (value, done.get(OPTIONS[key]))
        for key, value in asked.items()
        if key in OPTIONS and not same(value, done.get(OPTIONS[key]))
    }
    lacking = sorted(set(OPTIONS) - set(asked))
    epochs = len(metrics["epochs"])
    assert not wrong and not lacking and str(epochs) == asked["EPOCHS"], (
        "expected the training to use the numbers of the ConfigMap `training`, saw (requested, "
        f"used) {wrong}, {epochs} epochs, and missing keys {lacking}\n"
        f"{cluster.look('logs job/mnist')}"
    )


def same(asked: str, done: Any) -> bool:
    """Whether a ConfigMap's text is the same number as the metrics' value."""
    try:
        return float(asked) == float(done)
    except (TypeError, ValueError):
        return False


@pytest.mark.points(3)
@pytest.mark.hints(
    "Any program can print a number, but a model that reads digits needs training.",
    "The check loads the saved model, and tests it on images that were not in its training.",
    "`--save-model` and `--metrics=/results/metrics.json`, and `subPath: single` in the mount.",
)
def test_model_is_as_good_as_it_says(cluster: Cluster) -> None:
    """The saved model reads as many test images as the metrics say, and enough of them"""
    found = judged(cluster)
    metrics = found["single"]
    said = metrics["epochs"][-1]["accuracy"] if metrics["epochs"] else None
    seen = found["accuracy"]
    bar = BARS.get(str(metrics["data"].get("name")), 0.95)
    good = said is not None and seen is not None and abs(said - seen) < 0.005 and seen >= bar
    assert good and metrics.get("complete"), (
        f"expected a model in the claim `results` that reads {bar:.0%} of the test images, and "
        f"metrics that say so, saw {found['trouble'] or percent(seen)} and metrics that say "
        f"{percent(said)}\n"
        f"{cluster.look('logs job/mnist')}"
    )


def percent(part: float | None) -> str:
    """A part of one in percent."""
    return "none" if part is None else f"{part:.1%}"


@pytest.mark.points(1)
@pytest.mark.hints(
    "A new volume is empty. A container has to copy the data there before the training starts.",
    "Init containers run before the others, one after the other, with the same volumes.",
    "An init container copies /data/MNIST to the claim `data`, which the training mounts at /data.",
)
def test_data_are_in_a_claim(cluster: Cluster) -> None:
    """The training reads its data from the claim `data`"""
    job = complete(cluster, "mnist")
    seen = claims(job).get("/data")
    whole = seen == "data" and judged(cluster)["data"]
    assert whole, (
        "expected the whole data set in the claim `data`, mounted at /data, "
        f"saw the claim {seen} at /data{' without the data set' if seen else ''}\n"
        f"{cluster.look('describe job mnist')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A pod can be lost during its work, but its results need not be lost with it.",
    "main.py saves every epoch in a file if an option names one, and resumes from it.",
    "`--checkpoint=/results/checkpoint.pt`, on the claim `results`.",
)
def test_training_can_go_on(cluster: Cluster) -> None:
    """The next pod can resume the training from the claim `results`"""
    found = judged(cluster)
    epochs = len(found["single"]["epochs"])
    words = f"going on after epoch {epochs}"
    assert epochs and words in found["resumed"], (
        f"expected main.py to print `{words}` with the checkpoint in the claim `results`, saw "
        f"{found['resumed'].strip()[-200:] or 'no checkpoint'}\n"
        f"{cluster.look('get job mnist -o yaml')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "A pod on a shared machine declares how much of it it needs, and does not retry for ever.",
    "`kubectl describe job mnist` shows limits, backoff limit and the restart policy.",
    "`limits` and `requests` of cpu and memory, `restartPolicy: Never`, "
    "`ttlSecondsAfterFinished`, and a `backoffLimit` from 1 to 10 except the default of 6.",
)
def test_job_has_limits(cluster: Cluster) -> None:
    """The Job sets its resources, its retries, and the time of its removal"""
    spec = cluster.get("job", "mnist")["spec"]
    pod = spec["template"]["spec"]
    given = pod["containers"][0].get("resources", {})
    lacking = [
        f"{kind}.{what}"
        for kind in ("requests", "limits")
        for what in ("cpu", "memory")
        if what not in given.get(kind, {})
    ]
    seen = {
        "backoffLimit": spec.get("backoffLimit"),
        "restartPolicy": pod.get("restartPolicy"),
        "ttlSecondsAfterFinished": spec.get("ttlSecondsAfterFinished"),
    }
    # Six retries are the default, so the field may be missing.
    tries = seen["backoffLimit"] in (1, 2, 3, 4, 5, 7, 8, 9, 10)
    stays = seen["ttlSecondsAfterFinished"] is not None
    assert not lacking and tries and stays and seen["restartPolicy"] == "Never", (
        "expected requests and limits, a backoffLimit from 1 to 10 that is not the default of 6, "
        f"restartPolicy Never and ttlSecondsAfterFinished, saw {seen}, "
        f"and {', '.join(lacking) or 'none'} of the requests and limits missing\n"
        f"{cluster.look('get job mnist -o yaml')}"
    )


@pytest.mark.points(3)
@pytest.mark.hints(
    "Each worker must know its own number, the number of workers, and the first one's address.",
    "Compare the losses in both metrics files. The first ones must be equal, later ones similar.",
    "Indexed, 2 completions, parallelism 2; RANK from the index, WORLD_SIZE 2, MASTER_ADDR by the "
    "headless Service `workers`.",
)
def test_workers_train_one_model(cluster: Cluster) -> None:
    """Two workers train together, with the same losses as a single one"""
    job = complete(cluster, "mnist-workers")
    spec = job["spec"]
    shape = (spec.get("completionMode"), spec.get("completions"), spec.get("parallelism"))
    found = judged(cluster)
    alone, together = found["single"], found["workers"]
    count = together.get("workers", 0)
    gap = apart(alone["steps"], together["steps"])
    good = gap is not None and gap[0] <= SAME and gap[1] <= ALIKE
    losses = (
        "of other steps"
        if gap is None
        else f"{gap[0]:.4f} apart at first and {gap[1]:.3f} on average"
    )
    assert shape == ("Indexed", 2, 2) and count == 2 and good, (
        "expected an Indexed Job of 2 workers with the losses of a single one, "
        f"saw {shape}, {count} workers that trained together, and losses {losses}\n"
        f"{cluster.look('logs -l job-name=mnist-workers --prefix')}"
    )


def apart(first: list[list[float]], second: list[list[float]]) -> tuple[float, float] | None:
    """The largest difference of two loss curves at their beginning, and their average difference.

    None if the curves have different steps.
    """
    if not first or [seen for seen, _ in first] != [seen for seen, _ in second]:
        return None
    gaps = [abs(one[1] - two[1]) for one, two in zip(first, second, strict=True)]
    return max(gaps[:BEGINNING]), sum(gaps) / len(gaps)
