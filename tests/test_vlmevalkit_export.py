"""Our tasks under VLMEvalKit: the prompts, pictures and replies of `spare eval`, and its figures
beside ours."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import test_hallusionbench
import test_mmbench
import test_mme
import test_textvqa
from hypothesis import given
from hypothesis import strategies as st

from spare.cli import main
from spare.demo.base import BASE
from spare.demo.world import write_objects, write_world
from spare.errors import SpareError
from spare.harness.evaluate import evaluate
from spare.harness.foreign_replies import score_replies
from spare.harness.neighbours import export_tasks
from spare.harness.neighbours.vlmevalkit import _survives
from spare.harness.run import Run
from spare.images import Picture, open_picture
from spare.tasks import load_task
from spare.tasks.types import Sample

TESTS = Path(__file__).parent
PROMPTS = {
    "vsr_zeroshot": "vlmevalkit",
    "mmbench_dev_en": "vlmevalkit",
    "textvqa_val": "vlmevalkit",
    "custom:choices": "vlmevalkit",
}
CLASSES = {
    "spare_VSR-zeroshot": "ImageYORNDataset",
    "spare_MME": "ImageYORNDataset",
    "spare_HallusionBench": "ImageYORNDataset",
    "spare_mmbench_dev_en": "ImageMCQDataset",
    "spare_choices": "ImageMCQDataset",
    "spare_TextVQA_VAL": "ImageVQADataset",
    "spare_whatsup_a": "CustomVQADataset",
    "spare_objects": "CustomVQADataset",
}
RUN = ("spare_VSR-zeroshot", "spare_choices", "spare_whatsup_a")
needs_vlmevalkit = pytest.mark.skipif(
    importlib.util.find_spec("vlmeval") is None,
    reason="VLMEvalKit is not installed; `make test-vlmevalkit` installs it",
)


def write_choices(folder: Path) -> Path:
    """Questions with one and two pictures, one of them turned by its EXIF tag, and options that
    look like numbers."""
    for name, colour in (("a.png", (200, 10, 10)), ("b.png", (10, 200, 10))):
        PIL.Image.new("RGBA", (40, 30), (*colour, 128)).save(folder / name)
    turned = PIL.Image.linear_gradient("L").resize((40, 24)).convert("RGB")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "c.jpg", exif=exif)
    rows: list[dict[str, Any]] = [
        {"question": "How many?", "options": ["2", "10"], "image": "a.png"},
        {"question": 'Which\n"one"?', "options": ["left", " right\t"], "image": ["a.png", "b.png"]},
        {"question": "Where?", "options": ["5", "no\nwhere", "7.0 or so"], "image": "c.jpg"},
        {"question": "Where?", "options": ["on", "True"], "image": "c.jpg", "hint": "Look: up."},
    ]
    lines = [json.dumps({"id": f"0{n}", "answer": "B", **row}) for n, row in enumerate(rows)]
    path = folder / "choices.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_world(folder, sets=2)
    write_objects(folder, sets=2)
    write_choices(folder)
    test_mme.release(folder)
    test_hallusionbench.repository(folder)
    test_mmbench.write_vlmevalkit(folder)
    test_textvqa.write_json(folder)
    return folder


def tasks(data: Path) -> list[str]:
    names = ["vsr_zeroshot", "mme", "hallusionbench", "mmbench_dev_en", "textvqa_val", "whatsup_a"]
    return [*names, f"custom:{data / 'choices.jsonl'}", f"custom:{data / 'objects.jsonl'}"]


@dataclass(frozen=True)
class Exported:
    """Tasks in VLMEvalKit's data folder.

    Attributes:
        names: our task -> the data set there; samples: data set -> its questions, as we ask them.
    """

    folder: Path
    names: Mapping[str, str]
    samples: Mapping[str, list[Sample]]


@pytest.fixture(scope="module")
def exported(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported") / "LMU data"
    names = export_tasks("vlmevalkit", folder, tasks(data), data=data, prompt=PROMPTS).names
    samples = {}
    for task in tasks(data):
        loaded = load_task(task)
        found = loaded.samples(data, prompt=PROMPTS.get(loaded.name, ""))
        samples[names[loaded.name]] = list(found)
    return Exported(folder, names, samples)


def reply_to(sample: Sample) -> str:
    """Right in two of four cases, wrong in one, and in one nothing that can be read; alike for all
    that are right or wrong together."""
    draw = hashlib.sha256((sample.group or sample.id).encode()).digest()[0] % 4
    if not sample.options:
        return (*sample.answers, "no idea")[0 if draw < 2 else -1]
    if draw < 2:
        return f"{sample.target}."
    if draw == 2:
        return "It is " + next(label for label in sample.options if label != sample.target)
    return "I cannot say"


@pytest.fixture(scope="module")
def theirs(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What VLMEvalKit makes of the tasks."""
    work = tmp_path_factory.mktemp("work")
    replies = {
        name: {
            index: reply_to(sample)
            for index, sample in zip(indices(exported, name), samples, strict=True)
        }
        for name, samples in exported.samples.items()
        if CLASSES[name] != "CustomVQADataset"
    }
    asked = {
        "folder": str(exported.folder),
        "work": str(work),
        "replies": replies,
        "checkpoint": str(BASE),
        "run": RUN,
    }
    (work / "asked.json").write_text(json.dumps(asked))
    command = [sys.executable, str(TESTS / "vlmevalkit_guest.py"), str(work / "asked.json")]
    path = os.pathsep.join([str(TESTS), *sys.path])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((work / "found.json").read_text())


