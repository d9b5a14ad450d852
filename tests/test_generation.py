"""From captions to a data set, end to end: by templates, and by a tiny language model and a tiny
dual encoder through the real paths; stopped, damaged, and cut again."""

from __future__ import annotations

import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
import torch
from caption_world import BENCHMARKED, write_docci, write_narratives, write_sources
from hypothesis import given
from hypothesis import strategies as st
from test_clip import build_clip

from spare.cli import main
from spare.demo.checkpoint import build_checkpoint
from spare.errors import ModelError, SpareError
from spare.generation import captions as reading
from spare.generation import llm, shards
from spare.generation.captions import captions, find_parts
from spare.generation.cut import capped
from spare.generation.manifest import read_pipeline
from spare.generation.pipeline import generate
from spare.generation.publish import form_of, publish
from spare.generation.review import LABELS, rates, sheet
from spare.generation.spatiality import relations
from spare.generation.stages import STAGES, Inputs

SOURCES = ("docci", "localized-narratives", "pixmo-cap")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions of the three sources, read, 200 each, in shards of 64."""
    folder = tmp_path_factory.mktemp("world")
    write_sources(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "SHARD", 64)
        for source in SOURCES:
            captions(source, data=folder / "data", out=folder / "captions")
    return folder


@pytest.fixture(scope="module")
def qa(world: Path) -> Path:
    """Pairs by templates."""
    generate(world / "captions", out=world / "qa")
    return world / "qa"


def table(out: Path, stage: str, *names: str) -> list[Any]:
    """Columns of all shards of a stage, as rows."""
    rows: list[Any] = []
    for path in sorted((out / stage).glob("*.parquet")):
        columns = [shards.read(path).column(name).to_pylist() for name in names]
        rows += zip(*columns, strict=True)
    return rows


def contents(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Everything that the stages have found out, by shard."""
    return {
        str(path.relative_to(out)): shards.read(path).to_pylist()
        for path in sorted(out.glob("*/*.parquet"))
    }


# By templates


def test_every_source_gives_pairs_and_the_counts_are_those_of_the_rows(qa: Path) -> None:
    told = json.loads((qa / "funnel.json").read_text())
    assert set(told["sources"]) == set(SOURCES)
    for source, counts in told["sources"].items():
        assert counts["captions"] == 200
        assert counts["passed"] == (160 if source == "localized-narratives" else 200)
    reasons = Counter(reason or "kept" for (reason,) in table(qa, "cut", "reason"))
    assert told["pairs"] == dict(reasons)
    assert sum(reasons.values()) == sum(one["pairs"] for one in told["sources"].values())
    assert told["prefilter"]["stopped by the gate"] == 40


def test_what_the_captions_say_is_asked(world: Path, qa: Path) -> None:
    """Each caption says two things plainly; the right questions about both are there."""
    (part, *_) = find_parts(world / "captions")
    pairs = Inputs(qa, part).pairs
    assert len(pairs.ids) == 64 * 8
    for question, answer in zip(pairs.questions, pairs.answers, strict=True):
        if question.startswith(("Is", "Are")):
            assert answer.startswith(("Yes, ", "No, "))


def test_pictures_of_benchmarks_are_left_out(qa: Path) -> None:
    found = table(qa, "contamination", "benchmark", "by")
    known = [one for one in found if one[0]]
    assert set(known) == {("vsr_zeroshot, vsr_random", "coco id")}
    told = json.loads((qa / "funnel.json").read_text())
    assert told["contamination"] == {"vsr_zeroshot": 16, "vsr_random": 16}  # each that has it
    dropped = [reason for (reason,) in table(qa, "cut", "reason")].count("benchmark picture")
    assert dropped == told["pairs"]["benchmark picture"] == len(known) == 16


def test_a_pair_counts_for_each_benchmark_whatever_it_is_dropped_for(tmp_path: Path) -> None:
    from chat_server import NAME, Answer, Asked, says, serving, well

    pair = {"question": "Where is the cup?", "answer": "to the left of the plate"}

    def behave(asked: Asked) -> Answer:
        again = "response_format" in asked.body
        return says(asked, json.dumps([pair, pair])) if again else well(asked)

    row = {"dataset_id": "mscoco_train2017", "image_id": str(BENCHMARKED), "annotator_id": 1}
    row["caption"] = "A cup stands to the left of the plate."
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "coco_train_captions.jsonl").write_text(json.dumps(row))
    (tmp_path / "list.txt").write_text(f"{BENCHMARKED}\n")
    captions("localized-narratives", data=tmp_path / "data", out=tmp_path / "captions")
    with serving(behave) as server:
        told = generate(
            tmp_path / "captions",
            out=tmp_path / "qa",
            exclude=str(tmp_path / "list.txt"),
            llm=f"openai:{NAME}",
            engine={"base_url": server.url},
        )
    assert told["pairs"] == {"repeat": 1, "benchmark picture": 1, "kept": 0}
    assert told["contamination"] == dict.fromkeys(("excluded", "vsr_zeroshot", "vsr_random"), 2)
    assert told["excluded"]["unmatched"] == 0


def test_pictures_of_benchmarks_that_are_there_are_known_by_their_looks(tmp_path: Path) -> None:
    """VSR's own pictures in another size and name: no COCO number, and other bytes."""
    import PIL.Image

    from spare.demo.world import write_world

    write_world(tmp_path / "benchmarks", sets=2)
    vsr = tmp_path / "benchmarks" / "vsr"
    (vsr / "random").mkdir()  # two tests that share their pictures
    text = (vsr / "zeroshot" / "test.jsonl").read_text()
    (vsr / "random" / "test.jsonl").write_text(text.replace('"subj"', '"subject"'))
    write_docci(tmp_path / "data", 4)
    first = next((tmp_path / "benchmarks" / "vsr" / "images").iterdir())
    with PIL.Image.open(first) as image:
        image.resize((image.width * 2, image.height * 2)).save(
            tmp_path / "data/images/train_00002.jpg", quality=90
        )
    shutil.copy(first, tmp_path / "data/images/train_00003.jpg")
    captions("docci", data=tmp_path / "data", out=tmp_path / "captions")
    generate(tmp_path / "captions", out=tmp_path / "qa", benchmarks=str(tmp_path / "benchmarks"))
    found = {
        (pair.split("-")[0], by): name
        for pair, name, by in table(tmp_path / "qa", "contamination", "pair_id", "benchmark", "by")
    }
    assert sorted(by for _, by in found if by) == ["perceptual hash", "sha256"]
    assert set(found.values()) == {"", "vsr_zeroshot, vsr_random"}


