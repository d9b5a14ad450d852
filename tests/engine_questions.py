"""Pictures and questions for the tests of the engine, and a plain reference to compare it with."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spare.harness.models.types import Model, Request
from spare.images import Picture, open_picture
from spare.tasks.types import Part, Reply
from spare.torchvision_repair import repair_torchvision

SIZES = ((112, 84), (84, 112), (160, 120), (56, 56), (61, 143))
WORDS = ("left", "right", "mug", "table", "bowl", "chair", "on", "under", "lamp", "where", "True")
OPTIONS = {"A": "on the left of the table", "B": "under it", "D": "A mug is behind the lamp."}


def draw_pictures(folder: Path, count: int = 6) -> list[Picture]:
    """Pictures of several sizes, each with boxes of its own in it."""
    from PIL import Image, ImageDraw

    chance = random.Random(0)

    def colour() -> tuple[int, int, int]:
        return chance.randrange(256), chance.randrange(256), chance.randrange(256)

    pictures = []
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        image = Image.new("RGB", (width, height), colour())
        for _ in range(4):
            x, y = chance.randrange(width - 20), chance.randrange(height - 20)
            ImageDraw.Draw(image).rectangle((x, y, x + 40, y + 25), fill=colour())
        path = folder / f"{number}.png"
        image.save(path)
        pictures.append(Picture(path, path.name))
    return pictures


def ask(pictures: list[Picture], seed: int = 0, rank: bool = False, each: int = 5) -> list[Request]:
    """1 to `each` questions about every picture, some about two pictures, some about none, bounded
    at 3 or 6 tokens; shuffled."""
    chance = random.Random(seed)
    requests: list[Request] = []

    def add(*parts: str | Picture) -> None:
        words = " ".join(chance.choice(WORDS) for _ in range(chance.randrange(1, 12)))
        bound = 3 if len(requests) % 3 == 0 else 6
        options = OPTIONS if rank else {}
        requests.append(Request(f"q{len(requests)}", (*parts, words), options, rank, bound))

    for number, picture in enumerate(pictures):
        for _ in range(1 + number % each):
            add(picture)
    for _ in range(2):
        add(pictures[0], "and then", pictures[1])
        add("First of all,", pictures[2])
        add()
    chance.shuffle(requests)
    return requests


def answers(model: Model, requests: Iterable[Request]) -> dict[str, Reply]:
    """Replies by key; asserts that every request got exactly one."""
    requests = list(requests)
    responses = list(model.answer(iter(requests)))
    assert sorted(response.key for response in responses) == sorted(r.key for r in requests)
    return {response.key: response.reply for response in responses}


class Reference:
    """The checkpoint used as its documentation says: one question at a time, nothing shared."""

    def __init__(self, folder: Path) -> None:
        repair_torchvision()
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.network: Any = AutoModelForImageTextToText.from_pretrained(folder).eval()
        self.processor: Any = AutoProcessor.from_pretrained(folder)

    def inputs(self, parts: tuple[Part, ...]) -> Mapping[str, Any]:
        content = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image", "image": open_picture(part)}
            for part in parts
        ]
        inputs: Mapping[str, Any] = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        )
        return inputs

    def write(self, request: Request) -> str:
        """What is written, up to the token that ends it."""
        return self._written(request.parts, request.max_new_tokens)

    @functools.cache  # noqa: B019 - lives as long as the tests of one module
    def _written(self, parts: tuple[Part, ...], bound: int) -> str:
        inputs = self.inputs(parts)
        tokens = self.network.generate(
            **inputs,
            max_new_tokens=bound,
            do_sample=False,
            repetition_penalty=1.0,
        )
        written = tokens[0, inputs["input_ids"].shape[1] :].tolist()
        ends = self.network.generation_config.eos_token_id
        if written[-1] in (ends if isinstance(ends, list) else [ends]):
            written.pop()
        text: str = self.processor.tokenizer.decode(written, skip_special_tokens=True)
        return text

    def likelihood(self, request: Request, label: str) -> float:
        """Sum of log-probabilities of an option's tokens, in one forward pass."""
        return self._likelihood(request.parts, request.options[label])

    @functools.cache  # noqa: B019
    def _likelihood(self, parts: tuple[Part, ...], text: str) -> float:
        import torch

        inputs = dict(self.inputs(parts))
        option = self.processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        option = option["input_ids"]
        start = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], option], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if "mm_token_type_ids" in inputs:
            more = torch.zeros_like(option, dtype=inputs["mm_token_type_ids"].dtype)
            inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], more], dim=1)
        with torch.inference_mode():
            odds = self.network(**inputs).logits[0].log_softmax(dim=-1)
        return sum(
            odds[start + place - 1, token].item() for place, token in enumerate(option[0].tolist())
        )
