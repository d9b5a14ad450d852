"""Every figure with its uncertainty, clustered by what was sampled (a picture, a set, a group)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spare.tasks.types import Metric


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its uncertainty, in the metric's own unit (per cent for accuracies).

    Attributes:
        value: the figure.
        n: units counted (samples, pairs, groups).
        clusters: independent draws behind them.
        stderr: cluster-robust standard error; None with fewer than two clusters.
        low, high: 95 % interval; None with fewer than two clusters.
    """

    value: float
    n: int
    clusters: int
    stderr: float | None
    low: float | None
    high: float | None


def estimate(metric: Metric) -> Estimate:
    """The value of a metric with its cluster-robust standard error and 95 % interval.

    The standard error is that of a ratio of cluster sums by linearisation, with the factor
    G / (G - 1) for G clusters (Cochran, Sampling Techniques, 3rd ed., 6.4). A cluster that
    contributes to several strata is one draw. Intervals use Student's t with G - 1 degrees of
    freedom. A proportion gets Wilson's interval at its effective sample size, which stays inside 0
    to 100 and has a width at 0 and at 100, where the plain one has none; so does a total of them.
    """
    from scipy.special import stdtrit

    value = metric.value
    share = 1.0 if metric.total else 1.0 / max(len(metric.strata), 1)
    influence: dict[str, float] = {}
    for sums in metric.strata.values():
        denominator = math.fsum(sums.denominators)
        if not denominator:
            continue
        ratio = math.fsum(sums.numerators) / denominator
        for cluster, place in sums.index.items():
            part = sums.numerators[place] - ratio * sums.denominators[place]
            influence[cluster] = influence.get(cluster, 0.0) + share * part / denominator
    clusters = len(influence)
    if clusters < 2 or math.isnan(value):
        return Estimate(value, metric.n, clusters, None, None, None)
    variance = clusters / (clusters - 1) * math.fsum(part * part for part in influence.values())
    stderr = math.sqrt(variance)
    quantile = float(stdtrit(clusters - 1, 0.975))
    ratio = value / metric.scale
    if _is_proportion(metric):
        # A total of proportions is their mean as often as there are of them.
        many = len(metric.strata) if metric.total else 1
        bounds = _wilson(ratio / many, variance / many**2, metric.n, clusters, quantile)
        low, high = (many * bound for bound in bounds)
    else:
        low, high = ratio - quantile * stderr, ratio + quantile * stderr
    scale = metric.scale
    return Estimate(value, metric.n, clusters, scale * stderr, scale * low, scale * high)


def _is_proportion(metric: Metric) -> bool:
    return all(
        0.0 <= numerator <= denominator
        for sums in metric.strata.values()
        for numerator, denominator in zip(sums.numerators, sums.denominators, strict=True)
    )


def _wilson(
    ratio: float, variance: float, units: int, clusters: int, quantile: float
) -> tuple[float, float]:
    # The effective sample size is how many independent draws would have this variance (Korn and
    # Graubard 1998), at most as many as there are. Without any variance it is the number of
    # clusters; what rounding leaves of none is none.
    size = float(clusters)
    if variance > 1e-20:
        size = min(ratio * (1.0 - ratio) / variance, float(units))
    square = quantile * quantile / size
    centre = (ratio + square / 2.0) / (1.0 + square)
    half = math.sqrt(ratio * (1.0 - ratio) * square + square * square / 4.0) / (1.0 + square)
    # At 0 and at 1 one bound is exact; rounding must not move it past the value.
    return min(max(0.0, centre - half), ratio), max(min(1.0, centre + half), ratio)
