"""mnist-submit: the gathered files, the missing items, and the student's unchanged text."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import ClassVar

import pytest

from lab.config import Lab
from lab.errors import ChecksFailed, ConfigError, ResourceError
from lab.homework import bundle, rubric
from lab.homework.bundle import APP, KEPT
from lab.homework.rubric import BEGIN, END
from lab.output import Status
from tests.unit.conftest import ROOT
from tests.unit.homework import files as homework

DOCKERFILE = 'FROM pytorch\nCOPY main.py /mnist/\nCMD ["python3", "main.py", "--epochs", "5"]\n'
OUTPUT = (
    "data: digits\nepoch 1/5  loss 0.9  accuracy 81.10%\nepoch 5/5  accuracy 97.64%  5 images/s\n"
)
# The output of a program like those of the PyTorch examples.
OTHER = "Train Epoch: 3 [640/60000 (1%)]\tLoss: 0.1\n\nTest set: Accuracy: 9860/10000 (99%)\n"
OWN = "Read the words that I wrote."


def filled(report: str) -> str:
    """A report with words below every heading."""
    for section in rubric.SECTIONS:
        report = report.replace(f"\n## {section.heading}\n", f"\n## {section.heading}\n{OWN}\n")
    return report


def complete() -> dict[str, str]:
    """The files of a complete bundle."""
    report = rubric.with_measured(rubric.skeleton("ada"), "| a | b |\n|---|---|\n| 1 | 2 |")
    return {
        rubric.VAGRANTFILE: "Vagrant.configure",
        rubric.DOCKERFILE: DOCKERFILE,
        rubric.DOCKER_OUTPUT: OUTPUT,
        rubric.DEFINITION: "Bootstrap: docker",
        rubric.SINGULARITY_OUTPUT: OTHER,
        rubric.REPORT: filled(report),
    }


def missing(files: dict[str, str]) -> list[str]:
    return [f"{item.asked}: {item.missing}" for item in rubric.judge(files) if item.missing]


# The rubric.


def test_the_points_add_up_to_100() -> None:
    assert sum(rubric.PARTS.values()) == 100
    assert {item.part for item in rubric.judge({})} == set(rubric.PARTS)


def test_nothing_is_missing() -> None:
    assert missing(complete()) == []
    found = {item.asked: item.found for item in rubric.judge(complete())}
    assert found["docker-run.out, what a run showed"] == "up to epoch 5, accuracy 97.64%"
    assert found["singularity-run.out, what a run showed"] == "up to epoch 3, accuracy 9860/10000"
    assert found["main.py, if changed"] == "unchanged, so not needed"
    assert '"--epochs", "5"' in found["Dockerfile, with a change of yours"]
    assert found["report.md: Steps"] == "6 words"


@pytest.mark.parametrize(
    "name",
    [
        rubric.VAGRANTFILE,
        rubric.DOCKERFILE,
        rubric.DOCKER_OUTPUT,
        rubric.DEFINITION,
        rubric.SINGULARITY_OUTPUT,
    ],
)
def test_a_missing_file_is_named(name: str) -> None:
    files = complete()
    del files[name]
    (said,) = missing(files)
    assert said.startswith(name) and said.endswith("not there")


def test_without_a_report_every_section_is_missing() -> None:
    files = complete()
    del files[rubric.REPORT]
    assert len(missing(files)) == len(rubric.SECTIONS) + 1


def test_the_skeleton_counts_as_empty() -> None:
    """The headings and the lab's questions do not count as the student's words."""
    said = missing({**complete(), rubric.REPORT: rubric.skeleton("ada")})
    assert said == [
        *(f"report.md: {one.heading}: empty" for one in rubric.SECTIONS if one.part == "report"),
        "report.md: what was measured: no table",
        "report.md: Docker and Singularity: empty",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "it contains no epoch of a training", id="empty"),
        pytest.param(
            "hello from docker\n", "it contains no epoch of a training", id="another image"
        ),
        pytest.param(
            "epoch 1/3\nTraceback (most recent call last):\n  x\n",
            "the run failed: Traceback (most recent call last)",
            id="traceback",
        ),
        pytest.param(
            "\nerror: ../data: no MNIST\n", "the run failed: error: ../data: no MNIST", id="error"
        ),
    ],
)
def test_outputs_without_a_training_are_rejected(text: str, said: str) -> None:
    assert missing({**complete(), rubric.DOCKER_OUTPUT: text}) == [
        f"docker-run.out, what a run showed: {said}"
    ]


def test_a_part_of_the_output_is_enough() -> None:
    """The lecture requires only a part of the output."""
    assert not missing({**complete(), rubric.DOCKER_OUTPUT: "epoch 2/14  64/60000  loss 0.4\n"})


def test_a_comment_does_not_count_as_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = {**rubric.SHIPPED, rubric.DOCKERFILE: rubric.fingerprint(DOCKERFILE)}
    monkeypatch.setattr(rubric, "SHIPPED", shipped)
    commented = f"# My own.\n\n{DOCKERFILE}".replace("main.py /mnist/", "main.py /mnist/  ")
    assert missing({**complete(), rubric.DOCKERFILE: commented}) == [
        "Dockerfile, with a change of yours: it is the unchanged example"
    ]
    assert not missing({**complete(), rubric.DOCKERFILE: commented.replace('"5"', '"6"')})


@pytest.mark.parametrize("name", sorted(rubric.SHIPPED))
def test_the_example_is_recognized(name: str) -> None:
    """After a change of the example, write its new fingerprint into rubric.SHIPPED."""
    assert rubric.fingerprint((ROOT / APP / name).read_text()) == rubric.SHIPPED[name]


# The report.


@pytest.mark.parametrize(
    ("report", "words"),
    [
        pytest.param("## Steps\none two\n", 2, id="words"),
        pytest.param("# steps \none\n## Workflow\ntwo\n", 1, id="of another level and case"),
        pytest.param("## Steps\n### First\none\n## Code\ntwo\n", 1, id="below a smaller heading"),
        pytest.param("## Steps\n```\n# one\ndocker build\n```\n", 3, id="a comment of a shell"),
        pytest.param("## Steps\n<!-- a question\nof two lines -->\n", 0, id="a question"),
        pytest.param(f"## Steps\n{BEGIN}\n| 1 | 2 |\n{END}\n", 0, id="the lab's tables"),
        pytest.param("Steps\none\n", None, id="no heading"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_only_the_students_words_are_counted(report: str, words: int | None) -> None:
    assert rubric.own_words(report, "Steps") == words


def test_the_lab_writes_only_between_its_marks() -> None:
    mine = filled(rubric.skeleton("ada"))
    once = rubric.with_measured(mine, "| first |")
    twice = rubric.with_measured(once, "| second |")
    assert "| first |" in once and "| first |" not in twice and "| second |" in twice
    outside = [text.partition(BEGIN)[0] + text.partition(END)[2] for text in (mine, once, twice)]
    assert len(set(outside)) == 1


@pytest.mark.parametrize("marks", [(BEGIN,), (END,), (BEGIN, END)])
def test_without_its_marks_the_lab_writes_nothing(marks: tuple[str, ...]) -> None:
    mine = filled(rubric.skeleton("ada"))
    for mark in marks:
        mine = mine.replace(mark, "")
    assert rubric.with_measured(mine, "| a |") == mine


# The bundle.


@pytest.fixture
def ready(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab with both runs and a comparison, without a reachable machine."""
    app, kept = lab.root / APP, lab.state / KEPT
    for folder in (app, kept):
        folder.mkdir(parents=True)
    (lab.root / rubric.VAGRANTFILE).write_text("Vagrant.configure")
    (app / rubric.DOCKERFILE).write_text(DOCKERFILE)
    (app / rubric.DEFINITION).write_text("Bootstrap: docker")
    (app / rubric.PROGRAM).write_text("print('mine')")
    (app / "record.py").write_text("")
    (kept / rubric.DOCKER_OUTPUT).write_text(OUTPUT)
    (kept / rubric.SINGULARITY_OUTPUT).write_text(OUTPUT)
    data = json.dumps(homework.comparison().data())
    (kept / bundle.COMPARISON).write_text(data)
    return lab


