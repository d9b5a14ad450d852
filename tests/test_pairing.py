"""The statistics of a comparison: held to scipy and statsmodels, and to what they promise, by
simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy
import pytest
import statsmodels.api
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from spare.harness.pairing import Difference, adjusted, paired_difference
from spare.tasks.types import Metric

Units = Sequence[tuple[float, float, str, str]]
"""(score of base, score of new, cluster, stratum) of every unit."""


def difference(units: Units, total: bool = False, scale: float = 100.0) -> Difference:
    base, new = (Metric("figure", scale=scale, total=total) for _ in range(2))
    for before, after, cluster, stratum in units:
        base.add(before, cluster=cluster, stratum=stratum)
        new.add(after, cluster=cluster, stratum=stratum)
    return paired_difference(base, new)


def alone(before: Sequence[int], after: Sequence[int]) -> Units:
    return [(*pair, str(n), "") for n, pair in enumerate(zip(before, after, strict=True))]


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (3, 12), (20, 8), (40, 41)])
def test_units_of_their_own_get_the_exact_mcnemar_test(lost: int, won: int) -> None:
    before = [1] * 30 + [1] * lost + [0] * won + [0] * 20
    after = [1] * 30 + [0] * lost + [1] * won + [0] * 20
    found = difference(alone(before, after))
    exact = stats.binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert found.p == pytest.approx(exact)
    assert found.p == pytest.approx(mcnemar([[30, lost], [won, 20]], exact=True).pvalue)
    assert found.value == pytest.approx(100 * (won - lost) / len(before))
    assert found.low < found.value < found.high
    assert found.method == "exact McNemar test"


def test_the_interval_of_agresti_and_min() -> None:
    """The plain interval of a paired difference, after half a unit is added to each cell (Agresti
    and Min, Statistics in Medicine 24, 2005)."""
    both, lost, won, neither = 132, 17, 9, 56
    before = [1] * (both + lost) + [0] * (won + neither)
    after = [1] * both + [0] * lost + [1] * won + [0] * neither
    found = difference(alone(before, after), scale=1.0)
    cells = numpy.array([both, lost, won, neither]) + 0.5
    share = cells / cells.sum()
    change = share[2] - share[1]
    half = 1.959964 * math.sqrt((share[1] + share[2] - change**2) / cells.sum())
    assert (found.low, found.high) == pytest.approx((change - half, change + half), abs=1e-6)


def draw(
    random: numpy.random.Generator,
    clusters: int,
    size: int,
    shift: float,
    shared: float,
    own: float,
) -> Units:
    """Two models over pictures with `size` questions each. Pictures are hard for both alike
    (`shared`) and for each alone (`own`), on the scale of logits; the second is better by `shift`.
    """
    picture = random.normal(0.8, shared, clusters)
    chances = [
        1 / (1 + numpy.exp(-(picture + random.normal(0, own, clusters) + better)))
        for better in (0.0, shift)
    ]
    scores = [
        (random.random((clusters, size)) < chance[:, None]).astype(float) for chance in chances
    ]
    return [
        (scores[0][c, n], scores[1][c, n], str(c), "") for c in range(clusters) for n in range(size)
    ]


def truth(shift: float, shared: float, own: float) -> float:
    """The difference that `draw` has on average, by integration."""
    nodes, weights = numpy.polynomial.hermite_e.hermegauss(60)
    spread = math.hypot(shared, own)
    chances = [1 / (1 + numpy.exp(-(0.8 + spread * nodes + better))) for better in (0.0, shift)]
    return 100 * float((chances[1] - chances[0]) @ weights / weights.sum())


SETTINGS = {
    "one question each": (250, 1, 0.5, 1.0, 0.5),
    "five questions to a picture": (80, 5, 0.5, 1.0, 1.0),
    "many questions to few pictures": (40, 12, 0.3, 0.5, 1.0),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_intervals_cover_the_truth_as_often_as_they_say(setting: str) -> None:
    clusters, size, shift, shared, own = SETTINGS[setting]
    random = numpy.random.default_rng(7)
    real = truth(shift, shared, own)
    found = [difference(draw(random, clusters, size, shift, shared, own)) for _ in range(300)]
    covered = numpy.mean([one.low <= real <= one.high for one in found])
    assert 0.93 <= covered <= 0.97
    # Nor do they pay for it with width: the standard error is that of the figure itself.
    spread = numpy.std([one.value for one in found])
    assert numpy.mean([one.stderr for one in found]) == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_gate_does_not_cry_wolf(setting: str) -> None:
    """Models that are equally good: a drop is called significant in at most alpha of all cases."""
    clusters, size, _, shared, own = SETTINGS[setting]
    random = numpy.random.default_rng(11)
    found = [difference(draw(random, clusters, size, 0.0, shared, own)) for _ in range(300)]
    for alpha in (0.05, 0.2):
        alarms = numpy.mean([one.p <= alpha and one.value < 0 for one in found])
        # Only drops alarm, so about half of alpha; a test that ignores the pictures has far more.
        assert alarms <= alpha
        assert numpy.mean([one.p <= alpha for one in found]) <= alpha * 1.5


def test_the_standard_error_is_statsmodels_clustered_one() -> None:
    random = numpy.random.default_rng(3)
    units = draw(random, 150, 4, 0.4, 1.0, 1.0)
    gains = [after - before for before, after, *_ in units]
    fit = statsmodels.api.OLS(gains, numpy.ones(len(gains))).fit(
        cov_type="cluster", cov_kwds={"groups": [int(unit[2]) for unit in units]}
    )
    found = difference(units)
    assert found.value == pytest.approx(100 * fit.params[0])
    assert found.stderr == pytest.approx(100 * fit.bse[0], rel=0.05)


def test_kinds_of_clusters_are_drawn_as_clusters_are() -> None:
    """Drawing kinds instead of clusters changes nothing but the time: scipy draws one by one."""
    random = numpy.random.default_rng(1)
    units = draw(random, 60, 3, 0.5, 1.0, 1.0)
    gains = numpy.zeros(60)
    for before, after, cluster, _ in units:
        gains[int(cluster)] += 100 * (after - before) / 3
    found = difference(units)
    done = stats.bootstrap(
        (gains,),
        numpy.mean,
        method="percentile",
        confidence_level=0.955,  # with 60 clusters, ours lie as far out as that
        rng=numpy.random.default_rng(5),
    )
    low, high = done.confidence_interval
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * (high - low))
    assert found.stderr == pytest.approx(done.standard_error, rel=0.05)


def test_totals_and_means_of_strata() -> None:
    """MME's points are a sum over sub-tasks, a macro average is a mean: the same draws, scaled."""
    random = numpy.random.default_rng(2)
    units = [
        (before, after, cluster, "ab"[int(cluster) % 2])
        for before, after, cluster, _ in draw(random, 60, 2, 0.5, 1.0, 1.0)
    ]
    mean, total = difference(units), difference(units, total=True)
    assert total.value == pytest.approx(2 * mean.value)
    assert (total.full, mean.full) == (200, 100)
    assert total.p == mean.p
    assert (total.low, total.high) == pytest.approx((2 * mean.low, 2 * mean.high))


