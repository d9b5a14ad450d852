"""A small data set to train on, and tiny checkpoints: for the tests of fine-tuning."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from PIL import Image, ImageDraw

SIZES = ((112, 84), (84, 112), (56, 56), (112, 112))
PLACES = ("left of", "right of", "above", "under")
THINGS = ("mug", "lamp", "bowl", "cat")


def picture(number: int) -> bytes:
    """A picture of its own for every number."""
    image = Image.new("RGB", SIZES[number % len(SIZES)], (number * 37 % 256, 128, 90))
    x, y = number * 13 % 40, number * 7 % 40
    ImageDraw.Draw(image).rectangle((x, y, x + 15, y + 10), fill=(255, number % 256, 0))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def rows(pictures: int = 6, each: Sequence[int] = (1, 2, 3, 4)) -> list[dict[str, Any]]:
    """Pairs about some pictures, of several lengths."""
    found = []
    for number in range(pictures):
        for pair in range(each[number % len(each)]):
            thing = THINGS[(number + pair) % 4]
            found.append(
                {
                    "id": f"{number}-{pair}",
                    "question": f"Where is the {thing}?" + " Answer in a word." * (pair % 2),
                    "answer": f"{PLACES[number % 4]} the table" + ", I think" * (pair % 3),
                    "source": "drawn",
                    "subset": "",
                    "image_key": f"{number}.png",
                    "image_kind": "path",
                    "image": f"{number}.png",
                    "relation": PLACES[number % 4],
                    "weight": 1.0,
                }
            )
    return found


def write_data(
    folder: Path, pairs: Sequence[dict[str, Any]] | None = None, pixels: bool = True
) -> Path:
    """A data set as `spare publish` writes one, in two shards; its pictures in the shards, or as
    files in `folder`/pictures."""
    pairs = rows() if pairs is None else pairs
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("# Drawn pairs\n", "utf-8")
    middle = len(pairs) // 2
    for number, part in enumerate((pairs[:middle], pairs[middle:])):
        lines = [dict(row) for row in part]
        for row in lines:
            data = picture(int(row["image_key"].partition(".")[0]))
            if pixels:
                row["picture"] = {"bytes": data, "path": row["image_key"]}
            else:
                (folder / "pictures").mkdir(exist_ok=True)
                (folder / "pictures" / row["image"]).write_bytes(data)
        path = folder / "data" / f"train-{number:05d}-of-00002.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lines), path, row_group_size=5)
    return folder


QUICK = {
    "batch": 4,
    "warmup_steps": 0,
    "lr": 1e-3,
    "max_steps": 4,
    "workers": 0,
    "batch_tokens": 200,
    "save_steps": 2,
}
"""Values of a recipe that is over in a moment."""
