"""RealWorldQA: both of its data in every layout, and the readers' worked examples. Questions and
pictures are our own: the published ones may not be altered."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.errors import DataError
from spare.images import Picture
from spare.tasks import realworldqa
from spare.tasks.realworldqa import LETTER, TASKS, WORD, options_in
from spare.tasks.types import Judged, Reply, Sample, Verdict

TASK = TASKS[0]

FACING = f"Which way does the lion face?\n\nA. Left\nB. Straight\nC. Right\n{LETTER}"
ITEMS: Sequence[tuple[str, str]] = (
    (FACING, "C"),
    (f"Is the gate open?\nA. Yes\nB. No\n{LETTER}", "B"),
    (
        "What should we do?\n\n"
        "A. Wait for the tram.\nB. Turn left.\nC. Go on at 30 km/h.\nD. None\n" + LETTER,
        "D",
    ),
    (f"A lamp is lit. What is its colour?\nA. Red\nB Blue\nC. Green\n{LETTER}", "C"),
    (f"How many geese cross the road? {WORD}", "0"),
    (f"Is the road going uphill or downhill?\n{WORD}", "Downhill"),
    (f"Must we stop?\n\n{WORD}", "Yes"),
    (f"How many wheels does the cart have?\nA) 1\n(B) 2\nC: 12\n{LETTER}", "C"),
    (f"Which sign?\nA.Yield\nB.Stop\n{LETTER}", "A"),
    (f"How many lanes?\n{WORD}", "3"),
    (f"Which is nearer? {LETTER}", "B"),  # options that cannot be found
)
OPTIONS = (
    {"A": "Left", "B": "Straight", "C": "Right"},
    {"A": "Yes", "B": "No"},
    {"A": "Wait for the tram.", "B": "Turn left.", "C": "Go on at 30 km/h.", "D": "None"},
    {"A": "Red", "B": "Blue", "C": "Green"},
    *({}, {}, {}),
    {"A": "1", "B": "2", "C": "12"},
    {"A": "Yield", "B": "Stop"},
    {},
    {"A": "A", "B": "B", "C": "C", "D": "D"},
)


@cache
def webp(number: int) -> bytes:
    file = io.BytesIO()
    pixels = random.Random(number).randbytes(8 * 8 * 3)
    PIL.Image.frombytes("RGB", (8, 8), pixels).save(file, "WEBP", lossless=True)
    return file.getvalue()


# Mixed data


def write_json(folder: Path) -> None:
    """The original archive."""
    pictures = folder / "realworldqa/images"
    pictures.mkdir(parents=True)
    rows = []
    for number, (question, answer) in enumerate(ITEMS):
        (pictures / f"{number}.webp").write_bytes(webp(number))
        rows.append({"image": f"{number}.webp", "question": question, "answer": answer})
    (folder / "realworldqa/annotations.json").write_text(json.dumps(rows))


def write_parquet(
    path: Path, numbers: Sequence[int], name_column: bool = False, name_in_struct: bool = False
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {
        "image": [
            {"bytes": webp(n), "path": f"{n}.webp" if name_in_struct else None} for n in numbers
        ],
        "question": [ITEMS[n][0] for n in numbers],
        "answer": [ITEMS[n][1] for n in numbers],
    }
    if name_column:
        columns["image_path"] = [f"{n}.webp" for n in numbers]
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=3)


NUMBERS = list(range(len(ITEMS)))


def write_lmms_lab(folder: Path) -> None:
    """Two shards and a column of file names."""
    for shard, part in enumerate((NUMBERS[:6], NUMBERS[6:])):
        path = folder / f"RealWorldQA/data/test-{shard:05d}-of-00002.parquet"
        write_parquet(path, part, name_column=True)


def write_with_names_in_the_column(folder: Path) -> None:
    path = folder / "realworldqa/data/test-00000-of-00001.parquet"
    write_parquet(path, NUMBERS[::-1], name_in_struct=True)


def write_nielsr(folder: Path) -> None:
    """Split train, pictures in the order of their names as text: 0, 1, 10, 100, ..."""
    order = sorted(range(765), key=str)
    path = folder / "data/train-00000-of-00001.parquet"
    write_parquet(path, [0, 1, 10])
    assert order[:3] == [0, 1, 10]


def samples_by_id(folder: Path, prompt: str = "") -> dict[str, Sample]:
    return {sample.id: sample for sample in TASK.samples(folder, prompt=prompt)}


def picture_of(sample: Sample) -> bytes:
    picture = sample.parts[0]
    assert isinstance(picture, Picture)
    return picture.read()


@pytest.mark.parametrize(
    ("write", "ids"),
    [
        (write_json, NUMBERS),
        (write_lmms_lab, NUMBERS),
        (write_with_names_in_the_column, NUMBERS[::-1]),
        (write_nielsr, [0, 1, 10]),
    ],
)
def test_mixed_layouts_ask_the_same_under_the_same_ids(
    tmp_path: Path, write: Any, ids: list[int]
) -> None:
    write(tmp_path)
    assert TASK.locate(tmp_path, "test").layout == "mixed"
    samples = samples_by_id(tmp_path)
    assert list(samples) == [str(number) for number in ids]
    for number in ids:
        sample, (question, answer) = samples[str(number)], ITEMS[number]
        assert picture_of(sample) == webp(number)
        assert sample.parts[1:] == (question,)
        assert sample.target == answer
        assert sample.options == OPTIONS[number]
        assert sample.tags["kind"] == ("letter" if LETTER in question else "open")
        assert sample.cluster == str(number)
    assert samples["10"].tags == {"kind": "letter", "options": "not understood"}


def test_rows_of_unnamed_pictures_pair_with_no_others(tmp_path: Path) -> None:
    """Row order differs between mirrors, so a place in a file must not look like a number."""
    write_parquet(tmp_path / "realworldqa/data/test-00000-of-00001.parquet", NUMBERS)
    assert list(samples_by_id(tmp_path)) == [f"row-{number + 1}" for number in NUMBERS]


def test_both_prompts_send_the_published_question(tmp_path: Path) -> None:
    """lmms-eval's default strips it and adds nothing."""
    folder = tmp_path / "realworldqa"
    folder.mkdir()
    row = {"image": "0.webp", "question": f"\n {FACING} \n", "answer": " C "}
    (folder / "annotations.json").write_text(json.dumps([row]))
    for prompt in ("spare", "lmms-eval"):
        sample = samples_by_id(tmp_path, prompt)["0"]
        assert sample.parts[1:] == (FACING,)
        assert sample.target == "C"
    with pytest.raises(DataError, match="prompt vlmevalkit is made for the layout mcq-tsv"):
        samples_by_id(tmp_path, "vlmevalkit")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"question": "Which way?\nA. Left\nB. Ri"}, "row 2: the question should end in"),
        ({"question": f"{LETTER} {WORD}"}, "row 2: the question should end in"),
        ({"question": None}, "row 2: column 'question' should be text but is NoneType"),
        ({"answer": "Left"}, "row 2: the question asks for a letter, but its answer is 'Left'"),
        ({"answer": "E"}, "row 2: the question asks for a letter, but its answer is 'E'"),
        ({"answer": 3}, "row 2: column 'answer' should be text but is int 3"),
        ({"question": f"How many? {WORD}", "answer": " "}, "row 2: there is no answer"),
        ({"image": "0.webp"}, "row 2: picture 0 was asked about in row 1 already"),
        ({"image": "../secret.webp"}, "row 2: picture name '../secret.webp' leads out"),
    ],
)
def test_a_faulty_row_is_named(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    rows = [{"image": f"{n}.webp", "question": FACING, "answer": "C"} for n in range(3)]
    rows[1] |= row
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=sentence):
        samples_by_id(tmp_path)


