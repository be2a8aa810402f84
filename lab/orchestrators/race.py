"""Run one orchestrator through all scenes.

The scenes are a start, a killed copy, three copies, a new text and a machine without network. A
client sends requests all the time, and its log gives the measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

from lab import wait
from lab.errors import DeadlineExceeded, LabError
from lab.faults.network import away
from lab.orchestrators import records
from lab.orchestrators.course import Course, Scene
from lab.orchestrators.ground import CLOCK, FOLDER, Ground, Orchestrator
from lab.orchestrators.records import Sample
from lab.output import Status

COPIES = 3
# Seconds until a scene times out without recovery.
PATIENCE = {"kill": 12, "scale": 10, "update": 60, "away": 110}
# Seconds for which the only machine has no network.
ALONE = 6
AWAY = str(PurePosixPath(FOLDER) / "away.sh")
Check = Callable[[list[Sample]], float | None]


class Race:
    """Drives one orchestrator. Steps call `halt`, which raises a pending interrupt."""

    def __init__(
        self, ground: Ground, who: Orchestrator, status: Status, halt: Callable[[], None]
    ) -> None:
        self.ground = ground
        self.who = who
        self._status = status
        self._halt = halt
        self._start = 0.0
        self._scenes: list[Scene] = []
        # Requests from another machine while the client's machine had no network.
        self._outside: list[Sample] = []

    def run(self) -> Course:
        """Run all scenes; leave the app in place. Raises LabError for failures on a machine."""
        version = self.who.version()
        self._start, first = self.who.deploy()
        seconds = first - self._start
        self._add(Scene("deploy", 0, seconds, seconds))
        self._watch("client", lambda seen: None if not seen or seen[-1].lost else 0)
        anywhere = self.who.anywhere()
        for scene in (self._kill, self._scale, self._update):
            self._halt()
            scene()
        self._halt()
        if self.who.single:
            self._alone()
        else:
            self._away()
        return Course(
            orchestrator=self.who.name,
            version=version,
            machines=1 if self.who.single else len(self.ground.lab.machines),
            anywhere=anywhere,
            scenes=tuple(self._scenes),
            bars=tuple(records.bars(self._seen(), self._start)),
        )

    def _kill(self) -> None:
        at = self.who.kill()
        seconds = self._watch("kill", lambda seen: records.served_again(seen, at))
        self._measured("kill", at, seconds)
        if seconds is None:
            self.who.mend()
            self._watch("mend", lambda seen: None if not seen or seen[-1].lost else 0)

    def _scale(self) -> None:
        at, words = self.who.scale(COPIES)
        seconds = self._watch("scale", lambda seen: records.grown(seen, at, COPIES))
        self._measured("scale", at, seconds, words)

    def _update(self) -> None:
        number = self._scenes[-1].copies
        at = self.who.update("v2")
        seconds = self._watch("update", lambda seen: records.replaced(seen, at, "v2", number))
        self._measured("update", at, seconds)

    def _away(self) -> None:
        victim = self.who.victim()
        at = self.ground.clock(self.ground.first)
        known = set(records.copies(self._seen()))

        def mended(seen: list[Sample]) -> float | None:
            new = set(records.copies(records.window(seen, at))) - known
            return records.recovered(seen, at) if new else None

        with away(self.ground.machines[victim], AWAY):
            seconds = self._watch("away", mended)
            self._measured("away", at, seconds)
            new = [when for name, when in self._answered(at).items() if name not in known]
        if new:
            self._add(Scene("replaced", at - self._start, 0, min(new) - at))
        at = self.ground.clock(self.ground.first)
        wait.until(self._whole, what=f"the return of {victim}", timeout=60, interval=0.5)
        self._measured("back", at, self.ground.clock(self.ground.first) - at)

    def _alone(self) -> None:
        """Cut off the only machine, and send requests from another one.

        The client on the machine itself would not notice.
        """
        place = f"{self.who.victim()}:{self.who.port()}"
        first = self.ground.first
        ahead = self.ground.clock(self.who.victim()) - self.ground.clock(first)

        def ask(seconds: int, until_answer: bool) -> tuple[float, list[Sample]]:
            text = self.ground.run(first, asking(place, seconds, until_answer), seconds + 30)
            found = [shifted(one, ahead) for one in records.parse(text)]
            self._outside += found
            return found[0].begun, found

        with away(self.ground.machines[self.who.victim()], AWAY):
            at, seen = ask(ALONE, False)
        lost = records.lost(seen)
        seconds = None if lost == len(seen) else records.served_again(seen, at)
        copies = len(records.copies(seen))
        begin = at - self._start
        self._add(Scene("away", begin, ALONE, seconds, len(seen), lost, copies))
        at, seen = ask(30, True)
        lost = records.lost(seen)
        took = seen[-1].ended - at
        self._add(Scene("back", at - self._start, took, took, len(seen), lost))

    def _measured(self, name: str, at: float, seconds: float | None, words: str = "") -> None:
        """Keep a scene that began at `at` and ends now."""
        seen = records.window(self._seen(), at)
        watched = seen[-1].ended - at if seen else 0.0
        copies = len(records.copies(records.window(seen, seen[-1].begun - 2))) if seen else 0
        lost = records.lost(seen)
        begin = at - self._start
        self._add(Scene(name, begin, watched, seconds, len(seen), lost, copies, words))

    def _add(self, scene: Scene) -> None:
        rounded = {key: round(getattr(scene, key), 2) for key in ("at", "watched")}
        seconds = None if scene.seconds is None else round(scene.seconds, 2)
        self._scenes.append(replace(scene, **rounded, seconds=seconds))
        shown = "no recovery" if seconds is None else f"{seconds:.1f} s"
        self._status.say(
            f"  {self.who.name}: {scene.name}: {shown}, {scene.lost} of {scene.asked} requests lost"
        )

    def _watch(self, name: str, check: Check) -> float | None:
        """Read the client's log until a check has an answer; None after the scene's time limit."""

        def look() -> float | None:
            self._halt()
            return check(self._seen())

        limit = PATIENCE.get(name, 15)
        try:
            return wait.until(look, what=name, timeout=limit, interval=0.3, longest=1)
        except DeadlineExceeded:
            return None

    def _seen(self) -> list[Sample]:
        """The client's samples, replaced by those from outside while its machine had no network."""
        own = records.parse(self.who.log())
        if not self._outside:
            return own
        begin, end = self._outside[0].begun, self._outside[-1].begun
        kept = [one for one in own if not begin <= one.begun <= end]
        return sorted([*kept, *self._outside], key=lambda one: one.begun)

    def _answered(self, at: float) -> dict[str, float]:
        return records.copies(records.window(self._seen(), at))

    def _whole(self) -> bool | None:
        self._halt()
        try:
            return self.who.whole() or None
        except LabError:
            return None


def asking(place: str, seconds: int, until_answer: bool) -> str:
    """Shell lines that send requests to HOST:PORT for `seconds`, and log them like the client."""
    end = 'if [ -n "$answer" ]; then exit; fi' if until_answer else ":"
    return (
        f"end=$(($(date +%s) + {seconds}))\n"
        "while [ $(date +%s) -lt $end ]; do\n"
        f"begun=$({CLOCK})\n"
        f"answer=$(curl -fs --max-time 1 http://{place}/ || :)\n"
        f'echo "$begun $({CLOCK}) $answer"\n'
        f"{end}\nsleep 0.05\ndone"
    )


def shifted(sample: Sample, seconds: float) -> Sample:
    """A sample whose times are shifted to the clock of another machine."""
    return replace(sample, begun=sample.begun + seconds, ended=sample.ended + seconds)
