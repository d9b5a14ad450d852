"""Estimates: what is known in closed form, and coverage by simulation."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.harness.statistics import estimate
from spare.tasks.types import Metric


def metric_of(values: list[tuple[float, str]], **options: object) -> Metric:
    metric = Metric("accuracy", **options)  # type: ignore[arg-type]
    for value, cluster in values:
        metric.add(value, cluster=cluster)
    return metric


def test_independent_samples_have_the_textbook_standard_error() -> None:
    values = [(float(i < 30), str(i)) for i in range(100)]
    result = estimate(metric_of(values))
    assert result.value == pytest.approx(30.0)
    assert result.n == result.clusters == 100
    assert result.stderr == pytest.approx(100 * math.sqrt(0.3 * 0.7 / 99))


def test_interval_is_wilsons_for_many_independent_samples() -> None:
    from scipy.stats import binomtest

    result = estimate(metric_of([(float(i < 1200), str(i)) for i in range(4000)]))
    wilson = binomtest(1200, 4000).proportion_ci(method="wilson")
    assert result.low == pytest.approx(100 * wilson.low, abs=0.01)
    assert result.high == pytest.approx(100 * wilson.high, abs=0.01)


def test_copies_of_a_sample_add_no_certainty() -> None:
    once = [(float(i % 3 == 0), str(i)) for i in range(60)]
    four_times = [(value, cluster) for value, cluster in once for _ in range(4)]
    assert estimate(metric_of(four_times)).stderr == pytest.approx(estimate(metric_of(once)).stderr)


def test_all_right_is_not_certain() -> None:
    result = estimate(metric_of([(1.0, str(i)) for i in range(20)]))
    assert result.value == 100.0
    assert result.high == 100.0
    assert result.low is not None
    assert 70.0 < result.low < 95.0


def test_one_cluster_has_no_interval() -> None:
    result = estimate(metric_of([(1.0, "one"), (0.0, "one")]))
    assert (result.value, result.stderr, result.low, result.high) == (50.0, None, None, None)


def test_a_unit_without_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="cluster"):
        Metric("accuracy").add(1.0, cluster="")


def test_macro_average_weighs_strata_alike_and_total_adds_them_up() -> None:
    macro, total = Metric("macro"), Metric("points", total=True)
    for metric in (macro, total):
        for i in range(90):
            metric.add(1.0, cluster=f"a{i}", stratum="a")
        for i in range(10):
            metric.add(float(i < 5), cluster=f"b{i}", stratum="b")
    assert macro.value == pytest.approx(75.0)
    assert total.value == pytest.approx(150.0)
    # Only stratum b varies: its standard error is halved by the average and kept by the total.
    expected = math.sqrt(100 / 99 * 10 * 0.25) / 10
    assert estimate(macro).stderr == pytest.approx(100 * expected / 2)
    assert estimate(total).stderr == pytest.approx(100 * expected)


def test_a_ratio_of_sums_is_f1() -> None:
    # 3 true positives, 1 false positive, 2 false negatives: F1 = 6 / 9.
    metric = Metric("f1")
    for number, (true_positive, wrong) in enumerate([(1, 0)] * 3 + [(0, 1)] * 3):
        metric.add(2 * true_positive, 2 * true_positive + wrong, cluster=str(number))
    assert estimate(metric).value == pytest.approx(100 * 6 / 9)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=60))
def test_value_lies_in_its_interval_and_order_is_nothing(draws: list[tuple[bool, int]]) -> None:
    values = [(float(right), str(cluster)) for right, cluster in draws]
    result = estimate(metric_of(values))
    again = estimate(metric_of(values[::-1]))
    assert again.value == pytest.approx(result.value)
    if result.low is None or result.high is None:
        assert result.clusters == 1
        return
    assert again.low == pytest.approx(result.low, abs=1e-9)
    assert 0.0 <= result.low <= result.value <= result.high <= 100.0


@pytest.mark.parametrize(
    ("clusters", "size", "share", "spread"),
    [(150, 1, 0.6, 0.0), (150, 1, 0.95, 0.0), (100, 4, 0.6, 0.25), (60, 4, 0.5, 0.5)],
)
def test_ninety_five_per_cent_of_intervals_hold_the_truth(
    clusters: int, size: int, share: float, spread: float
) -> None:
    """Samples of a cluster share a luck of +- `spread`; the truth stays `share`."""
    generator = random.Random(0)
    held = 0
    rounds = 1000
    for _ in range(rounds):
        values = []
        for cluster in range(clusters):
            luck = share + generator.choice((-spread, spread)) * min(share, 1 - share) / 0.5
            values += [(float(generator.random() < luck), str(cluster)) for _ in range(size)]
        result = estimate(metric_of(values))
        assert result.low is not None
        assert result.high is not None
        held += result.low <= 100 * share <= result.high
    assert 0.93 <= held / rounds <= 0.97


def test_macro_intervals_stay_inside_and_hold_the_truth() -> None:
    generator = random.Random(1)
    rates = (0.98, 0.97, 0.99, 0.95)
    truth = 100 * sum(rates) / len(rates)
    held = 0
    for _ in range(1000):
        metric = Metric("macro")
        for stratum, rate in enumerate(rates):
            for number in range(30):
                right = float(generator.random() < rate)
                metric.add(right, cluster=f"{stratum}-{number}", stratum=str(stratum))
        result = estimate(metric)
        assert result.low is not None
        assert result.high is not None
        assert 0.0 <= result.low <= result.value <= result.high <= 100.0
        held += result.low <= truth <= result.high
    assert 0.93 <= held / 1000 <= 0.98


def test_clusters_that_are_all_alike_leave_a_width() -> None:
    """Rounding once made an effective sample of 10^28 of two clusters."""
    values = [(float(number == 0), cluster) for cluster in "ab" for number in range(49)]
    result = estimate(metric_of(values))
    assert result.low is not None
    assert result.high is not None
    assert result.high - result.low > 1.0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_the_interval_of_a_total_stays_inside_what_it_can_be(
    right: list[tuple[bool, bool]],
) -> None:
    """MME's points: accuracy and accuracy+ of sub-tasks, added up."""
    metric = Metric("points", total=True)
    for number, scores in enumerate(right):
        for stratum, score in zip(("accuracy", "accuracy_plus"), scores, strict=True):
            metric.add(float(score), cluster=str(number), stratum=stratum)
    found = estimate(metric)
    assert found.low is not None
    assert found.high is not None
    assert 0.0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 200.0 + 1e-9