@given(
    texts=st.lists(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 .,/'-]{0,20}[A-Za-z0-9.]", fullmatch=True).filter(
            lambda text: text == text.strip()
        ),
        min_size=2,
        max_size=4,
    ),
    marks=st.lists(st.sampled_from([". ", ".", ") ", ": ", " ", "(X) "]), min_size=4, max_size=4),
    gap=st.sampled_from(["\n", "\n\n", " \n"]),
    stem=st.sampled_from(["Which?", "A car is near", "A. B. Smith drives.\nWhere?", "B Street?"]),
)
def test_options_are_found_however_their_letters_are_set_off(
    texts: list[str], marks: list[str], gap: str, stem: str
) -> None:
    lines = []
    for letter, text, mark in zip("ABCD", texts, marks, strict=False):
        before = f"({letter}) " if mark == "(X) " else f"{letter}{mark}"
        lines.append(before + text)
    question = f"{stem}{gap}" + "\n".join(lines) + f"\n{LETTER}"
    assert options_in(question) == dict(zip("ABCD", texts, strict=False))


# All-MCQ data

TABLE = (
    # index, question, options, answer; as VLMEvalKit's table has them: no instruction, no open rows
    ("0", "Which way does the lion face?", {"A": "Left", "B": "Straight", "C": "Right"}, "C"),
    ("6", "Must we stop?", {"A": "Yes", "B": "No"}, "A"),
    ("2", "What should we do?", {"A": "Wait", "B": "Turn", "C": "Go on", "D": "None"}, "D"),
)