def test_a_users_list_of_pictures_is_left_out(world: Path, tmp_path: Path) -> None:
    """By key and by digest; what is in the list and matches nothing is told, in the card too."""
    import hashlib

    picture = (world / "data" / "images" / "train_00005.jpg").read_bytes()
    lines = ["train_00003", "900007", hashlib.sha256(picture).hexdigest().upper()]
    lines += ["900005"]  # a caption without pairs
    (tmp_path / "list.txt").write_text("\n".join([*lines, "train_3", "train_3", "0" * 64]))
    found = generate(world / "captions", out=tmp_path / "qa", exclude=str(tmp_path / "list.txt"))
    assert found["contamination"]["excluded"] == found["pairs"]["excluded"] == 24
    assert found["excluded"] == {"lines": 6, "unmatched": 2, "first": "train_3"}
    (tmp_path / "list.txt").unlink()
    again = generate(world / "captions", out=tmp_path / "qa", rethreshold=True)
    assert again["excluded"] == found["excluded"]
    publish(tmp_path / "qa", out=tmp_path / "dataset")
    card = (tmp_path / "dataset" / "README.md").read_text()
    assert "that match no picture: 2 of 6, such as 'train\\_3'." in card


def test_nothing_is_done_twice(world: Path, qa: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in qa.glob("*/*.parquet")}
    generate(world / "captions", out=qa)
    after = {path: path.stat().st_mtime_ns for path in qa.glob("*/*.parquet")}
    assert {path for path in after if after[path] != before[path]} == set(qa.glob("cut/*"))


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"support": 0.9}, set()),  # a threshold: nothing but the decision
        ({"exclude": "list"}, {"contamination"}),
        ({"prefilter": 0.9}, set()),
        ({"prefilter": 0.4}, set(STAGES) - {"prefilter", "clipscore"}),
    ],
)
def test_a_change_redoes_what_hangs_on_it(
    qa: Path, world: Path, tmp_path: Path, change: dict[str, Any], again: set[str]
) -> None:
    shutil.copytree(qa, tmp_path / "qa")
    (tmp_path / "list").write_text("train_00003\n")
    options = {
        name: str(tmp_path / "list") if value == "list" else value for name, value in change.items()
    }
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "qa").glob("*/*.parquet")}
    generate(world / "captions", out=tmp_path / "qa", **options)
    done = {path.parent.name for path in before if path.stat().st_mtime_ns != before[path]}
    assert done == again | {"cut"}


@pytest.mark.parametrize("keep", [0, 100, -50])
def test_a_torn_shard_is_found_and_made_again(
    qa: Path, world: Path, tmp_path: Path, keep: int
) -> None:
    shutil.copytree(qa, tmp_path / "qa")
    expected = contents(tmp_path / "qa")
    for stage in ("generate", "tags"):
        path = sorted((tmp_path / "qa" / stage).glob("*.parquet"))[1]
        path.write_bytes(path.read_bytes()[:keep])
    generate(world / "captions", out=tmp_path / "qa")
    assert contents(tmp_path / "qa") == expected


def flip_bytes(path: Path) -> None:
    """Damage a shard, but not its end, which says what it holds."""
    data = bytearray(path.read_bytes())
    for place in range(20, len(data) // 2, 40):
        data[place] ^= 0xFF
    path.write_bytes(data)


def test_a_shard_with_changed_bytes_is_found_and_made_again(
    qa: Path, world: Path, tmp_path: Path
) -> None:
    """By the same call; where nothing is to be made, by a sentence."""
    shutil.copytree(qa, tmp_path / "qa")
    expected = contents(tmp_path / "qa")
    for stage in ("prefilter", "generate", "tags", "cut"):
        flip_bytes(sorted((tmp_path / "qa" / stage).glob("*.parquet"))[0])
    generate(world / "captions", out=tmp_path / "qa")
    assert contents(tmp_path / "qa") == expected
    flip_bytes(sorted((tmp_path / "qa" / "tags").glob("*.parquet"))[0])
    with pytest.raises(SpareError, match=r"tags.*was damaged and has been taken away. Run `spare"):
        generate(world / "captions", out=tmp_path / "qa", rethreshold=True)
    generate(world / "captions", out=tmp_path / "qa")
    assert contents(tmp_path / "qa") == expected


@pytest.mark.parametrize("torn", [True, False])
def test_what_a_server_writes_anew_goes_through_all_that_is_behind(
    few: Path, tmp_path: Path, torn: bool
) -> None:
    """It says something else every time, so pairs of before and of now must not meet."""
    from itertools import count

    from chat_server import NAME, Answer, Asked, says, serving, well

    numbers = count()

    def moody(asked: Asked) -> Answer:
        if "response_format" not in asked.body:
            return well(asked)
        pairs = [
            {"question": f"Where is cup {next(numbers)}?", "answer": "on the left"}
            for _ in range(1 + len(server.asked) % 3)
        ]
        return says(asked, json.dumps(pairs))

    with serving(moody) as server:
        options: dict[str, Any] = {"llm": f"openai:{NAME}", "engine": {"base_url": server.url}}
        generate(few, out=tmp_path / "qa", **options)
        path = sorted((tmp_path / "qa" / "generate").glob("*.parquet"))[0]
        if torn:
            path.write_bytes(path.read_bytes()[:-50])
        else:
            flip_bytes(path)
        found = generate(few, out=tmp_path / "qa", **options)
    written = [len(pairs) for (pairs,) in table(tmp_path / "qa", "generate", "pairs")]
    for stage in ("duplicates", "reference", "support", "spatial", "tags", "contamination", "cut"):
        assert len(table(tmp_path / "qa", stage, "pair_id")) == sum(written)
    assert sum(found["pairs"].values()) == sum(written)


def test_other_captions_do_not_go_into_the_same_folder(qa: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_narratives(tmp_path / "data", 10)
    captions("localized-narratives", data=tmp_path / "data", out=tmp_path / "captions")
    with pytest.raises(SpareError, match="was made from other captions"):
        generate(tmp_path / "captions", out=qa)


def test_stages_run_in_their_order(world: Path, tmp_path: Path) -> None:
    with pytest.raises(SpareError, match="run generate first"):
        generate(world / "captions", out=tmp_path / "qa", stages=["tags"])
    assert generate(world / "captions", out=tmp_path / "qa", stages=["prefilter", "generate"]) == {}
    with pytest.raises(SpareError, match="has not been through duplicates yet"):
        generate(world / "captions", out=tmp_path / "qa", rethreshold=True)
    with pytest.raises(SpareError, match="is not finished"):
        read_pipeline(tmp_path / "qa")
    with pytest.raises(SpareError, match="is not finished"):
        relations([tmp_path / "qa"])
    with pytest.raises(SpareError, match="There is no stage 'tag'"):
        generate(world / "captions", out=tmp_path / "qa", stages=["tag"])
    assert generate(world / "captions", out=tmp_path / "qa")["pairs"]["kept"]


def test_a_stage_that_has_nothing_to_do_is_refused(few: Path, tmp_path: Path) -> None:
    with pytest.raises(SpareError, match="clipscore has nothing to do without --clip"):
        generate(few, out=tmp_path / "qa", stages=["prefilter", "clipscore"])
    with pytest.raises(SpareError, match="contamination has nothing to do with --benchmarks none"):
        generate(few, out=tmp_path / "qa", stages=["contamination"], benchmarks="none")
    assert not (tmp_path / "qa").exists()


@pytest.mark.parametrize("captioned", [2, 24])
def test_a_server_that_knows_no_likelihoods_is_told_with_what_helps(
    tmp_path: Path, captioned: int
) -> None:
    """As the first error, or where it ends the run after too many."""
    from chat_server import NAME, Answer, Asked, says, serving, well

    def behave(asked: Asked) -> Answer:
        return says(asked, "Yes") if asked.body.get("logprobs") else well(asked)

    write_docci(tmp_path / "data", captioned)
    captions("docci", data=tmp_path / "data", out=tmp_path / "captions")
    with serving(behave) as server:
        options = {"llm": f"openai:{NAME}", "engine": {"base_url": server.url}}
        try:
            found = generate(tmp_path / "captions", out=tmp_path / "qa", **options)
        except SpareError as error:
            told = str(error)
            assert captioned == 24
        else:
            told = found["first_error"]
            assert found["unheard"] == {"prefilter": captioned}
    assert "or a model that tells likelihoods" in told


def test_a_caption_that_is_too_long_is_told_with_what_helps(
    few: Path, models: dict[str, str], tmp_path: Path
) -> None:
    from spare.generation.tables import grids

    def make(most: int) -> dict[str, Any]:
        options = OPTIONS | {"max_new_tokens": most}
        return generate(few, out=tmp_path / "qa", llm=models["llm"], **options)

    # What no caption leaves room for is known before the first.
    with pytest.raises(ModelError, match="Lower it, by more than that for long") as caught:
        make(10_000_000)
    (left,) = re.findall(r"leaves ([\d,]+),", str(caught.value))
    found = make(int(left.replace(",", "")))  # what a short one leaves
    assert 0 < found["unheard"]["generate"] <= 24
    notes = " ".join(grids(found)[0].notes)
    assert "The prompt is too long" in notes
    assert "asking again is not enough: a smaller --max-new-tokens helps" in notes


def test_relations_can_be_capped_and_weighted(qa: Path, world: Path, tmp_path: Path) -> None:
    shutil.copytree(qa, tmp_path / "qa")
    natural = json.loads((qa / "funnel.json").read_text())["relations"]
    weights = {"left": 0.75, "above": 0.25}
    found = generate(
        world / "captions", out=tmp_path / "qa", rethreshold=True, cap=0.2, weights=weights
    )
    kept = found["relations"]
    assert all(count <= 0.2 * sum(kept.values()) for count in kept.values())
    assert all(kept[name] == natural[name] for name in ("below", "right"))  # below the cap
    assert "balance" in dict(table(tmp_path / "qa", "cut", "pair_id", "reason")).values()
    weight = {
        relation: one
        for (relation,), (one,) in zip(
            table(tmp_path / "qa", "tags", "relation"),
            table(tmp_path / "qa", "cut", "weight"),
            strict=True,
        )
    }
    both = kept["left"] + kept["above"]
    assert weight["left"] == pytest.approx(0.75 / (kept["left"] / both), rel=1e-5)
    assert weight["front"] == 1
    whole = contents(tmp_path / "qa")
    for cap, words in ((0.1, r"--cap 0\.1 cannot be kept.* 6 relations"), (0, "one of 30")):
        with pytest.raises(SpareError, match=words):
            generate(world / "captions", out=tmp_path / "qa", rethreshold=True, cap=cap)
    # What was refused is not remembered, and what was decided stands.
    assert contents(tmp_path / "qa") == whole
    assert generate(world / "captions", out=tmp_path / "qa", rethreshold=True)["relations"] == kept


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 5000), max_size=12), st.floats(0, 1))
def test_no_relation_has_more_than_its_cap(natural: dict[str, int], cap: float) -> None:
    there = [count for count in natural.values() if count]
    if there and cap * len(there) < 1:
        with pytest.raises(SpareError):
            capped(natural, cap)
        return
    kept = capped(natural, cap)
    assert all(kept[name] <= natural[name] for name in kept)
    if sum(kept.values()) > 1 / cap if cap else False:  # a handful cannot be shared out finely
        assert max(kept.values()) <= cap * sum(kept.values())


