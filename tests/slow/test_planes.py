"""Three control planes, one of which was there before: `invoke test --only planes`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from tests.e2e.support import Invoke, copy_checkout, docker, ready, scrub

LAB = "planes"
LEASES = "kubectl get lease --namespace kube-system kube-controller-manager kube-scheduler"
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def invoke(tmp_path_factory: pytest.TempPathFactory, engine: None) -> Iterator[Invoke]:
    scrub(LAB)
    run = Invoke(copy_checkout(tmp_path_factory.mktemp("planes") / "ein Labor"), LAB)
    yield run
    run("lab-destroy")


def test_the_only_one_is_not_elected(invoke: Invoke) -> None:
    invoke("lab-up", "--workers", "0")
    assert "not found" in invoke.shell(LEASES, code=1)


def test_one_becomes_three(invoke: Invoke) -> None:
    """Of three schedulers and controller managers one is at work, also if it once was alone."""
    invoke("lab-up", LAB_CONTROL_PLANES="3")
    assert ready(invoke.json("lab-status")) == 3
    assert invoke.shell(LEASES).count("control-plane-") == 2
    for number in (1, 2, 3):
        line = f'ssh -F "$LAB_SSH_CONFIG" control-plane-{number} sudo grep -rh leader-elect='
        assert invoke.shell(f"{line} /etc/kubernetes/manifests").split() == [
            *("-", "--leader-elect=true"),
            *("-", "--leader-elect=true"),
        ]


def test_two_of_three_go_on(invoke: Invoke) -> None:
    """Something is made of what each of them does, and lab-up brings the third one back."""
    docker("kill", f"{LAB}-control-plane-3")
    invoke.shell("kubectl create namespace late")
    account = "kubectl wait --namespace late --for create serviceaccount/default"
    invoke.shell(f"{account} --timeout 60s")
    # The scheduler takes the machine that is gone for a good one for 40 seconds.
    pinned = {"spec": {"nodeSelector": {"kubernetes.io/hostname": "control-plane-2"}}}
    pod = f"kubectl run late --namespace late --overrides {shlex.quote(json.dumps(pinned))}"
    invoke.shell(f"{pod} --image busybox:1.37 -- sleep 600")
    invoke.shell("kubectl wait --namespace late --for condition=Ready pod/late --timeout 60s")
    invoke("lab-up")
    assert ready(invoke.json("lab-status")) == 3
