"""What is learnt, token by token, and that a picture's pairs in one sequence are as if alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_questions import draw_pictures

from spare.demo.checkpoint import Family, build_checkpoint
from spare.errors import SpareError
from spare.finetune.branches import refuses_branches, see_branches
from spare.finetune.sequences import IGNORED, Encoder, collate
from spare.harness.models import Options
from spare.harness.models.loading import find_checkpoint, load_network, load_processor
from spare.harness.models.prompts import Preparer, context_of
from spare.harness.models.transformers import make_greedy, picture_tokens
from spare.harness.models.types import Request
from spare.images import Picture

FAMILIES: tuple[Family, ...] = ("llava", "qwen2_vl", "qwen2_5_vl")
PAIRS = [
    ("Where is the mug?", "on the left of the table"),
    ("Is it a bowl? Answer with yes or no.", "no"),
    ("What?", "A lamp under a chair."),
    ("Where is the mug?", "on the left of the table"),
]


class Tiny:
    """A tiny checkpoint and what makes sequences for it."""

    def __init__(self, folder: Path, family: Family, template: str = "") -> None:
        self.family = family
        build_checkpoint(folder, family)
        if template:
            (folder / "chat_template.jinja").write_text(template, "utf-8")
        checkpoint = find_checkpoint(str(folder))
        self.network = load_network(checkpoint, Options(dtype="float32", device="cpu"))
        self.processor = load_processor(checkpoint, Options())
        ends, _ = make_greedy(self.network, self.processor.tokenizer)
        self.signs = picture_tokens(self.network.config, self.processor)
        self.preparer = Preparer(self.processor, self.signs, context_of(self.network.config), None)
        self.encoder = Encoder(self.preparer, ends)

    def learnt(self, sequence: Any) -> list[str]:
        """Runs of tokens that are learnt, as text."""
        runs: list[list[int]] = [[]]
        for token, label in zip(
            sequence.tokens["input_ids"].tolist(), sequence.labels.tolist(), strict=True
        ):
            assert label in (token, IGNORED)
            assert label == IGNORED or token not in self.signs
            if label == IGNORED:
                runs += [[]] if runs[-1] else []
            else:
                runs[-1].append(token)
        return [self.processor.tokenizer.decode(run) for run in runs if run]

    def batch(self, pictures: list[Picture], shared: bool) -> dict[str, Any]:
        """Pairs about each picture, one fewer for each than for the one before."""
        sequences = []
        for number, picture in enumerate(pictures):
            sequences += self.encoder.encode(picture, PAIRS[number:], shared)
        return collate(sequences, self.processor.tokenizer.pad_token_id, shared)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    return draw_pictures(tmp_path_factory.mktemp("pictures"), 3)


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("base"), request.param)


def test_answers_and_ends_of_turns_are_learnt_and_nothing_else(
    tiny: Tiny, pictures: list[Picture]
) -> None:
    alone = tiny.encoder.encode(pictures[0], PAIRS, False)
    for sequence, (_, answer) in zip(alone, PAIRS, strict=True):
        assert tiny.learnt(sequence) == [f"{answer}<|im_end|>"]
    (together,) = tiny.encoder.encode(pictures[0], PAIRS, True)
    assert tiny.learnt(together) == [f"{answer}<|im_end|>" for _, answer in PAIRS]


def test_prompts_are_the_evaluations(tiny: Tiny, pictures: list[Picture]) -> None:
    requests = [Request(question, (pictures[1], question)) for question, _ in PAIRS]
    asked = [
        tiny.preparer.prompts([request], tiny.preparer.open(request))[0] for request in requests
    ]
    for sequence, prompt in zip(tiny.encoder.encode(pictures[1], PAIRS, False), asked, strict=True):
        assert (
            sequence.tokens["input_ids"][: prompt.tokens].tolist()
            == prompt.aligned["input_ids"][0].tolist()
        )
        assert (sequence.labels[: prompt.tokens] == IGNORED).all()


def test_a_picture_is_in_a_sequence_once(tiny: Tiny, pictures: list[Picture]) -> None:
    (together,) = tiny.encoder.encode(pictures[0], PAIRS, True)
    alone = tiny.encoder.encode(pictures[0], PAIRS, False)
    count = [
        sum(token in tiny.signs for token in one.tokens["input_ids"].tolist())
        for one in (together, *alone)
    ]
    assert len(set(count)) == 1
    assert count[0] > 3
    assert len(together) < sum(map(len, alone)) - (len(PAIRS) - 1) * count[0] + 1


def _gradients(network: Any, batch: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Loss per token that is learnt, and the gradient of it."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    odds = network(**inputs, use_cache=False).logits[:, :-1].log_softmax(-1)
    labels = batch["labels"][:, 1:]
    learnt = labels != IGNORED
    loss = -odds[learnt].gather(-1, labels[learnt][:, None]).mean()
    network.zero_grad()
    loss.backward()
    found = {
        name: weight.grad.clone()
        for name, weight in network.named_parameters()
        if weight.grad is not None
    }
    return loss.item(), found


def _furthest(left: dict[str, Any], right: dict[str, Any]) -> float:
    """Largest difference, as a share of the largest gradient."""
    largest = max(value.abs().max().item() for value in right.values())
    return max((left[name] - value).abs().max().item() for name, value in right.items()) / largest


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_gradients_are_those_of_pairs_alone(
    tiny: Tiny, pictures: list[Picture], attention: str
) -> None:
    network = tiny.network
    network.set_attn_implementation(attention)
    network.requires_grad_(True)
    see_branches(network)
    loss, gradients = _gradients(network, tiny.batch(pictures, True))
    expected_loss, expected = _gradients(network, tiny.batch(pictures, False))
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert set(gradients) == set(expected)
    assert any("vision" in name or "visual" in name for name in expected)
    assert _furthest(gradients, expected) < 1e-4
    # The same sequences with every pair in sight of those before it are something else.
    open_to_all = tiny.batch(pictures, True)
    open_to_all.pop("branches")
    open_to_all.pop("shifts")
    assert _furthest(_gradients(network, open_to_all)[1], expected) > 1e-2


def test_a_model_is_tried_before_it_gets_branches(tiny: Tiny, pictures: list[Picture]) -> None:
    network = tiny.network
    see_branches(network)
    together, alone = tiny.batch(pictures[:1], True), tiny.batch(pictures[:1], False)
    assert refuses_branches(network, together, alone) == ""
    together["shifts"] = 0 * together["shifts"]  # as a family would that counts for itself
    assert "differ by" in refuses_branches(network, together, alone)


def test_answers_with_signs_of_the_model_are_refused(tiny: Tiny, pictures: list[Picture]) -> None:
    with pytest.raises(SpareError, match="spells out"):
        tiny.encoder.encode(pictures[0], [("Where?", "there<|im_end|>")], True)


def _published(name: str) -> str:
    """A family's published chat template, as TRL ships it."""
    import trl

    folder = Path(str(trl.__file__)).parent / "chat_templates"
    return (folder / f"{name}.jinja").read_text("utf-8")