def test_deciding_again_keeps_what_is_not_named(
    few: Path, models: dict[str, str], asked: Path, tmp_path: Path
) -> None:
    shutil.copytree(asked, tmp_path / "qa")
    told = json.loads((asked / "manifest.json").read_text())
    again = generate(few, out=tmp_path / "qa", rethreshold=True, similar=0.99)
    manifest = json.loads((tmp_path / "qa" / "manifest.json").read_text())
    assert manifest["options"] == told["options"] | {"similar": 0.99}
    assert again["sources"] == json.loads((asked / "funnel.json").read_text())["sources"]
    # A higher threshold of the pre-filter drops what it would not have let pass.
    strict = generate(few, out=tmp_path / "qa", rethreshold=True, prefilter=1.0)
    assert strict["sources"]["docci"]["passed"] == 0
    assert strict["pairs"].get("kept", 0) == 0
    with pytest.raises(SpareError, match="leave out --rethreshold"):
        generate(few, out=tmp_path / "qa", rethreshold=True, max_new_tokens=5)


def test_the_counts_of_deciding_again_are_those_of_a_run_that_begins_so(
    few: Path, models: dict[str, str], tmp_path: Path
) -> None:
    """The server is surer of some captions and pairs than of others, fails at a fifth, and is cut
    off at some: what the old thresholds alone let through is in no count."""
    from chat_server import NAME, Answer, Asked, ranks, refuses, says, serving

    def behave(asked: Asked) -> Answer:
        draw = random.Random(f"{sorted(asked.body)} {asked.text}")
        if llm.CANARY in asked.text:
            return says(asked, json.dumps([{"question": "Where is it?", "answer": "on the left"}]))
        if draw.random() < 0.2:
            return refuses(400, "This question is not liked.")
        if "response_format" not in asked.body:
            yes = draw.uniform(0.5, 0.95)
            return ranks(asked, {"Yes": math.log(yes), "No": math.log(1 - yes)})
        words = asked.text.split()
        sides = ("left of", "right of", "above", "far from")
        pairs = [
            {
                "question": f"What is {draw.choice(sides)} the {draw.choice(words)}?",
                "answer": f"{draw.choice(words)} {draw.choice(words)}",
            }
            for _ in range(6)
        ]
        text = json.dumps([*pairs, pairs[0], {"question": "Why?", "answer": ""}])
        return says(asked, text, finish=draw.choice(("stop", "length")))

    begun: dict[str, Any] = {
        "llm": f"openai:{NAME}",
        "clip": models["clip"],
        "clipscore": -1.0,
        "support": 0.1,
        "prefilter": 0.5,
    }
    moves: list[dict[str, Any]] = [
        {"prefilter": 0.7},
        {"prefilter": 0.6, "similar": 0.9, "clipscore": 0.2, "spatial": 0.7},
        {"support": 0.9, "in_sentence": True, "harmless": 0.2, "cap": 0.9},
    ]
    with serving(behave) as server:
        engine = {"base_url": server.url}
        loose = generate(few, out=tmp_path / "loose", engine=engine, **begun)
        begins = [
            generate(few, out=tmp_path / f"begun {number}", engine=engine, **begun | moved)
            for number, moved in enumerate(moves)
        ]
    for number, (moved, fresh) in enumerate(zip(moves, begins, strict=True)):
        out = tmp_path / f"moved {number}"
        shutil.copytree(tmp_path / "loose", out)
        again = generate(few, out=out, rethreshold=True, **moved)
        del fresh["seconds"], again["seconds"]
        assert again == fresh
        assert fresh["pairs"] != loose["pairs"]
        assert fresh["unheard"]["generate"] > 0 < fresh["clipscore"]["scored"]
        made = sum(one["pairs"] for one in fresh["sources"].values())
        assert sum(fresh["pairs"].values()) == made > 0
        assert list(out.glob("*/*.replies.jsonl"))  # what failed is still to be asked


