"""The comparison of the homework: its statistics, its texts and its runs."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lab.config import Lab
from lab.errors import ConfigError, ResourceError
from lab.homework import compare, markdown, page, spread
from lab.homework import comparison as compared
from lab.homework.asked import Ask
from lab.homework.comparison import FIRST_LINE, QUANTITIES, RATE, Comparison, Quantity
from lab.homework.image import Made
from lab.homework.metrics import Clock, Data, Epoch, Metrics
from lab.homework.runs import Run
from lab.output import Status
from tests.unit.conftest import ROOT
from tests.unit.homework import files as homework

SVG = "{http://www.w3.org/2000/svg}"
SECONDS = Quantity("start", "s", "longer", "shorter", lambda sample: sample.setup)


@pytest.fixture
def found() -> Comparison:
    return homework.comparison()


# Numbers.


def test_a_spread_has_median_limits_and_quartiles() -> None:
    found = spread.Spread((5, 1, 3, 2, 4))
    assert (found.median, found.low, found.high, found.middle) == (3, 1, 5, (2, 4))
    assert spread.Spread((7,)).middle == (7, 7)


@pytest.mark.parametrize(
    ("base", "other", "word"),
    [
        pytest.param((2, 2, 2), (2, 2, 2), "same", id="equal"),
        pytest.param((1, 2), (8, 9), "few", id="two runs"),
        pytest.param((1, 2, 3, 4, 5), (1, 2, 3, 4, 5), "none", id="the same spread"),
        pytest.param((1, 2, 3, 4, 5), (3.9, 4, 5, 6, 7), "none", id="middle halves touch"),
        pytest.param((1, 2, 3, 4, 5), (4.5, 6, 7, 8, 9), "perhaps", id="one run overlaps"),
        pytest.param((1, 2, 3, 4, 5), (6, 7, 8, 9, 10), "seen", id="apart"),
        pytest.param((1, 2, 3), (6, 7, 8), "perhaps", id="apart, but by chance"),
        pytest.param((1, 1.1, 1, 1.1, 9), (2, 2, 2.1, 2, 2), "perhaps", id="an outlier"),
        pytest.param((6, 7, 8, 9, 10), (1, 2, 3, 4, 5), "seen", id="the other way round"),
    ],
)
def test_the_word_for_a_difference(
    base: tuple[float, ...], other: tuple[float, ...], word: str
) -> None:
    assert spread.difference(base, other).word == word


def test_the_probability_that_groups_lie_apart_by_chance() -> None:
    assert spread.chance(1, 1) == 1
    assert spread.chance(3, 3) == pytest.approx(0.1)
    assert spread.chance(5, 5) == pytest.approx(2 / 252)


def test_a_temporary_slowdown_does_not_change_the_ratios() -> None:
    """One repetition is three times as slow, for both values of its pair."""
    known = spread.difference((100, 300, 100), (110, 330, 110))
    assert (known.low, known.ratio, known.high) == pytest.approx((1.1, 1.1, 1.1))
    assert known.within(0.11) and not known.within(0.05)


def test_without_pairs_the_medians_are_compared() -> None:
    assert spread.difference((1, 2, 3), (4, 4)).ratio == 2


# Runs.


def metrics(**clock: float) -> Metrics:
    """The metrics of two epochs with 100 images, which took 4 and 6 seconds."""
    epochs = tuple(
        Epoch(number, 0.5, 0.4, 0.9, 2.0 + 2 * number, 3.0 * number, 20) for number in (1, 2)
    )
    times = {"started": 10.5, "first_line": 10.6, "imported": 12.6, "ready": 13.0, "ended": 25.0}
    return Metrics(
        complete=True,
        data=Data("digits", 100, 20),
        options={},
        clock=Clock(**{**times, **clock}),
        epochs=epochs,
        steps=((64, 2.3), (128, 1.2)),
        peak_memory=1000,
        threads=2,
        resumed=0,
        workers=1,
        environment=homework.place("docker"),
    )


def test_a_sample_has_the_phases_of_its_run() -> None:
    sample = compared.reduce("docker", 2, asked=10.0, seconds=15.5, metrics=metrics())
    parts = [getattr(sample, phase.key) for phase in compared.PHASES]
    assert parts == pytest.approx([0.5, 0.1, 2.0, 0.4, 10.0, 2.0, 0.5])
    assert sample.total == pytest.approx(15.5)
    assert sample.first_line == pytest.approx(0.6)
    assert (sample.images_per_second, sample.processor) == pytest.approx((20, 9))
    assert (sample.accuracy, sample.test_loss, sample.memory) == (0.9, 0.4, 1000)


@pytest.mark.parametrize("started", [9.99, 10.605])
def test_the_clocks_resolution_makes_no_phase_negative(started: float) -> None:
    sample = compared.reduce("bare", 1, asked=10.0, seconds=15.0, metrics=metrics(started=started))
    assert sample.setup >= 0 and sample.python >= 0
    assert sample.first_line == pytest.approx(0.6)


def test_a_run_without_an_epoch_has_zeros() -> None:
    nothing = replace(metrics(), epochs=())
    sample = compared.reduce("bare", 1, asked=10.0, seconds=16.0, metrics=nothing)
    assert (sample.images_per_second, sample.accuracy, sample.training) == (0, 0, 0)


def test_curves_are_compared_point_by_point() -> None:
    one = ((64, 2.0), (128, 1.0))
    assert compared.apart([]) == 0
    assert compared.apart([one, one]) == 0
    assert compared.apart([one, ((64, 2.0), (128, 1.25))]) == 0.25
    assert compared.apart([one, one[:1]]) is None


# Texts.


@pytest.mark.parametrize(
    ("ratio", "word", "said"),
    [
        (1.0, "same", "the same"),
        (1.5, "few", "too few runs to say"),
        (1.004, "none", "no difference seen"),
        (1.034, "seen", "3.4 % longer"),
        (0.5, "seen", "50 % shorter"),
        (1.2, "perhaps", "perhaps 20 % longer"),
        (8.53, "seen", "8.5 times"),
    ],
)
def test_a_difference_in_words(ratio: float, word: str, said: str) -> None:
    assert markdown.words(spread.Difference(ratio, ratio, ratio, word), SECONDS) == said


@pytest.mark.parametrize(
    ("values", "unit", "told"),
    [
        ((0.4, 0.41, 0.42), "s", "410 ms (400 to 420)"),
        ((0.9, 1.1, 1.2), "s", "1.10 s (0.90 to 1.20)"),
        ((61.52,), "s", "61.5 s"),
        ((1.4e9,), "bytes", "1.40 GB"),
        ((4e8, 4.01e8), "bytes", "400 MB (400 to 401)"),
        ((0.97, 0.97), "part", "97.00 %"),
        ((1234.6,), "rate", "1 235"),
        ((), "s", "-"),
    ],
)
def test_a_median_and_its_spread(values: tuple[float, ...], unit: str, told: str) -> None:
    assert markdown.cell(values, unit) == told


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (spread.Difference(1.01, 0.98, 1.04, "none"), "within 5 %"),
        (spread.Difference(0.93, 0.92, 0.94, "seen"), "not within 5 %"),
        (spread.Difference(1.01, 0.7, 1.2, "none"), "unclear whether within 5 %"),
        (spread.Difference(1.15, 1.01, 1.3, "perhaps"), "unclear whether within 5 %"),
    ],
)
def test_whether_a_ratio_is_near_to_1(known: spread.Difference, said: str) -> None:
    assert said in markdown.near(known)


def test_the_findings_name_every_difference(found: Comparison) -> None:
    told = "\n".join(markdown.findings(found))
    assert "Data: digits (not MNIST), 5000 images" in told
    assert "Docker against bare Python: no difference seen" in told and "; within 5 %)" in told
    assert "Kubernetes Job against bare Python: 7.0 % slower" in told
    assert "not within 5 %" in told
    assert "Singularity against Docker: 65 % shorter" in told
    assert "equal, digit by digit" in told


@pytest.mark.parametrize(
    ("apart", "said"), [(0.0, "digit by digit"), (0.0123, "by at most 0.012"), (None, "cannot")]
)
def test_the_finding_about_the_curves(found: Comparison, apart: float | None, said: str) -> None:
    assert said in markdown.findings(replace(found, apart=apart))[-1]


def test_unequal_environments_are_reported(found: Comparison) -> None:
    assert "Not the same" not in markdown.text(found)
    places = {**found.environments, "job": replace(homework.place("job"), cpus=1)}
    told = markdown.findings(replace(found, environments=places))[-1]
    assert told.startswith("Not the same for all, processors allowed: bare Python 2, ")
    assert told.endswith("Kubernetes Job 1.")


def test_a_name_that_mentions_mnist_is_not_extended(found: Comparison) -> None:
    named = replace(found, dataset=Data("digits (not MNIST)", 1, 1))
    assert markdown.findings(named)[0].startswith("Data: digits (not MNIST), 1 images")


def test_real_mnist_is_called_mnist(found: Comparison) -> None:
    assert "not MNIST" not in markdown.text(replace(found, dataset=Data("MNIST", 60000, 10000)))


def test_missing_cold_runs_are_reported_with_their_reason() -> None:
    found = homework.comparison(cold=False)
    measured = markdown.tables(found)[0]
    assert "the machine is a container" in measured.note
    assert not any("empty page cache" in row[0] for row in measured.rows)
    assert "cold" not in page.page(found)


def test_every_form_works_without_some_of_the_ways(found: Comparison) -> None:
    """The base may be missing, too."""
    less = homework.without(found, "bare", "job")
    assert less.ways == ["docker", "singularity"]
    assert "against bare" not in markdown.text(less)
    assert "Singularity against Docker" in page.page(less)
    alone = homework.without(found, "docker", "singularity", "job")
    assert page.page(alone) and markdown.text(alone)


def test_one_repetition_shows_no_difference() -> None:
    found = homework.comparison(repetitions=1)
    differences = markdown.tables(found)[1]
    cells = {cell for _, *rest in differences.rows for cell in rest}
    assert cells <= {"too few runs to say", "the same"}


def test_the_concepts_come_from_the_environments(found: Comparison) -> None:
    concepts = {row[0]: row[1:] for row in markdown.tables(found)[-1].rows}
    assert concepts["namespaces"][1] == "a host name of its own: `a1b2c3`"
    assert concepts["namespaces"][2] == "sees the machine's host name"
    assert concepts["user identity"] == ("ordinary (1000)", "root (0)") * 2
    assert concepts["who must be root"][2] == "no process while it runs"
    assert concepts["cgroups"][3] == "v1, limit: 2 processors, 1.50 GB"


@pytest.mark.parametrize("form", [markdown.text, markdown.markdown, page.page])
def test_every_form_has_all_cells_and_findings(
    found: Comparison, form: Callable[[Comparison], str]
) -> None:
    shown = form(found).replace("<code>", "`").replace("</code>", "`").replace("&#x27;", "'")
    for one in markdown.tables(found):
        for text in (text for row in one.rows for text in row):
            assert text.replace("<", "&lt;").replace(">", "&gt;") in shown or text in shown
    for sentence in (*markdown.findings(found), markdown.caption(found)):
        assert sentence in shown


def test_markdown_tables_have_equal_columns(found: Comparison) -> None:
    lines = [line for line in markdown.markdown(found).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} <= {5, 6}
    assert "### Measured" in markdown.markdown(found, level=3)


# The page.


def test_the_page_loads_no_other_files(found: Comparison) -> None:
    shown = page.page(found)
    assert "<script" not in shown and "OpenBLAS <0.3>" not in shown
    assert "http" not in shown.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme:dark" in shown


@pytest.mark.parametrize("draw", [page.starts, page.wholes, page.throughput, page.losses])
def test_pictures_stay_within_their_frame(
    found: Comparison, draw: Callable[[Comparison], str]
) -> None:
    root = ElementTree.fromstring(draw(found))
    wide, high = float(root.get("width", "")), float(root.get("height", ""))
    for item in root.iter():
        for key, limit in (("x", wide), ("cx", wide), ("y", high), ("cy", high)):
            assert 0 <= float(item.get(key, "0")) <= limit, item.attrib
        if item.tag == f"{SVG}rect":
            assert float(item.get("x", "0")) + float(item.get("width", "0")) <= wide


def test_a_bar_has_every_part_of_the_start(found: Comparison) -> None:
    root = ElementTree.fromstring(page.starts(found))
    titles = [item.text or "" for item in root.iter(f"{SVG}title")]
    # Four ways, warm and cold, with four phases each.
    assert len(titles) == 32
    assert "container made: 0.464 s" in titles


def test_a_curve_for_each_way_and_a_dot_for_each_run(found: Comparison) -> None:
    root = ElementTree.fromstring(page.losses(found))
    widths = [
        path.get("style", "").partition("stroke-width:")[2].partition(";")[0]
        for path in root.iter(f"{SVG}path")
        if "stroke-width" in path.get("style", "")
    ]
    assert widths == ["9.0", "6.5", "4.0", "1.5"]
    dots = ElementTree.fromstring(page.throughput(found)).iter(f"{SVG}circle")
    assert len(list(dots)) == 20
    assert "no losses" in page.losses(replace(found, curves={}))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 0.4, [0, 0.1, 0.2, 0.3, 0.4]),
        (930, 1070, [940, 960, 980, 1000, 1020, 1040, 1060]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert page._ticks(low, high) == pytest.approx(ticks)


# The runs.


def ended(known: Metrics | None, code: int = 0) -> Run:
    """A finished run."""
    return Run("bare", asked=10.0, seconds=15.5, code=code, output="first\nlast", metrics=known)


class Runs:
    """Records the requested runs instead of starting them."""

    def __init__(self, answer: Run) -> None:
        self.answer = answer
        self.seen: list[tuple[str, bool]] = []

    def __call__(self, way: str, cold: bool) -> Run:
        """Return the same run every time."""
        self.seen.append((way, cold))
        return self.answer


def test_ways_take_turns() -> None:
    order = list(compare.turns(("a", "b", "c"), 4))
    assert order[:6] == [(1, "a"), (1, "b"), (1, "c"), (2, "b"), (2, "c"), (2, "a")]
    assert [way for number, way in order if number == 4] == ["a", "b", "c"]


def test_runs_are_warmed_up_repeated_and_then_cold() -> None:
    runs, told = Runs(ended(metrics())), []
    notes = compare.repeat(
        runs,
        ("bare", "job"),
        3,
        Status(),
        cold=True,
        after=lambda now: told.append(len(now.samples)),
    )
    assert runs.seen[:2] == [("bare", False), ("job", False)]
    assert [cold for _, cold in runs.seen[2:]] == [False] * 6 + [True] * 6
    assert told == list(range(1, 13))
    assert [(one.way, one.repetition) for one in notes.samples[:3]] == [
        ("bare", 1),
        ("job", 1),
        ("job", 2),
    ]
    # Only the start of a cold run counts.
    assert len(notes.curves) == 6 and set(notes.environments) == {"bare", "job"}


def test_without_cold_runs() -> None:
    runs = Runs(ended(metrics()))
    compare.repeat(runs, ("bare",), 2, Status(), cold=False)
    assert runs.seen == [("bare", False)] * 3


@pytest.mark.parametrize(
    ("run", "said"),
    [
        pytest.param(ended(metrics(), code=137), "ended with code 137", id="failed"),
        pytest.param(ended(None), "wrote no metrics", id="a foreign program"),
        pytest.param(ended(replace(metrics(), complete=False)), "wrote no metrics", id="half"),
        pytest.param(ended(replace(metrics(), resumed=1)), "from a checkpoint", id="resumed"),
    ],
)
def test_an_incomplete_run_is_rejected(run: Run, said: str) -> None:
    with pytest.raises(ResourceError, match=said):
        compare.repeat(Runs(run), ("bare",), 1, Status(), cold=False)


@pytest.mark.parametrize("repetitions", [0, 21])
def test_too_few_and_too_many_repetitions_are_rejected(repetitions: int) -> None:
    with pytest.raises(ConfigError, match="between 1 and 20"):
        compare.refuse(repetitions)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ((), "--epochs 3 --seed 1 --threads 4"),
        (("--epochs=1", "--lr", "0.5"), "--epochs=1 --lr 0.5 --seed 1 --threads 4"),
        (("--seed", "7", "--threads", "1"), "--seed 7 --threads 1 --epochs 3"),
    ],
)
def test_default_options_make_runs_comparable(options: tuple[str, ...], asked: str) -> None:
    assert " ".join(compare.with_defaults(options, 4)) == asked


def test_the_images_made_beforehand() -> None:
    made = Made("digits", "sha256:1", image=3, layers=2, sif=1, convert_seconds=5.0)
    assert [(part.size, part.seconds) for part in compare.parts(made)] == [
        (None, None),
        (3, None),
        (2, None),
        (1, 5.0),
    ]


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        ("4761 squashfuse_ll\n", "squashfuse_ll (FUSE)"),
        ("squashfs\n", "squashfs (kernel)"),
        ("", "unpacked"),
    ],
)
def test_how_the_sif_is_mounted(seen: str, kind: str) -> None:
    assert compare.mode(seen) == kind


def test_mounts_that_only_the_machine_sees_are_added() -> None:
    inside = replace(homework.place("bare"), root="unknown", mount="unknown")
    seen = compare.seen_outside({"bare": inside, "job": inside}, {"bare": "ext4"})
    assert (seen["bare"].root, seen["bare"].mount) == ("ext4", "ext4")
    assert seen["job"].mount == "unknown"


class Lent:
    """Stands for `Runs`; the run with the number `fails_at` fails."""

    def __init__(self, lab: Lab, allowed: bool, fails_at: int = 0) -> None:
        self.lab, self.allowed, self.fails_at = lab, allowed, fails_at
        self.made = Made("digits", "sha256:1", image=3, layers=2, sif=1)
        self.asks: list[Ask] = []
        self.drops = 0

    @property
    def machine(self) -> Lent:
        """The same object, which also stands for the machine."""
        return self

    def unpack_root(self) -> None:
        """Do nothing."""

    def drop_caches(self) -> bool:
        """Count the calls."""
        self.drops += 1
        return self.allowed

    def run(self, way: str | list[str], ask: Ask | None = None, **_: object) -> Run | str:
        """A run, or the machine's answer about its mounts when there is no `ask`."""
        if ask is None:
            return "77 squashfuse_ll\n" if "sh" in way else "ext2/ext3\n"
        self.asks.append(ask)
        return ended(metrics(), code=int(len(self.asks) == self.fails_at))


