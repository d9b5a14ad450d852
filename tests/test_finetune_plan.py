"""Which pairs come when: as many as a step is to have, as often as they weigh, in what fits."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spare.errors import SpareError
from spare.finetune.plan import Material, Plan, plan
from spare.finetune.recipes import Recipe, load_recipe


def _recipe(**values: Any) -> Recipe:
    return load_recipe("demo", {"batch": 8, "batch_tokens": 300, "epochs": 1, **values})


def _material(pictures: int = 20, each: int = 5, weight: float = 1.0) -> Material:
    count = pictures * each
    return Material(
        picture_of=[pair // each for pair in range(count)],
        weights=[weight] * count,
        asked=[10 + pair % 7 for pair in range(count)],
        beginnings=[30 + 5 * (picture % 3) for picture in range(pictures)],
    )


def _drawn(found: Plan, data: int = 0) -> Counter[int]:
    return Counter(
        pair
        for step in found.steps
        for batch in step
        for piece in batch
        if piece.data == data
        for pair in piece.pairs
    )


@settings(max_examples=30)
@given(
    batch=st.integers(1, 10).map(lambda half: 2 * half),
    tokens=st.integers(60, 600),
    layout=st.sampled_from(["shared", "pairs"]),
    devices=st.sampled_from([1, 2]),
    seed=st.integers(0, 5),
)
def test_steps_have_their_pairs_and_batches_fit(
    batch: int, tokens: int, layout: str, devices: int, seed: int
) -> None:
    material = _material()
    found = plan(
        [material], _recipe(batch=batch, batch_tokens=tokens, layout=layout, seed=seed), devices
    )
    assert {len(step) for step in found.steps} == {found.accumulation * devices}
    for step in found.steps:
        assert sum(len(piece.pairs) for part in step for piece in part) == batch
        for part in step:
            lengths = [
                material.beginnings[piece.picture]
                + sum(material.asked[pair] for pair in piece.pairs)
                for piece in part
            ]
            assert len(part) * max(lengths) <= found.tokens <= tokens
            assert all(
                material.picture_of[pair] == piece.picture for piece in part for pair in piece.pairs
            )
    # Every pair once, and what fills the last step up.
    times = _drawn(found)
    assert set(times) == set(range(100))
    assert sum(times.values()) < 100 + batch


def test_devices_change_nothing_but_the_spread() -> None:
    material = _material()

    def content(devices: int) -> list[list[int]]:
        found = plan([material], _recipe(), devices)
        return [
            sorted(pair for batch in step for piece in batch for pair in piece.pairs)
            for step in found.steps
        ]

    assert content(1) == content(2) == content(4)


def test_the_order_is_the_seeds_and_another_each_epoch() -> None:
    material = _material()

    def order(seed: int) -> list[Any]:
        return list(plan([material], _recipe(epochs=2, seed=seed, batch=10), 1).steps)

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1)[:10] != order(1)[10:]


def test_a_pictures_pairs_are_together_in_the_shared_layout_alone() -> None:
    shared = plan([_material()], _recipe(batch=10, batch_tokens=1000), 1)
    pieces = [piece for step in shared.steps for batch in step for piece in batch]
    assert sum(len(piece.pairs) == 5 for piece in pieces) == len(pieces) == 20
    alone = plan([_material()], _recipe(batch=10, layout="pairs"), 1)
    assert all(len(piece.pairs) == 1 for step in alone.steps for part in step for piece in part)
    pictures = [{piece.picture for batch in step for piece in batch} for step in alone.steps]
    assert max(map(len, pictures)) > 5


def test_pairs_come_as_often_as_they_weigh() -> None:
    material = _material(pictures=200)
    weights = [(0.25, 1.0, 2.5)[pair % 3] for pair in range(1000)]
    material = Material(material.picture_of, weights, material.asked, material.beginnings)
    times = _drawn(plan([material], _recipe(epochs=4), 1))
    for rest, weight in enumerate((0.25, 1.0, 2.5)):
        mean = sum(times[pair] for pair in range(rest, 1000, 3)) / 333 / 4
        assert mean == pytest.approx(weight, abs=0.1)
    even = _drawn(plan([material], _recipe(balanced=False), 1))
    assert max(even.values()) <= 2
    assert set(even) == set(range(1000))
    # Copies of a pair never meet in a sequence.
    found = plan([material], _recipe(batch_tokens=1000), 1)
    assert all(
        len(set(piece.pairs)) == len(piece.pairs)
        for step in found.steps
        for batch in step
        for piece in batch
    )


def test_a_share_of_general_pairs() -> None:
    found = plan([_material(), _material(pictures=3)], _recipe(general_share=0.2), 1)
    mine, general = _drawn(found), _drawn(found, 1)
    assert sum(general.values()) / (sum(mine.values()) + sum(general.values())) == pytest.approx(
        0.2, abs=0.03
    )
    assert max(general.values()) - min(general[pair] for pair in range(15)) <= 1


def test_pairs_whose_picture_is_missing_are_left_out() -> None:
    material = _material()
    used = [-1 if picture == 3 else picture for picture in material.picture_of]
    times = _drawn(
        plan([Material(used, material.weights, material.asked, material.beginnings)], _recipe(), 1)
    )
    assert set(times) == {pair for pair in range(100) if pair // 5 != 3}
    with pytest.raises(SpareError, match="No pair is left"):
        plan(
            [Material([-1] * 100, material.weights, material.asked, material.beginnings)],
            _recipe(),
            1,
        )


def test_a_step_too_small_for_the_devices_is_refused() -> None:
    with pytest.raises(SpareError, match="a multiple of the number of devices"):
        plan([_material()], _recipe(batch=2), 4)