def test_pairs_about_something_else_may_stay(few: Path, tmp_path: Path) -> None:
    """A share of all that is kept; 1 keeps everything that only the spatial check drops."""
    from chat_server import NAME, Answer, Asked, ranks, says, serving

    where = {"question": "Where is it?", "answer": "in the foreground"}
    colour = {"question": "What colour is it?", "answer": "red"}

    def behave(asked: Asked) -> Answer:
        if "response_format" in asked.body:
            return says(asked, json.dumps([where, colour]))
        yes, no = (-3.0, -0.1) if "colour" in asked.text else (-0.1, -3.0)
        return ranks(asked, {"Yes": yes, "No": no})

    options = {"llm": f"openai:{NAME}", "support": 0.0, "benchmarks": "none"}
    with serving(behave) as server:
        engine = {"base_url": server.url}
        strict = generate(few, out=tmp_path / "qa", engine=engine, **options)["pairs"]
    assert strict == {"kept": 24, "not spatial": 24}
    kept = {}
    for share in (0.25, 1.0):
        found = generate(few, out=tmp_path / "qa", rethreshold=True, harmless=share)
        kept[share] = found["pairs"]["kept"]
    assert kept[1.0] == 48
    assert 24 < kept[0.25] < 40  # a draw
    # What nothing but the spatial check drops, and not what is also left out for its picture.
    left_out = {shards.read(part.path).column("image_key")[0].as_py() for part in find_parts(few)}
    listed = tmp_path / "listed.txt"
    listed.write_text("\n".join(left_out))
    with serving(behave) as server:
        engine = {"base_url": server.url}
        options |= {"exclude": str(listed), "harmless": 1.0}
        found = generate(few, out=tmp_path / "qa", engine=engine, **options)["pairs"]
    assert found == {"kept": 48 - 2 * len(left_out), "excluded": 2 * len(left_out)}


def test_half_a_surrogate_pair_is_no_text(few: Path, tmp_path: Path) -> None:
    from chat_server import NAME, Answer, Asked, ranks, says, serving

    where = {"question": "Where is it?", "answer": "in the foreground"}
    half = {"question": "What is \ud800?", "answer": "a mug"}

    def behave(asked: Asked) -> Answer:
        if "response_format" in asked.body:
            return says(asked, json.dumps([where, half]) + " \udfff")
        return ranks(asked, {"Yes": -0.1, "No": -3.0})

    options = {"llm": f"openai:{NAME}", "support": 0.0, "benchmarks": "none"}
    with serving(behave) as server:
        found = generate(few, out=tmp_path / "qa", engine={"base_url": server.url}, **options)
    assert found["pairs"] == {"kept": 24}
    assert found["replies"] == {"stop": 24, "objects that were no pairs": 24}


def test_pairs_of_a_model_are_not_replaced_by_mistake(
    few: Path, asked: Path, tmp_path: Path
) -> None:
    shutil.copytree(asked, tmp_path / "qa")
    with pytest.raises(SpareError, match="holds pairs by transformers:"):
        generate(few, out=tmp_path / "qa")
    assert contents(tmp_path / "qa") == contents(asked)


def test_a_moved_threshold_asks_no_caption_twice(
    few: Path, models: dict[str, str], asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spare.generation.models import Models

    shutil.copytree(asked, tmp_path / "qa")
    probabilities = [one for (one,) in table(asked, "prefilter", "probability")]
    middle = sorted(probabilities)[len(probabilities) // 2]
    written: list[str] = []
    answered = llm.answered

    def counting(model: Any, requests: Any, *more: Any) -> Any:
        written.extend(one.key for one in requests if one.schema)
        return answered(model, requests, *more)

    monkeypatch.setattr(llm, "answered", counting)
    monkeypatch.setattr(Models, "require_schema", lambda self: None)

    def made(out: Path, prefilter: float) -> dict[str, Any]:
        written.clear()
        found = generate(few, out=out, **models, **{**OPTIONS, "prefilter": prefilter})
        return {name: value for name, value in found.items() if name != "seconds"}

    # Up and down again: what is there is enough.
    raised = made(tmp_path / "qa", middle)
    assert written == []
    passed = sum(one >= middle for one in probabilities)
    assert sum(one["passed"] for one in raised["sources"].values()) == passed
    first = json.loads((asked / "funnel.json").read_text())
    del first["seconds"]
    assert made(tmp_path / "qa", 0.0) == first
    assert written == []
    # Strict from the start: the same, and lowered it asks for what is missing alone.
    assert made(tmp_path / "strict", middle) == raised
    assert len(written) == passed
    whole = made(tmp_path / "strict", 0.0)
    assert len(written) == len(probabilities) - passed
    assert sum(one["passed"] for one in whole["sources"].values()) == len(probabilities)
    made(tmp_path / "strict", middle)
    assert written == []


def test_lost_captions_are_noticed(few: Path, tmp_path: Path) -> None:
    shutil.copytree(few, tmp_path / "captions")
    torn = tmp_path / "captions" / "docci" / "00001.parquet"
    torn.write_bytes(torn.read_bytes()[:500])
    with pytest.raises(SpareError, match="Run `spare captions` again"):
        generate(tmp_path / "captions", out=tmp_path / "qa")
    with pytest.raises(SpareError, match="has 2 of its 3 shards: run its `spare captions` again"):
        generate(tmp_path / "captions", out=tmp_path / "qa")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"benchmarks": "nowhere"}, "There is no folder nowhere"),
        ({"exclude": "nowhere"}, "nowhere cannot be read"),
        ({"blobs": "nowhere"}, "pictures.parquet: is not there"),
        ({"clip": "./nowhere"}, "There is no folder ./nowhere"),
        ({"clip_scale": "w3"}, "raw .* or w2.5"),
        ({"cap": 1.5}, "--cap is a share"),
        ({"clipscore": float("nan")}, "--clipscore is a number, not nan"),
    ],
)
def test_what_the_last_stage_lacks_is_said_before_the_first(
    world: Path, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SpareError, match=sentence):
        generate(world / "captions", out=tmp_path / "qa", **options)
    assert not list(tmp_path.glob("qa/*/*"))


# What comes out