def test_no_change_at_all_is_no_certainty() -> None:
    units = [(1.0, 1.0, str(n // 2), "") for n in range(40)]
    found = difference(units)
    assert (found.value, found.p) == (0, 1)
    assert found.low < 0 < found.high


def test_one_picture_tells_nothing() -> None:
    found = difference([(0.0, 1.0, "p", "")] * 9)
    assert (found.value, found.p) == (100, 1)
    assert math.isnan(found.low)
    assert found.units_to_see(0.05) == 0


def test_holm() -> None:
    assert adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjusted([]) == []


def test_so_many_samples_show_it_four_times_out_of_five() -> None:
    """The number that a possible drop comes with, tried out."""
    random = numpy.random.default_rng(4)
    small = difference(draw(random, 150, 1, -0.3, 1.0, 0.5))
    needed = small.units_to_see(0.05)
    assert needed > 150
    # What the small sample saw is what is drawn from, so that the promise is about it.
    shares = {1: 0.0, -1: 0.0}
    spread = (small.stderr / 100) ** 2 * small.n + (small.value / 100) ** 2
    shares[1] = (spread + small.value / 100) / 2
    shares[-1] = (spread - small.value / 100) / 2
    seen = []
    for _ in range(300):
        uniform = random.random(needed)
        lost, won = uniform < shares[-1], uniform > 1 - shares[1]
        p = stats.binomtest(int(lost.sum()), int(lost.sum() + won.sum())).pvalue
        seen.append(p <= 0.05)
    assert numpy.mean(seen) == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize(("lost", "won"), [(4, 0), (1, 0), (9, 2), (30, 12)])
def test_exchanging_clusters_is_mcnemar_where_they_are_units(lost: int, won: int) -> None:
    """Pictures with two questions that are always answered alike. Drawn again, four losses and no
    win would never make a gain; exchanged, they do once in eight times."""
    changes = [(1.0, 0.0)] * lost + [(0.0, 1.0)] * won + [(1.0, 1.0)] * 40
    units = [(*change, str(n), "") for n, change in enumerate(changes) for _ in range(2)]
    exact = stats.binomtest(lost, lost + won).pvalue
    assert difference(units).p == pytest.approx(exact, rel=0.15, abs=0.002)


def test_an_f_score_is_a_ratio_of_sums() -> None:
    """Denominators that differ between the models: the value, and no p-value below what the exact
    test gives for the units behind it."""
    random = numpy.random.default_rng(6)
    metrics = [Metric("f1"), Metric("f1")]
    for cluster in range(80):
        meant = float(random.integers(0, 2))
        for metric, skill in zip(metrics, (0.9, 0.6), strict=True):
            said = meant if random.random() < skill else 1 - meant
            metric.add(2 * meant * said, meant + said, cluster=str(cluster))
    found = paired_difference(*metrics)
    assert found.value == pytest.approx(metrics[1].value - metrics[0].value)
    assert found.low < found.value < found.high
    assert found.p < 0.01
    assert paired_difference(metrics[0], metrics[0]).p == 1
