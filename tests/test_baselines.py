"""What a model must beat."""

from __future__ import annotations

import random
from collections import Counter
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.errors import ModelError
from spare.harness.models import load_model
from spare.harness.models.baselines import Majority
from spare.harness.models.types import Model, Request
from spare.tasks.types import Reply, Sample

Normalisation = Literal["sum", "mean", "character"]
OPTIONS = {"A": "left", "B": "right", "D": "on top"}


def answers(model: Model, requests: list[Request]) -> dict[str, Reply]:
    responses = list(model.answer(requests))
    assert len(responses) == len(requests)
    return {response.key: response.reply for response in responses}


def ask(count: int, rank: bool = False) -> list[Request]:
    return [Request(f"q{number}", ("?",), OPTIONS, rank) for number in range(count)]


def best(reply: Reply) -> str:
    assert reply.likelihoods is not None
    found = reply.likelihoods
    return max(found, key=lambda label: found[label].total)


@pytest.mark.parametrize("rank", [False, True])
def test_random_is_uniform(rank: bool) -> None:
    """Pearson's statistic over 3 options of 3,000 questions stays below 20.5 (p > 0.00004)."""
    replies = answers(load_model("random"), ask(3000, rank)).values()
    counts = Counter(best(reply) if rank else reply.text for reply in replies)
    assert set(counts) == set(OPTIONS)
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 20.5


@pytest.mark.parametrize("rank", [False, True])
def test_random_hangs_on_seed_and_key_alone(rank: bool) -> None:
    requests = ask(50, rank)
    shuffled = random.Random(3).sample(requests, 40)
    first = answers(load_model("random"), requests)
    again = answers(load_model("random"), shuffled)
    assert again == {request.key: first[request.key] for request in shuffled}
    other = load_model("random", seed=1)
    assert answers(other, requests) != first
    assert other.identity != load_model("random").identity


def test_random_says_nothing_to_an_open_question() -> None:
    (reply,) = answers(load_model("random"), [Request("1", ("How many?",))]).values()
    assert reply == Reply(finish="stop")


def test_majority_says_the_most_frequent_answer() -> None:
    model = Majority()
    model.study(Sample(str(n), ("?",), target, OPTIONS) for n, target in enumerate("ABBDDAB"))
    assert {reply.text for reply in answers(model, ask(5)).values()} == {"B"}
    model.study([Sample("1", ("?",), "42")])  # the next benchmark
    assert {reply.text for reply in answers(model, ask(5)).values()} == {"42"}


@given(st.lists(st.sampled_from("ABD"), min_size=1), st.randoms())
def test_majority_does_not_hang_on_order(targets: list[str], chance: random.Random) -> None:
    samples = [Sample(str(n), ("?",), target, OPTIONS) for n, target in enumerate(targets)]
    one, two = Majority(), Majority()
    one.study(samples)
    chance.shuffle(samples)
    two.study(samples)
    assert answers(one, ask(1)) == answers(two, ask(1))


def test_majority_ranks_by_text_since_labels_are_not_shown() -> None:
    """In What's Up, the right caption is always the first; nobody who ranks captions can know."""
    model = Majority()
    texts = ["left", "right", "right", "on top"]
    model.study(
        Sample(str(n), ("?",), "A", {"A": text, "B": "other", "C": "left"}, rank=True)
        for n, text in enumerate(texts)
    )
    assert {best(reply) for reply in answers(model, ask(3, rank=True)).values()} == {"B"}
    request = Request("1", ("?",), {"A": "under", "B": "above"}, rank=True)
    (reply,) = answers(model, [request]).values()
    assert reply.likelihoods is not None
    assert len({likelihood.total for likelihood in reply.likelihoods.values()}) == 1


def test_majority_must_study_first() -> None:
    with pytest.raises(ModelError, match="must study"):
        answers(load_model("majority"), ask(1))


@pytest.mark.parametrize("engine", ["random", "majority"])
def test_baselines_have_no_weights(engine: str) -> None:
    with pytest.raises(ModelError, match="no weights to put an adapter on"):
        load_model(engine, adapter="somewhere")
    with pytest.raises(ModelError, match="takes no name"):
        load_model(f"{engine}:something")
    assert load_model(f"{engine}:").identity == load_model(engine).identity


@pytest.mark.parametrize("normalisation", get_args(Normalisation))
def test_a_random_ranking_is_uniform_however_it_is_normalised(
    normalisation: Normalisation,
) -> None:
    """Options of very different lengths; Pearson's statistic as above."""
    options = {"A": "on", "B": "to the right of it", "C": "under the table " * 20}
    requests = [Request(f"q{number}", ("?",), options, rank=True) for number in range(3000)]
    counts: Counter[str] = Counter()
    for reply in answers(load_model("random"), requests).values():
        assert reply.likelihoods is not None
        found = reply.likelihoods
        counts[max(found, key=lambda label: found[label].by(normalisation))] += 1
    assert sum((counts[label] - 1000) ** 2 / 1000 for label in options) < 20.5


def test_majority_ties_however_long_the_options_are() -> None:
    model = Majority()
    model.study([Sample("1", ("?",), "A", {"A": "left", "B": "right"}, rank=True)])
    request = Request("1", ("?",), {"A": "on", "B": "on the other side of"}, rank=True)
    (reply,) = answers(model, [request]).values()
    assert reply.likelihoods is not None
    for normalisation in get_args(Normalisation):
        assert len({one.by(normalisation) for one in reply.likelihoods.values()}) == 1
