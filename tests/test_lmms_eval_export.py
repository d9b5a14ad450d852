"""Our tasks under lmms-eval: the prompts, pictures, replies and figures of `spare eval`, where its
model leaves them alone."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageFile
import pyarrow.parquet
import pytest

from spare.demo.base import BASE
from spare.errors import PictureError, SpareError
from spare.harness.evaluate import evaluate
from spare.harness.neighbours import export_tasks
from spare.harness.neighbours.lm_eval_docs import messages, pictures, results
from spare.harness.neighbours.lmms_eval import DIALECT
from spare.images import Picture
from spare.tasks.types import Part

PROMPTS = {"whatsup_a": "words"}


def questions(folder: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a task that was written."""
    table = pyarrow.parquet.read_table(folder / "questions" / f"{name}.parquet")
    return [dict(line) for line in table.to_pylist()]


@pytest.mark.skipif(
    importlib.util.find_spec("lmms_eval") is None,
    reason="lmms-eval is not installed; `make test-lmms-eval` installs it",
)
def test_figures_and_replies_are_those_of_spare_eval(data: Path, tmp_path: Path) -> None:
    """By lmms-eval's own command."""
    tasks = f"vsr_zeroshot,whatsup_a,custom:{data / 'objects.jsonl'}"
    export = export_tasks("lmms-eval", tmp_path / "tasks", tasks, data=data, prompt=PROMPTS)
    command = export.command.replace("MODEL", "llava_hf")
    command = command.replace("CHECKPOINT", f"{BASE},device_map=cpu")
    program, *words = command.split()
    assert program == "python"
    words += ["--device", "cpu", "--output_path", str(tmp_path / "out"), "--log_samples"]
    subprocess.run(
        [sys.executable, *words],
        check=True,
        capture_output=True,
        env={**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")},
    )
    (file,) = (tmp_path / "out").rglob("*_results.json")
    theirs = json.loads(file.read_text())["results"]
    ours = evaluate(str(BASE), tasks, data=data, out=tmp_path / "run", prompt=PROMPTS)
    replies = {(line["task"], line["id"]): line["text"] for line in ours.replies()}
    seen = {}
    for score in ours.scores:
        name = export.names[score.task]
        for metric, figure in score.metrics.items():
            assert theirs[name][f"{metric},none"] == pytest.approx(figure["value"]), metric
        (log,) = (tmp_path / "out").rglob(f"*_samples_{name}.jsonl")
        ids = [line["id"] for line in questions(tmp_path / "tasks", name)]
        for line in map(json.loads, log.read_text().splitlines()):
            seen[score.task, ids[line["doc_id"]]] = line["filtered_resps"]
    assert seen == replies
    values = [score.metrics[score.headline]["value"] for score in ours.scores]
    assert any(0 < value < 100 for value in values), "all right or all wrong would show nothing"


def write_own(folder: Path, **row: str) -> str:
    PIL.Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    line = {"id": "2024-01-01", "question": "When?", "answer": "2024-01-02", "image": "a.png"}
    (folder / "mine.jsonl").write_text(json.dumps({**line, **row}) + "\n")
    return f"custom:{folder / 'mine.jsonl'}"


def exported(folder: Path, **row: str) -> dict[str, Any]:
    """A question of one's own, as lmms-eval gets it."""
    export_tasks("lmms-eval", folder / "tasks", write_own(folder, **row), data=folder)
    (line,) = questions(folder / "tasks", "spare_mine")
    return line


def test_texts_stay_texts(tmp_path: Path) -> None:
    """`datasets` makes dates of them if it reads lines of JSON."""
    line = exported(tmp_path)
    assert (line["id"], line["target"]) == ("2024-01-01", "2024-01-02")
    assert "When?" in line["question"]
    assert results(line, ["2024-01-02"]) == {"accuracy": 1.0}
    yaml = (tmp_path / "tasks" / "spare_mine.yaml").read_text()
    assert 'test: "questions/spare_mine.parquet"' in yaml
    assert "max_new_tokens: " in yaml


def test_chat_models_get_our_parts_in_our_order(tmp_path: Path) -> None:
    line = exported(tmp_path)
    whole = json.loads(line["sample"])
    whole["parts"] = ["Before", *whole["parts"]]
    ((turn),) = messages({**line, "sample": json.dumps(whole)})
    assert turn["role"] == "user"
    first, shown, *rest = turn["content"]
    assert first == {"type": "text", "text": "Before"}
    assert shown["type"] == "image"
    assert shown["url"].getpixel((0, 0)) == (255, 0, 0)
    assert [part["text"] for part in rest] == whole["parts"][2:]


PICTURE = Picture(Path("a.png"), "a.png")


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((PICTURE, "Which?"), "Which?"),
        ((PICTURE, PICTURE, "Which ", "one?"), "Which one?"),
        (("Is ", PICTURE, " it?"), "Is <image 1> it?"),
        ((PICTURE, "or ", PICTURE), "<image 1>or <image 2>"),
    ],
)
def test_simple_models_get_pictures_and_then_one_text(parts: tuple[Part, ...], text: str) -> None:
    """Where a picture stands behind words, the text says where, as in lmms-eval's own tasks."""
    assert DIALECT.spell(parts) == text


def test_half_a_picture_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing lmms-eval has Pillow fill up what is missing."""
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    task = write_own(tmp_path)
    path = tmp_path / "a.png"
    PIL.Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    export_tasks("lmms-eval", tmp_path / "tasks", task, data=tmp_path)
    (line,) = questions(tmp_path / "tasks", "spare_mine")
    with pytest.raises(PictureError, match="damaged"):
        pictures(line)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Look at <image 2>."}, "spells out <image 2>, where lmms-eval would"),
        ({"hint": "Look at <image>."}, "spells out <image>"),
        ({"question": "\ud800"}, "holds half a character"),
        ({"image": ""}, "lmms-eval's models for pictures take none without"),
    ],
)
def test_a_question_that_lmms_eval_would_garble_is_refused(
    tmp_path: Path, row: dict[str, str], said: str
) -> None:
    with pytest.raises(SpareError, match=said):
        exported(tmp_path, **row)
    assert not list((tmp_path / "tasks").rglob("*.yaml"))


def test_ranked_options_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SpareError, match="which lmms-eval's chat models cannot do; choose"):
        export_tasks("lmms-eval", tmp_path, "whatsup_a", data=data, prompt="captions")
