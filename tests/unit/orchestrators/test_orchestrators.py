"""The comparison of orchestrators: the client's log, the table and the page."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from lab.orchestrators import course, kubernetes, page, race, records, table
from lab.orchestrators.course import Comparison, Course, Scene
from lab.orchestrators.records import Sample
from tests.unit.conftest import ROOT

APP = ROOT / "infra" / "workloads" / "orchestrators" / "app"
MANIFESTS = APP.parent / "manifests" / "orchestrators.yaml"
LOG = """100.05 100.06 v1 from web-a
100.10 100.11 v1 from web-b
garbage that a tool wrote
100.01 100.02 v1 from web-a
100.15 101.15
100.20 100.21 <html>an error page</html>
"""


def seen(*answers: tuple[float, str], last: float | None = None) -> list[Sample]:
    """Requests: the begin of each, and `text/copy` or nothing; then one answer at `last`."""
    found = []
    for begun, answer in answers:
        text, _, copy = answer.partition("/")
        found.append(Sample(begun, begun + 0.1, text, copy))
    if last is not None:
        found.append(Sample(last, last + 0.1, found[-1].text, found[-1].copy))
    return found


def test_the_log_is_sorted_by_the_begin_of_requests() -> None:
    samples = records.parse(LOG)
    assert [one.begun for one in samples] == [100.01, 100.05, 100.10, 100.15, 100.20]
    assert [one.copy for one in samples] == ["web-a", "web-a", "web-b", "", ""]
    # Another answer does not come from the app.
    assert records.lost(samples) == 2
    assert records.parse("") == []


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param(seen((1, "v1/a"), (11, ""), (12, ""), (13, "v1/b")), 3.1, id="back"),
        pytest.param(seen((1, "v1/a"), (11, "")), None, id="not yet"),
        pytest.param(seen((1, ""), (11, "v1/a"), last=14), 0.0, id="nothing lost since"),
        pytest.param(seen((11, "v1/a")), None, id="too early to say"),
        pytest.param([], None, id="no question"),
    ],
)
def test_seconds_until_the_app_answers_again(samples: list[Sample], expected: float | None) -> None:
    found = records.served_again(samples, 10)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param(seen((11, "v1/a"), (12, "v1/b"), (13, "v1/c"), (14, "v1/d")), 3.1, id="three"),
        pytest.param(seen((9, "v1/a"), (11, "v1/b"), (12, "v1/c")), None, id="not before"),
        pytest.param(seen((11, "v1/a"), (12, "v1/a"), (13, "v1/a")), None, id="the same again"),
    ],
)
def test_seconds_until_all_copies_answer(samples: list[Sample], expected: float | None) -> None:
    found = records.grown(samples, 10, 3)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param(seen((11, "v2/c"), (12, "v1/a"), (13, "v2/d"), last=16), 3.1, id="by new"),
        pytest.param(
            seen((11, "v2/c"), (12, "v2/d"), (13, "v1/a"), (16, "v2/c")), 3.1, id="by old"
        ),
        pytest.param(seen((11, "v2/c"), (12, "v2/d"), last=13), None, id="an old one may come"),
        pytest.param(seen((11, "v2/c"), last=20), None, id="one copy is missing"),
        pytest.param([], None, id="no question"),
    ],
)
def test_seconds_until_all_copies_are_replaced(
    samples: list[Sample], expected: float | None
) -> None:
    found = records.replaced(samples, 10, "v2", 2)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param(seen((11, ""), (12, "v1/a"), (13, ""), (14, "v1/a"), last=18), 3, id="last"),
        pytest.param(seen((11, ""), (12, "v1/a"), last=15), None, id="may come again"),
        pytest.param(seen((11, "v1/a"), last=16), 0, id="nothing lost"),
        pytest.param([], None, id="no question"),
    ],
)
def test_seconds_until_the_last_lost_request(samples: list[Sample], expected: float | None) -> None:
    assert records.recovered(samples, 10) == expected


def test_bars_have_no_gaps() -> None:
    samples = seen((10.1, "v1/a"), (10.2, ""), (11.6, "v1/a"))
    assert records.bars(samples, 10) == [(1, 1), (0, 0), (0, 0), (1, 0)]
    assert records.bars([], 10) == []


def test_samples_are_shifted_to_another_clock() -> None:
    assert race.shifted(Sample(1, 2, "v1", "a"), 10) == Sample(11, 12, "v1", "a")


def test_the_app_is_the_same_in_every_form() -> None:
    wanted = (APP / "web.sh").read_text().strip()
    documents = list(yaml.safe_load_all(MANIFESTS.read_text()))
    (web,) = (item for item in documents if item["kind"] == "Deployment")
    (container,) = web["spec"]["template"]["spec"]["containers"]
    commands = [container["command"]]
    for file in ("compose.yaml", "stack.yaml"):
        service = yaml.safe_load((APP / file).read_text())["services"]["web"]
        assert service["image"] == container["image"]
        # Compose escapes a dollar by another one.
        commands.append([word.replace("$$", "$") for word in service["command"]])
    assert commands == [["sh", "-c", wanted]] * 3


def test_the_manifests_go_into_the_runs_own_namespace() -> None:
    made = kubernetes.objects(MANIFESTS.read_text(), "ask", "control-plane-1")
    assert [item["kind"] for item in made] == ["Namespace", "Deployment", "Service", "Pod"]
    assert {item["metadata"].get("namespace") for item in made[1:]} == {kubernetes.NAMESPACE}
    assert made[1]["spec"]["replicas"] == 1
    assert made[3]["spec"]["nodeName"] == "control-plane-1"


def test_podmans_sed_commands_match_once() -> None:
    """podman.py changes the replicas and the text of the manifests by `sed`."""
    text = MANIFESTS.read_text()
    assert len(re.findall(r"replicas: [0-9]", text)) == 1
    assert len(re.findall("value: v1", text)) == 1


def a_course(name: str, machines: int, **seconds: float | None) -> Course:
    scenes = tuple(
        Scene(key, 10.0 * number, 8, value, 100, 7, 3)
        for number, (key, value) in enumerate(seconds.items())
    )
    return Course(name, "1.0", machines, machines > 1, scenes, ((9, 0), (4, 5), (0, 9), (0, 0)))


@pytest.fixture
def found() -> Comparison:
    """One orchestrator that never recovers, and one that always does."""
    never = a_course(
        "docker <run>", 1, deploy=1, kill=None, scale=None, update=None, away=None, back=0.2
    )
    always = a_course(
        "Kubernetes", 3, deploy=1, kill=2, scale=3, update=4, away=5, replaced=6, back=7
    )
    return Comparison("2026-11-24", "3 machines", 260.4, (never, always))


def test_the_table_has_a_row_for_every_scene(found: Comparison) -> None:
    heading, lines = table.rows(found)
    assert heading == ("", "docker <run> 1.0", "Kubernetes 1.0")
    cells = {question: rest for question, *rest in lines}
    assert cells["the program is killed"] == [
        "stays dead (watched for 8 s); 7 of 100 requests lost",
        "answers again after 2.0 s; 7 of 100 requests lost",
    ]
    assert cells["a new copy on another machine"] == ["there is no other machine", "after 6.0 s"]
    assert cells["a request to another machine"] == ["no answer", "answers"]


def test_every_form_has_all_cells(found: Comparison) -> None:
    _, lines = table.rows(found)
    for cell in (cell for line in lines for cell in line):
        assert cell in table.text(found) and cell in table.markdown(found)
        assert cell.replace(">", "&gt;") in page.page(found)
    assert table.caption(found) in table.markdown(found)


def test_the_page_loads_no_other_files(found: Comparison) -> None:
    shown = page.page(found)
    assert "<script" not in shown and "docker <run>" not in shown
    assert "http://" not in shown.replace("http://www.w3.org/2000/svg", "")
    root = ElementTree.fromstring(page.picture(found))
    kinds = [rect.get("class") for rect in root.iter("{http://www.w3.org/2000/svg}rect")]
    # Times without requests have no bar. Three more are in the legend.
    assert kinds == ["good", "some", "none"] * 3


def test_a_comparison_survives_json(found: Comparison) -> None:
    assert course.read(json.loads(json.dumps(found.data()))) == found


def test_the_documentation_has_the_numbers_of_the_saved_comparison() -> None:
    docs = ROOT / "docs"
    measured = course.read(json.loads((docs / "orchestrators.json").read_text()))
    assert table.markdown(measured) in (docs / "orchestrators.md").read_text()
    assert (docs / "orchestrators.svg").read_text() == page.picture(measured) + "\n"
    assert Path(docs / "orchestrators.json").stat().st_size < 60_000
