"""The demo's base: a tiny model that names what is in a picture and was never told where.

    python -m spare.demo.base --out DIR

makes it from nothing. It is shipped in `spare/demo/base/`, so that the demo begins with it.

It is made in two steps. First the picture encoder learns the words: each of its patches says which
cut-outs it shows, in the language model's own embeddings of their names. (A model of this size
that is taught by questions alone takes an hour to find out what a picture is.) Then the trainer
that fine-tunes it later teaches all weights to answer questions about names. It also hears what
is asked about places, so that it knows the words; but what it is told is drawn by lot, whatever
the picture shows. The pictures have one to three cut-outs scattered over the board; a thing and a
furniture that meet in a test, or in dev, are never in one picture.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import shutil
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.demo.captions import describe, naming_pairs
from spare.demo.checkpoint import build_checkpoint
from spare.demo.drawings import (
    FURNITURE,
    THINGS,
)
from spare.demo.scattered import Placed, scatter, size, write_rows
from spare.demo.scenes import RELATIONS, SHADES, SIDE, Scene, render
from spare.demo.world import jpeg, write_new
from spare.generation.templates import ask

if TYPE_CHECKING:
    import torch

BASE = Path(__file__).parent / "base"
"""The checkpoint that is shipped."""

PICTURES = 12_000
"""Scattered pictures that it learns from."""

NAMES = (*THINGS, *FURNITURE)
PATCH = 8
LOUDNESS = 4.0
"""The larger it is, the less of a patch's features its name takes up."""


def make_base(
    out: Path, *, pictures: int = PICTURES, encoder_steps: int = 900, steps: int = 400
) -> Path:
    """Make the base in `out`. On one thread the same arguments make the same weights.

    Args:
        pictures: to learn from.
        encoder_steps: of the first part; steps: of the second, of 96 pairs each.
    """
    from spare.finetune.tuning import fine_tune

    generator = random.Random("base")
    scattered = [(scatter(generator), generator.choice(SHADES)) for _ in range(pictures)]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        build_checkpoint(work / "words", sentences=_texts(), vocabulary=700, side=SIDE, patch=PATCH)
        _teach_encoder(work / "words", scattered, encoder_steps)
        _write_pairs(work / "data", scattered, generator)
        settings = {"max_steps": steps, "lr": 1.5e-3, "beta2": 0.999, "batch": 96}
        settings["batch_tokens"] = 4096
        data = work / "data"
        fine_tune(
            "demo",
            data=data,
            pictures=data,
            model=str(work / "words"),
            out=work / "base",
            settings=settings,
            on_event=_tell,
        )
        out.mkdir(parents=True, exist_ok=True)
        for path in (work / "base").iterdir():
            # Its card and lineage speak of folders that are gone.
            if (
                path.is_file()
                and path.suffix != ".md"
                and path.name not in (".lock", "lineage.json")
            ):
                shutil.copyfile(path, out / path.name)
    return out


def _tell(event: Any) -> None:
    if isinstance(event, str):
        print(event)
    elif event.step % 100 == 0:
        print(f"Names, step {event.step} of {event.steps}: {event.loss:.3f}")


def _texts() -> list[str]:
    """Everything that the demo asks and answers, for the tokenizer to have words for."""
    generator = random.Random(0)
    said: set[str] = set()
    for thing, furniture, relation in product(THINGS, FURNITURE, RELATIONS):
        scene = Scene(thing, furniture, relation, 0, (0, 0), (0, 0))
        for question, answer, _ in ask(describe(scene, generator)):
            said |= {question, answer}
        for question, answer in naming_pairs([thing, furniture], generator):
            said |= {question, answer}
    # A word gets a token of its own if it comes often enough.
    return sorted(said) * 3


def _write_pairs(folder: Path, scattered: Sequence[tuple[Placed, int]], generator: Any) -> None:
    """Two pairs about each picture, and one about a place that is drawn by lot where a thing and a
    furniture are in it, as a data set."""
    rows = []
    for number, (placed, shade) in enumerate(scattered):
        image = f"{number:05d}.jpg"
        write_new(folder / image, jpeg(render(placed, shade)))
        pairs = naming_pairs([name for name, _ in placed], generator)
        asked = generator.sample(pairs, 2)
        if sorted(name in THINGS for name, _ in placed) == [False, True]:
            (furniture, _), (thing, _) = placed
            relation = generator.choice(RELATIONS)
            told = Scene(thing, furniture, relation, shade, (0, 0), (0, 0))
            lots = [pair[:2] for pair in ask(describe(told, generator))]
            asked.append(generator.choice(lots))
        for question, answer in asked:
            rows.append({"question": question, "answer": answer, "image": image})
    write_rows(folder, rows)


