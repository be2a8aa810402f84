"""Fixtures of the checks: the cluster's live state, the machines, and the host's own view.

The settings come from the environment that `invoke lab-env` prints. So plain pytest also runs the
checks of one exercise. A check that cannot run, e.g. without an API server or kubectl, is an error
from a fixture or from CannotCheck. It costs no points.
"""

from __future__ import annotations

import http
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Generator
from typing import Any

import pytest
import testinfra

from infra.workloads.api import CannotCheck, server
from infra.workloads.checks import Cluster, Fetch, eventually


@pytest.fixture(scope="session")
def api() -> None:
    """Raise CannotCheck if the cluster that KUBECONFIG names does not answer."""
    # Not /readyz, which on a busy machine sometimes reports that etcd is too slow.
    status, body = server().ask("/version")
    if status != http.HTTPStatus.OK:
        raise CannotCheck(f"the cluster does not answer: {body.strip()}")


@pytest.fixture(scope="module")
def cluster(api: None, request: pytest.FixtureRequest) -> Cluster:
    """The exercise's namespace. LAB_NAMESPACE overrides its name."""
    exercise = request.path.parent.name.replace("_", "-")
    return Cluster(os.environ.get("LAB_NAMESPACE") or exercise)


@pytest.fixture(scope="session")
def machines() -> list[Any]:
    """testinfra hosts of the lab's machines by the lab's SSH configuration, control plane first."""
    names = [name for name in os.environ.get("LAB_MACHINES", "").split(",") if name]
    if not names:
        raise CannotCheck(
            'LAB_MACHINES is not set: run `invoke check`, or first `eval "$(invoke lab-env)"`'
        )
    config = os.environ["LAB_SSH_CONFIG"]
    return [testinfra.get_host(f"paramiko://{name}", ssh_config=config) for name in names]


@pytest.fixture(scope="session")
def fetch() -> Fetch:
    """GET from the host itself, without a proxy.

    With LAB_NAMESPACE, requests are for the site of that name, since several namespaces share one
    Ingress.
    """
    namespace = os.environ.get("LAB_NAMESPACE")
    headers = {"Host": f"{namespace}.localhost"} if namespace else {}
    way_in = f"http://127.0.0.1:{os.environ.get('LAB_HTTP_PORT')}"

    def get(url: str) -> tuple[int, str]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(url, headers=headers), timeout=5) as answer:
                return answer.status, answer.read(100_000).decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, ""
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            # Traefik answers for a missing backend. Here Traefik itself or its port is unreachable.
            if isinstance(reason, ConnectionError) and url.startswith(f"{way_in}/"):
                raise CannotCheck(
                    f"the lab's Ingress does not answer at {way_in}: {error}"
                ) from error
            return 0, str(error)

    return get


@pytest.fixture(scope="session")
def http_address(fetch: Fetch) -> str:
    """The host's address of the cluster's Ingress. Waits until it answers."""
    port = os.environ.get("LAB_HTTP_PORT")
    if not port:
        raise CannotCheck(
            'LAB_HTTP_PORT is not set: run `invoke check`, or first `eval "$(invoke lab-env)"`'
        )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return fetch(f"{address}/")[0] > 0
        except CannotCheck:
            return False

    if not eventually(answers):
        fetch(f"{address}/")
    return address


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the grader's data to every report: points, title, hints, status and message."""
    report = yield
    if report.when == "call" or report.failed:
        marker = item.get_closest_marker("points")
        hints = item.get_closest_marker("hints")
        error = call.excinfo.value if call.excinfo else None
        asserted = isinstance(error, (AssertionError, pytest.fail.Exception))
        status = "failed" if asserted else "error" if error else "passed"
        item.user_properties += [
            ("points", str(marker.args[0] if marker else 1)),
            ("title", title(item)),
            ("hints", json.dumps(hints.args if hints else ())),
            ("status", status),
            ("message", str(error).partition("\nassert ")[0] if error else ""),
        ]
    return report


def title(item: pytest.Item) -> str:
    """The first line of a check's docstring, with its parameters."""
    text = (getattr(item, "function", None).__doc__ or item.name).strip().splitlines()[0]
    parameters = item.name.partition("[")[2].rstrip("]")
    return f"{text} ({parameters})" if parameters else text
