"""The three sources of captions, in small files of the published layouts."""

from __future__ import annotations

import codecs
import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.errors import SpareError
from spare.generation import shards
from spare.generation.captions import Caption, captions, find_parts

Rows = list[dict[str, Any]]


def write_lines(path: Path, rows: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(out: Path, source: str) -> Rows:
    return [
        row
        for path in sorted((out / source).glob("*.parquet"))
        for row in shards.read(path).to_pylist()
    ]


# DOCCI


def docci(number: int, split: str = "train", **changes: Any) -> dict[str, Any]:
    name = f"{split}_{number:05d}"
    text = f"A mug stands to the left of plate {number}."
    row = {"example_id": name, "split": split, "image_file": f"{name}.jpg", "description": text}
    return row | changes


def test_docci(tmp_path: Path) -> None:
    rows = [docci(0), docci(1), docci(0, "qual_dev"), docci(3, "test")]
    write_lines(tmp_path / "docci_descriptions.jsonlines", rows)
    (tmp_path / "images").mkdir()
    for row in rows[:3]:
        (tmp_path / "images" / row["image_file"]).touch()
    manifest = captions("docci", data=tmp_path, out=tmp_path / "out")
    found = read(tmp_path / "out", "docci")
    assert [row["split"] for row in found] == ["train", "train", "qual_dev", "test"]
    assert found[2]["image"] == "images/qual_dev_00000.jpg"
    assert [row["image_kind"] for row in found] == ["path"] * 3 + [""]
    assert found[0]["words"] == 9
    assert found[0]["image_redistributable"]
    assert found[0]["text_license"] == "CC BY 4.0"
    assert manifest["counts"] == {"rows": 4, "captions": 4, "without a picture": 1}
    digest = hashlib.sha256((tmp_path / "docci_descriptions.jsonlines").read_bytes()).hexdigest()
    assert list(manifest["files"].values()) == [digest]


def test_what_is_no_text_is_no_caption(tmp_path: Path) -> None:
    rows = [docci(0), docci(1, description=None), docci(2, description=["a", "b"]), docci(3)]
    write_lines(tmp_path / "docci_descriptions.jsonlines", rows)
    counts = captions("docci", data=tmp_path, out=tmp_path / "out")["counts"]
    assert (counts["captions"], counts["empty"], counts["captions that are no text"]) == (2, 1, 1)
    assert [row["image_key"] for row in read(tmp_path / "out", "docci")] == [
        "train_00000",
        "train_00003",
    ]


def test_what_is_wrong_in_a_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "docci_descriptions.jsonlines"
    rows = [docci(0), docci(1, description=3), docci(2, split=["train"]), docci(3, image_file=None)]
    write_lines(path, [*rows, docci(4) | {"example_id": {}}])
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())  # as some editors save it
    manifest = captions("docci", data=tmp_path, out=tmp_path / "out")
    assert [row["image_key"] for row in read(tmp_path / "out", "docci")] == ["train_00000"]
    assert manifest["faults"] == [
        f"{path}, line 2: its description is no text.",
        f"{path}, line 3: its split is no text and no whole number.",
        f"{path}, line 4: its image_file is no text and no whole number.",
        f"{path}, line 5: its example_id is no text and no whole number.",
    ]


def test_an_empty_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "docci_descriptions.jsonlines").touch()
    with pytest.raises(SpareError, match="docci has no caption in"):
        captions("docci", data=tmp_path, out=tmp_path / "out")


def test_docci_packed_pictures_are_named_inside_their_archive(tmp_path: Path) -> None:
    write_lines(tmp_path / "docci" / "docci_descriptions.jsonlines", [docci(0)])
    with tarfile.open(tmp_path / "docci" / "docci_images.tar.gz", "w:gz"):
        pass
    captions("docci", data=tmp_path, out=tmp_path / "out")
    (row,) = read(tmp_path / "out", "docci")
    assert row["image_kind"] == "tar"
    assert row["image"] == "docci/docci_images.tar.gz!images/train_00000.jpg"


# Localized Narratives


def narrative(dataset: str, image: str, annotator: int = 1, **more: Any) -> dict[str, Any]:
    caption = f"In this image I can see a dog to the left of a tree, said {annotator}."
    row = {"dataset_id": dataset, "image_id": image, "annotator_id": annotator, "caption": caption}
    return row | more