def indices(exported: Exported, name: str) -> list[str]:
    """What our samples are called there: their ids, or their places where pandas would spoil
    them."""
    ids = [sample.id for sample in exported.samples[name]]
    return [str(n) for n in range(len(ids))] if name == "spare_choices" else ids


def test_each_task_gets_the_first_class_that_fits(exported: Exported) -> None:
    config = json.loads((exported.folder / "spare.json").read_text())
    assert {name: entry["class"] for name, entry in config["data"].items()} == CLASSES
    assert all(entry["dataset"] == name for name, entry in config["data"].items())
    assert list(config["model"]) == ["MODEL"]


@needs_vlmevalkit
def test_its_loaders_ask_what_we_ask(exported: Exported, theirs: Any) -> None:
    pictures = 0
    for name, samples in exported.samples.items():
        found = theirs["datasets"][name]
        kinds = {"ImageMCQDataset": "MCQ", "ImageYORNDataset": "Y/N"}
        assert found["type"] == kinds.get(CLASSES[name], "VQA")
        assert [row["index"] for row in found["rows"]] == indices(exported, name)
        for row, sample in zip(found["rows"], samples, strict=True):
            *shown, text = row["prompt"]
            assert text == {"type": "text", "value": sample.parts[-1]}
            assert [one["type"] for one in shown] == ["image"] * (len(sample.parts) - 1)
            for one, part in zip(shown, sample.parts[:-1], strict=True):
                assert isinstance(part, Picture)
                image = PIL.Image.open(one["value"])
                ours = open_picture(part)
                assert (image.mode, image.size) == (ours.mode, ours.size)
                assert image.tobytes() == ours.tobytes()
                pictures += 1
            if found["type"] == "MCQ":
                assert row["options"] == dict(sample.options)
            if found["type"] in ("MCQ", "Y/N"):
                assert row["answer"] == sample.target
            # By name alone it has no class with the words "single word or phrase".
            assert row["same"] or CLASSES[name] == "ImageVQADataset"
    assert pictures > 100


def prompt_of(exported: Exported, name: str) -> str:
    return next(PROMPTS.get(task, "") for task, found in exported.names.items() if found == name)


def judged(exported: Exported, data: Path, name: str, file: str, out: Path, rules: str) -> Run:
    """VLMEvalKit's result file, judged here."""
    task = next(task for task, found in exported.names.items() if found == name)
    prompt = prompt_of(exported, name)
    if task.startswith("custom:"):
        task = f"custom:{data / task.removeprefix('custom:')}.jsonl"
    return score_replies(task, file, data=data, out=out, prompt=prompt, rules=rules)


