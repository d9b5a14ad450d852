"""Training with a picture's pairs in one sequence, beside plain TRL with a row for each pair.

    python benchmarks/bench_finetune.py

The same tiny Qwen2-VL (4 layers of 256, random weights), pictures (JPEG, 448 x 336), pairs (8 per
picture), bound on tokens in a batch, pairs in a step, optimiser and number of processes that
prepare batches, taken in turns; the trainers' own times, without loading. One torch thread for all.
Plain TRL is its SFTTrainer with its own collator on prompt and completion, as its documentation has
it for vision-language models. It counts the same tokens as learnt, and the line break behind them.

Promised: at least 4 times the pairs per second; at most 10 % of the time spent waiting for data.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
ROUNDS = 1
PICTURES, EACH = 16, 8
SIZE = (448, 336)
BATCH = 64
BATCH_TOKENS = 2048
WORKERS = 1
TINY_EPOCHS = 20
"""The tiny model is done with an epoch before a process that prepares batches has begun."""
WORDS = ("left", "right", "mug", "table", "bowl", "chair", "on", "under", "lamp", "behind")


def write_pairs(
    folder: Path, pictures: int = PICTURES, size: tuple[int, int] = SIZE
) -> list[dict[str, Any]]:
    """A data set as `spare publish --pictures all` writes it, with questions of 8 to 14 words."""
    import pyarrow
    import pyarrow.parquet
    from PIL import Image, ImageDraw

    chance = random.Random(0)
    rows = []
    for number in range(pictures):
        image = Image.effect_noise(size, 20).convert("RGB")
        for _ in range(6):
            x, y = chance.randrange(size[0]), chance.randrange(size[1])
            colour = tuple(chance.randrange(256) for _ in range(3))
            ImageDraw.Draw(image).rectangle((x, y, x + 90, y + 60), fill=colour)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        for _ in range(EACH):
            words = [chance.choice(WORDS) for _ in range(chance.randrange(5, 11))]
            rows.append(
                {
                    "question": f"Where is the {' '.join(words)}?",
                    "answer": " ".join(chance.choice(WORDS) for _ in range(4)),
                    "image_key": f"{number}.jpg",
                    "picture": {"bytes": file.getvalue(), "path": f"{number}.jpg"},
                }
            )
    (folder / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows), folder / "data/train.parquet", row_group_size=2 * EACH
    )
    return rows


def ours(folder: Path, out: Path, base: str = "base", epochs: int = 1) -> tuple[float, float]:
    """Seconds for all pairs, and the share of them that the trainer waited for data."""
    import spare

    settings = {
        "batch": BATCH,
        "batch_tokens": BATCH_TOKENS,
        "workers": WORKERS,
        "save_steps": 10**6,
        "epochs": epochs,
        "layout": "shared",
    }
    (found,) = spare.fine_tune(
        "demo", data=folder / "data", model=str(folder / base), out=out, settings=settings
    )
    result = found.result
    assert result["pairs"] == PICTURES * EACH * epochs
    return result["seconds"], result["waited_seconds"] / result["seconds"]


def plain(folder: Path, rows: list[dict[str, Any]], out: Path) -> float:
    """Seconds for all pairs in TRL, a row for each."""
    import datasets
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import SFTConfig, SFTTrainer

    from spare.finetune.faults import undisturbed

    network = AutoModelForImageTextToText.from_pretrained(folder / "base", dtype="float32")
    processor = AutoProcessor.from_pretrained(folder / "base")
    data = datasets.Dataset.from_list(
        [
            {
                "images": [row["picture"]],
                "prompt": [{"role": "user", "content": row["question"]}],
                "completion": [{"role": "assistant", "content": row["answer"]}],
            }
            for row in rows
        ]
    ).cast_column("images", datasets.Sequence(datasets.Image()))
    longest = _longest(folder, rows)
    each = max(1, BATCH_TOKENS // longest)
    each = max(one for one in range(1, each + 1) if BATCH % one == 0)
    with undisturbed(), contextlib.redirect_stdout(io.StringIO()):
        trainer = SFTTrainer(
            network,
            SFTConfig(
                output_dir=str(out),
                per_device_train_batch_size=each,
                gradient_accumulation_steps=BATCH // each,
                num_train_epochs=1,
                learning_rate=1.5e-3,
                optim="adamw_torch",
                bf16=False,
                use_cpu=True,
                gradient_checkpointing=False,
                dataloader_num_workers=WORKERS,
                dataloader_pin_memory=False,
                max_length=None,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=data,
            processing_class=processor,
        )
        seconds: float = trainer.train().metrics["train_runtime"]
    assert trainer.state.global_step == PICTURES * EACH // BATCH
    return seconds


def _longest(folder: Path, rows: list[dict[str, Any]]) -> int:
    """Tokens of the longest row."""
    from transformers import AutoProcessor

    tokenizer = AutoProcessor.from_pretrained(folder / "base").tokenizer
    texts = [tokenizer(row["question"] + row["answer"])["input_ids"] for row in rows]
    pictures = (SIZE[0] // 28) * (SIZE[1] // 28)
    return max(map(len, texts)) + pictures + 20


def main() -> None:
    from spare.demo.checkpoint import build_checkpoint
    from spare.finetune.network import require_packages

    require_packages()
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
        folder = Path(name)
        build_checkpoint(folder / "base", "qwen2_vl", hidden=256, layers=4)
        rows = write_pairs(folder / "data")
        found = []
        for number in range(ROUNDS):
            mine, waited = ours(folder, folder / f"ours{number}")
            found.append((mine, waited, plain(folder, rows, folder / f"plain{number}")))
        mine, waited, theirs = (statistics.median(column) for column in zip(*found, strict=True))
        count = PICTURES * EACH
        paces = f"spare {count / mine:.1f}/s, TRL {count / theirs:.1f}/s"
        print(f"{count} pairs, {EACH} per picture: {paces}")
        print(f"  spare / TRL {theirs / mine:.2f} (promised: at least 4)")
        print(f"  waiting for data {100 * waited:.1f} % (promised: at most 10 %)")
        build_checkpoint(folder / "tiny", "llava")
        mine, waited = ours(folder, folder / "ours of tiny", "tiny", TINY_EPOCHS)
        pace = count * TINY_EPOCHS / mine
        print(f"The demo's LLaVA, 16 tokens to a picture: {pace:.1f}/s")
        print(f"  waiting for data {100 * waited:.1f} % (promised: at most 10 %)", flush=True)


if __name__ == "__main__":
    main()
