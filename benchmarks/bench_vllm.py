"""The engine vllm beside the same requests straight into vLLM's `LLM.generate`, in one run.

    .venv-vllm/bin/python benchmarks/bench_vllm.py

One vLLM with a tiny Qwen2-VL (4 layers of 256, random weights) answers both ways in turns, its
caches emptied before each; medians over the rounds, and their ratio. Straight in means: pictures
opened, prompts cut to tokens, one call of `generate` with everything. Ours starts from requests,
and looks at every picture's digest and pixels on the way. Rankings are beside `prompt_logprobs`,
one prompt per option.

Promised: written replies take at most 5 % longer than straight in.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
ROUNDS = 3


@dataclass(frozen=True)
class Case:
    name: str
    pictures: int
    questions: int
    tokens: int
    rank: bool = False


CASES = (
    Case("texts, 16 tokens written", 0, 128, 16),
    Case("4 questions per picture, 8 tokens written", 16, 4, 8),
    Case("1 question per picture, 8 tokens written", 48, 1, 8),
    Case("4 captions per picture, ranked", 8, 1, 0, rank=True),
)
CAPTIONS = {
    letter: f"A mug {place} a table."
    for letter, place in zip("ABCD", ("on", "under", "left of", "right of"), strict=True)
}


def write_pictures(folder: Path, case: Case) -> list[Path]:
    """JPEG files that look like photographs to a decoder: smooth shapes and some noise."""
    from PIL import Image

    paths = []
    for number in range(case.pictures):
        small = Image.frombytes("RGB", (32, 24), random.Random(number).randbytes(32 * 24 * 3))
        noise = Image.effect_noise((448, 336), 30).convert("RGB")
        image = small.resize((448, 336), Image.Resampling.BICUBIC)
        paths.append(folder / f"{number}.jpg")
        Image.blend(image, noise, 0.3).save(paths[-1], quality=92)
    return paths


def write_requests(case: Case, pictures: Sequence[Path]) -> list[Any]:
    from spare.harness.models.types import Request
    from spare.images import Picture

    seen: list[tuple[Picture, ...]] = [(Picture(path, path.name),) for path in pictures] or [()]
    requests = []
    for shown in seen:
        for number in range(case.questions):
            key = f"{len(requests)}"
            text = f"Is thing {number} of {key} on the left of the table?"
            options = CAPTIONS if case.rank else {}
            requests.append(Request(key, (*shown, text), options, case.rank, case.tokens))
    return requests


def ours(model: Any, requests: Sequence[Any]) -> Callable[[], None]:
    def run() -> None:
        responses = list(model.answer(iter(requests)))
        assert len(responses) == len(requests)
        assert not any(response.reply.error for response in responses)

    return run


def bare(model: Any, requests: Sequence[Any]) -> Callable[[], None]:
    """One call of vLLM's own `generate` on the same prompts."""
    from PIL import Image
    from vllm import SamplingParams

    preparer = model._preparer.preparer
    tokenizer = preparer.processor.tokenizer

    def run() -> None:
        prompts: list[dict[str, Any]] = []
        for request in requests:
            paths = [part.path for part in request.parts if not isinstance(part, str)]
            images = [Image.open(path).convert("RGB") for path in paths]
            tokens = tokenizer(preparer.spell(request, images))["input_ids"]
            shown = {"multi_modal_data": {"image": images}} if images else {}
            for text in request.options.values() if request.rank else [""]:
                more = tokenizer(text)["input_ids"]
                prompts.append({"prompt_token_ids": tokens + more, **shown})
        settings: dict[str, Any] = {"max_tokens": requests[0].max_new_tokens}
        if requests[0].rank:
            settings = {"max_tokens": 1, "prompt_logprobs": 0}
        parameters = SamplingParams(temperature=0, **settings)
        assert len(model._llm.generate(prompts, parameters, use_tqdm=False)) == len(prompts)

    return run


def measure(model: Any, contenders: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Median seconds of each; one round to warm up, then in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS + 1):
        for name, run in contenders.items():
            model._llm.reset_prefix_cache()
            model._engine.reset_mm_cache()
            model._engine.reset_encoder_cache()
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    import spare
    from spare.demo.checkpoint import build_checkpoint

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = build_checkpoint(folder / "checkpoint", "qwen2_vl", hidden=256, layers=4)
        model = spare.load_model(f"vllm:{checkpoint}")
        for case in CASES:
            requests = write_requests(case, write_pictures(folder, case))
            found = measure(
                model, {"spare": ours(model, requests), "straight": bare(model, requests)}
            )
            paces = ", ".join(
                f"{key} {len(requests) / value:.1f}/s" for key, value in found.items()
            )
            note = "" if case.rank else " (promised: at most 1.05)"
            ratio = found["spare"] / found["straight"]
            print(f"{case.name} ({len(requests)} questions): {paces}")
            print(f"  time of spare / straight {ratio:.2f}{note}", flush=True)


if __name__ == "__main__":
    main()