# The picture encoder


def _teach_encoder(
    folder: Path, scattered: Sequence[tuple[Placed, int]], steps: int, lr: float = 3e-3
) -> None:
    """Teach a checkpoint's picture encoder which cut-outs each patch shows."""
    import numpy
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    model.model.vision_tower.embeddings.position_embedding.weight.data[1:] = _waves(
        model.config.vision_config.hidden_size
    )
    # As they come, these weights are so small that a patch's place would drown under its name, and
    # all of a prompt's tokens look alike to a head.
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and re.search(r"multi_modal_projector|language_model\.layers", name):
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    cut = processor.tokenizer
    words = [cut(f" {name}", add_special_tokens=False)["input_ids"] for name in NAMES]
    tokens = torch.tensor([token[-1] for token in words])
    images = numpy.stack([numpy.asarray(render(placed, shade)) for placed, shade in scattered])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    shown = torch.from_numpy(numpy.stack([_shown(placed) for placed, _ in scattered]))
    embeddings = model.get_input_embeddings().weight
    bias = torch.nn.Parameter(torch.full((len(NAMES),), -3.0))
    trained = [*model.model.vision_tower.parameters(), embeddings, bias]
    trained += model.model.multi_modal_projector.parameters()
    optimiser = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1.0, (step + 1) / 20) * (1 + math.cos(math.pi * step / steps)) / 2,
    )
    mean, deviation = (
        torch.tensor(values)[:, None, None]
        for values in (processor.image_processor.image_mean, processor.image_processor.image_std)
    )
    chance = torch.Generator().manual_seed(0)
    for step in range(steps):
        drawn = torch.randint(len(scattered), (32,), generator=chance)
        batch = (pixels[drawn] / 255.0 - mean) / deviation
        features = model.model.get_image_features(pixel_values=batch).pooler_output
        scores = LOUDNESS * torch.stack(list(features)) @ embeddings[tokens].T + bias
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, shown[drawn])
        (loss * len(NAMES)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if (step + 1) % 100 == 0:
            print(f"Encoder, step {step + 1} of {steps}: {loss.item() * len(NAMES):.3f}")
    model.save_pretrained(folder)


def _waves(width: int) -> torch.Tensor:
    """Position embeddings to begin with, of shape (patches, width): waves over the picture, so that
    places that are near each other look alike."""
    import torch

    side = SIDE // PATCH
    along = (torch.arange(side) + 0.5) / side * 2 - 1
    x, y = along.repeat(side), along.repeat_interleave(side)
    waves = [
        wave(math.pi / 2 * frequency * axis)
        for axis in (x, y)
        for frequency in (0.5, 1.0, 2.0)
        for wave in (torch.sin, torch.cos)
    ]
    mix = torch.randn(len(waves), width) / math.sqrt(len(waves) / 2) / 2
    return torch.stack(waves, dim=1) @ mix


def _shown(placed: Placed, least: float = 0.12) -> Any:
    """Array of shape (patches, names): 1 where a cut-out covers at least this share of a patch."""
    import numpy

    side = SIDE // PATCH
    cell = 100 / side
    edges = numpy.arange(side) * cell
    found = numpy.zeros((side * side, len(NAMES)), numpy.float32)
    for name, (x, y) in placed:
        half, height = size(name)
        top = 100 - y - height
        wide = numpy.minimum(edges + cell, x + half) - numpy.maximum(edges, x - half)
        high = numpy.minimum(edges + cell, top + height) - numpy.maximum(edges, top)
        covered = numpy.clip(high, 0, None)[:, None] * numpy.clip(wide, 0, None)
        found[:, NAMES.index(name)] = (covered > least * cell * cell).reshape(-1)
    return found


def main() -> None:
    """Make the base where the command says."""
    import torch

    parser = argparse.ArgumentParser(description="Make the demo's base from nothing.")
    parser.add_argument("--out", required=True, metavar="DIR", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    make_base(arguments.out)


if __name__ == "__main__":
    main()
