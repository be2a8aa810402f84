"""Repeated measurements: their middle, their spread, and what a difference between two is worth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Two groups that lie apart by chance more often than this are not called different.
CHANCE = 0.05
# Fewer measurements than these have no spread that one could speak of.
FEWEST = 3


@dataclass(frozen=True)
class Spread:
    """The same thing measured several times: at least one value, in the order of measuring."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest value."""
        return max(self.values)

    @property
    def middle(self) -> tuple[float, float]:
        """The ends of the middle half of the values: the first and the third quartile."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        first, _, third = statistics.quantiles(self.values, n=4, method="inclusive")
        return first, third


@dataclass(frozen=True)
class Difference:
    """What the measurements of one group say against those of another.

    `ratio` is the other's value for one of the base's; `low` and `high` are the smallest and the
    largest ratio of two that were measured in the same repetition. `word` is

        same      all values of both are equal
        few       too few values to say anything
        none      no difference seen: the middle halves overlap
        perhaps   the middle halves lie apart, the whole groups do not, or chance would do it often
        seen      every value of one lies beyond every value of the other
    """

    ratio: float
    low: float
    high: float
    word: str

    def within(self, part: float) -> bool:
        """Whether the ratio is nearer to 1 than this part, e.g. 0.05 for five percent."""
        return abs(self.ratio - 1) <= part


def difference(base: Sequence[float], other: Sequence[float]) -> Difference:
    """Compare two groups of positive values, whose n-th values were measured one after the other.

    Where the groups have different lengths there are no pairs: the ratio is that of the medians.
    """
    if len(base) == len(other):
        # What slows the machine down for a while slows down both of a pair.
        ratios = [_ratio(left, right) for left, right in zip(base, other, strict=True)]
    else:
        ratios = [_ratio(statistics.median(base), statistics.median(other))]
    return Difference(
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        word(Spread((*base,)), Spread((*other,))),
    )


def word(base: Spread, other: Spread) -> str:
    """What may be said of two groups; see `Difference`."""
    if set(base.values) == set(other.values) and len(set(base.values)) == 1:
        return "same"
    counts = len(base.values), len(other.values)
    if min(counts) < FEWEST:
        return "few"
    if _overlap(base.middle, other.middle):
        return "none"
    apart = not _overlap((base.low, base.high), (other.low, other.high))
    return "seen" if apart and chance(*counts) <= CHANCE else "perhaps"


def chance(first: int, second: int) -> float:
    """How often two groups of so many values lie apart although they are of the same kind."""
    return 2 / math.comb(first + second, first)


def _overlap(one: tuple[float, float], two: tuple[float, float]) -> bool:
    return one[0] <= two[1] and two[0] <= one[1]


def _ratio(base: float, other: float) -> float:
    return other / base if base else math.nan if not other else math.inf
