"""A checkpoint of Qwen2-VL-2B's size trains, is evaluated and merged on a GPU.

    python benchmarks/bench_gpu.py                # needs a GPU of 48 GB and 40 GB of disk
    python benchmarks/bench_gpu.py --size tiny    # tries this script anywhere

Random weights in the real shape, pictures of COCO's size, 8 pairs to each; the commands are a
user's: `spare finetune` with the recipes spare-2b (bf16, 8-bit AdamW if bitsandbytes is installed)
and spare-7b (an adapter), `spare eval`, `spare merge`. Tokens are those of texts and pictures, no
padding. Memory is what tensors took at most. Utilisation is what the training needs by

    6 x (weights of the language layers x tokens + weights of the picture encoder x patches)
    + 6 x layers x width x tokens^2 of each sequence           (attention, looking back only)
    + 12 x layers x width x patches^2 of each picture          (attention, looking everywhere)

floating-point operations, over the time, over what the device can do in bf16. An adapter needs no
gradients of weights (4 instead of the first 6) and none in the picture encoder (a third). Left out
are the matrix of words, which TRL computes for the few tokens that are learnt alone, the adapter's
own matrices, and what gradient checkpointing computes a second time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench_finetune import EACH, write_pairs

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

TEXT = {
    "vocab_size": 151_936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "initializer_range": 0.02,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1_000_000.0,
        "mrope_section": [16, 24, 24],
    },
}
VISION = {"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16, "mlp_ratio": 4}
"""Of config.json in Qwen/Qwen2-VL-2B-Instruct."""

PEAKS = (
    ("A40", 149.7e12, "NVIDIA A40 data sheet"),
    ("A100", 312e12, "NVIDIA A100 data sheet"),
    ("L40S", 362e12, "NVIDIA L40S data sheet"),
    ("H100 PCIe", 756e12, "NVIDIA H100 data sheet"),
    ("H100 NVL", 835e12, "NVIDIA H100 data sheet"),
    ("H100", 989e12, "NVIDIA H100 data sheet, SXM"),
    ("H200 NVL", 835e12, "NVIDIA H200 data sheet"),
    ("H200", 989e12, "NVIDIA H200 data sheet, SXM"),
)
"""Words in a device's name, operations per second of bf16 on dense matrices (data sheets of H and L
cards print twice as many, for sparse ones), and who says so. The first that fits counts."""

PATCH = 14
SKIPPED = 2
"""Steps at the beginning that are not timed."""


class Size(NamedTuple):
    """How much is done."""

    picture: tuple[int, int]
    pictures: int
    batch: int
    batch_tokens: int
    steps: int


SIZES = {
    "2b": Size((644, 476), 64, 64, 8192, 14),
    "tiny": Size((112, 84), 16, 16, 512, 6),
}


def build(folder: Path, real: bool) -> None:
    """Write the random checkpoint; its tokenizer knows few words, but it has rows for all."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from spare.demo.checkpoint import build_checkpoint

    build_checkpoint(folder, "qwen2_vl")
    if not real:
        return
    tiny = AutoConfig.from_pretrained(folder)
    ends = {name: getattr(tiny.text_config, name) for name in ("eos_token_id", "pad_token_id")}
    told = {**tiny.to_dict(), "text_config": {**TEXT, **ends}, "vision_config": VISION}
    config = type(tiny).from_dict({**told, "tie_word_embeddings": True})
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        network = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    network.save_pretrained(folder)
    del network
    torch.cuda.empty_cache()


def spare(*words: object) -> float:
    """Run a command as a user would; the seconds that it took. Its sentences are printed."""
    began = time.perf_counter()
    print(f"$ spare {' '.join(map(str, words))}", flush=True)
    subprocess.run([sys.executable, "-m", "spare", *map(str, words)], check=True)
    return time.perf_counter() - began


def train(folder: Path, recipe: str, size: Size, **settings: object) -> Path:
    """Train by a recipe; the folder of what came of it."""
    out = folder / recipe
    values = {
        "batch": size.batch,
        "batch_tokens": size.batch_tokens,
        "max_steps": size.steps,
        "warmup_steps": 1,
        "save_steps": 10**6,
        **settings,
    }
    told = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    spare(
        *("finetune", "--recipe", recipe, "--data", folder / "data", "--model", folder / "base"),
        *("--out", out, *told),
    )
    return out


