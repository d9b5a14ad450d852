"""Summaries that several benchmarks share. A benchmark with its own arithmetic has it in its own
file."""

from __future__ import annotations

from collections.abc import Iterable

from spare.tasks.types import Judged, Metric


def accuracy(judged: Iterable[Judged], rules: str) -> list[Metric]:
    """Share of right samples, in per cent, over all samples."""
    metric = Metric("accuracy")
    for one in judged:
        metric.add(one.verdict.score, cluster=one.cluster or one.id)
    return [metric]