@pytest.mark.parametrize(
    ("name", "dataset", "image", "subset", "split", "kind", "where"),
    [
        (
            "coco_val_captions.jsonl",
            *("mscoco_val2017", "137576", "coco", "val", "url"),
            "http://images.cocodataset.org/val2017/000000137576.jpg",
        ),
        (
            "coco_train_localized_narratives-00000-of-00001.jsonl",
            *("mscoco_train2017", "9", "coco", "train", "url"),
            "http://images.cocodataset.org/train2017/000000000009.jpg",
        ),
        (
            "open_images_train_v6_captions.jsonl",
            *("open_images_train_v6", "000595fe6fee6369", "open_images", "train", "url"),
            "https://s3.amazonaws.com/open-images-dataset/train/000595fe6fee6369.jpg",
        ),
        (
            "open_images_validation_captions.jsonl",
            *("OpenImages_val", "0001eeaf4aed83f9", "open_images", "val", "url"),
            "https://s3.amazonaws.com/open-images-dataset/validation/0001eeaf4aed83f9.jpg",
        ),
        (
            "flickr30k_test_captions.jsonl",
            *("Flick30k_test", "1007129816", "flickr30k", "test", "", ""),
        ),
        (
            "ade20k_validation_captions.jsonl",
            *("ADE20k_validation", "ADE_val_00000001", "ade20k", "val", "", ""),
        ),
    ],
)
def test_narratives_of_every_set(
    tmp_path: Path,
    name: str,
    dataset: str,
    image: str,
    subset: str,
    split: str,
    kind: str,
    where: str,
) -> None:
    write_lines(tmp_path / name, [narrative(dataset, image)])
    captions("localized-narratives", data=tmp_path, out=tmp_path / "out")
    (row,) = read(tmp_path / "out", "localized-narratives")
    assert (row["subset"], row["split"], row["image_key"]) == (subset, split, image)
    assert (row["image_kind"], row["image"]) == (kind, where)


def test_narratives_find_pictures_that_are_there(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "ade20k_train_captions.jsonl", [narrative("ADE20k_train", "ADE_train_00000002")]
    )
    place = "ADEChallengeData2016/images/training/ADE_train_00000002.jpg"
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    captions("localized-narratives", data=tmp_path, out=tmp_path / "out")
    (row,) = read(tmp_path / "out", "localized-narratives")
    assert (row["image_kind"], row["image"]) == ("path", place)


def test_a_picture_may_have_five_narratives(tmp_path: Path) -> None:
    rows = [narrative("mscoco_val2017", "137576", number) for number in range(5)]
    write_lines(tmp_path / "coco_val_captions.jsonl", [*rows, rows[0]])
    manifest = captions("localized-narratives", data=tmp_path, out=tmp_path / "out")
    found = read(tmp_path / "out", "localized-narratives")
    assert len({row["caption_id"] for row in found}) == 5
    assert {row["image_key"] for row in found} == {"137576"}
    assert manifest["counts"]["duplicates"] == 1


def test_both_families_of_a_split_are_read_once(tmp_path: Path) -> None:
    row = narrative("mscoco_val2017", "381639")
    write_lines(tmp_path / "coco_val_captions.jsonl", [row])
    traced = row | {"timed_caption": [], "traces": [], "voice_recording": "coco_val/x.ogg"}
    write_lines(tmp_path / "coco_val_localized_narratives.jsonl", [traced])
    manifest = captions("localized-narratives", data=tmp_path, out=tmp_path / "out")
    assert manifest["counts"]["rows"] == 1
    (tmp_path / "coco_val_captions.jsonl").unlink()
    again = captions("localized-narratives", data=tmp_path, out=tmp_path / "out")
    assert again["counts"]["captions"] == 1


def test_a_missing_part_is_told(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "coco_train_localized_narratives-00001-of-00004.jsonl",
        [narrative("mscoco_train2017", "9")],
    )
    manifest = captions("localized-narratives", data=tmp_path, out=tmp_path / "out")
    assert "coco train: of 4 parts 00000, 00002, 00003 are not there." in manifest["faults"]


