"""Evaluate the client's log. The functions here are pure.

The client (infra/workloads/orchestrators/app/client.sh) writes one line for each request: its
begin, its end, and the answer. The answer is missing if there was none in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# The width in seconds of one bar in the picture of a course.
BAR = 0.5


@dataclass(frozen=True)
class Sample:
    """One request from `begun` to `ended`; `text` and `copy` are empty without an answer.

    Times are seconds since the start of the client's machine. An answer is like `v1 from web-abc`.
    """

    begun: float
    ended: float
    text: str = ""
    copy: str = ""

    @property
    def lost(self) -> bool:
        """Whether the request had no answer."""
        return not self.copy


def parse(log: str) -> list[Sample]:
    """The requests in a client's log, sorted by their begin. Other lines are ignored."""
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
    """The requests that began at `start` or later, and before `end`."""
    return [sample for sample in samples if start <= sample.begun < end]


def lost(samples: Iterable[Sample]) -> int:
    """The number of requests without an answer."""
    return sum(sample.lost for sample in samples)


def served_again(samples: Sequence[Sample], start: float, calm: float = 3) -> float | None:
    """Seconds from `start` to the first answer after the first lost request.

    0 if no request was lost for `calm` seconds. None while no copy answers, and before `calm`
    seconds have passed.
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
    """The copies that answered (with `text`, if given), with the time of their first answers."""
    found: dict[str, float] = {}
    for sample in samples:
        if not sample.lost and text in ("", sample.text):
            found[sample.copy] = min(sample.ended, found.get(sample.copy, sample.ended))
    return found


def grown(samples: Iterable[Sample], start: float, wanted: int) -> float | None:
    """Seconds from `start` until `wanted` copies had answered; None if fewer have."""
    times = sorted(copies(window(samples, start)).values())
    return times[wanted - 1] - start if len(times) >= wanted else None


def replaced(
    samples: Sequence[Sample], start: float, text: str, wanted: int, calm: float = 2
) -> float | None:
    """Seconds from `start` until `wanted` copies answered with `text`, and none with another one.

    None before `calm` seconds have passed without an old answer.
    """
    later = window(samples, start)
    new = sorted(copies(later, text).values())
    if len(new) < wanted:
        return None
    old = [sample.ended for sample in later if not sample.lost and sample.text != text]
    done = max([new[wanted - 1], *old])
    return done - start if later[-1].begun >= done + calm else None


def recovered(samples: Sequence[Sample], start: float, calm: float = 5) -> float | None:
    """Seconds from `start` until the last lost request; 0 if none was lost.

    None before `calm` seconds have passed without a lost request.
    """
    later = window(samples, start)
    last = max((sample.begun for sample in later if sample.lost), default=start)
    return last - start if later and later[-1].begun >= last + calm else None


def bars(samples: Iterable[Sample], start: float) -> list[tuple[int, int]]:
    """The numbers of answered and lost requests in every half second from `start` on."""
    counts: dict[int, list[int]] = {}
    for sample in window(samples, start):
        counts.setdefault(int((sample.begun - start) / BAR), [0, 0])[sample.lost] += 1
    length = max(counts, default=-1) + 1
    return [(pair[0], pair[1]) for pair in (counts.get(i, [0, 0]) for i in range(length))]
