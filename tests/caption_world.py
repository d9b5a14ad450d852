"""Hyper-detailed captions, rendered from what they describe, in the three sources' real layouts."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import pyarrow
import pyarrow.parquet

THINGS = ["mug", "plate", "lamp", "vase", "book", "bottle", "bowl", "clock", "basket", "candle"]
COLOURS = ["red", "blue", "green", "yellow", "purple", "black", "orange", "white"]
PLACES = {
    "left": ("to the left of", "to the right of"),
    "above": ("above", "below"),
}
BENCHMARKED = 3935
"""The COCO number of a picture that both of VSR's tests ask about."""


def scene(draw: random.Random) -> tuple[str, PIL.Image.Image]:
    """A caption of three sentences, and a picture of what it says."""
    one, two, three = draw.sample(THINGS, 3)
    colours = draw.sample(COLOURS, 3)
    axis = draw.choice(("left", "above"))
    said = PLACES[axis][0]
    image = PIL.Image.new("RGB", (64, 64), (240, 240, 235))
    pen = PIL.ImageDraw.Draw(image)
    spots = ((6, 24), (40, 24)) if axis == "left" else ((24, 6), (24, 40))
    for (x, y), colour in zip(spots, colours, strict=False):
        pen.ellipse((x, y, x + 18, y + 18), fill=colour)
    pen.rectangle((0, 60, 64, 64), fill=colours[2])
    caption = (
        f"A {colours[0]} {one} stands {said} a {colours[1]} {two}. "
        f"In the foreground, there is a {colours[2]} {three}. The light is soft and even."
    )
    return caption, image


def scenes(count: int, seed: int) -> Iterator[tuple[str, PIL.Image.Image]]:
    draw = random.Random(seed)
    for _ in range(count):
        yield scene(draw)


def write_sources(data: Path, count: int = 200) -> None:
    """So many captions of each source; those of DOCCI have their pictures."""
    write_docci(data, count)
    write_narratives(data, count)
    write_pixmo(data, count)


def write_docci(data: Path, count: int) -> None:
    (data / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (caption, image) in enumerate(scenes(count, 1)):
        name = f"train_{number:05d}"
        image.save(data / "images" / f"{name}.jpg", quality=95)
        row = {"example_id": name, "split": "train", "image_file": f"{name}.jpg"}
        rows.append(row | {"description": caption})
    _lines(data / "docci_descriptions.jsonlines", rows)


def write_narratives(data: Path, count: int) -> None:
    rows = []
    for number, (caption, _) in enumerate(scenes(count, 2)):
        # Every fifth says nothing of space, and two are about a picture of a benchmark.
        text = "I can see a person who smiles." if number % 5 == 0 else f"In this image {caption}"
        image = BENCHMARKED if number in (1, 2) else 900_000 + number
        row = {"dataset_id": "mscoco_train2017", "image_id": str(image)}
        rows.append(row | {"annotator_id": number, "caption": text})
    _lines(data / "coco_train_captions.jsonl", rows)


def write_pixmo(data: Path, count: int) -> None:
    rows = [
        {"image_url": f"https://example.org/{number}.jpg", "caption": caption, "transcripts": [""]}
        for number, (caption, _) in enumerate(scenes(count, 3))
    ]
    (data / "data").mkdir(parents=True, exist_ok=True)
    path = data / "data" / "train-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