def test_faulty_lines_are_counted_and_told(tmp_path: Path) -> None:
    path = tmp_path / "coco_val_captions.jsonl"
    write_lines(
        path,
        [
            narrative("mscoco_val2017", "1"),
            narrative("mscoco_val2017", "2", caption=" "),
            narrative("Flick30k", "3"),
            {"dataset_id": "mscoco_val2017"},
            narrative("mscoco_val2017", "4", caption="画像の左側に犬がいます"),
        ],
    )
    path.write_bytes(path.read_bytes() + b'{"dataset_id": "mscoco_val2017", "ima\n')
    manifest = captions("localized-narratives", data=tmp_path, out=tmp_path / "out")
    assert manifest["counts"] == {
        "rows": 6,
        "captions": 2,
        "empty": 1,
        "another set's rows": 1,
        "lines without a field": 1,
        "bad JSON": 1,
        "without a picture": 0,
    }
    assert f"{path}, line 6: no JSON." in manifest["faults"]


# PixMo-Cap


def write_pixmo(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def pixmo(url: str, caption: str = "A vase is to the right of a lamp.") -> dict[str, Any]:
    return {"image_url": url, "caption": caption, "transcripts": ["There is a vase."]}


def test_pixmo_cap(tmp_path: Path) -> None:
    one, two = "https://example.org/a.jpg", "https://example.org/b.png"
    folder = tmp_path / "data"
    write_pixmo(folder / "train-00000-of-00002.parquet", [pixmo(one), pixmo(one, "Other words.")])
    write_pixmo(folder / "train-00001-of-00002.parquet", [pixmo(two), pixmo(two)])
    told: list[str] = []
    manifest = captions("pixmo-cap", data=tmp_path, out=tmp_path / "out", on_event=told.append)
    assert [line.split(": ")[1] for line in told] == ["2 rows so far", "4 rows so far"]
    found = read(tmp_path / "out", "pixmo-cap")
    assert [row["image"] for row in found] == [one, one, two]
    assert found[2]["image_key"] == hashlib.sha256(two.encode()).hexdigest()
    assert not found[0]["image_redistributable"]
    assert manifest["counts"]["duplicates"] == 1
    assert len(manifest["files"]) == 2


def test_a_torn_parquet_file_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "train-00000-of-00001.parquet"
    write_pixmo(path, [pixmo("https://example.org/a.jpg")])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SpareError, match=r"train-00000-of-00001\.parquet: cannot be read"):
        captions("pixmo-cap", data=tmp_path, out=tmp_path / "out")


def test_a_column_of_another_kind_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "train-00000-of-00001.parquet"
    write_pixmo(path, [{"image_url": 1, "caption": "A cup."}])
    with pytest.raises(SpareError, match="holds no text in its column image_url, but int64"):
        captions("pixmo-cap", data=tmp_path, out=tmp_path / "out")


# All of them


@pytest.mark.parametrize("source", ["docci", "localized-narratives", "pixmo-cap"])
def test_nothing_there_says_what_is_looked_for(tmp_path: Path, source: str) -> None:
    with pytest.raises(SpareError, match=r"There (is no docci_desc|are no files like)"):
        captions(source, data=tmp_path, out=tmp_path / "out")
    assert not (tmp_path / "out" / source).exists()


def test_there_is_no_such_source(tmp_path: Path) -> None:
    with pytest.raises(SpareError, match="there are docci, localized-narratives, pixmo-cap"):
        captions("dci", data=tmp_path, out=tmp_path / "out")


def test_a_source_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "docci_descriptions.jsonlines", [docci(0)])
    captions("docci", data=tmp_path, out=tmp_path / "out")
    assert [part.name for part in find_parts(tmp_path / "out")] == ["docci-00000"]
    assert [part.name for part in find_parts(tmp_path / "out" / "docci")] == ["docci-00000"]
    (tmp_path / "out" / "docci" / "manifest.json").unlink()
    with pytest.raises(SpareError, match="was not read to its end"):
        find_parts(tmp_path / "out")


@given(st.lists(st.text(), min_size=7, max_size=7))
def test_an_id_belongs_to_everything_that_tells_captions_apart(parts: list[str]) -> None:
    source, subset, split, key, image, words, annotator = parts
    one = Caption(source, subset, split, key, "url", image, words, annotator)
    assert one.id == Caption(source, subset, split, key, "path", "x", words, annotator).id
    assert one.id != Caption(source, subset, split, key, "url", image, words + ".", annotator).id
    assert one.id != Caption(source, subset, split, key + "0", "url", image, words, annotator).id