def test_the_data_set_loads_and_its_card_counts_its_rows(qa: Path, tmp_path: Path) -> None:
    publish(qa, out=tmp_path / "dataset")
    data = datasets.load_dataset(
        str(tmp_path / "dataset"), split="train", cache_dir=str(tmp_path / "cache")
    )
    told = json.loads((qa / "funnel.json").read_text())
    assert len(data) == told["pairs"]["kept"]
    assert len(set(data["id"])) == len(data)
    card = (tmp_path / "dataset" / "README.md").read_text()
    assert f"{len(data):,} pairs, made of" in card
    for column in ("source", "relation", "frame", "form"):
        for name, count in Counter(data[column]).items():
            escaped = name.replace("_", "\\_")
            assert any(
                line.split("|")[1].strip() == escaped and line.split("|")[2].strip() == f"{count:,}"
                for line in card.splitlines()
                if line.startswith("|")
            ), (column, name)
    assert "vsr_zeroshot: 715 of its pictures known; 16 pairs about them." in card
    assert "vsr_random: 1,874 of its pictures known; 16 pairs about them." in card
    assert "Left out for this alone: 16 pairs." in card
    assert str(qa) not in card


def test_pixels_travel_only_where_they_may(qa: Path, tmp_path: Path) -> None:
    counts = publish(qa, out=tmp_path / "dataset", pictures="free")
    data = datasets.load_dataset(
        str(tmp_path / "dataset"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert data[0]["picture"].size == (64, 64)
    have = {source for source, one in zip(data["source"], data["picture"], strict=True) if one}
    assert have == {"docci"}
    assert counts["with pixels"] == Counter(data["source"])["docci"]


def test_a_part_can_be_published_alone(qa: Path, tmp_path: Path) -> None:
    counts = publish(qa, out=tmp_path / "docci", only={"source": "docci", "class": "projective"})
    assert counts["pairs"] == counts["source docci"] > 0
    card = (tmp_path / "docci" / "README.md").read_text()
    assert "Only source docci. Only class projective." in card
    assert "relation on" not in counts
    counts = publish(qa, out=tmp_path / "where", only={"form": "where"})
    assert counts["pairs"] == counts["form where"] > 0
    (shard,) = (tmp_path / "where" / "data").iterdir()
    questions = pyarrow.parquet.read_table(shard).column("question").to_pylist()
    assert all(question.startswith("Where ") for question in questions)
    with pytest.raises(SpareError, match="has no pair with frame other_agent that was kept"):
        publish(qa, out=tmp_path / "none", only={"frame": "other_agent"})
    with pytest.raises(SpareError, match="--only knows source"):
        publish(qa, out=tmp_path / "none", only={"colour": "red"})
    several = ["--only", "source=docci", "--only", "source=pixmo-cap"]
    assert main(["publish", str(qa), "--out", str(tmp_path / "two"), *several]) == 0
    data = datasets.load_dataset(
        str(tmp_path / "two"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert set(data["source"]) == {"docci", "pixmo-cap"}


def test_what_is_not_ours_is_never_replaced(qa: Path, world: Path, tmp_path: Path) -> None:
    """A folder with data in it is not a data set of ours because of that."""
    theirs = tmp_path / "theirs"
    shutil.copytree(world / "data", theirs / "data")
    (theirs / "README.md").write_text("mine")
    for folder in (theirs, theirs / "data"):
        with pytest.raises(SpareError, match="holds something else"):
            publish(qa, out=folder)
    source = tmp_path / "pixmo-cap"
    (source / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(
        pyarrow.table({"text": ["theirs"]}), source / "data" / "train-00000-of-00001.parquet"
    )
    with pytest.raises(SpareError, match="holds something else"):
        publish(qa, out=source)
    with pytest.raises(SpareError, match="holds the source's own files"):
        captions("pixmo-cap", data=source, out=tmp_path)
    (tmp_path / "docci").mkdir()
    shutil.copyfile(
        source / "data" / "train-00000-of-00001.parquet", tmp_path / "docci" / "00000.parquet"
    )
    with pytest.raises(SpareError, match=r"00000\.parquet of something else"):
        captions("docci", data=world / "data", out=tmp_path)
    with pytest.raises(SpareError, match="holds the captions themselves"):
        generate(world / "captions" / "docci", out=world / "captions" / "docci")
    assert len(list(theirs.rglob("*"))) == 1 + 1 + len(list((world / "data").rglob("*")))


def test_a_data_set_is_replaced_once_the_new_one_is_whole(qa: Path, tmp_path: Path) -> None:
    out = tmp_path / "dataset"
    publish(qa, out=out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(SpareError, match="has no pair"):
        publish(qa, out=out, only={"source": "doci"})

    class Killed(Exception):
        pass

    def stop(event: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        publish(qa, out=out, only={"source": "docci"}, on_event=stop)
    for path, contents_before in before.items():
        assert path.read_bytes() == contents_before
    publish(qa, out=out, only={"source": "docci"})
    assert set(relations([out])[0].relations) <= set(relations([qa])[0].relations)
    data = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert set(data["source"]) == {"docci"}
    assert sorted(path.name for path in out.iterdir()) == [".lock", "README.md", "data"]


@pytest.mark.parametrize(
    ("question", "form"),
    [
        ("Where is the mug?", "where"),
        ("What is on the table?", "what"),
        ("Is the mug on the table?", "yes/no"),
        ("ARE there two mugs?", "yes/no"),
        ("On which side is the mug?", "other"),
        ("", "other"),
    ],
)
def test_how_a_question_asks(question: str, form: str) -> None:
    assert form_of(question) == form


def test_what_is_not_decided_is_not_published(qa: Path, tmp_path: Path) -> None:
    shutil.copytree(qa, tmp_path / "qa")
    (tmp_path / "qa" / "funnel.json").unlink()  # it is written when all is decided
    with pytest.raises(SpareError, match="not finished"):
        publish(tmp_path / "qa", out=tmp_path / "dataset")


def test_a_publication_that_was_killed_at_once_goes_on(qa: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / ".lock").touch()
    assert publish(qa, out=tmp_path / "dataset")["pairs"] > 0


def test_a_users_list_counts_without_benchmarks_and_is_no_benchmark(
    world: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("train_00001\n")
    options = {"exclude": str(tmp_path / "list.txt"), "benchmarks": "none"}
    found = generate(world / "captions" / "docci", out=tmp_path / "qa", **options)
    assert found["pairs"]["excluded"] == 8
    assert "benchmark picture" not in found["pairs"]


def test_labels_must_be_of_the_pairs(qa: Path, tmp_path: Path) -> None:
    rows = table(qa, "cut", "pair_id", "reason")
    names = [name for name, reason in rows if not reason][:2]
    path = tmp_path / "labels.csv"
    text = "id,label\n" + "".join(f"{name},right\n" for name in names)
    path.write_text(text, encoding="utf-8-sig")  # as spreadsheets save it
    found, dropped = rates(path, qa)
    assert (found[0].count, dropped) == (2, 0)
    path.write_text(f"{text}bogus,right\n")
    with pytest.raises(SpareError, match="'bogus' is not in"):
        rates(path, qa)
    path.write_text("id,label\n")
    with pytest.raises(SpareError, match="no pair in it has a label"):
        rates(path, qa)


def test_labelled_pairs_that_are_dropped_now_are_in_no_rate(
    qa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = table(qa, "cut", "pair_id", "reason")
    dropped = [name for name, reason in rows if reason][:3]
    kept = [name for name, reason in rows if not reason][:4]
    path = tmp_path / "labels.csv"
    text = "id,label\n" + "".join(f"{name},other fault\n" for name in dropped)
    path.write_text(text + "".join(f"{name},right\n" for name in kept))
    found, left_out = rates(path, qa)
    assert (found[0].count, found[0].of, found[-1].count, left_out) == (4, 4, 0, 3)
    assert main(["review", str(qa), "--labels", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "4 pairs that a person looked at" in shown
    assert "Left out: 3 labelled pairs that the present thresholds drop" in shown
    path.write_text(text)
    with pytest.raises(SpareError, match="None of the 3 labelled pairs is kept any more"):
        rates(path, qa)


def test_what_writes_no_pairs_is_refused_at_once(world: Path, tmp_path: Path) -> None:
    with pytest.raises(SpareError, match="or template:, and not clip:any"):
        generate(world / "captions", out=tmp_path / "qa", llm="clip:any")


def test_relation_weights_must_be_weights(world: Path, tmp_path: Path) -> None:
    for weight in ("-3", "NaN", "1e309"):
        (tmp_path / "weights.json").write_text('{"weights": {"left": ' + weight + "}}")
        arguments = ["generate", str(world / "captions"), "--out", str(tmp_path / "qa")]
        assert main([*arguments, "--relation-weights", str(tmp_path / "weights.json")]) == 2


def test_a_folder_of_something_else_is_not_replaced(qa: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SpareError, match="holds something else"):
        publish(qa, out=tmp_path)
    with pytest.raises(SpareError, match="holds the pairs themselves"):
        publish(qa, out=qa)


def test_relations_are_counted_alike_before_and_after(qa: Path, tmp_path: Path) -> None:
    publish(qa, out=tmp_path / "dataset")
    before, after = relations([qa, tmp_path / "dataset"])
    assert before.keywords == after.keywords
    assert before.texts == after.texts > 0
    assert before.spatial == before.texts


def test_a_person_checks_a_sample(qa: Path, tmp_path: Path) -> None:
    page, shown, total = sheet(qa, 30)
    assert (shown, total) == (30, json.loads((qa / "funnel.json").read_text())["pairs"]["kept"])
    assert sheet(qa, 30)[0] == page
    assert sheet(qa, 30, seed=1)[0] != page
    assert "data:image/jpeg;base64," in page  # DOCCI's pictures are there
    lines = ["run,task,id,label,note"]
    lines += [f"qa,docci,{number},{LABELS[number % 4 == 0]}," for number in range(40)]
    (tmp_path / "labels.csv").write_text("\n".join([*lines, "qa,docci,99,,"]))
    found = {one.label: one for one in rates(tmp_path / "labels.csv")[0]}
    assert found["right"].count == 30
    assert (found["all faults"].count, found["all faults"].of) == (10, 40)
    assert found["all faults"].low < 25 < found["all faults"].high
    (tmp_path / "labels.csv").write_text("id,label\n1,fine\n")
    with pytest.raises(SpareError, match="row 1: 'fine' is none of right"):
        rates(tmp_path / "labels.csv")


# By models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    words = [llm.ASK, llm.CLASSIFY, llm.CANARY]
    build_checkpoint(folder / "llm", "qwen2", sentences=words, hidden=64, layers=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        build_clip(folder / "clip")
    return {"llm": f"transformers:{folder / 'llm'}", "clip": str(folder / "clip")}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    write_docci(folder / "data", 24)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "SHARD", 8)
        captions("docci", data=folder / "data", out=folder / "captions")
    return folder / "captions"


OPTIONS = {"max_new_tokens": 120, "prefilter": 0.0, "spatial": 0.0, "support": 0.0}
"""The models know nothing, so nothing is asked of what they say but that it is there."""


@pytest.fixture(scope="module")
def asked(few: Path, models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("asked") / "qa"
    generate(few, out=out, **models, **OPTIONS)
    return out


def test_models_are_asked_for_everything(asked: Path) -> None:
    told = json.loads((asked / "funnel.json").read_text())
    assert told["replies"].get("error", 0) == 0
    assert all(0 <= one <= 1 for (one,) in table(asked, "prefilter", "probability"))
    rows = table(asked, "generate", "asked", "finish", "text", "pairs")
    assert all(one for one, *_ in rows)
    for _, finish, text, pairs in rows:
        assert finish in ("stop", "length")
        if finish == "length":  # the schema held as far as the reply goes
            assert text.startswith('[{"question":"')
            assert len(pairs) == len(llm.read_pairs(text).found)
    manifest = json.loads((asked / "manifest.json").read_text())
    assert set(manifest["models"]) == {"llm", "clip"}
    assert not list(asked.glob("*/*.replies.jsonl"))


@pytest.mark.slow
def test_a_language_model_from_captions_to_a_data_set(
    models: dict[str, str], tmp_path: Path
) -> None:
    """Two hundred captions of three sources, by a model that knows nothing but keeps to the schema:
    its pairs are nonsense, and every table and the card count them all the same."""
    write_sources(tmp_path / "data", 70)
    for source in SOURCES:
        captions(source, data=tmp_path / "data", out=tmp_path / "captions")
    options = OPTIONS | {"max_new_tokens": 420}
    found = generate(tmp_path / "captions", out=tmp_path / "qa", llm=models["llm"], **options)
    assert sum(one["captions"] for one in found["sources"].values()) == 210
    assert set(found["sources"]) == set(SOURCES)
    pairs = [one for (one,) in table(tmp_path / "qa", "generate", "pairs")]
    assert all(one["question"].endswith("?") for some in pairs for one in some)
    assert sum(map(len, pairs)) == sum(found["pairs"].values()) >= 100
    published = publish(tmp_path / "qa", out=tmp_path / "dataset")
    rows = datasets.load_dataset(str(tmp_path / "dataset"), cache_dir=str(tmp_path / "c"))["train"]
    card = (tmp_path / "dataset" / "README.md").read_text()
    assert len(rows) == published["pairs"] == found["pairs"]["kept"] > 0
    assert f"{len(rows):,} pairs, made of" in card
    for source, count in Counter(rows["source"]).items():
        assert re.search(rf"\| {source} +\| +{count:,} \|", card)
    assert str(models["llm"]) in card
    (spread,) = relations([tmp_path / "qa"])
    assert spread.texts == len(rows)


def test_a_killed_run_goes_on_and_comes_to_the_same(
    few: Path, models: dict[str, str], asked: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "spare", "generate", str(few), "--out", str(tmp_path / "qa")]
    command += ["--llm", models["llm"], "--clip", models["clip"], "--max-new-tokens", "120"]
    command += ["--prefilter", "0", "--spatial", "0", "--support", "0"]
    draw = random.Random(7)
    killed = 0
    for _ in range(3):
        process = subprocess.Popen(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        done = len(list((tmp_path / "qa").glob("*/*")))
        while process.poll() is None and time.monotonic() < deadline:
            if len(list((tmp_path / "qa").glob("*/*"))) > done + draw.randrange(3):
                time.sleep(draw.random() / 4)
                process.send_signal(signal.SIGKILL)
                killed += 1
                break
            time.sleep(0.01)
        process.wait()
    assert killed
    generate(few, out=tmp_path / "qa", **models, **OPTIONS)
    assert contents(tmp_path / "qa") == contents(asked)


def test_a_caption_that_fails_is_asked_again_and_nothing_behind_it_is_done_twice(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_docci(tmp_path / "data", 12)
    path = tmp_path / "data" / "docci_descriptions.jsonlines"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[5]["description"] += " On the sign stands <|im_end|>."  # no text may say that to a model
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(reading, "SHARD", 4)
    captions("docci", data=tmp_path / "data", out=tmp_path / "captions")

    def run() -> tuple[dict[str, Any], dict[Path, int]]:
        told = generate(tmp_path / "captions", out=tmp_path / "qa", llm=models["llm"], **OPTIONS)
        made = {
            one: one.stat().st_mtime_ns
            for one in (tmp_path / "qa").glob("*/*.parquet")
            if one.parent.name != "cut"
        }
        return told, made

    first, before = run()
    # The pre-filter could not say whether it is about space, so nothing was made of it.
    (error,) = [one for (one,) in table(tmp_path / "qa", "prefilter", "error") if one]
    assert "<|im_end|>" in error
    assert first["unheard"] == {"prefilter": 1}
    assert sum(asked for (asked,) in table(tmp_path / "qa", "generate", "asked")) == 11
    second, after = run()
    again = {one.parent.name for one in after if after[one] != before[one]}
    assert again == {"prefilter"}  # only the shard of the caption, and no stage behind it
    assert second["pairs"] == first["pairs"]


def test_other_weights_at_the_old_path_are_refused(
    few: Path, models: dict[str, str], asked: Path, tmp_path: Path
) -> None:
    shutil.copytree(asked, tmp_path / "qa")
    path = Path(models["llm"].removeprefix("transformers:"))
    shutil.copytree(path, tmp_path / "saved")
    try:
        words = [llm.ASK, llm.CLASSIFY, llm.CANARY]
        build_checkpoint(path, "qwen2", sentences=words, hidden=64, layers=2, seed=1)
        shard = sorted((tmp_path / "qa" / "generate").glob("*.parquet"))[0]
        shard.unlink()
        with pytest.raises(SpareError, match=r"is not the model that made.*weights"):
            generate(few, out=tmp_path / "qa", **models, **OPTIONS)
    finally:
        shutil.rmtree(path)
        shutil.copytree(tmp_path / "saved", path)


@pytest.fixture(scope="module")
def seen(few: Path, models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs by templates, held against their pictures by a dual encoder."""
    out = tmp_path_factory.mktemp("seen") / "qa"
    generate(few, out=out, clip=models["clip"], clipscore=-1.0)
    return out


def test_a_question_is_scored_against_its_picture(
    few: Path, seen: Path, models: dict[str, str]
) -> None:
    """By the cosine that the engine `clip` gives, one picture and one question at a time."""
    from spare.harness.models import load_model
    from spare.harness.models.types import Request
    from spare.images import Picture

    part = find_parts(few)[0]
    inputs = Inputs(seen, part)
    cosines = inputs.column("clipscore", "cosine")
    model = load_model(f"clip:{models['clip']}")
    for number in (0, 5, len(cosines) - 1):
        image = inputs.captions.column("image")[inputs.pairs.rows[number]].as_py()
        text = f"A photo depicts {inputs.pairs.questions[number]}"
        picture = Picture(part.data / image, image)
        asked = Request("1", (picture,), options={"A": text}, rank=True)
        (response,) = model.answer([asked])
        assert response.reply.likelihoods
        assert cosines[number] == pytest.approx(response.reply.likelihoods["A"].total, abs=1e-5)


def test_the_guard_keeps_directions_apart(few: Path, seen: Path, tmp_path: Path) -> None:
    """An encoder that knows nothing finds nearly all questions alike; those about opposite
    directions stay two all the same, unless the paper's own way is asked for."""
    shutil.copytree(seen, tmp_path / "qa")
    common = {"clipscore": -1.0, "similar": 0.8}
    kept = {}
    for guard in (True, False):
        found = generate(few, out=tmp_path / "qa", rethreshold=True, guard=guard, **common)
        kept[guard] = found["pairs"]["kept"]
        assert found["guard"]["merges blocked"] > 0
    assert kept[True] > kept[False]
    reasons = dict(table(tmp_path / "qa", "cut", "pair_id", "reason"))
    assert "similar" in reasons.values()


def test_cutting_again_needs_no_model(few: Path, seen: Path, tmp_path: Path) -> None:
    shutil.copytree(seen, tmp_path / "qa")
    scores = sorted(one for (one,) in table(seen, "clipscore", "cosine") if one is not None)
    middle = scores[len(scores) // 2]
    for scale, cutoff in (("raw", middle), ("w2.5", 2.5 * middle)):
        options = {"clipscore": min(1.0, cutoff), "clip_scale": scale}
        if options["clipscore"] != cutoff:
            continue
        found = generate(few, out=tmp_path / "qa", rethreshold=True, **options)
        below = sum(one < middle for one in scores)
        assert found["pairs"]["clipscore"] == pytest.approx(below, abs=1)
    strict = generate(few, out=tmp_path / "qa", rethreshold=True, clipscore=1.0)
    assert strict["pairs"].get("kept", 0) == 0
    assert strict["clipscore"]["dropped at raw"] == len(scores)


def test_pictures_that_cannot_be_had_cost_their_pairs(
    models: dict[str, str], tmp_path: Path
) -> None:
    write_docci(tmp_path / "data", 4)
    captions("docci", data=tmp_path / "data", out=tmp_path / "captions")
    (tmp_path / "data/images/train_00001.jpg").unlink()
    (tmp_path / "data/images/train_00002.jpg").write_bytes(b"no picture")
    found = generate(
        tmp_path / "captions", out=tmp_path / "qa", clip=models["clip"], clipscore=-1.0
    )
    assert found["pairs"]["no picture"] == 16
    told = {error for (error,) in table(tmp_path / "qa", "clipscore", "error") if error}
    assert any("is missing" in one for one in told)


def test_an_engine_that_drops_the_schema_is_found_out(
    few: Path, models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spare.harness.models import decoding

    def unconstrained(self: Any, schema: str) -> Callable[[Any, Any], Any]:
        return lambda ids, scores: scores

    monkeypatch.setattr(decoding.Decoder, "_shape", unconstrained)
    with pytest.raises(SpareError, match="does not keep to the JSON schema"):
        generate(few, out=tmp_path / "qa", llm=models["llm"], **OPTIONS)


def test_a_model_may_say_whose_left_is_meant(
    few: Path, models: dict[str, str], asked: Path, tmp_path: Path
) -> None:
    """It is asked about nothing but what the rules leave open."""
    shutil.copytree(asked, tmp_path / "qa")
    part = find_parts(few)[0]
    path = Inputs(tmp_path / "qa", part).shard("generate")
    shard = shards.read(path)
    pair = {"question": "What is left of the car?", "answer": "A cup.", "sentence": ""}
    plain = {"question": "What is on the bed?", "answer": "A cup.", "sentence": ""}
    pairs = [[pair, plain] for _ in range(shard.num_rows)]
    place = shard.schema.get_field_index("pairs")
    column = pyarrow.array(pairs, shard.schema.field("pairs").type)
    shards.write(path, shard.set_column(place, "pairs", column), shards.facts(path))
    from spare.generation.models import Models
    from spare.generation.stages import Options, tags

    options = Options(llm=models["llm"], llm_frames=True)
    inputs = Inputs(tmp_path / "qa", part)
    found = tags.open_stage(options, Models(options, {}, {}))(inputs, lambda rows: None)
    by = Counter(
        zip(*(found.column(name).to_pylist() for name in ("frame", "frame_by")), strict=True)
    )
    assert by["none", "rule"] == 8
    assert sum(by[frame, "llm"] for frame in ("viewer", "intrinsic")) + by["ambiguous", "rule"] == 8
    asked_about = inputs.log("tags").read_text().count("\n")
    assert asked_about == 8


# The command


def test_the_command_from_files_to_a_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    write_docci(tmp_path / "data", 10)
    assert main(["captions", "docci", "--data", "data", "--out", "captions"]) == 0
    (tmp_path / "weights.json").write_text(json.dumps({"weights": {"left": 0.9, "above": 0.1}}))
    arguments = ["generate", "captions", "--out", "qa"]
    assert main([*arguments, "--relation-weights", "weights.json"]) == 0
    assert main(["relations", "qa", "captions"]) == 0
    assert main(["review", "qa", "-n", "5"]) == 0
    assert main(["publish", "qa", "--out", "dataset"]) == 0
    shown = capsys.readouterr().out
    assert "80 pairs" in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert main([*arguments, "--similar", "2"]) == 2
    assert "--similar is a share between 0 and 1" in capsys.readouterr().err
    assert main(["generate", "nowhere", "--out", "qa"]) == 2
    assert "`spare captions` makes one" in capsys.readouterr().err


def test_generators_and_pre_filters_side_by_side(
    few: Path,
    models: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from spare.generation.ablation import compare_classifiers, compare_generators

    made = compare_generators(
        few, ["template:", models["llm"]], out=tmp_path / "out", number=6, max_new_tokens=80
    )
    assert [one.captions for one in made] == [6, 6]
    template = made[0]
    assert (template.passed, template.pairs, template.spatial) == (6, 48, 48)
    # What is there already took as long as it took.
    (manifest,) = (tmp_path / "out").glob("transformers*/manifest.json")
    spent = json.loads(manifest.read_text())["seconds"]
    again = compare_generators(
        few, ["template:", models["llm"]], out=tmp_path / "out", number=6, max_new_tokens=80
    )
    assert json.loads(manifest.read_text())["seconds"] == spent
    assert again[1].seconds * 6 > spent > 0
    labelled = [
        {"caption": "A cup stands to the left of a plate.", "spatial": True},
        {"caption": "A cat lies under the table.", "spatial": True},
        {"caption": "Everything is calm and blue.", "spatial": False},
        {"caption": "She lives in hope.", "spatial": False},
        {"caption": "The two touch.", "spatial": True},
    ]
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in labelled))
    (gate,) = compare_classifiers(path, ["template:"], out=tmp_path / "out")
    assert (gate.hits, gate.misses, gate.false_alarms, gate.rejections) == (2, 1, 1, 1)
    assert (gate.accuracy, gate.precision, gate.recall) == (0.6, 2 / 3, 2 / 3)
    monkeypatch.setenv("COLUMNS", "100")
    arguments = ["ablate", "--labelled", str(path), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--llm", "template:", "--llm", models["llm"]]) == 0
    assert "0.67" in capsys.readouterr().out
    for line in (
        '{"caption": "x"}',
        '{"spatial": true}',
        '{"caption": null, "spatial": true}',
        "x",
    ):
        path.write_text(f'\n{{"caption": "A cup.", "spatial": false}}\n{line}\n')
        assert main(arguments) == 2
        assert "row 3: a JSON object with caption" in capsys.readouterr().err


def test_questions_without_a_reply_are_told_and_are_no_answers(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from chat_server import NAME, Answer, Asked, ranks, refuses, says, serving

    monkeypatch.setenv("COLUMNS", "200")
    long = "This model's maximum context length is 64 tokens, reduce the length."
    said = {"one": (-0.1, -3.0), "two": (-3.0, -0.1), "three": (-3.0, -0.1)}

    def behave(asked: Asked) -> Answer:
        if asked.body.get("logprobs") and asked.text in said:
            yes, no = said[asked.text]
            return ranks(asked, {"Yes": yes, "No": no})
        if asked.text == "four":
            return refuses(400, "This question is not liked.")
        if asked.body.get("logprobs"):
            return ranks(asked, {"Yes": -0.1, "No": -3.0})
        if asked.text != llm.CANARY and asked.text.startswith("A b"):
            return refuses(400, long)
        pair = {"question": "Where is the cup?", "answer": "left of the plate"}
        return says(asked, json.dumps([pair]))

    path = tmp_path / "labelled.jsonl"
    truths = {"one": True, "two": False, "three": True, "four": True}
    rows = [{"caption": text, "spatial": truth} for text, truth in truths.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(behave) as server:
        common = ["--out", str(tmp_path / "out"), "--llm", f"openai:{NAME}"]
        common += ["--base-url", server.url]
        assert main(["ablate", "--labelled", str(path), *common]) == 1
        shown = " ".join(capsys.readouterr().out.split())
        assert "0.67 1.00 0.50 0.67 1 " in shown  # of three captions
        assert "gave no reply to 1 question, which no rate counts" in shown
        assert "This question is not liked" in shown
        assert main(["ablate", str(few), "-n", "24", *common]) == 1
        shown = " ".join(capsys.readouterr().out.split())
    tables = [Inputs(tmp_path, part).captions for part in find_parts(few)]
    texts = [text for one in tables for text in one.column("caption").to_pylist()]
    failed = sum(text.startswith("A b") for text in texts)
    assert 0 < failed < 24
    assert re.search(rf" 24 {24 - failed} 1\.0 100\.0 % \d+ 0 {failed} ", shown)
    assert "maximum context length is 64" in shown
    assert "asking again is not enough: a smaller --max-new-tokens helps" in shown


def test_a_sample_belongs_to_its_captions_and_is_drawn_again_where_it_is_damaged(
    world: Path, tmp_path: Path
) -> None:
    from spare.generation.ablation import compare_generators

    docci, pixmo = (world / "captions" / name for name in ("docci", "pixmo-cap"))
    out = tmp_path / "ab"
    first = compare_generators(docci, ["template:"], out=out, number=20)
    for captions_of, number in ((pixmo, 20), (docci, 21)):
        with pytest.raises(SpareError, match=f"holds another sample than {number} captions of"):
            compare_generators(captions_of, ["template:"], out=out, number=number)
    sample = out / "captions" / "sample"
    before = contents(out / "template")
    for name in ("00000.parquet", "manifest.json"):
        data = (sample / name).read_bytes()
        (sample / name).write_bytes(data[: len(data) // 2])
        again = compare_generators(docci, ["template:"], out=out, number=20)
        assert (again[0].pairs, again[0].kept) == (first[0].pairs, first[0].kept)
        assert contents(out / "template") == before
        assert (sample / name).read_bytes() == data