def write_tsv(folder: Path, rows: Any = TABLE) -> Path:
    path = folder / "LMUData/RealWorldQA.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["image", "answer", "index", "A", "B", "C", "D", "question"])
        for index, question, options, answer in rows:
            picture = base64.b64encode(webp(int(index))).decode()
            cells = [options.get(letter, "") for letter in "ABCD"]
            writer.writerow([picture, answer, index, *cells, question])
    return path


def test_the_multiple_choice_table_is_a_layout_of_its_own(tmp_path: Path) -> None:
    path = write_tsv(tmp_path)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    assert TASK.locate(tmp_path, "test").layout == f"mcq-tsv-{md5[:8]}"
    samples = samples_by_id(tmp_path)
    assert list(samples) == ["0", "6", "2"]
    for index, _, options, answer in TABLE:
        assert picture_of(samples[index]) == webp(int(index))
        assert dict(samples[index].options) == options
        assert samples[index].target == answer
        assert samples[index].tags == {"kind": "letter"}
    with pytest.raises(DataError, match="prompt lmms-eval is made for the layout mixed"):
        samples_by_id(tmp_path, "lmms-eval")


def test_published_revisions_of_the_table_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    md5 = hashlib.md5(write_tsv(tmp_path).read_bytes()).hexdigest()
    monkeypatch.setitem(realworldqa.REVISIONS, md5, "2031-01-01")
    assert TASK.locate(tmp_path, "test").layout == "mcq-tsv-2031-01-01"


def test_prompts_for_the_table(tmp_path: Path) -> None:
    """VLMEvalKit's is byte-exact, and pandas takes its option "None" for none at all; ours is the
    form that xAI published."""
    write_tsv(tmp_path)
    asked = {name: samples_by_id(tmp_path, name) for name in ("vlmevalkit", "spare")}
    assert asked["vlmevalkit"]["0"].parts[1] == (
        "Question: Which way does the lion face?\nOptions:\nA. Left\nB. Straight\nC. Right\n"
        "Please select the correct answer from the options above. \n"
    )
    assert asked["spare"]["0"].parts[1] == FACING.replace("\n\n", "\n")
    assert str(asked["spare"]["2"].parts[1]).endswith(f"C. Go on\nD. None\n{LETTER}")
    assert "None" not in str(asked["vlmevalkit"]["2"].parts[1])


def test_mixed_data_go_first(tmp_path: Path) -> None:
    write_tsv(tmp_path)
    write_json(tmp_path)
    assert TASK.locate(tmp_path, "test").layout == "mixed"


