"""DOCCI (Onoe et al. 2024, google.github.io/docci): 14,847 photographs, each described by one
person in about 136 words.

    docci_descriptions.jsonlines    example_id, split, image_file, description
    images/<image_file>             unpacked from docci_images.tar.gz, which may lie there packed

A picture is found by `image_file`, never by its row. The arbitrary-aspect-ratio pictures
(`images_aar/`) have no descriptions. The hub's copy is a loading script, which `datasets` no longer
runs, so the publisher's own file is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spare.errors import DataError
from spare.generation.captions import Caption, Licence, Notes, Source
from spare.generation.sources.lines import read_objects

DESCRIPTIONS = "docci_descriptions.jsonlines"
ARCHIVE = "docci_images.tar.gz"
SPLITS = {"train": 9_647, "test": 5_000, "qual_dev": 100, "qual_test": 100}
FIELDS = ("example_id", "split", "image_file", "description")


def read(data: Path, notes: Notes) -> Iterator[Caption]:
    """Every description, with its picture where that is there."""
    folder = next((one for one in (data, data / "docci") if (one / DESCRIPTIONS).is_file()), None)
    if folder is None:
        raise DataError(
            f"There is no {DESCRIPTIONS} in {data} or {data / 'docci'}",
            remedy="Fetch it from https://storage.googleapis.com/docci/data/.",
        )
    images = folder / "images"
    there = {path.name for path in images.iterdir()} if images.is_dir() else set()
    packed = (folder / ARCHIVE).is_file()
    for row in read_objects(folder / DESCRIPTIONS, FIELDS, "description", notes):
        name = str(row["image_file"])
        if row["split"] not in SPLITS:
            notes.fault(
                "unknown split", f"{row['example_id']}: there is no split {row['split']!r}."
            )
            continue
        kind, image = "", ""
        if name in there:
            kind, image = "path", str((images / name).relative_to(data))
        elif packed:
            archive = (folder / ARCHIVE).relative_to(data)
            kind, image = "tar", f"{archive}!images/{name}"
        yield Caption(
            source="docci",
            subset="docci",
            split=row["split"],
            image_key=str(row["example_id"]),
            image_kind=kind,
            image=image,
            caption=str(row["description"]),
        )


SOURCE = Source(
    name="docci",
    about="14,847 photographs, each described by one person in about 136 words",
    read=read,
    licences={"docci": Licence("CC BY 4.0", "CC BY 4.0 (Google)", True)},
)
