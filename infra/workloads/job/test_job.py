"""Checks of exercise `job`."""

import pytest

from infra.workloads.checks import Cluster, Object, eventually, gone, owned_by

# Minutes of a schedule that mean the same: `*/5`, and longer ways to say it.
EVERY_FIVE = ("*/5", "0/5", "0-59/5", "0-55/5", ",".join(map(str, range(0, 60, 5))))
PIECES = [f"Hello from piece {number}" for number in range(4)]


def ended(cluster: Cluster, name: str) -> str:
    """How a Job ended: `Complete`, or `Failed` and why; empty while it goes on."""
    for item in cluster.get("job", name).get("status", {}).get("conditions", []):
        if item["type"] in ("Complete", "Failed") and item["status"] == "True":
            reason = f" ({item.get('reason')})" if item["type"] == "Failed" else ""
            return f"{item['type']}{reason}"
    return ""


def pods_of(cluster: Cluster, name: str, phase: str) -> list[Object]:
    """The pods of a Job that ended in this phase."""
    owner = cluster.get("job", name)
    pods = [pod for pod in cluster.list("pods") if owned_by(pod, owner)]
    return [pod for pod in pods if pod["status"]["phase"] == phase]


@pytest.mark.points(2)
@pytest.mark.hints(
    "A Job is done when enough of its pods have ended well.",
    "`kubectl get jobs` shows COMPLETIONS; the pods' logs say which piece each one did.",
    "`completions: 4` and `completionMode: Indexed`; each pod says `$JOB_COMPLETION_INDEX`.",
)
def test_every_piece_is_done(cluster: Cluster) -> None:
    """The Job has done its four pieces, each once"""
    end = eventually(lambda: ended(cluster, "hello-job"), 90)
    assert end == "Complete", (
        f"expected `hello-job` to be Complete, saw {end or 'that it goes on'}\n"
        f"{cluster.look('describe job hello-job')}"
    )
    pods = pods_of(cluster, "hello-job", "Succeeded")
    said = sorted(cluster.logs(pod["metadata"]["name"]).strip() for pod in pods)
    assert said == PIECES, (
        f"expected the pods of `hello-job` to say {PIECES}, saw {said}\n"
        f"{cluster.look('logs -l job-name=hello-job --prefix')}"
    )
    for pod in pods:
        cluster.expect_image(pod, "busybox")


@pytest.mark.points(1)
@pytest.mark.hints(
    "How many pieces there are and how many are worked on at once are two numbers.",
    "`kubectl describe job hello-job` shows both; without the second, there is one at a time.",
    "`parallelism: 2` beside `completions: 4`.",
)
def test_two_at_a_time(cluster: Cluster) -> None:
    """Two pieces are worked on at a time"""
    spec = cluster.get("job", "hello-job")["spec"]
    numbers = (spec.get("completions"), spec.get("parallelism"))
    assert numbers == (4, 2), (
        f"expected 4 completions and a parallelism of 2, saw {numbers[0]} and {numbers[1]}\n"
        f"{cluster.look('describe job hello-job')}"
    )


@pytest.mark.points(3)
@pytest.mark.hints(
    "Trying again helps only so often: a Job has a limit, and keeps what failed.",
    "`kubectl describe job broken-job` ends with the reason; count its pods.",
    "`backoffLimit: 1` and `restartPolicy: Never`, with a command that ends in `exit 1`.",
)
def test_failing_job_gives_up(cluster: Cluster) -> None:
    """A Job that fails is tried once more, and then given up"""
    end = eventually(lambda: ended(cluster, "broken-job"), 90)
    assert end == "Failed (BackoffLimitExceeded)", (
        "expected `broken-job` to be Failed (BackoffLimitExceeded), "
        f"saw {end or 'that it goes on'}\n{cluster.look('describe job broken-job')}"
    )
    pods = pods_of(cluster, "broken-job", "Failed")
    assert len(pods) == 2, (
        f"expected two failed pods of `broken-job` to look at, saw {len(pods)}\n"
        f"{cluster.look('get pods -l job-name=broken-job')}"
    )


@pytest.mark.points(1)
@pytest.mark.hints(
    "The five fields are minute, hour, day, month and weekday.",
    "A star and a step, as in `*/2`, means every second one; a number alone means that one.",
    "`schedule: '*/5 * * * *'` and `suspend: true`.",
)
def test_schedule(cluster: Cluster) -> None:
    """The CronJob means every five minutes, and is suspended"""
    spec = cluster.get("cronjob", "hello-cron")["spec"]
    seen = (spec["schedule"], bool(spec.get("suspend")))
    minute, _, rest = " ".join(seen[0].split()).partition(" ")
    assert minute in EVERY_FIVE and rest == "* * * *" and seen[1], (
        f"expected the schedule `*/5 * * * *`, suspended, saw `{seen[0]}`, "
        f"{'suspended' if seen[1] else 'not suspended'}\n{cluster.look('get cronjobs')}"
    )


@pytest.mark.points(2)
@pytest.mark.hints(
    "You need not wait for the clock to see what a CronJob makes.",
    "`kubectl create job` can take a CronJob as its model; the Job's pod says what is wrong.",
    "The `jobTemplate` needs a pod of busybox that ends after `echo Hello`.",
)
def test_cronjob_makes_jobs(cluster: Cluster) -> None:
    """A Job made from the CronJob says hello"""
    cluster.get("cronjob", "hello-cron")
    name = "hello-cron-check"
    gone(cluster, "job", name)
    try:
        _, output = cluster.kubectl("create", "job", name, "--from", "cronjob/hello-cron")
        assert cluster.find("job", name), (
            f"expected a Job from `hello-cron`, saw {output.strip()}\n"
            f"{cluster.look('get cronjobs')}"
        )
        # A Job is Complete a second or two after its last pod: the controller takes its time.
        eventually(lambda: pods_of(cluster, name, "Succeeded") or ended(cluster, name), 60)
        pods = pods_of(cluster, name, "Succeeded")
        said = cluster.logs(pods[0]["metadata"]["name"]) if pods else ""
        assert "Hello" in said, (
            "expected a pod of a Job from `hello-cron` to end well and say Hello, "
            f"saw {said[:200]!r} of a Job that {ended(cluster, name) or 'goes on'}\n"
            f"{cluster.look('create job by-hand --from cronjob/hello-cron')}"
        )
        cluster.expect_image(pods[0], "busybox")
    finally:
        cluster.delete("job", name)