def test_an_early_table_that_lost_options_is_refused(tmp_path: Path) -> None:
    """VLMEvalKit issue 677: row 105 had lost an option, and its answer was none of the others."""
    write_tsv(tmp_path, [("105", "What colour?", {"A": "Red", "B": "Green"}, "C")])
    with pytest.raises(DataError, match=r"answer 'C' is not among options A, B.*issue 677"):
        samples_by_id(tmp_path)


def test_no_files_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no files of realworldqa found: looked for annotations"):
        samples_by_id(tmp_path)


# Reading replies

LEFT_RIGHT = {"A": "Left", "B": "Straight", "C": "Right"}
NUMBERED = {"A": "1", "B": "2", "C": "12"}
YES_NO = {"A": "Yes", "B": "No"}
DOTLESS = f"What colour?\nA. Red\nB Blue\nC. Green\n{LETTER}"
COLOURS = {"A": "Red", "B": "Blue", "C": "Green"}
OPEN = f"Uphill or downhill?\n{WORD}"


@pytest.mark.parametrize(
    ("rules", "question", "options", "gold", "reply", "parsed", "right"),
    [
        # lmms-eval 75571cfe
        ("lmms-eval", FACING, LEFT_RIGHT, "C", "C", "C", True),
        ("lmms-eval", FACING, LEFT_RIGHT, "C", "c", "", False),
        ("lmms-eval", FACING, LEFT_RIGHT, "C", "Right", "", False),
        ("lmms-eval", FACING, LEFT_RIGHT, "C", "The answer is C", "C", True),
        ("lmms-eval", FACING, LEFT_RIGHT, "C", "Cannot tell", "C", True),
        (
            *("lmms-eval", FACING, LEFT_RIGHT, "B"),
            *("I think the best option is (B). Although A is close", "A", False),
        ),
        ("lmms-eval", FACING, LEFT_RIGHT, "C", "A or C", "A", False),
        ("lmms-eval", OPEN, {}, "Downhill", "downhill.", "downhill", True),
        ("lmms-eval", OPEN, {}, "0", "zero", "zero", False),
        ("lmms-eval", OPEN, {}, "Yes", "Yes, we must stop", "yes, we must stop", False),
        # lmms-eval before 9ca4445d
        ("lmms-eval-2025", FACING, LEFT_RIGHT, "C", "c", "c", True),
        ("lmms-eval-2025", FACING, LEFT_RIGHT, "C", "Right", "C", True),
        ("lmms-eval-2025", FACING, LEFT_RIGHT, "C", "right", "right", False),
        ("lmms-eval-2025", FACING, LEFT_RIGHT, "C", "The answer is C", "The answer is C", False),
        ("lmms-eval-2025", FACING, LEFT_RIGHT, "C", "Left, no, Right", "A", False),
        ("lmms-eval-2025", OPEN, {}, "0", "zero", "0", True),
        ("lmms-eval-2025", OPEN, {}, "0", "zero.", "zero", False),
        ("lmms-eval-2025", DOTLESS, COLOURS, "C", "Green", "B", False),
        ("lmms-eval-2025", DOTLESS, COLOURS, "C", "C", "C", True),
        # VLMEvalKit e8e78f05
        ("vlmevalkit", "", LEFT_RIGHT, "C", "c", "", False),
        ("vlmevalkit", "", LEFT_RIGHT, "C", "Right", "C", True),
        ("vlmevalkit", "", LEFT_RIGHT, "C", "The answer is C", "C", True),
        ("vlmevalkit", "", LEFT_RIGHT, "C", "A or C", "", False),
        ("vlmevalkit", "", LEFT_RIGHT, "C", "**C**", "C", True),
        ("vlmevalkit", "", LEFT_RIGHT, "C", "The answer is clear", "C", True),
        ("vlmevalkit", "", YES_NO, "A", "Yes, we are required to stop", "", False),
        ("vlmevalkit", "", YES_NO, "B", "Unknown", "B", True),
        (
            *("vlmevalkit", "", LEFT_RIGHT, "C"),
            "C\nIn the picture the wheel of the car points clearly to the right, as can be seen.",
            *("", False),
        ),
        ("vlmevalkit", "", NUMBERED, "C", "12", "", False),
        ("vlmevalkit", "", {"A": "Yes", "B": "None"}, "B", "None", "", False),
        # ours
        ("spare", FACING, LEFT_RIGHT, "C", "c", "C", True),
        ("spare", FACING, LEFT_RIGHT, "C", "Right", "C", True),
        ("spare", FACING, LEFT_RIGHT, "C", "(C)", "C", True),
        ("spare", FACING, LEFT_RIGHT, "C", "<think>A or B?</think>The answer is C.", "C", True),
        ("spare", FACING, LEFT_RIGHT, "C", "Cannot tell", "", False),
        ("spare", FACING, LEFT_RIGHT, "C", "A or C", "", False),
        ("spare", FACING, LEFT_RIGHT, "C", "nan", "", False),
        ("spare", "", NUMBERED, "C", "12", "C", True),
        ("spare", "", {"A": "Yes", "B": "None"}, "B", "None", "B", True),
        ("spare", OPEN, {}, "Downhill", "**downhill**.", "downhill", True),
        ("spare", OPEN, {}, "0", "Zero.", "0", True),
        ("spare", OPEN, {}, "3", "2", "2", False),
        ("spare", OPEN, {}, "Yes", "No, we must stop", "no, we must stop", False),
        ("spare", OPEN, {}, "Yes", "", "", False),
    ],
)
def test_replies_are_read_as_each_rule_set_promises(
    rules: str,
    question: str,
    options: Mapping[str, str],
    gold: str,
    reply: str,
    parsed: str,
    right: bool,
) -> None:
    sample = Sample("0", (question,), gold, options)
    verdict = TASK.judge(sample, Reply(text=reply), rules)
    assert (verdict.parsed, verdict.score) == (parsed, float(right))
    assert (verdict.status == "ok") == bool(parsed)


