"""The difference of one metric between two models that answered the same questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spare.errors import counted
from spare.tasks.types import Metric

DRAWS = 10_000
SEED = 0
"""Of all draws; the same two runs always get the same figures."""

EXCHANGE = "exchange of clusters, interval by paired cluster bootstrap"

POWER = 0.8
"""Chance of seeing a difference that is there, for the smallest one that can be seen."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of two models, new minus base.

    Attributes:
        base, new: the figure of each, in its own unit; value: new minus base.
        low, high: 95 % interval of the difference; NaN with fewer than two clusters.
        p: two-sided p-value; 1 with fewer than two clusters.
        stderr: standard error of the difference.
        n: units counted; clusters: independent draws behind them.
        full: the figure's full range (100 for an accuracy, 2,000 for MME's perception).
        method: what the interval and the p-value come from.
    """

    base: float
    new: float
    value: float
    low: float
    high: float
    p: float
    stderr: float
    n: int
    clusters: int
    full: float
    method: str

    def smallest(self, alpha: float) -> float:
        """The smallest difference that these questions show as significant four times out of
        five."""
        from scipy.stats import norm

        return float((norm.isf(alpha / 2) + norm.ppf(POWER)) * self.stderr)

    def units_to_see(self, alpha: float) -> int:
        """About how many units it takes to see this difference as significant four times out of
        five, if they vary as these do."""
        from statsmodels.stats.power import normal_sample_size_one_tail

        if not self.value or not self.stderr > 0:  # none, or unknown
            return 0
        spread = self.stderr * math.sqrt(self.n)
        size = normal_sample_size_one_tail(abs(self.value), POWER, alpha / 2, std_null=spread)
        return math.ceil(float(size))


def paired_difference(base: Metric, new: Metric) -> Difference:
    """The difference of a metric between two models, by the test that its clusters allow.

    Where every unit is right or wrong and shares its cluster with no other: the exact McNemar test,
    and the interval of Agresti and Min (2005), which half a unit in each cell keeps honest where
    few units differ.

    Elsewhere units of a cluster (questions about one picture, a set, a group) are not independent,
    and McNemar's test, which takes them to be, would call luck a change too often. The interval is
    then the paired cluster bootstrap's: whole clusters are drawn again, with both models' answers
    together. The p-value is that of exchanging the two models' answers cluster by cluster, which
    raises false alarms no more often than it says however few clusters differ (the bootstrap's own
    calls four losses without a win significant, as no draw of them is a gain), and which is
    McNemar's exact test where clusters are units.
    """
    rows = _rows(base, new)
    clusters = len(rows)
    value = new.value - base.value
    full = base.scale * (len(base.strata) if base.total else 1)
    shared = (base.value, new.value, value)
    if clusters < 2 or math.isnan(value):
        few = f"nothing: {counted(clusters, 'cluster')}"
        return Difference(*shared, math.nan, math.nan, 1.0, math.nan, new.n, clusters, full, few)
    table = _table(rows, base)
    if table is not None:
        low, high = _agresti_min(table, base.scale)
        p, stderr, method = _mcnemar(table), _stderr(table, base.scale), "exact McNemar test"
    else:
        drawn = _bootstrap(rows, base)
        stderr, method = float(drawn.std(ddof=1)), f"{EXCHANGE}, seed {SEED}"
        # Where no unit differs, the bootstrap sees no luck at all; there is as much as if each
        # cluster were one unit.
        low, high = _percentiles(drawn, clusters) if stderr else _same(clusters, full)
        p = _exchange(rows)
    return Difference(*shared, low, high, p, stderr, new.n, clusters, full, method)


def adjusted(values: Sequence[float]) -> list[float]:
    """P-values after Holm's correction for how many there are."""
    if not values:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(value) for value in multipletests(list(values), method="holm")[1]]


def _rows(base: Metric, new: Metric) -> Any:
    """clusters x (strata x 4): each cluster's numerator and denominator, of base and of new."""
    import numpy

    strata = list(dict.fromkeys([*base.strata, *new.strata]))
    index: dict[str, int] = {}
    for metric in (base, new):
        for sums in metric.strata.values():
            for cluster in sums.index:
                index.setdefault(cluster, len(index))
    rows = numpy.zeros((len(index), len(strata), 4))
    for which, metric in enumerate((base, new)):
        for place, name in enumerate(strata):
            if name not in metric.strata:
                continue
            sums = metric.strata[name]
            into = [index[cluster] for cluster in sums.index]
            rows[into, place, 2 * which] = sums.numerators
            rows[into, place, 2 * which + 1] = sums.denominators
    return rows


