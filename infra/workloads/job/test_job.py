"""Checks of exercise `job`."""

import pytest

from infra.workloads.checks import Cluster, Object, eventually, gone, owned_by

# Minute fields with the same meaning: `*/5`, and longer notations.
EVERY_FIVE = ("*/5", "0/5", "0-59/5", "0-55/5", ",".join(map(str, range(0, 60, 5))))
PIECES = [f"Hello from piece {number}" for number in range(4)]


def ended(cluster: Cluster, name: str) -> str:
    """The end of a Job: `Complete`, or `Failed` with the reason; empty while it runs."""
    for item in cluster.get("job", name).get("status", {}).get("conditions", []):
        if item["type"] in ("Complete", "Failed") and item["status"] == "True":
            reason = f" ({item.get('reason')})" if item["type"] == "Failed" else ""
            return f"{item['type']}{reason}"
    return ""


def pods_of(cluster: Cluster, name: str, phase: str) -> list[Object]:
    """The pods of a Job in this phase."""
    owner = cluster.get("job", name)
    pods = [pod for pod in cluster.list("pods") if owned_by(pod, owner)]
    return [pod for pod in pods if pod["status"]["phase"] == phase]


@pytest.mark.points(2)
@pytest.mark.hints(
    "A Job is complete when enough of its pods have succeeded.",
    "`kubectl get jobs` shows COMPLETIONS; the pods' logs say which piece each one did.",
    "`completions: 4` and `completionMode: Indexed`; each pod prints `$JOB_COMPLETION_INDEX`.",
)
def test_every_piece_is_done(cluster: Cluster) -> None:
    """The Job has done its four pieces, each once"""
    end = eventually(lambda: ended(cluster, "hello-job"), 90)
    assert end == "Complete", (
        f"expected `hello-job` to be Complete, saw {end or 'that it still runs'}\n"
        f"{cluster.look('describe job hello-job')}"
    )
    pods = pods_of(cluster, "hello-job", "Succeeded")
    said = sorted(cluster.logs(pod["metadata"]["name"]).strip() for pod in pods)
    assert said == PIECES, (
        f"expected the pods of `hello-job` to print {PIECES}, saw {said}\n"
        f"{cluster.look('logs -l job-name=hello-job --prefix')}"
    )
    for pod in pods:
        cluster.expect_image(pod, "busybox")


@pytest.mark.points(1)
@pytest.mark.hints(
    "The number of pieces and the number of pods at a time are two settings.",
    "`kubectl describe job hello-job` shows both; the default of the second is one at a time.",
    "`parallelism: 2` next to `completions: 4`.",
)
def test_two_at_a_time(cluster: Cluster) -> None:
    """Two pods work at a time"""
    spec = cluster.get("job", "hello-job")["spec"]
    numbers = (spec.get("completions"), spec.get("parallelism"))
    assert numbers == (4, 2), (
        f"expected 4 completions and a parallelism of 2, saw {numbers[0]} and {numbers[1]}\n"
        f"{cluster.look('describe job hello-job')}"
    )


@pytest.mark.points(3)
@pytest.mark.hints(
    "A Job limits its retries, and keeps the failed pods.",
    "`kubectl describe job broken-job` ends with the reason; count its pods.",
    "`backoffLimit: 1` and `restartPolicy: Never`, with a command that ends in `exit 1`.",
)
def test_failing_job_gives_up(cluster: Cluster) -> None:
    """A failing Job is retried once, and then fails"""
    end = eventually(lambda: ended(cluster, "broken-job"), 90)
    assert end == "Failed (BackoffLimitExceeded)", (
        "expected `broken-job` to be Failed (BackoffLimitExceeded), "
        f"saw {end or 'that it still runs'}\n{cluster.look('describe job broken-job')}"
    )
    pods = pods_of(cluster, "broken-job", "Failed")
    assert len(pods) == 2, (
        f"expected two failed pods of `broken-job`, saw {len(pods)}\n"
        f"{cluster.look('get pods -l job-name=broken-job')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "The five fields are minute, hour, day, month and weekday.",
    "A star and a step, as in `*/2`, means every second value; a single number means that value.",
    "`schedule: '*/5 * * * *'` and `suspend: true`.",
)
def test_schedule(cluster: Cluster) -> None:
    """The CronJob's schedule is every five minutes, and it is suspended"""
    spec = cluster.get("cronjob", "hello-cron")["spec"]
    seen = (spec["schedule"], bool(spec.get("suspend")))
    minute, _, rest = " ".join(seen[0].split()).partition(" ")
    assert minute in EVERY_FIVE and rest == "* * * *" and seen[1], (
        f"expected the schedule `*/5 * * * *`, suspended, saw `{seen[0]}`, "
        f"{'suspended' if seen[1] else 'not suspended'}\n{cluster.look('get cronjobs')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "You need not wait for the schedule to see which Jobs a CronJob creates.",
    "`kubectl create job` can use a CronJob as its template; the Job's pod shows what is wrong.",
    "The `jobTemplate` needs a busybox pod that exits after `echo Hello`.",
)
def test_cronjob_makes_jobs(cluster: Cluster) -> None:
    """A Job created from the CronJob prints Hello"""
    cluster.get("cronjob", "hello-cron")
    name = "hello-cron-check"
    gone(cluster, "job", name)
    try:
        _, output = cluster.kubectl("create", "job", name, "--from", "cronjob/hello-cron")
        assert cluster.find("job", name), (
            f"expected a Job from `hello-cron`, saw {output.strip()}\n"
            f"{cluster.look('get cronjobs')}"
        )
        # The controller marks a Job as Complete a second or two after its last pod.
        eventually(lambda: pods_of(cluster, name, "Succeeded") or ended(cluster, name), 60)
        pods = pods_of(cluster, name, "Succeeded")
        said = cluster.logs(pods[0]["metadata"]["name"]) if pods else ""
        assert "Hello" in said, (
            "expected a pod of a Job from `hello-cron` to succeed and print Hello, "
            f"saw {said[:200]!r} of a Job that is {ended(cluster, name) or 'still running'}\n"
            f"{cluster.look('create job by-hand --from cronjob/hello-cron')}"
        )
        cluster.expect_image(pods[0], "busybox")
    finally:
        cluster.delete("job", name)
