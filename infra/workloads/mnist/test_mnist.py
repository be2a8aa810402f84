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

# Seconds for a training, with the image pulled before it.
TRAINING = 240
# Seconds for going on after the last epoch: nothing is left to train.
GOING_ON = 90
# What may be expected of a network of this kind, by the data's name.
BARS = {"MNIST": 0.95, "digits (not MNIST)": 0.88}
# Losses of one worker and of several begin as the same. Their sums are rounded in another order,
# which training makes larger with every step: later they are alike on the average only.
BEGINNING, SAME, ALIKE = 2, 0.001, 0.05
# Key of the ConfigMap -> option as main.py notes it.
OPTIONS = {
    "EPOCHS": "epochs",
    "BATCH_SIZE": "batch_size",
    "LR": "lr",
    "GAMMA": "gamma",
    "SEED": "seed",
}
# Runs in the image: reads what was kept, tries the model on the image's own test images, and asks
# the program to go on from a copy of the checkpoint. The program is the students': what goes wrong
# with it is a finding. It is told how many seconds going on may take.
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
    """How a Job ended: `Complete`, or `Failed` and why; empty while it goes on."""
    for item in cluster.get("job", name).get("status", {}).get("conditions", []):
        if item["type"] in ("Complete", "Failed") and item["status"] == "True":
            reason = f" ({item.get('reason')})" if item["type"] == "Failed" else ""
            return f"{item['type']}{reason}"
    return ""


@functools.cache
def waited(namespace: str, name: str, _: str) -> str:
    """How a Job ended, as `ended`; it is waited for once, however many checks ask."""
    cluster = Cluster(namespace)
    end = eventually(lambda: ended(cluster, name), TRAINING)
    # Impatience is for what will not happen; a training that goes on is waited for.
    for _more in range(4):
        if end or not cluster.get("job", name).get("status", {}).get("ready"):
            break
        end = eventually(lambda: ended(cluster, name), TRAINING)
    return end or ""


def complete(cluster: Cluster, name: str) -> Object:
    """A Job, which must have ended well."""
    end = waited(cluster.namespace, name, str(cluster.get("job", name)["metadata"]["uid"]))
    assert end == "Complete", (
        f"expected the Job `{name}` to be Complete, saw {end or 'that it goes on'}\n"
        f"{cluster.look(f'logs job/{name}')}"
    )
    return cluster.get("job", name)


def claims(job: Object) -> dict[str, str]:
    """Path in a Job's container -> the claim that is mounted there."""
    spec = job["spec"]["template"]["spec"]
    volumes = {
        item["name"]: item["persistentVolumeClaim"]["claimName"]
        for item in spec.get("volumes", [])
        if "persistentVolumeClaim" in item
    }
    mounts = mounts_of(spec["containers"][0])
    return {path: volumes[name] for path, name in mounts.items() if name in volumes}


def judged(cluster: Cluster) -> Object:
    """What a pod of the image finds in the claims once the Job `mnist` has ended."""
    job = complete(cluster, "mnist")
    seen = claims(job)
    assert seen.get("/results") == "results", (
        f"expected the claim `results` at /results in the Job `mnist`, saw {seen}\n"
        f"{cluster.look('describe job mnist')}"
    )
    return look_into(cluster.namespace, str(job["metadata"]["uid"]))


@functools.cache
def look_into(namespace: str, _: str) -> Object:
    """The judge's findings, once for each Job. Raises CannotCheck when the judge cannot work."""
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

        # However impatient the checks are: this is the judge's own time.
        for _try in range(4):
            if eventually(over, 60):
                break
        said = cluster.logs(name)
    _, mark, document = said.rpartition("\nfound ")
    if not mark:
        raise CannotCheck(f"the judge says: {said[-500:]}")
    answer: Object = json.loads(document)
    for name in ("single", "workers"):
        answer[name] = in_shape(answer[name] or {})
    return answer


def in_shape(metrics: Object) -> Object:
    """Metrics with every part as main.py writes it; empty, where a student's program does not."""

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
    "A Job is done when its pod has ended well, and the pod must be of the homework's image.",
    "`kubectl describe job mnist` tells how it ended, `kubectl logs job/mnist` what it said.",
    "The image is `registry.lab:5000/mnist`, made by `invoke mnist-up`.",
)
def test_training_came_to_its_end(cluster: Cluster) -> None:
    """The Job `mnist` has ended well, with the homework's image"""
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
    "A number in a ConfigMap changes nothing by itself: somebody must hand it to the program.",
    "`kubectl get configmap training -o yaml` is what was asked; the metrics say what was done.",
    "`envFrom` with the ConfigMap `training`, and `args` such as `--lr=$(LR)` for every key.",
)
def test_training_had_the_options_asked_for(cluster: Cluster) -> None:
    """The training was done with the numbers of the ConfigMap `training`"""
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
        f"expected the numbers of the ConfigMap `training` in the training, saw (asked, done): "
        f"{wrong}, {epochs} epochs, and none for {lacking}\n{cluster.look('logs job/mnist')}"
    )


