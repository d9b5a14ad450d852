"""Recipes: the paper's values, typed, each of which can be set otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from spare.errors import SpareError
from spare.finetune.recipes import ALIASES, TYPES, load_recipe, recipe_names


def test_the_papers_values() -> None:
    """Tables 4 and 5 of arXiv 2504.20648."""
    small, large = load_recipe("spare-2b"), load_recipe("spare-7b")
    assert (small.weights, small.lr, small.optimiser) == ("all", 3e-5, "adamw-8bit")
    assert (large.weights, large.lr, large.optimiser) == ("lora", 1e-4, "adamw")
    assert (small.base, large.base) == ("Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen2-VL-7B-Instruct")
    for recipe in (small, large):
        assert (recipe.batch, recipe.epochs, recipe.warmup_steps) == (64, 2.0, 1000)
        assert (recipe.schedule, recipe.dropout, recipe.clip) == ("cosine", 0.1, 1.0)
        assert recipe.precision == "bf16"


def test_every_recipe_loads() -> None:
    assert recipe_names() == ["demo", "spare-2b", "spare-7b"]
    for name in recipe_names():
        assert load_recipe(name).name == name


def test_values_are_set_as_their_keys_take_them() -> None:
    recipe = load_recipe(
        "spare-2b", {"lr": "1e-5", "batch": "32", "balanced": "false", "schedule": "linear"}
    )
    assert (recipe.lr, recipe.batch, recipe.balanced) == (1e-5, 32, False)
    assert recipe.schedule == "linear"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("warmup_step", "10", "did you mean warmup_steps?"),
        ("optimizer", "adamw", "did you mean optimiser?"),
        ("batch", "many", "takes a whole number"),
        ("batch", "2.5", "takes a whole number"),
        ("lr", "fast", "takes a number"),
        ("lr", "0", "cannot be 0.0"),
        ("lr", "nan", "cannot be nan"),
        ("lr", "1e39", "cannot be 1e"),
        ("epochs", "-1", "cannot be -1.0"),
        ("balanced", "maybe", "takes true or false"),
        ("weights", "loar", "did you mean lora?"),
        ("dropout", "1", "a share below 1"),
        ("beta2", "1", "a share below 1"),
        ("bad_pictures", "1.5", "a share up to 1"),
        ("learning_rate", "1", "did you mean lr?"),
        ("batch_size", "1", "did you mean batch?"),
        ("num_train_epochs", "1", "did you mean epochs?"),
        ("max_length", "1", "did you mean batch_tokens?"),
        ("lora_modules", "(", "no regular expression"),
    ],
)
def test_what_does_not_fit_is_refused(key: str, value: str, said: str) -> None:
    with pytest.raises(SpareError, match=said.replace("?", r"\?").replace("(", r"\(")):
        load_recipe("spare-2b", {key: value})


def test_what_others_call_a_key_is_known() -> None:
    assert set(ALIASES.values()) <= set(TYPES)
    assert not set(ALIASES) & set(TYPES)


def test_a_refusal_fits_the_screen() -> None:
    with pytest.raises(SpareError) as near:
        load_recipe("demo", {"max_stepz": "1"})
    assert str(near.value) == "A recipe has no 'max_stepz' (did you mean max_steps?)."
    with pytest.raises(SpareError) as far:
        load_recipe("demo", {"qqq": "1"})
    assert "lora_modules" in str(far.value)
    assert max(map(len, str(far.value).splitlines())) <= 100


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = (Path(__file__).parent.parent / "spare/finetune/recipes/demo.toml").read_text("utf-8")
    path.write_text(text.replace("batch = 44", "batch = 8"), "utf-8")
    assert (load_recipe(str(path)).batch, load_recipe(str(path)).name) == (8, "mine")
    path.write_text("lr = 1e-3\n", "utf-8")
    with pytest.raises(SpareError, match="does not say 'weights'"):
        load_recipe(str(path))
    with pytest.raises(SpareError, match=r"no recipe spare-2 \(did you mean spare-2b\?\)"):
        load_recipe("spare-2")