def test_yes_may_go_on_after_a_comma() -> None:
    sample = Sample("6", (OPEN,), "Yes", {})
    assert TASK.judge(sample, Reply(text="Yes, we must"), "spare").score == 1.0


@pytest.mark.parametrize("write", [write_json, write_tsv])
def test_gold_scores_and_silence_does_not(tmp_path: Path, write: Any) -> None:
    write(tmp_path)
    prompts = ("spare", "lmms-eval") if write is write_json else ("spare", "vlmevalkit")
    for prompt in prompts:
        for sample in TASK.samples(tmp_path, prompt=prompt):
            for rules in TASK.prompts[prompt].rules:
                gold = TASK.judge(sample, Reply(text=sample.target), rules)
                # The option "None" is no option to VLMEvalKit, and so cannot be chosen.
                lost = rules == "vlmevalkit" and sample.options[sample.target] == "None"
                assert gold.score == float(not lost), (rules, sample.id)
                empty = TASK.judge(sample, Reply(text=" "), rules)
                assert (empty.score, empty.status) == (0.0, "empty"), (rules, sample.id)
                for label in sample.options:
                    if label != sample.target:
                        assert TASK.judge(sample, Reply(text=label), rules).score == 0.0


def test_letter_and_open_rows_are_scored_apart() -> None:
    def judged(number: int, kind: str, score: float) -> Judged:
        return Judged(str(number), "A", Verdict("A", score, "ok"), {"kind": kind}, "", str(number))

    letters = [judged(number, "letter", number < 3) for number in range(4)]
    words = [judged(number, "open", number < 5) for number in (4, 5, 6)]
    metrics = TASK.summarise(letters + words, "spare")
    assert {metric.name: round(metric.value, 6) for metric in metrics} == {
        "accuracy": round(100 * 4 / 7, 6),
        "letter": 75.0,
        "open": round(100 / 3, 6),
    }
    assert [metric.name for metric in TASK.summarise(letters, "spare")] == ["accuracy"]
