"""Pairs of a data set, and their pictures: in the shards, below a folder, missing, damaged."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from training_data import QUICK, picture, rows, write_data

import spare
from spare.demo.checkpoint import build_checkpoint
from spare.errors import DataError, SpareError
from spare.finetune.pairs import read_pairs
from spare.images import Picture


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(tmp_path_factory.mktemp("base"), "llava")


def test_pairs_and_pictures_in_the_shards(tmp_path: Path) -> None:
    told = rows()
    pairs = read_pairs(write_data(tmp_path / "data", told))
    assert [pairs.texts(number) for number in range(len(pairs))] == [
        (row["question"], row["answer"]) for row in told
    ]
    assert len(pairs.pictures) == 6
    for number, row in enumerate(told):
        place = pairs.pictures[pairs.picture_of[number]]
        assert isinstance(place, Picture)
        assert place.read() == picture(int(row["image_key"][0]))
    assert pairs.place(0)[1] == 1
    path, row_number = pairs.place(len(told) - 1)
    assert (path.name, row_number) == ("train-00001-of-00002.parquet", len(told) - len(told) // 2)
    assert pairs.card


def test_what_names_the_data_is_its_content(tmp_path: Path) -> None:
    one = read_pairs(write_data(tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert read_pairs(tmp_path / "two").digest == one.digest
    told = rows()
    told[0]["answer"] = "elsewhere"
    assert read_pairs(write_data(tmp_path / "three", told)).digest != one.digest


def test_pictures_below_a_folder(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", pixels=False)
    absent = read_pairs(data)
    assert all("--pictures DIR names its folder" in str(one) for one in absent.pictures)
    found = read_pairs(data, pictures=data / "pictures")
    assert [one.read() for one in found.pictures if isinstance(one, Picture)] == [
        picture(number) for number in range(6)
    ]


def test_pictures_of_a_store(tmp_path: Path) -> None:
    told = [
        {**row, "image_kind": "url", "image": f"https://x.org/{row['image']}"} for row in rows()
    ]
    data = write_data(tmp_path / "data", told, pixels=True)
    for path in data.glob("data/*.parquet"):
        table = pyarrow.parquet.read_table(path).drop_columns(["picture"])
        pyarrow.parquet.write_table(table, path)
    assert "--blobs DIR" in str(read_pairs(data).pictures[0])
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / "0").write_bytes(picture(0))
    fetched: list[dict[str, Any]] = [
        {
            "image_kind": "url",
            "image": f"https://x.org/{number}.png",
            "status": "gone" if number else "ok",
            "path": str(blobs / "0"),
            "sha256": "",
            "perceptual_hash": "",
            "error": "404." if number else "",
        }
        for number in range(2)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(fetched), blobs / "pictures.parquet")
    places = read_pairs(data, blobs=blobs).pictures
    assert isinstance(places[0], Picture)
    assert places[0].read() == picture(0)
    assert "404." in str(places[1])
    assert "--blobs" in str(places[2])


def test_a_data_set_of_datasets_own_layout(tmp_path: Path) -> None:
    """`datasets` calls the picture `image`, and has nothing else that we look for."""
    lines = [
        {"question": "Where?", "answer": "there", "image": {"bytes": picture(n), "path": None}}
        for n in range(3)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lines), tmp_path / "x.parquet")
    pairs = read_pairs(tmp_path)
    assert [one.read() for one in pairs.pictures if isinstance(one, Picture)] == [
        picture(number) for number in range(3)
    ]
    assert list(pairs.weights) == [1.0] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": "  "}, "its answer is empty"),
        ({"question": None}, "its question is empty"),
        ({"weight": -1.0}, "its weight is no number"),
        ({"weight": float("nan")}, "its weight is no number"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    told = rows()
    told[-1] |= change  # of the second shard's second row group
    row = len(told) - len(told) // 2
    with pytest.raises(DataError, match=rf"train-00001-of-00002\.parquet, row {row}: {said}"):
        read_pairs(write_data(tmp_path / "data", told))


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        read_pairs(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no parquet files"):
        read_pairs(tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"question": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="has no column answer"):
        read_pairs(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(DataError, match="cannot be read"):
        read_pairs(tmp_path)


def test_bad_pictures_are_found_before_the_first_step(tmp_path: Path, base: Path) -> None:
    data = write_data(tmp_path / "data", pixels=False)
    (data / "pictures" / "2.png").write_bytes(picture(2)[:60])
    (data / "pictures" / "3.png").unlink()
    told: list[Any] = []

    def train(**settings: Any) -> list[Any]:
        return spare.fine_tune(
            "demo",
            data=data,
            out=tmp_path / "out",
            model=str(base),
            pictures=data / "pictures",
            settings=QUICK | {"max_steps": 2} | settings,
            on_event=told.append,
        )

    with pytest.raises(SpareError, match=r"2 pictures of 6 cannot be used.*bad_pictures=0.34"):
        train()
    assert any(
        "train-00000-of-00002.parquet, row 4: Picture 2.png is damaged" in str(one) for one in told
    )
    assert any("Picture 3.png is missing" in str(one) for one in told)
    (found,) = train(bad_pictures=0.34)
    assert any("2 pictures of 6 left out" in note for note in found.result["notes"])
    from spare.harness.models.loading import read_lineage

    assert read_lineage(found.folder)["pictures left out"] == 2


@pytest.mark.parametrize("allowed", [0.0, 1.0])
def test_what_would_leave_nothing_is_not_advised(
    tmp_path: Path, base: Path, allowed: float
) -> None:
    data = write_data(tmp_path / "data", pixels=False)

    def refused(pictures: str | Path) -> str:
        with pytest.raises(SpareError) as told:
            spare.fine_tune(
                "demo",
                data=data,
                out=tmp_path / "out",
                model=str(base),
                pictures=pictures,
                settings=QUICK | {"bad_pictures": allowed},
            )
        return str(told.value)

    without = refused("")
    assert re.search(
        r"6 pictures of 6 cannot be used\. .*train-00000-of-00002\.parquet, row 1: ", without
    )
    assert without.count("--pictures DIR") == 1
    elsewhere = refused(tmp_path / "elsewhere")
    assert "--pictures DIR names the folder of pictures, --blobs DIR" in elsewhere
    assert not (tmp_path / "out").exists()
    for path in (data / "pictures").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    torn = refused(data / "pictures")
    assert "is damaged" in torn
    assert "--pictures" not in torn
    assert not any("bad_pictures" in one for one in (without, elsewhere, torn))


def test_texts_with_signs_of_the_model_are_found_before_the_first_step(
    tmp_path: Path, base: Path
) -> None:
    told = rows()
    told[9]["question"] = "What does <image> mean?"
    with pytest.raises(SpareError, match=r"row 4: its question spells out <image>"):
        spare.fine_tune(
            "demo",
            data=write_data(tmp_path / "data", told),
            out=tmp_path / "out",
            model=str(base),
            settings=QUICK,
        )


def test_what_publish_writes_is_what_is_read(tmp_path: Path) -> None:
    """The pipeline's own output, with pixels and without."""
    from spare.generation.captions import captions
    from spare.generation.pipeline import generate
    from spare.generation.publish import publish

    docci = tmp_path / "docci"
    (docci / "images").mkdir(parents=True)
    lines = []
    for number in range(4):
        name = f"train_0000{number}"
        (docci / "images" / f"{name}.jpg").write_bytes(picture(number))
        caption = "A red mug stands to the left of a plate. A spoon lies on the plate."
        line = {"example_id": name, "image_file": f"{name}.jpg", "split": "train"}
        lines.append(json.dumps(line | {"description": caption}))
    (docci / "docci_descriptions.jsonlines").write_text("\n".join(lines) + "\n", "utf-8")
    captions("docci", data=docci, out=tmp_path / "captions")
    generate(tmp_path / "captions", out=tmp_path / "qa", benchmarks="none", llm="template:")
    count = publish(tmp_path / "qa", out=tmp_path / "with", pictures="all")["pairs"]
    publish(tmp_path / "qa", out=tmp_path / "without")
    for pairs in (
        read_pairs(tmp_path / "with"),
        read_pairs(tmp_path / "without", pictures=docci),
    ):
        assert len(pairs) == count >= 8
        assert [one.read() for one in pairs.pictures if isinstance(one, Picture)] == [
            picture(number) for number in range(4)
        ]
        assert all("?" in pairs.texts(number)[0] for number in range(count))