def needed(config: Any, network: Any, size: Size, tokens: float, adapter: bool) -> float:
    """Operations that a step of so many tokens needs; see above."""
    sequences = size.batch / EACH
    patches = (size.picture[0] // PATCH) * (size.picture[1] // PATCH)
    text, vision = config.text_config, config.vision_config
    language = (4 if adapter else 6) * _weights(network.model.language_model.layers) * tokens
    language += (
        6 * text.num_hidden_layers * text.hidden_size * (tokens / sequences) ** 2 * sequences
    )
    seeing = 6 * _weights(network.model.visual) * patches
    seeing += 12 * vision.depth * vision.embed_dim * patches**2
    return float(language + seeing * sequences / (3 if adapter else 1))


def _weights(module: Any) -> int:
    return sum(weight.numel() for weight in module.parameters())


def report(folder: Path, trained: Path, size: Size) -> None:
    """Print what a training came to."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    result = json.loads((trained / "training" / "training.json").read_bytes())
    lines = (trained / "training" / "losses.jsonl").read_text("utf-8").splitlines()
    curve = [json.loads(line) for line in lines]
    first, last = curve[SKIPPED - 1], curve[-1]
    seconds = last["seconds"] - first["seconds"]
    tokens = last["tokens"] - first["tokens"]
    steps = len(curve) - SKIPPED
    print(f"{steps} steps of {size.batch} pairs in {seconds:.2f} s, loss {curve[0]['loss']:.2f} to "
          f"{last['loss']:.2f}")  # fmt: skip
    print(f"  {tokens / seconds:,.0f} tokens per second, {steps * size.batch / seconds:,.1f} pairs")
    waited = (last["waited"] - first["waited"]) / seconds
    print(f"  waiting for data {100 * waited:.1f} % of the time")
    if not torch.cuda.is_available():
        print("  memory and utilisation: not measured on a CPU")
        return
    print(f"  memory {result['peak_memory'] / 2**30:.1f} GiB")
    device = torch.cuda.get_device_name()
    known = [one for one in PEAKS if re.search(rf"\b{one[0]}\b", device)]
    if not known:
        print(f"  utilisation: what {device} can do is not known here; no guess")
        return
    _, peak, source = known[0]
    config = AutoConfig.from_pretrained(folder / "base")
    with torch.device("meta"):
        network = AutoModelForImageTextToText.from_config(config)
    adapter = (trained / "adapter").is_dir()
    operations = needed(config, network, size, tokens / steps, adapter) * steps / seconds
    print(f"  utilisation {100 * operations / peak:.1f} %: {operations / 1e12:.1f} of "
          f"{peak / 1e12:.1f} TFLOP/s in bf16 ({device}; {source})")  # fmt: skip


def write_task(folder: Path, rows: Sequence[dict[str, Any]]) -> str:
    """A task of some of the pairs' pictures; its name."""
    lines = []
    for row in rows[::EACH]:
        (folder / row["image_key"]).write_bytes(row["picture"]["bytes"])
        line = {"image": row["image_key"], "question": row["question"], "answer": "left"}
        lines.append(json.dumps(line | {"options": ["left", "right"]}) + "\n")
    (folder / "asked.jsonl").write_text("".join(lines), "utf-8")
    return f"custom:{folder / 'asked.jsonl'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="2b", help="2b needs a GPU (%(default)s)")
    size_name = parser.parse_args().size
    from spare.finetune.network import require_packages

    require_packages()
    import torch

    if size_name == "2b" and not torch.cuda.is_available():
        print("This needs a GPU, and there is none here; nothing is measured. `python "
              "benchmarks/bench_gpu.py --size tiny` tries the script without one.")  # fmt: skip
        return
    size = SIZES[size_name]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder / "base", size_name == "2b")
        rows = write_pairs(folder / "data", size.pictures, size.picture)
        eight = importlib.util.find_spec("bitsandbytes") is not None
        optimiser = "adamw-8bit" if eight else "adamw"
        print(f"All weights, {optimiser}" + ("" if eight else " (bitsandbytes is not installed)"))
        tuned = train(folder, "spare-2b", size, optimiser=optimiser)
        report(folder, tuned, size)
        (folder / "task").mkdir()
        task = write_task(folder / "task", rows)
        seconds = spare(
            *("eval", "--model", tuned, "--tasks", task, "--data", folder / "task"),
            *("--out", folder / "run"),
        )
        print(f"{size.pictures} questions evaluated in {seconds:.1f} s, loading included")
        print("An adapter on the language tower")
        adapter = train(folder, "spare-7b", size, lr=1e-3)
        report(folder, adapter, size)
        seconds = spare("merge", adapter / "adapter", "--out", folder / "merged")
        print(f"merged in {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
