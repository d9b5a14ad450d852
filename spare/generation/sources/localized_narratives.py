"""Localized Narratives (Pont-Tuset et al. 2020, google.github.io/localized-narratives): 873,107
spoken descriptions of about 849,000 pictures of four sets.

    <set>_<split>_captions.jsonl          dataset_id, image_id, annotator_id, caption
    <set>_<split>_localized_narratives[-00000-of-00004].jsonl    the same, and mouse traces

Traps: only Open Images' training set has `_v6` in its names; a validation set is called `val` for
COCO and Flickr30k, `validation` for the others. The spelling of `dataset_id` varies (`Flick30k`),
so the picture set is told by a part of it, and the split by the file's name alone. `image_id` is no
key: some pictures have up to five narratives. Ids of COCO have no leading zeros while its files
have twelve digits; no other set's ids are filled up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spare.errors import DataError
from spare.generation.captions import Caption, Licence, Notes, Source
from spare.generation.sources.lines import read_objects

NAME = re.compile(
    r"(open_images|coco|flickr30k|ade20k)_(train|val|validation|test)(?:_v6)?_"
    r"(captions|localized_narratives)(?:-(\d{5})-of-(\d{5}))?\.jsonl"
)

MARKS = {"open_images": "open", "coco": "coco", "flickr30k": "flic", "ade20k": "ade"}
"""Picture set -> a part of `dataset_id`, in small letters."""

FIELDS = ("dataset_id", "image_id", "annotator_id", "caption")


@dataclass(frozen=True, slots=True)
class File:
    """A file of narratives. `parts` is how many files its set and split are cut into."""

    path: Path
    subset: str
    split: str
    traces: bool
    part: int
    parts: int


def read(data: Path, notes: Notes) -> Iterator[Caption]:
    """Every narrative of every file, picture sets in the order of their names."""
    files = _files(data, notes)
    if not files:
        raise DataError(
            f"There are no files like coco_train_captions.jsonl in {data}",
            remedy="Fetch them from "
            "https://storage.googleapis.com/localized-narratives/annotations/.",
        )
    for file in files:
        folder = _folder(file)
        images = data / folder
        there = {path.name for path in images.iterdir()} if images.is_dir() else set()
        for row in read_objects(file.path, FIELDS, "caption", notes):
            if MARKS[file.subset] not in str(row["dataset_id"]).lower():
                notes.fault(
                    "another set's rows",
                    f"{file.path}: {row['image_id']} says that it is of {row['dataset_id']!r}.",
                )
                continue
            key = str(row["image_id"])
            name = f"{key.zfill(12) if file.subset == 'coco' else key}.jpg"
            kind, image = ("path", f"{folder}/{name}") if name in there else _address(file, name)
            yield Caption(
                source="localized-narratives",
                subset=file.subset,
                split=file.split,
                image_key=key,
                image_kind=kind,
                image=image,
                caption=str(row["caption"]),
                annotator=str(row["annotator_id"]),
            )


def _files(data: Path, notes: Notes) -> list[File]:
    """The files to read: of one set and split those without traces, if they are there, since both
    families hold the same captions."""
    found: dict[tuple[str, str], list[File]] = {}
    folders = (data, data / "annotations", data / "localized-narratives")
    for path in sorted(one for folder in folders for one in folder.glob("*.jsonl")):
        match = NAME.fullmatch(path.name)
        if match:
            subset, split, family, part, parts = match.groups()
            split = "val" if split == "validation" else split
            file = File(path, subset, split, family != "captions", int(part or 0), int(parts or 1))
            found.setdefault((subset, split), []).append(file)
    chosen = []
    for (subset, split), files in sorted(found.items()):
        plain = [file for file in files if not file.traces] or files
        missing = set(range(plain[0].parts)) - {file.part for file in plain}
        if missing:
            names = ", ".join(f"{part:05d}" for part in sorted(missing))
            notes.fault(
                "incomplete sets",
                f"{subset} {split}: of {plain[0].parts} parts {names} are not there.",
            )
        chosen += plain
    return chosen


def _folder(file: File) -> str:
    """The folder that a picture set is unpacked to; Open Images has none, and we name one."""
    long = "validation" if file.split == "val" else file.split
    return {
        "coco": f"{file.split}2017",
        "open_images": f"open_images/{long}",
        "flickr30k": "flickr30k-images",
        "ade20k": f"ADEChallengeData2016/images/{'training' if long == 'train' else long}",
    }[file.subset]


def _address(file: File, name: str) -> tuple[str, str]:
    """Where a picture can be fetched one by one. Flickr30k is given out by request, and ADE20K as
    one archive."""
    if file.subset == "coco":
        return "url", f"http://images.cocodataset.org/{file.split}2017/{name}"
    if file.subset == "open_images":
        split = "validation" if file.split == "val" else file.split
        return "url", f"https://s3.amazonaws.com/open-images-dataset/{split}/{name}"
    return "", ""


TEXT = "CC BY 4.0"

SOURCE = Source(
    name="localized-narratives",
    about="873,107 spoken descriptions of Open Images, COCO, Flickr30k and ADE20K, about 42 words",
    read=read,
    licences={
        "open_images": Licence(TEXT, "CC BY 2.0 as listed, not warranted", False),
        "coco": Licence(TEXT, "Flickr terms of use", False),
        "flickr30k": Licence(TEXT, "Flickr terms of use; non-commercial research", False),
        "ade20k": Licence(TEXT, "non-commercial research and education", False),
    },
)