@needs_vlmevalkit
def test_its_figures_are_ours_under_its_rules(
    exported: Exported, data: Path, theirs: Any, tmp_path: Path
) -> None:
    """Accuracies of choices are fractions there, and so is F1."""
    ours, figures = {}, {}
    for name, found in theirs["datasets"].items():
        if CLASSES[name] == "CustomVQADataset":
            assert "figures" not in found, "it has no figures of its own"
            continue
        run = judged(exported, data, name, found["file"], tmp_path / name, "vlmevalkit")
        (score,) = run.scores
        ours[name] = {metric: figure["value"] for metric, figure in score.metrics.items()}
        figures[name] = found["figures"][0]
    vsr, mme, pairs = "spare_VSR-zeroshot", "spare_MME", "spare_HallusionBench"
    choices, mmbench, textvqa = "spare_choices", "spare_mmbench_dev_en", "spare_TextVQA_VAL"
    expected = {
        vsr: {
            "acc": ours[vsr]["accuracy"],
            "precision": ours[vsr]["precision"],
            "recall": ours[vsr]["recall"],
            "f1_score": ours[vsr]["f1"] / 100,
        },
        mme: {
            "perception": ours[mme]["perception"],
            "reasoning": ours[mme]["cognition"],
            "position": ours[mme]["position"],
        },
        pairs: {kind: ours[pairs][kind] for kind in ("aAcc", "fAcc", "qAcc")},
        choices: {"Overall": ours[choices]["accuracy"] / 100},
        mmbench: {"Overall": ours[mmbench]["circular"] / 100},
        textvqa: {"Overall": ours[textvqa]["accuracy"]},
    }
    for name, wanted in expected.items():
        found = {metric: figures[name][metric] for metric in wanted}
        assert found == pytest.approx(wanted), name
    values = [value for wanted in expected.values() for value in wanted.values()]
    assert sum(value > 0 for value in values) > 10, "all wrong would show nothing"


@needs_vlmevalkit
def test_its_reading_of_each_reply_is_known(exported: Exported, theirs: Any) -> None:
    """`spare diff-harness` looks at single replies, of which VLMEvalKit gives no list."""
    for name, figure, scale in (
        ("spare_VSR-zeroshot", "acc", 100),
        ("spare_choices", "Overall", 1),
    ):
        read, samples = theirs["datasets"][name]["read"], exported.samples[name]
        scores = [one["score"] for one in read]
        expected = theirs["datasets"][name]["figures"][0][figure]
        assert scale * sum(scores) / len(scores) == pytest.approx(expected)
        for one, sample in zip(read, samples, strict=True):
            assert one["reading"] in (*sample.options, "(unparsed)")
            assert (one["reading"] == sample.target) == (one["score"] == 1.0)
        assert "(unparsed)" in {one["reading"] for one in theirs["datasets"][name]["read"]}


@needs_vlmevalkit
def test_its_run_is_judged_and_compared(
    exported: Exported, data: Path, theirs: Any, tmp_path: Path, capsys: Any
) -> None:
    """`vlmeval.run` with a model of its own class over the checkpoint that `spare eval` runs."""
    names = [name for task, name in exported.names.items() if name in RUN]
    assert set(names) == set(theirs["run"])
    of = {exported.names[load_task(task).name]: task for task in tasks(data)}
    for name in RUN:
        out = tmp_path / f"ours-{name}"
        ours = evaluate(str(BASE), of[name], data=data, out=out, prompt=prompt_of(exported, name))
        run = judged(exported, data, name, theirs["run"][name], tmp_path / name, "")
        assert [one.metrics for one in run.scores] == [one.metrics for one in ours.scores]
        found, own = ({line["id"]: line["text"] for line in one.replies()} for one in (run, ours))
        assert found == own
        assert len(set(own.values())) > 1
        assert main(["compare", str(out), str(tmp_path / name)]) == 0
        printed = capsys.readouterr().out
        assert "replies" in printed, "it says that the one is not a run of ours"
        assert ours.scores[0].task in printed


# What needs no VLMEvalKit


