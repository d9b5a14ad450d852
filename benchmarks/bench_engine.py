"""The transformers engine beside lm-eval's `hf-multimodal` and beside the bare model, in one run.

    python benchmarks/bench_engine.py

The same tiny Qwen2-VL (6 layers of 384, random weights), pictures and questions for all, taken in
turns; medians over the rounds, and their ratios. One torch thread for all, because more of them
beside anything else make figures that mean nothing. What is ours is timed whole: `spare.evaluate`
reads the questions and pictures, asks, writes every reply down, judges and scores. lm-eval is timed
from picture files to texts, without its task layer; the bare model on inputs that lie ready.

Promised: four questions per picture at least 3 times lm-eval's pace; one question per picture never
slower, and at least 1.5 times with pictures of several megapixels, where decoding and resizing cost
as much as the model; at least 0.9 of the bare model.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
ROUNDS = 3
NEW_TOKENS = 4
BATCH = 8


@dataclass(frozen=True)
class Case:
    name: str
    pictures: int
    questions: int
    size: tuple[int, int]
    max_pixels: int | None
    promised: float


CASES = (
    Case("4 questions per picture, 448 x 336", 8, 4, (448, 336), None, 3.0),
    Case("1 question per picture, 448 x 336", 32, 1, (448, 336), None, 1.0),
    Case("1 question per picture, 6 megapixels", 24, 1, (3000, 2000), 224 * 224, 1.5),
)


def write_pictures(folder: Path, case: Case) -> list[Path]:
    """JPEG files that look like photographs to a decoder: smooth shapes and some noise."""
    from PIL import Image

    paths = []
    for number in range(case.pictures):
        generator = random.Random(number)
        small = Image.frombytes("RGB", (32, 24), generator.randbytes(32 * 24 * 3))
        noise = Image.effect_noise(case.size, 30).convert("RGB")
        image = Image.blend(small.resize(case.size, Image.Resampling.BICUBIC), noise, 0.3)
        paths.append(folder / f"{case.size[0]}-{number}.jpg")
        image.save(paths[-1], quality=92)
    return paths


def write_questions(folder: Path, case: Case, pictures: list[Path]) -> Path:
    words = ("mug", "book", "ball", "cup", "lamp", "plate")
    path = folder / "questions.jsonl"
    with path.open("w") as file:
        for number, picture in enumerate(pictures):
            for question in range(case.questions):
                text = f"Is the {words[question]} on the left of the {words[number % 6]}?"
                row = {"id": f"{number}-{question}", "image": picture.name, "question": text}
                file.write(json.dumps({**row, "options": ["yes", "no"], "answer": "A"}) + "\n")
    return path


def ours(model: Any, task: Any, folder: Path) -> Callable[[int], None]:
    """`spare.evaluate` from the files to the scores, with the model loaded."""
    import spare

    def run(turn: int) -> None:
        finished = spare.evaluate(model, [task], data=folder, out=folder / f"run{turn}")
        assert not finished.scores[0].errors

    return run


def bare(model: Any, task: Any, folder: Path) -> Callable[[int], None]:
    """The batches that the engine makes, recorded once, through the bare model again: the same
    inputs, ready-made, with the same sharing, and nothing around it."""
    from spare.harness.models.types import Request

    prompt = task.prompt()
    batches = []
    compute = model.decoder.run

    def record(rows: Any, *settings: Any) -> Any:
        batches.append((rows, *settings))
        return compute(rows, *settings)

    model.decoder.run = record
    for _ in model.answer(
        Request(one.id, one.parts, one.options, max_new_tokens=prompt.max_new_tokens)
        for one in task.samples(folder)
    ):
        pass
    del model.decoder.run

    def run(turn: int) -> None:
        for batch in batches:
            compute(*batch)

    return run


def lm_eval(checkpoint: Path, case: Case, task: Any, folder: Path) -> Callable[[int], None]:
    """lm-eval's model class on the same questions, from picture files to texts."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.hf_vlms import HFMultimodalLM
    from PIL import Image

    model = HFMultimodalLM(
        pretrained=str(checkpoint),
        device="cpu",
        dtype="float32",
        batch_size=BATCH,
        max_images=1,
        convert_img_format=True,
        max_pixels=case.max_pixels,
    )
    samples = list(task.samples(folder))
    contexts = []
    for sample in samples:
        text = next(part for part in sample.parts if isinstance(part, str))
        contexts.append(model.apply_chat_template([{"role": "user", "content": "<image>" + text}]))
    settings = {"until": [], "max_gen_toks": NEW_TOKENS, "do_sample": False}

    def run(turn: int) -> None:
        requests = []
        for sample, context in zip(samples, contexts, strict=True):
            picture = next(part for part in sample.parts if not isinstance(part, str))
            image = Image.open(picture.path).convert("RGB")
            requests.append(
                Instance("generate_until", {}, (context, settings, {"visual": [image]}), 0)
            )
        with contextlib.redirect_stderr(io.StringIO()):
            assert len(model.generate_until(requests, disable_tqdm=True)) == len(samples)

    return run


def measure(contenders: dict[str, Callable[[int], None]]) -> dict[str, float]:
    """Median seconds of each; one round to warm up, then in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run(turn)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    from dataclasses import replace

    import spare
    from spare.demo.checkpoint import build_checkpoint

    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
        folder = Path(name)
        checkpoint = build_checkpoint(folder / "checkpoint", "qwen2_vl", hidden=384, layers=6)
        for case in CASES:
            place = folder / f"case{CASES.index(case)}"
            place.mkdir()
            write_questions(place, case, write_pictures(place, case))
            task = spare.load_task(f"custom:{place / 'questions.jsonl'}")
            prompts = {
                key: replace(prompt, max_new_tokens=NEW_TOKENS)
                for key, prompt in task.prompts.items()
            }
            task = replace(task, prompts=prompts)
            model = spare.load_model(str(checkpoint), max_pixels=case.max_pixels)
            found = measure(
                {
                    "spare": ours(model, task, place),
                    "lm-eval": lm_eval(checkpoint, case, task, place),
                    "bare": bare(model, task, place),
                }
            )
            count = case.pictures * case.questions
            paces = ", ".join(f"{key} {count / value:.1f}/s" for key, value in found.items())
            print(f"{case.name} ({count} questions): {paces}")
            ratio = found["lm-eval"] / found["spare"]
            print(f"  spare / lm-eval {ratio:.2f} (promised: at least {case.promised})")
            share = found["bare"] / found["spare"]
            note = " (promised: at least 0.9)" if case.questions == 4 else ""
            print(f"  spare / bare model {share:.2f}{note}", flush=True)


if __name__ == "__main__":
    main()
