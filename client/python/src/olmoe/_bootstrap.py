"""The paired bootstrap of `olmoectl eval`, number for number. Needs numpy (`olmoe[analysis]`)."""

from __future__ import annotations

from collections.abc import Sequence

from olmoe import _optional

with _optional.extra("analysis"):
    import numpy
    from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95

_U64 = numpy.uint64
_GAMMA = _U64(0x9E3779B97F4A7C15)


def _splitmix64(states: NDArray[numpy.uint64]) -> NDArray[numpy.uint64]:
    """SplitMix64 of counters: its n-th number is that of seed + n * gamma, n = 1, 2, ..."""
    z = states
    z = (z ^ (z >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> _U64(27))) * _U64(0x94D049BB133111EB)
    return z ^ (z >> _U64(31))


def _below(numbers: NDArray[numpy.uint64], count: int) -> NDArray[numpy.uint64]:
    """The upper 64 bits of number * count, count < 2^32: 0..count - 1."""
    low, high = numbers & _U64(0xFFFFFFFF), numbers >> _U64(32)
    factor = _U64(count)
    return (high * factor + (low * factor >> _U64(32))) >> _U64(32)


def _quantile(values: NDArray[numpy.float64], share: float) -> float:
    """Linear between the order statistics. `values` is sorted and not empty."""
    position = share * (len(values) - 1)
    below = int(position)
    above = min(below + 1, len(values) - 1)
    return float(values[below] + (position - below) * (values[above] - values[below]))


def mean(differences: Sequence[float], weights: Sequence[float]) -> float:
    """The sum of the differences over that of the weights, one by one: olmoectl's bits."""
    total = weight = 0.0
    for one, its_weight in zip(differences, weights, strict=True):
        total += one
        weight += its_weight
    return total / weight


def standard_error(differences: Sequence[float], weights: Sequence[float]) -> float | None:
    """Of `mean`, a ratio of two sums over units; None for fewer than two.

    W. Cochran, Sampling Techniques, 1977, chapter 6; with equal weights the sample deviation over
    the square root of the number of units.
    """
    units, center = len(differences), mean(differences, weights)
    if units < 2:
        return None
    rests = numpy.array(differences, float) - center * numpy.array(weights, float)
    return float(numpy.sqrt(numpy.sum(rests ** 2) * units / (units - 1)) / sum(weights))


def interval(differences: Sequence[float], weights: Sequence[float],
             seed: int) -> tuple[float, float] | None:
    """(low, high) of the mean difference; None for fewer than two units.

    differences, weights: [units], of the same unit under two policies; weights: its tokens, or 1.
    Percentile bootstrap over units, B. Efron, R. Tibshirani, An Introduction to the Bootstrap,
    1993, chapter 13. Sums go over the units in the order in which they are drawn, as olmoectl's.
    """
    units = len(differences)
    if units < 2:
        return None
    of_unit, weight_of = numpy.array(differences, float), numpy.array(weights, float)
    first = numpy.arange(RESAMPLES, dtype=_U64) * _U64(units) + _U64(1)  # draw of each resample
    total, weight = numpy.zeros(RESAMPLES), numpy.zeros(RESAMPLES)
    for draw in range(units):
        states = _U64(seed) + (first + _U64(draw)) * _GAMMA
        drawn = _below(_splitmix64(states), units)
        total += of_unit[drawn]
        weight += weight_of[drawn]
    means = numpy.sort(total / weight)
    return (_quantile(means, (1 - CONFIDENCE) / 2), _quantile(means, (1 + CONFIDENCE) / 2))