def same(asked: str, done: Any) -> bool:
    """Whether a number of a ConfigMap is one of the metrics."""
    try:
        return float(asked) == float(done)
    except (TypeError, ValueError):
        return False


@pytest.mark.points(3)
@pytest.mark.hints(
    "Anybody can print a number; a model that reads digits has to be trained.",
    "The check loads the model that was kept, and tries it on images that it has never seen.",
    "`--save-model` and `--metrics=/results/metrics.json`, `subPath: single` where it is mounted.",
)
def test_model_is_as_good_as_it_says(cluster: Cluster) -> None:
    """The kept model reads as many test images as the metrics say, and enough of them"""
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
    """A part of one as people read it."""
    return "none" if part is None else f"{part:.1%}"


@pytest.mark.points(1)
@pytest.mark.hints(
    "A volume is empty at first; somebody has to put the data there before the training begins.",
    "Init containers run before the others, one after the other, with the same volumes.",
    "An init container copies /data/MNIST into the claim `data`, which the training has at /data.",
)
def test_data_are_in_a_claim(cluster: Cluster) -> None:
    """The training read its data from the claim `data`"""
    job = complete(cluster, "mnist")
    seen = claims(job).get("/data")
    whole = seen == "data" and judged(cluster)["data"]
    assert whole, (
        f"expected the whole data set in the claim `data`, at /data, saw the claim {seen} at /data"
        f"{' without it' if seen else ''}\n{cluster.look('describe job mnist')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "A pod can be lost in the middle of its work; what it has done need not be lost with it.",
    "main.py keeps every epoch in a file if it is told where, and goes on from it.",
    "`--checkpoint=/results/checkpoint.pt`, on the claim `results`.",
)
def test_training_can_go_on(cluster: Cluster) -> None:
    """What was trained so far is kept where the next pod finds it"""
    found = judged(cluster)
    epochs = len(found["single"]["epochs"])
    words = f"going on after epoch {epochs}"
    assert epochs and words in found["resumed"], (
        f"expected main.py to say `{words}` with the checkpoint of the claim `results`, saw "
        f"{found['resumed'].strip()[-200:] or 'no checkpoint'}\n"
        f"{cluster.look('get job mnist -o yaml')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "Whoever shares a machine says how much of it is wanted, and does not try again for ever.",
    "`kubectl describe job mnist` shows limits, backoff limit and the policy for restarts.",
    "`limits` and `requests` of cpu and memory, `restartPolicy: Never`, and a `backoffLimit` "
    "from 1 to 10 that is not the 6 of those who say nothing.",
)
def test_job_has_limits(cluster: Cluster) -> None:
    """The Job says how much of a machine it wants, how often it tries, and when it goes"""
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
    # Six tries are what nobody has asked for.
    tries = seen["backoffLimit"] in (1, 2, 3, 4, 5, 7, 8, 9, 10)
    stays = seen["ttlSecondsAfterFinished"] is not None
    assert not lacking and tries and stays and seen["restartPolicy"] == "Never", (
        "expected requests and limits, a backoffLimit from 1 to 10 that is not the default of 6, "
        f"restartPolicy Never and ttlSecondsAfterFinished, saw {seen}, "
        f"and of requests and limits {', '.join(lacking) or 'nothing'} missing\n"
        f"{cluster.look('get job mnist -o yaml')}"
    )


@pytest.mark.points(3)
@pytest.mark.hints(
    "Those who train together must know who they are, how many, and where the first one is.",
    "Compare the losses in both metrics files: they must begin as the same, and stay alike.",
    "Indexed, 2 completions, parallelism 2; RANK from the index, WORLD_SIZE 2, MASTER_ADDR by the "
    "headless Service `workers`.",
)
def test_workers_train_one_model(cluster: Cluster) -> None:
    """Two workers have trained together, with the same losses as one alone"""
    job = complete(cluster, "mnist-workers")
    spec = job["spec"]
    shape = (spec.get("completionMode"), spec.get("completions"), spec.get("parallelism"))
    found = judged(cluster)
    alone, together = found["single"], found["workers"]
    count = together.get("workers", 0)
    gap = apart(alone["steps"], together["steps"])
    good = gap is not None and gap[0] <= SAME and gap[1] <= ALIKE
    losses = "of other steps" if gap is None else f"{gap[0]:.4f} apart at first, then {gap[1]:.3f}"
    assert shape == ("Indexed", 2, 2) and count == 2 and good, (
        f"expected an Indexed Job of 2 workers whose losses are those of one alone, saw {shape}, "
        f"{count} that trained together, and losses {losses}\n"
        f"{cluster.look('logs -l job-name=mnist-workers --prefix')}"
    )


def apart(first: list[list[float]], second: list[list[float]]) -> tuple[float, float] | None:
    """How far two loss curves are apart: at most in the beginning, and on the average.

    None where they are of other steps.
    """
    if not first or [seen for seen, _ in first] != [seen for seen, _ in second]:
        return None
    gaps = [abs(one[1] - two[1]) for one, two in zip(first, second, strict=True)]
    return max(gaps[:BEGINNING]), sum(gaps) / len(gaps)
