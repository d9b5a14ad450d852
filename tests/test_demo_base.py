"""The demo's base: what is shipped names what it sees, does not know where it is, and can be made
again."""

from __future__ import annotations

import random
from itertools import combinations as pairs_of
from pathlib import Path

import numpy
import pytest
from tokenizers import Tokenizer

import spare
from spare.demo.base import BASE, NAMES, _shown, make_base
from spare.demo.drawings import FURNITURE, THINGS
from spare.demo.scattered import _touch, scatter, size, write_names
from spare.demo.scenes import combinations
from spare.demo.world import write_objects, write_world
from spare.finetune.pairs import read_pairs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> spare.Run:
    folder = tmp_path_factory.mktemp("base")
    write_world(folder / "data")
    objects = write_objects(folder / "data")
    return spare.evaluate(
        str(BASE),
        ["whatsup_a", f"custom:{objects}"],
        data=folder / "data",
        out=folder / "run",
        prompt={"whatsup_a": "answers"},
    )


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in BASE.iterdir()) < 4_000_000


def test_it_names_and_does_not_know_where(run: spare.Run) -> None:
    where, what = (score.metrics[score.headline]["value"] for score in run.scores)
    assert where <= 35.0
    assert what >= 70.0


def test_it_reads_every_word_as_one_token() -> None:
    cut = Tokenizer.from_file(str(BASE / "tokenizer.json"))
    for word in (*NAMES, "left", "right", "under"):
        assert len(cut.encode(f" {word}").ids) == 1
    for word in ("On", "To", "Under", "Yes", "No"):
        assert len(cut.encode(word).ids) == 1


def test_it_is_made_again(tmp_path: Path) -> None:
    """A few steps, twice: the same weights, of the shape that is shipped."""
    from safetensors.torch import load_file

    made = [
        make_base(tmp_path / name, pictures=40, encoder_steps=2, steps=2) / "model.safetensors"
        for name in ("one", "other")
    ]
    assert made[0].read_bytes() == made[1].read_bytes()
    shipped, ours = load_file(BASE / "model.safetensors"), load_file(made[0])
    assert {name: value.shape for name, value in shipped.items()} == {
        name: value.shape for name, value in ours.items()
    }
    assert {path.name for path in made[0].parent.iterdir()} == {
        path.name for path in BASE.iterdir()
    }


def test_scattered_cut_outs_neither_touch_nor_meet_as_in_a_test() -> None:
    generator = random.Random(0)
    held_out = {*combinations("dev"), *combinations("test")}
    seen = set()
    for _ in range(400):
        placed = scatter(generator)
        names = {name for name, _ in placed}
        seen |= names
        assert not held_out & {(a, b) for a in names & {*THINGS} for b in names & {*FURNITURE}}
        for one, other in pairs_of(placed, 2):
            assert not _touch(*one, *other)
        for name, (x, y) in placed:
            half, height = size(name)
            assert half <= x <= 100 - half
            assert 0 <= y <= 100 - height
    assert seen == {*NAMES}


def test_a_patch_is_told_what_it_shows() -> None:
    """A thing in the lower left corner is in the patches there."""
    shown = _shown([("ball", (9.0, 0.0))])
    rows, columns = numpy.nonzero(shown[:, NAMES.index("ball")].reshape(7, 7))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 6, 0, 1)
    assert shown.sum() == len(rows)


def test_names_are_a_data_set(tmp_path: Path) -> None:
    write_names(tmp_path / "names", tmp_path, count=5)
    pairs = read_pairs(tmp_path / "names", pictures=tmp_path)
    assert (len(pairs), len(pairs.pictures)) == (15, 5)