def lend(monkeypatch: pytest.MonkeyPatch, lent: Lent) -> None:
    @contextmanager
    def opened(*_: object) -> Iterator[Lent]:
        yield lent

    monkeypatch.setattr(compare, "opened", opened)


def test_a_comparison_from_beginning_to_end(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lent = Lent(lab, allowed=True)
    lend(monkeypatch, lent)
    assert compare.last(lab) is None
    found = compare.compare(lab, ["--lr", "0.5"], Status(), repetitions=2)
    assert found == compare.last(lab)
    assert (found.repetitions, found.epochs, found.apart, found.no_cold) == (2, 2, 0, "")
    # For each way one uncounted run, two warm and two cold ones.
    assert len(lent.asks) == 4 * 5 and len(found.samples) == 4 * 4
    assert {ask.cpus for ask in lent.asks} == {"0,1"}
    assert ["--dry-run" in ask.options for ask in lent.asks] == [False] * 12 + [True] * 8
    assert lent.drops == 9
    assert found.environments["singularity"].mount == "squashfuse_ll (FUSE)"
    assert found.environments["bare"].mount == "ext2/ext3"
    assert found.environments["docker"] == homework.place("docker")
    written = compare.write(found, tmp_path / "out")
    assert [path.name for path in written] == [*compare.FORMS]
    assert compared.read(json.loads(written[0].read_text())) == found
    assert not (lab.state / compare.UNFINISHED).exists()


@pytest.mark.parametrize(
    ("allowed", "asked", "said"), [(False, True, "permit"), (True, False, "request")]
)
def test_without_cold_runs_the_reason_is_kept(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, allowed: bool, asked: bool, said: str
) -> None:
    lent = Lent(lab, allowed)
    lend(monkeypatch, lent)
    found = compare.compare(lab, [], Status(), repetitions=1, cold=asked)
    assert said in found.no_cold and lent.drops == int(asked)
    assert len(lent.asks) == 8


def test_runs_before_a_failed_one_are_kept(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lend(monkeypatch, Lent(lab, allowed=True, fails_at=8))
    with pytest.raises(ResourceError, match="ended with code 1"):
        compare.compare(lab, [], Status())
    kept = lab.state / compare.UNFINISHED
    assert f"the 3 runs so far are saved in {kept}" in capsys.readouterr().err
    assert len(compared.read(json.loads(kept.read_text())).samples) == 3
    assert compare.last(lab) is None


# Saved comparisons.


def test_a_comparison_survives_json(found: Comparison) -> None:
    kept = compared.read(json.loads(json.dumps(found.data())))
    assert markdown.tables(kept)[0].header == markdown.tables(found)[0].header
    assert compared.read(json.loads(json.dumps(kept.data()))) == kept


def test_the_documentation_has_the_numbers_of_the_saved_comparison() -> None:
    docs = ROOT / "docs"
    measured = compared.read(json.loads((docs / "mnist.json").read_text()))
    assert markdown.markdown(measured, level=3) in (docs / "mnist.md").read_text()
    assert (docs / "mnist.html").read_text() == page.page(measured)
    assert (docs / "mnist.json").stat().st_size < 80_000


def test_a_way_without_runs_has_no_difference(found: Comparison) -> None:
    assert RATE in QUANTITIES and FIRST_LINE in QUANTITIES
    assert compared.differ(found, RATE, "bare", "nobody") is None
    assert found.repetitions == 5
