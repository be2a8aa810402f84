"""Repeated measurements: their median, their spread, and how far to trust a difference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Groups that chance separates more often than this do not count as different.
CHANCE = 0.05
# Fewer measurements than these have no meaningful spread.
FEWEST = 3


@dataclass(frozen=True)
class Spread:
    """Values of a repeated measurement, at least one, in the order of time."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median."""
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
        """The limits of the middle half of the values: the first and the third quartile."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        first, _, third = statistics.quantiles(self.values, n=4, method="inclusive")
        return first, third


@dataclass(frozen=True)
class Difference:
    """The difference between the measurements of two groups.

    `ratio` is the other's value divided by the base's. `low` and `high` are the smallest and the
    largest ratio of two values from the same repetition. `word` is

        same      all values of both are equal
        few       too few values for an answer
        none      no difference seen, since the middle halves overlap
        perhaps   the middle halves lie apart, but the whole groups overlap or chance explains it
        seen      every value of one lies beyond every value of the other
    """

    ratio: float
    low: float
    high: float
    word: str

    def within(self, part: float) -> bool:
        """Whether the ratio differs from 1 by at most this part, e.g. 0.05 for five percent."""
        return abs(self.ratio - 1) <= part


def difference(base: Sequence[float], other: Sequence[float]) -> Difference:
    """Compare two groups of positive values, whose n-th values come from the same repetition.

    Groups of different lengths have no pairs, so their ratio is that of the medians.
    """
    if len(base) == len(other):
        # A temporary slowdown of the machine affects both values of a pair.
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
    """The word for two groups; see `Difference`."""
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
    """The probability (0 to 1) that two groups of these sizes lie apart by chance."""
    return 2 / math.comb(first + second, first)


def _overlap(one: tuple[float, float], two: tuple[float, float]) -> bool:
    return one[0] <= two[1] and two[0] <= one[1]


def _ratio(base: float, other: float) -> float:
    return other / base if base else math.nan if not other else math.inf