def make(lab: Lab, **given: Path) -> bundle.Bundle:
    return bundle.submit(lab, Status(), output=lab.root / "hand-in", student="ada", **given)


def test_a_bundle_has_every_file_in_its_folder_and_zip(ready: Lab) -> None:
    made = make(ready)
    assert sorted(path.name for path in made.folder.iterdir()) == sorted(made.files)
    with zipfile.ZipFile(made.archive) as packed:
        assert packed.testzip() is None
        assert sorted(packed.namelist()) == sorted(f"hand-in/{name}" for name in made.files)
    assert {*complete(), "main.py", "record.py", "comparison.html", bundle.COMPARISON} == {
        *made.files
    }
    report = (made.folder / rubric.REPORT).read_text()
    assert "### Measured" in report and "digits (not MNIST)" in report and "ada" in report
    # Only the student's own sections are missing.
    assert [item.missing for item in made.missing] == ["empty"] * len(rubric.SECTIONS)
    with pytest.raises(ChecksFailed) as failed:
        made.raise_for_status()
    assert failed.value.answered
    assert "report: 6 missing (55 points)" in made.text()
    assert json.loads(json.dumps(made.data()))["complete"] is False


def test_the_students_text_stays_unchanged(ready: Lab) -> None:
    report = make(ready).folder / rubric.REPORT
    report.write_text(filled(report.read_text()))
    mine = report.read_text()
    again = make(ready)
    assert report.read_text() == mine
    assert again.missing == []
    again.raise_for_status()
    first = again.archive.read_bytes()
    assert make(ready).archive.read_bytes() == first