LLAVA_15 = (
    "{% for message in messages %}{{ message['role'].upper() + ': '}}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}<image>\n"
    "{% else %}{{ content['text'] + ' '}}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""LLaVA 1.5 has a space where its generation prompt has none, and nothing that ends a turn."""


@pytest.mark.parametrize(
    ("family", "template", "before", "after"),
    [
        ("qwen2_vl", "qwen2_5_vl", "<|im_start|>assistant\n", "<|im_end|>"),
        ("qwen2_5_vl", "qwen2_5_vl", "<|im_start|>assistant\n", "<|im_end|>"),
        ("llava", "llava_next", "[/INST]", "<|im_end|>"),
        ("llava", "llava_1_5", "ASSISTANT:", "<|im_end|>"),
    ],
)
def test_published_templates(
    tmp_path: Path,
    pictures: list[Picture],
    family: Family,
    template: str,
    before: str,
    after: str,
) -> None:
    text = LLAVA_15 if template == "llava_1_5" else _published(template)
    text = text.replace("</s>", "<|im_end|>")  # what ends a turn of the tiny tokenizer
    tiny = Tiny(tmp_path, family, text)
    for answer in ("left", "on the left of the table", "A"):
        (sequence,) = tiny.encoder.encode(pictures[0], [("Where is the mug?", answer)], True)
        space = " " if family == "llava" else ""
        assert tiny.learnt(sequence) == [f"{space}{answer}{after}"]
        whole = tiny.processor.tokenizer.decode(sequence.tokens["input_ids"])
        assert whole.endswith(f"{before}{space}{answer}{after}")
        # The same as the template writes it: to the end of the turn, if it has one.
        content: list[dict[str, Any]] = [{"type": "image"}]
        content.append({"type": "text", "text": "Where is the mug?"})
        said = [{"type": "text", "text": answer}]
        turns = [{"role": "user", "content": content}, {"role": "assistant", "content": said}]
        written = tiny.processor.apply_chat_template(turns, tokenize=False)
        sign = tiny.processor.image_token
        first, last = whole.index(sign), whole.rindex(sign) + len(sign)
        told = whole[:first] + sign + whole[last:]
        assert written.startswith(told.removesuffix(after))
