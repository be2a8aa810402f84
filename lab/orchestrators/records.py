"""What a visitor wrote down, and what follows from it. Nothing here asks or waits.

The visitor (infra/workloads/orchestrators/app/client.sh) writes one line for each question: when it
was asked, when that was over, and the answer, which is missing where nobody answered in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Seconds of one bar in the picture of a course.
BAR = 0.5


@dataclass(frozen=True)
class Sample:
    """One question: asked at `begun`, over at `ended`; `text` and `copy` are empty without answer.

    Times are seconds since the visitor's machine was started. An answer reads `v1 from web-abc`.
    """

    begun: float
    ended: float
    text: str = ""
    copy: str = ""

    @property
    def lost(self) -> bool:
        """Whether nobody answered."""
        return not self.copy


def parse(log: str) -> list[Sample]:
    """The questions in a visitor's log, by the time they were asked; other lines are left out."""
    found = []
    for line in log.splitlines():
        begun, _, rest = line.strip().partition(" ")
        ended, _, answer = rest.partition(" ")
        try:
            times = float(begun), float(ended)
        except ValueError:
            continue
        text, word, copy = answer.strip().partition(" from ")
        found.append(Sample(*times, text, copy) if word and copy else Sample(*times))
    return sorted(found, key=lambda sample: sample.begun)


def window(samples: Iterable[Sample], start: float, end: float = float("inf")) -> list[Sample]:
    """The questions that were asked from `start` on, and before `end`."""
    return [sample for sample in samples if start <= sample.begun < end]


def lost(samples: Iterable[Sample]) -> int:
    """How many questions nobody answered."""
    return sum(sample.lost for sample in samples)


def served_again(samples: Sequence[Sample], start: float, calm: float = 3) -> float | None:
    """Seconds from `start` to the first answer after the first lost question.

    0 where nothing was lost for `calm` seconds, None while that is open: nobody answers yet, or it
    is too early to say that nothing was lost.
    """
    later = window(samples, start)
    first = next((sample for sample in later if sample.lost), None)
    if first is None:
        return 0.0 if later and later[-1].begun >= start + calm else None
    for sample in later:
        if sample.begun > first.begun and not sample.lost:
            return sample.ended - start
    return None


def copies(samples: Iterable[Sample], text: str = "") -> dict[str, float]:
    """The copies that answered, by name, each with the time of its first answer."""
    found: dict[str, float] = {}
    for sample in samples:
        if not sample.lost and text in ("", sample.text):
            found[sample.copy] = min(sample.ended, found.get(sample.copy, sample.ended))
    return found


def grown(samples: Iterable[Sample], start: float, wanted: int) -> float | None:
    """Seconds from `start` until so many copies had answered; None when they have not."""
    times = sorted(copies(window(samples, start)).values())
    return times[wanted - 1] - start if len(times) >= wanted else None


def replaced(
    samples: Sequence[Sample], start: float, text: str, wanted: int, calm: float = 2
) -> float | None:
    """Seconds from `start` until so many copies answered with `text`, and none with another one.

    None while that is open: for `calm` seconds nothing else must have been heard.
    """
    later = window(samples, start)
    new = sorted(copies(later, text).values())
    if len(new) < wanted:
        return None
    old = [sample.ended for sample in later if not sample.lost and sample.text != text]
    done = max([new[wanted - 1], *old])
    return done - start if later[-1].begun >= done + calm else None


def recovered(samples: Sequence[Sample], start: float, calm: float = 5) -> float | None:
    """Seconds from `start` until the last lost question; 0 where none was lost.

    None while that is open: for `calm` seconds every question must have been answered.
    """
    later = window(samples, start)
    last = max((sample.begun for sample in later if sample.lost), default=start)
    return last - start if later and later[-1].begun >= last + calm else None


def bars(samples: Iterable[Sample], start: float) -> list[tuple[int, int]]:
    """Questions answered and lost in every half second from `start` on."""
    counts: dict[int, list[int]] = {}
    for sample in window(samples, start):
        counts.setdefault(int((sample.begun - start) / BAR), [0, 0])[sample.lost] += 1
    length = max(counts, default=-1) + 1
    return [(pair[0], pair[1]) for pair in (counts.get(i, [0, 0]) for i in range(length))]