def test_the_current_folder_gives_the_zip_its_name(
    ready: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.` has no name, so the zip takes the name of the absolute folder."""
    folder = ready.root / "hand-in"
    folder.mkdir()
    monkeypatch.chdir(folder)
    made = bundle.submit(ready, Status(), output=Path("."), student="ada")
    assert made.archive == ready.root / "hand-in.zip" and made.archive.exists()


def test_a_lab_without_files_gives_a_bundle_with_a_report_only(lab: Lab) -> None:
    (lab.root / APP).mkdir(parents=True)
    made = make(lab)
    assert made.files == (rubric.REPORT,)
    assert len(made.missing) == len(made.items) - 1


def test_outputs_copied_by_hand_are_kept(ready: Lab) -> None:
    (ready.state / KEPT / rubric.DOCKER_OUTPUT).unlink()
    output = ready.root / "hand-in" / rubric.DOCKER_OUTPUT
    output.parent.mkdir()
    output.write_text(OTHER)
    assert rubric.DOCKER_OUTPUT in make(ready).files
    assert output.read_text() == OTHER


class Machine:
    """A machine with files of runs by hand: path in the home folder -> time, content."""

    files: ClassVar[dict[str, tuple[float, str]]] = {}

    def __init__(self, name: str, ssh_config: Path) -> None:
        assert ssh_config.exists()

    def run(self, argv: list[str]) -> str:
        """List the files, or print one."""
        if argv[0] == "cat":
            return self.files[argv[1]][1]
        assert "-path ./mnist/Dockerfile" in argv[2] and "-name docker-run.out" in argv[2]
        return "".join(f"{age} {path}\n" for path, (age, _) in self.files.items())

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def worked(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The lab with a running machine. The host's files have the time of second 70."""
    monkeypatch.setattr(bundle, "Remote", Machine)
    (ready.state / "ssh_config").write_text("")
    for folder in (ready.root / APP, ready.state / KEPT):
        for path in folder.iterdir():
            os.utime(path, (70, 70))
    return ready


@pytest.mark.parametrize(("age", "text"), [(77, OTHER), (66, OUTPUT)])
def test_the_newer_output_is_taken(
    worked: Lab, monkeypatch: pytest.MonkeyPatch, age: float, text: str
) -> None:
    files = {"./docker-run.out": (5.5, "old"), "./mnist/docker-run.out": (age, OTHER)}
    monkeypatch.setattr(Machine, "files", files)
    found = bundle.gathered(worked, Status(), worked.root / APP, None)
    assert found[rubric.DOCKER_OUTPUT] == text
    assert found[rubric.SINGULARITY_OUTPUT] == OUTPUT


@pytest.mark.parametrize(
    ("age", "shipped", "taken"),
    [
        pytest.param(77, "", "there", id="both changed: the newer"),
        pytest.param(66, "", "here", id="both changed: the newer is here"),
        pytest.param(66, "here", "there", id="changed on the machine only"),
        pytest.param(77, "there", "here", id="changed on the host only"),
    ],
)
def test_the_students_dockerfile_is_found_on_host_and_machine(
    worked: Lab, monkeypatch: pytest.MonkeyPatch, age: float, shipped: str, taken: str
) -> None:
    here = worked.root / APP / rubric.DOCKERFILE
    here.write_text("here")
    os.utime(here, (70, 70))
    monkeypatch.setattr(Machine, "files", {"./mnist/Dockerfile": (age, "there")})
    known = {**rubric.SHIPPED, rubric.DOCKERFILE: rubric.fingerprint(shipped)}
    monkeypatch.setattr(rubric, "SHIPPED", known)
    found = bundle.gathered(worked, Status(), worked.root / APP, None)
    assert found[rubric.DOCKERFILE] == taken


def test_an_unreachable_machine_is_reported_and_left_out(
    worked: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Machine, argv: list[str]) -> str:
        raise ResourceError("control-plane-1 cannot be reached")

    monkeypatch.setattr(Machine, "run", refuse)
    found = bundle.gathered(worked, Status(), worked.root / APP, None)
    assert found[rubric.DOCKER_OUTPUT] == OUTPUT
    assert "cannot be reached" in capsys.readouterr().err


def test_the_unchanged_example_program_is_left_out(
    ready: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {**rubric.SHIPPED, rubric.PROGRAM: rubric.fingerprint("print('mine')")}
    monkeypatch.setattr(rubric, "SHIPPED", known)
    assert not {rubric.PROGRAM, "record.py"} & set(make(ready).files)


def test_a_program_outside_of_the_folder_is_taken(ready: Lab) -> None:
    elsewhere = ready.root / "mine"
    elsewhere.mkdir()
    (elsewhere / "mnist.py").write_text("print('another')")
    made = make(ready, program=elsewhere / "mnist.py")
    assert (made.folder / rubric.PROGRAM).read_text() == "print('another')"
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        make(ready, app=ready.root / "nowhere")