def _bootstrap(rows: Any, metric: Metric) -> Any:
    """Differences of the metric over clusters drawn again with replacement.

    Clusters that look alike are drawn as one kind, as often as there are of them: the same
    distribution as drawing them one by one, at a fraction of the cost.
    """
    import numpy

    kinds, counts = numpy.unique(rows.reshape(len(rows), -1), axis=0, return_counts=True)
    draw = numpy.random.default_rng(SEED)
    weights = draw.multinomial(len(rows), counts / len(rows), size=DRAWS)
    sums = (weights @ kinds).reshape(DRAWS, -1, 4)
    with numpy.errstate(invalid="ignore", divide="ignore"):
        ratios = sums[..., 2] / sums[..., 3] - sums[..., 0] / sums[..., 1]
    # A stratum that no drawn cluster belongs to says nothing in this draw.
    together = numpy.nansum(ratios, axis=1) if metric.total else numpy.nanmean(ratios, axis=1)
    return metric.scale * numpy.nan_to_num(together)


_Table = tuple[int, int, int, int]
"""Units that both got right or both wrong: (same right, only base, only new, same wrong)."""


def _table(rows: Any, metric: Metric) -> _Table | None:
    """The fourfold table of units; None unless each is 0 or 1 and a cluster of its own."""
    if rows.shape[1] != 1 or metric.total:
        return None
    base, many, new, also_many = rows[:, 0, :].T
    if (many != 1).any() or (also_many != 1).any():
        return None
    if ((base != 0) & (base != 1)).any() or ((new != 0) & (new != 1)).any():
        return None
    both, lost = int((base * new).sum()), int((base * (1 - new)).sum())
    won = int((new * (1 - base)).sum())
    return both, lost, won, len(rows) - both - lost - won


def _percentiles(drawn: Any, clusters: int) -> tuple[float, float]:
    """A 95 % interval from bootstrap draws, by percentiles that lie as much further out as
    Student's t does with few clusters (Hesterberg 2015, "expanded percentiles")."""
    import numpy
    from scipy.stats import norm, t

    outer = norm.cdf(math.sqrt(clusters / (clusters - 1)) * t.ppf(0.025, clusters - 1))
    low, high = numpy.quantile(drawn, (outer, 1 - outer))
    return float(low), float(high)


def _exchange(rows: Any) -> float:
    """Two-sided p-value of exchanging the two models' answers cluster by cluster, at random."""
    import numpy
    from scipy.stats import monte_carlo_test

    totals = rows.sum(axis=0)
    # Both models together, so that no exchange changes it.
    many = totals[:, 1] + totals[:, 3]
    pooled = (totals[:, 0] + totals[:, 2]) / many
    base, new = (rows[..., n] - pooled * rows[..., n + 1] for n in (0, 2))
    gains = ((new - base) / many).sum(axis=1)
    # What is the same in both models is so in every exchange.
    gains = gains[~numpy.isclose(gains, 0, atol=1e-12)]
    if not len(gains):
        return 1.0
    # Clusters that weigh alike are exchanged as one kind: so many of them one way round.
    sizes, which, counts = numpy.unique(
        numpy.abs(gains).round(12), return_inverse=True, return_counts=True
    )
    seen = sizes * numpy.bincount(which, weights=numpy.sign(gains))
    random = numpy.random.default_rng(SEED)

    def exchanged(size: tuple[int, ...]) -> Any:
        return sizes * (2 * random.binomial(counts, 0.5, size) - counts)

    done = monte_carlo_test(seen, exchanged, numpy.sum, vectorized=True, n_resamples=DRAWS - 1)
    return float(done.pvalue)


def _same(clusters: int, full: float) -> tuple[float, float]:
    return _agresti_min((clusters, 0, 0, 0), full)


def _mcnemar(table: _Table) -> float:
    from statsmodels.stats.contingency_tables import mcnemar

    both, lost, won, neither = table
    return float(mcnemar([[both, lost], [won, neither]], exact=True).pvalue)


def _stderr(table: _Table, scale: float) -> float:
    _, lost, won, _ = table
    size = sum(table)
    return scale * math.sqrt((won + lost) - (won - lost) ** 2 / size) / size


def _agresti_min(table: _Table, scale: float) -> tuple[float, float]:
    from scipy.stats import norm

    _, lost, won, _ = (count + 0.5 for count in table)
    size = sum(table) + 2
    centre = (won - lost) / size
    half = norm.ppf(0.975) * math.sqrt((won + lost) - (won - lost) ** 2 / size) / size
    return scale * max(-1.0, centre - half), scale * min(1.0, centre + half)