def test_a_model_that_was_named_stays(exported: Exported, data: Path) -> None:
    place = exported.folder / "spare.json"
    before = json.loads(place.read_text())
    place.write_text(json.dumps({**before, "model": {"mine": {"class": "Qwen2VLChat"}}}))
    export_tasks("vlmevalkit", exported.folder, "whatsup_a", data=data)
    after = json.loads(place.read_text())
    assert list(after["model"]) == ["mine"]
    assert after["data"] == before["data"]
    place.write_text("[]")
    with pytest.raises(SpareError, match="is no configuration of VLMEvalKit"):
        export_tasks("vlmevalkit", exported.folder, "whatsup_a", data=data)
    place.write_text(json.dumps(before))


def test_the_command_says_what_to_do(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "LMU data"
    line = ["export-tasks", str(out), "--to", "vlmevalkit", "--data", str(data)]
    assert main([*line, "--tasks", "whatsup_a", "--limit", "3"]) == 0
    printed = capsys.readouterr().out
    assert "whatsup_a is spare_whatsup_a" in printed
    assert f"LMUData='{out}' python -m vlmeval.run --config '{out}'/spare.json" in printed
    assert len((out / "spare_whatsup_a.tsv").read_text().splitlines()) > 3
    assert len(list((out / "images" / "spare_whatsup_a").iterdir())) == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Which?"}, "has no picture"),
        ({"question": "Look: <image> Which?", "image": "a.png"}, "words before or between"),
        ({"question": "half \ud800", "image": "a.png"}, "half a character"),
    ],
)
def test_what_no_table_can_say_is_refused(tmp_path: Path, row: dict[str, str], said: str) -> None:
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "mine.jsonl").write_text(json.dumps({"id": "1", "answer": "yes", **row}) + "\n")
    with pytest.raises(SpareError, match=said):
        export_tasks(
            "vlmevalkit", tmp_path / "o", f"custom:{tmp_path / 'mine.jsonl'}", data=tmp_path
        )
    assert not list(tmp_path.glob("o/*.tsv"))


@pytest.mark.parametrize("name", ["circular", "MyMME", "a_video"])
def test_a_name_that_means_something_there_is_refused(tmp_path: Path, name: str) -> None:
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    row = {"id": "1", "question": "Is it?", "answer": "yes", "image": "a.png"}
    (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(SpareError, match="rename the file"):
        export_tasks(
            "vlmevalkit", tmp_path / "lmu", f"custom:{tmp_path / name}.jsonl", data=tmp_path
        )


def test_rankings_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SpareError, match="VLMEvalKit's models only write"):
        export_tasks("vlmevalkit", tmp_path, "whatsup_a", data=data, prompt="captions")


def test_options_that_pandas_would_spoil_are_asked_as_they_stand(tmp_path: Path) -> None:
    """A column of numbers with a gap would come back as 7.0."""
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for name, third in (("numbers", "7"), ("words", "seven")):
        rows = [
            {"question": "How many?", "options": ["five", "six", third], "answer": "A"},
            {"question": "How many?", "options": ["five", "six"], "answer": "A"},
        ]
        lines = [json.dumps({"id": n, "image": "a.png", **row}) for n, row in enumerate(rows)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        task = f"custom:{tmp_path / name}.jsonl"
        export_tasks("vlmevalkit", tmp_path / "o", task, data=tmp_path, prompt="vlmevalkit")
    found = json.loads((tmp_path / "o" / "spare.json").read_text())["data"]
    assert found["spare_numbers"]["class"] == "CustomVQADataset"
    assert found["spare_words"]["class"] == "ImageMCQDataset"


CELLS = st.sampled_from(
    [
        "",
        "1",
        "10",
        "007",
        "1.0",
        "-3",
        "1e5",
        "True",
        "false",
        "NA",
        "None",
        "a",
        "a\tb",
        'q"',
        " 4",
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@given(st.lists(CELLS, min_size=1, max_size=5))
def test_columns_survive_pandas_if_we_say_so(cells: list[str]) -> None:
    import csv
    import io

    import pandas

    if not _survives(cells, len(cells), "A"):
        return
    text = io.StringIO(newline="")
    rows = csv.writer(text, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
    rows.writerows([["index", "A"], *enumerate(cells)])
    table = pandas.read_csv(io.BytesIO(text.getvalue().encode()), sep="\t")
    found = [f"{cell}" if not pandas.isna(cell) else "" for cell in table["A"]]
    assert found == cells
