"""What's Up as published: six subsets, and how to read them from the authors' files or the mirror.

The authors' files are JSON and picture folders; the hub mirror is parquet, with the pictures in it
and no file names. The right caption comes first in both. The rows become `Scene`s, which
`whatsup.py` asks about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from spare.errors import PictureError
from spare.images import Picture, digest
from spare.tasks.files import (
    Row,
    find_picture,
    locate,
    locate_shards,
    not_found,
    read_json,
    read_parquet,
)
from spare.tasks.types import Files, Source


@dataclass(frozen=True, slots=True)
class Subset:
    """One of the six.

    Attributes:
        key: how the paper's code and the hub mirror call it.
        stem, folder: annotation file (without .json) and picture folder.
        rows: published rows.
        words: what AdaptVis asks for, in its order.
        pairs: relations whose photographs are judged together (A and B only).
    """

    name: str
    key: str
    about: str
    stem: str
    folder: str
    rows: int
    words: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def captions(self) -> int:
        """Captions per row."""
        return 4 if self.pairs else 2


_SIDES = ("left of", "right of")
A = Subset(
    "whatsup_a",
    "Controlled_Images_A",
    "Sets of four photographs: an object on, under, left or right of furniture.",
    *("controlled_images_dataset", "controlled_images", 412),
    *(("left", "right", "on", "under"), (_SIDES, ("on", "under"))),
)
B = Subset(
    "whatsup_b",
    "Controlled_Images_B",
    "Sets of four photographs: an object left, right, in front of or behind another.",
    *("controlled_clevr_dataset", "controlled_clevr", 408),
    *(("left", "right", "front", "behind"), (_SIDES, ("in front of", "behind"))),
)
COCO_ONE = Subset(
    "whatsup_coco_one",
    "COCO_QA_one_obj",
    "Where in a COCO picture is the object?",
    *("coco_qa_one_obj", "val2017", 2247, ("left", "right", "top", "bottom")),
)
COCO_TWO = Subset(
    "whatsup_coco_two",
    "COCO_QA_two_obj",
    "How do two objects in a COCO picture lie?",
    *("coco_qa_two_obj", "val2017", 440, ("left", "right", "above", "below")),
)
GQA_ONE = Subset(
    "whatsup_gqa_one",
    "VG_QA_one_obj",
    "Where in a GQA picture is the object?",
    *("vg_qa_one_obj", "vg_images", 1160),
    ("left", "right", "front", "behind", "top", "bottom"),
)
GQA_TWO = Subset(
    "whatsup_gqa_two",
    "VG_QA_two_obj",
    "How do two objects in a GQA picture lie?",
    *("vg_qa_two_obj", "vg_images", 291),
    ("left", "right", "front", "behind", "above", "below"),
)
SUBSETS = (A, B, COCO_ONE, COCO_TWO, GQA_ONE, GQA_TWO)

WORDS = {"left of": "left", "right of": "right", "in front of": "front", "on top of": "above"}
"""Relation -> the word for it, where that is another."""

PLACES = ("whatsup", "whatsup/data", "whatsup_vlms/data", ".", "data")


def locate_files(subset: Subset, data: Path, split: str) -> Files:
    """The authors' files if their pictures are there, else the mirror's."""
    # The loader of the paper's code and its marginalization.py disagree about "_v2".
    names = (f"{subset.stem}.json", f"{subset.stem}_v2.json")
    annotations = locate(data, PLACES, names)
    pictures: tuple[Path, ...] = ()
    if annotations:
        folders = [annotations.parent / subset.folder]
        folders += [data / place / subset.folder for place in (*PLACES, "coco")]
        pictures = tuple(path for path in dict.fromkeys(folders) if path.is_dir())
        if pictures:
            return Files((annotations,), pictures, "json")
    patterns = [f"{folder}{subset.key}-*.parquet" for folder in ("", "data/")]
    patterns += [f"{subset.key}/*.parquet", f"default/{subset.key}/*.parquet"]
    patterns += [f"*-{subset.key}.parquet", f"{subset.key}.parquet"]
    folders_of_mirrors = [*PLACES, "whatsup_all"]
    shards = locate_shards(data, folders_of_mirrors, patterns)
    if shards:
        return Files(shards, (), "parquet")
    if annotations:  # each sample says that its picture is missing from here
        return Files((annotations,), (annotations.parent / subset.folder,), "json")
    raise not_found(subset.name, data, folders_of_mirrors[:-1], [*names, *patterns])


class Scene(NamedTuple):
    """One row of any layout.

    Attributes:
        captions: the right one first, as in the files.
        subject, object: what lies where; "" if there is none, or it cannot be told.
        group: the set of photographs of the same two objects; "" for COCO and GQA.
        cluster: the set, or the picture that several rows may share.
    """

    id: str
    picture: Picture
    captions: Sequence[str]
    relation: str
    subject: str
    object: str
    group: str
    cluster: str


def scenes(subset: Subset, files: Files) -> Iterator[tuple[Row, Scene]]:
    """Every row with its scene, in file order. Raises DataError with file and row."""
    if files.layout == "parquet":
        columns = ("image_options", "caption_options")
        rows = read_parquet(files.annotations, columns, pictures=("image_options",))
    elif subset.pairs:
        rows = read_json(files.annotations[0], ("image_path", "caption_options"))
    else:
        rows = read_json(files.annotations[0])
    read = _controlled if subset.pairs else _natural
    for number, row in enumerate(rows):
        yield row, read(subset, files, number, row)


# A and B: sets of four photographs, told apart by file names like "beer-bottle_left_of_chair.jpeg"
# or, in the mirror, which has none, by captions like "A beer bottle to the left of a chair".

_FILE_RELATIONS = {
    ("left", "of"): "left of",
    ("right", "of"): "right of",
    ("on",): "on",
    ("under",): "under",
    ("in-front", "of"): "in front of",
    ("behind",): "behind",
}
CONTROLLED = re.compile(
    r"An? (?P<subject>.+?) "
    r"(?P<place>(?:to the )?(?P<relation>left of|right of|in front of|behind|under|on)) "
    r"an? (?P<object>.+)"
)
"""A caption of A or B."""


def _controlled(subset: Subset, files: Files, number: int, row: Row) -> Scene:
    captions = _captions(subset, row, row.values["caption_options"])
    if files.layout == "parquet":
        picture = row.picture("image_options")
        match = CONTROLLED.fullmatch(captions[0])
        if match is None:
            raise row.error(f"no two objects can be told apart in the caption {captions[0]!r}")
        subject, relation, landmark = match["subject"], match["relation"], match["object"]
    else:
        path = row.text("image_path")
        if ".." in path.split("/"):
            raise row.error(f"image_path {path!r} leads out of the data folder")
        # It is relative to wherever the authors kept the file; only the name counts.
        picture = find_picture(files.pictures, path.rpartition("/")[2], row)
        parts = PurePosixPath(picture.name).stem.split("_")
        relation = _FILE_RELATIONS.get(tuple(parts[1:-1]), "")
        subject, landmark = parts[0].replace("-", " "), parts[-1].replace("-", " ")
    if WORDS.get(relation, relation) not in subset.words:
        raise row.error(f"no relation of {subset.name} can be told from {picture.name!r}")
    tokens = next(tokens for tokens, name in _FILE_RELATIONS.items() if name == relation)
    ends = subject.replace(" ", "-"), landmark.replace(" ", "-")
    group = "_".join(ends)
    return Scene(
        id="_".join((ends[0], *tokens, ends[1])),
        picture=picture,
        captions=captions,
        relation=relation,
        subject=subject,
        object=landmark,
        group=group,
        cluster=group,
    )


# COCO and GQA: [image id, right caption, wrong caption].

_ARTICLE = r"(?:(?:an?|the|some) )?"
_ONE_OBJECT = re.compile(
    rf"(?:A photo of )?{_ARTICLE}(?P<subject>.+?)(?: is| are)?"
    r"(?: (?:to|on|at|in)(?: the)?)? (?:left|right|top|bottom|front|behind)\.?",
    re.IGNORECASE,
)
_TWO_OBJECTS = re.compile(
    rf"(?:A photo of )?{_ARTICLE}(?P<subject>.+?)(?: is| are)? "
    r"(?:(?:(?:to|on) the )?(?:left|right) of|(?:in )?front of|(?:on )?top of|behind|above|below) "
    rf"{_ARTICLE}(?P<object>.+?)\.?",
    re.IGNORECASE,
)
_MARKS = {
    "left of": "left of",
    "right of": "right of",
    "front of": "in front of",
    "behind": "behind",
    "above": "above",
    "below": "below",
}


def _natural(subset: Subset, files: Files, number: int, row: Row) -> Scene:
    if files.layout == "parquet":
        captions = _captions(subset, row, row.values["caption_options"])
        picture = row.picture("image_options")
        cluster = _digest(picture)
    else:
        value = row.values["value"]
        if not isinstance(value, list) or len(value) != 3:
            raise row.error("should be a list of picture, right caption and wrong caption")
        cluster = str(value[0])
        # GQA's may have letters ("n161313").
        if type(value[0]) not in (int, str) or not re.fullmatch(r"n?\d+", cluster):
            raise row.error(f"the picture's number should be a number but is {value[0]!r}")
        captions = _captions(subset, row, value[1:])
        name = cluster.zfill(12) if subset.folder == "val2017" else cluster
        picture = find_picture(files.pictures, f"{name}.jpg", row)
    # The official rule for the relation: the last word, or the first of these that occurs.
    if subset in (COCO_ONE, GQA_ONE):
        relation = captions[0].lower().rstrip(".").split()[-1]
        match = _ONE_OBJECT.fullmatch(captions[0])
    else:
        found = (relation for mark, relation in _MARKS.items() if mark in captions[0])
        relation = next(found, "on top of" if subset is GQA_TWO else "")
        match = _TWO_OBJECTS.fullmatch(captions[0])
    if WORDS.get(relation, relation) not in subset.words:
        raise row.error(f"no relation of {subset.name} can be told from {captions[0]!r}")
    parts = match.groupdict() if match else {}
    # Only the row number is unique; with the caption, a file in another order cannot be mistaken.
    slug = re.sub(r"\W+", "-", captions[0].lower().removeprefix("a photo of ")).strip("-")
    return Scene(
        id=f"{number}-{slug}",
        picture=picture,
        captions=captions,
        relation=relation,
        subject=parts.get("subject", ""),
        object=parts.get("object", ""),
        group="",
        cluster=cluster,
    )


def _digest(picture: Picture) -> str:
    try:
        return digest(picture)
    except PictureError:  # it costs its own sample, when it is opened
        return ""


def _captions(subset: Subset, row: Row, value: object) -> Sequence[str]:
    if (
        not isinstance(value, list)
        or len({one for one in value if isinstance(one, str) and one.strip()}) != len(value)
        or len(value) != subset.captions
    ):
        raise row.error(
            f"{subset.captions} different captions were expected, but here is {value!r}"
        )
    return value


DRIVE = {
    "controlled_images_dataset": "1ap8mmmpQjLIjPGuplkpBgc1hoEHCj4hm",
    "controlled_clevr_dataset": "1unNNosLbdy9NDjgj4l8fsQP3WiAAGA6z",
    "coco_qa_one_obj": "1RsMdpE9mmwnK4zzMPpC1-wTU_hNis-dq",
    "coco_qa_two_obj": "1TCEoM0mgFmz8T4cF7PQ3XJmO6JjtiQ-s",
    "vg_qa_one_obj": "1ARMRzRdohs9QTr1gpIfzyUzvW20wYp_p",
    "vg_qa_two_obj": "1sjVG5O3QMY8s118k7kQM8zzDZH12i_95",
    "controlled_images": "19KGYVQjrV3syb00GgcavB2nZTW5NXX0H",
    "controlled_clevr": "13jdBpg8t3NqW3jrL6FK8HO93vwsUjDxG",
    "val2017": "1zp5vBRRM4_nSik6o9PeVspDvOsHgPT4l",
    "vg_images": "1idW7Buoz7fQm4-670n-oERw9U-2JLJvE",
}
"""The authors' files on Google Drive: annotations (.json) and picture archives."""


def sources(subset: Subset) -> tuple[Source, ...]:
    """Where the subset's files come from: the mirror, or by hand from the authors."""
    mirror = Source(
        about="captions and pictures, parquet mirror without file names",
        repo="ServiceNow/whatsup_all",
        patterns=(f"data/{subset.key}-*.parquet",),
        folder="whatsup",
    )
    annotations, pictures = (
        Source(about, url=f"https://drive.google.com/uc?id={DRIVE[name]}", folder="whatsup")
        for name, about in (
            (subset.stem, f"or the authors' {subset.stem}.json"),
            (subset.folder, f"with the archive of its pictures, folder {subset.folder}"),
        )
    )
    return mirror, annotations, pictures
