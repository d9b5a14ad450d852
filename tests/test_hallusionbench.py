"""HallusionBench: figures, questions and rows are counted as the references count them.

The published questions (tianyi-lab/HallusionBench 744007c) are read where they are at hand.
Replies: VLMEvalKit's `YOrN_Extraction` (run on these texts), and our own rules where it says so.
The judge: the authors' utils.py.
"""

import base64
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.cli import main
from spare.errors import DataError, SpareError
from spare.harness.validate import validate
from spare.images import Picture, open_picture
from spare.tasks import hallusionbench
from spare.tasks.types import Judged, Reply, Sample, Task, Verdict

SHOWN, FULL = hallusionbench.TASKS

PUBLISHED = Path(__file__).parents[2] / "shared" / "data"
needs_questions = pytest.mark.skipif(
    not (PUBLISHED / "hallusionbench").is_dir(),
    reason=f"HallusionBench's published questions are not in {PUBLISHED}",
)


# Eleven rows


class One(NamedTuple):
    """A row, a model's reply to it, and what an ideal judge says of the reply."""

    category: str
    subcategory: str
    visual_input: int
    set: int
    figure: int
    question: int
    truth: int
    reply: str
    label: int

    @property
    def id(self) -> str:
        return "_".join(map(str, self[:6]))

    @property
    def file(self) -> str | None:
        if not self.visual_input:
            return None
        return f"./{self.category}/{self.subcategory}/{self.set}_{self.figure}.png"

    @property
    def text(self) -> str:
        return f"Is {self.subcategory} {self.question} so?"

    @property
    def details(self) -> str:
        return f"{'Yes' if self.truth else 'No'}, as all see."


ROWS = [
    One("VS", "ocr", 0, 0, 0, 0, 1, "I am not sure.", 2),
    One("VS", "ocr", 0, 0, 0, 1, 0, "No.", 1),
    One("VS", "ocr", 1, 0, 1, 0, 1, "Yes, it is.", 1),
    One("VS", "ocr", 1, 0, 1, 1, 0, "**No**", 1),
    One("VS", "ocr", 2, 0, 2, 0, 0, "no", 1),
    One("VS", "ocr", 2, 0, 2, 1, 1, "Yes", 1),
    One("VD", "ocr", 1, 0, 0, 0, 1, "Yes", 1),
    One("VD", "ocr", 1, 0, 0, 1, 0, "Yes", 0),
    One("VD", "ocr", 2, 0, 1, 0, 0, "There is no such text.", 1),
    One("VD", "ocr", 2, 0, 1, 1, 1, "Unclear from the image.", 2),
    One("VD", "video", 1, 3, 0, 0, 1, "yes and no", 2),
]
LABELS = ("incorrect", "correct", "unclear")


def colour(one: One) -> tuple[int, int, int]:
    return (250 if one.category == "VD" else 0, 100 * one.figure, 200 if one.set else 0)


def png(one: One) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), colour(one)).save(buffer, "PNG")
    return buffer.getvalue()


def columns(one: One) -> dict[str, Any]:
    """The authors' eleven keys; all values but null are text."""
    return {
        "category": one.category,
        "subcategory": one.subcategory,
        "visual_input": str(one.visual_input),
        "set_id": str(one.set),
        "figure_id": str(one.figure),
        "sample_note": "a note",
        "question_id": str(one.question),
        "question": one.text,
        "gt_answer_details": one.details,
        "gt_answer": str(one.truth),
        "filename": one.file,
    }


def write_json(folder: Path, rows: list[Any], root: str = "hallusion_bench") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "HallusionBench.json").write_text(json.dumps(rows))
    for one in ROWS:
        if one.file:
            path = folder / root / one.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(one))


def repository(data: Path) -> None:
    write_json(data / "hallusionbench", [columns(one) for one in ROWS])


def hub_pictures(data: Path) -> None:
    """The pictures as rayguan/HallusionBench has them."""
    write_json(data / "HallusionBench", [columns(one) for one in ROWS], "data")


def folder_itself(data: Path) -> None:
    """--data names the folder; numbers are numbers, and names begin as the README shows."""
    rows = [columns(one) for one in ROWS]
    for row in rows:
        row |= {name: int(row[name]) for name in ("set_id", "figure_id", "gt_answer")}
        if row["filename"]:
            row["filename"] = row["filename"].replace("./", "./hallusion_bench/")
    write_json(data, rows, ".")


def parquet(data: Path) -> None:
    folder = data / "hallusionbench" / "data"
    folder.mkdir(parents=True)
    for split, shown in (("image", True), ("non_image", False)):
        rows = []
        for one in ROWS:
            if bool(one.visual_input) == shown:
                picture = {"bytes": png(one), "path": "x.png"} if shown else None
                rows.append({**columns(one), "image": picture})
        cell = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
        texts = [(name, pyarrow.string()) for name in rows[0] if name != "image"]
        schema = pyarrow.schema([*texts, ("image", cell)])
        path = folder / f"{split}-00000-of-00001.parquet"
        table = pyarrow.Table.from_pylist(rows, schema)
        pyarrow.parquet.write_table(table, path, row_group_size=4)


def table_rows() -> list[dict[str, str]]:
    pictures: dict[str, str] = {}
    rows = []
    for one in ROWS:
        if not one.file:
            continue
        cell = pictures.get(one.file) or base64.b64encode(png(one)).decode()
        pictures.setdefault(one.file, one.id)
        rows.append(
            {
                "index": one.id,
                "image": cell,  # a picture's second row names the first
                "question": one.text,
                "answer": "Yes" if one.truth else "No",
                "category": one.category,
                "l2-category": f"{one.category}_{one.subcategory}",
            }
        )
    return rows


def write_table(data: Path, rows: list[dict[str, str]]) -> None:
    (data / "LMUData").mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(rows[0]), *("\t".join(one.values()) for one in rows)]
    (data / "LMUData" / "HallusionBench.tsv").write_text("\n".join(lines) + "\n")


def table(data: Path) -> None:
    write_table(data, table_rows())


LAYOUTS = [repository, hub_pictures, folder_itself, parquet, table]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("task", hallusionbench.TASKS, ids=lambda task: str(task.name))
def test_every_layout_gives_the_same_questions(
    tmp_path: Path, task: Task, layout: Callable[[Path], None]
) -> None:
    layout(tmp_path)
    if task is FULL and layout is table:
        with pytest.raises(DataError, match="no files of hallusionbench_full found"):
            task.locate(tmp_path, "test")
        return
    samples = {sample.id: sample for sample in task.samples(tmp_path)}
    rows = [one for one in ROWS if one.visual_input or task is FULL]
    assert set(samples) == {one.id for one in rows}
    for one in rows:
        sample = samples[one.id]
        assert sample.parts[-1] == one.text
        assert sample.target == ("Yes" if one.truth else "No")
        assert sample.answers == (() if layout is table else (one.details,))
        assert sample.tags == {
            "category": one.category,
            "subcategory": f"{one.category}_{one.subcategory}",
            "figure": f"{one.category}_{one.subcategory}_{one.set}_{one.figure}",
            "visual_input": ("none", "original", "edited")[one.visual_input],
        }
        pictures = [part for part in sample.parts if isinstance(part, Picture)]
        seen = [open_picture(picture).getpixel((4, 4)) for picture in pictures]
        assert seen == [colour(one)] * bool(one.visual_input)


def test_json_without_its_pictures_comes_last(tmp_path: Path) -> None:
    (tmp_path / "hallusionbench").mkdir()
    path = tmp_path / "hallusionbench" / "HallusionBench.json"
    path.write_text(json.dumps([columns(one) for one in ROWS]))
    assert SHOWN.locate(tmp_path, "test").layout == "json"
    table(tmp_path)
    assert SHOWN.locate(tmp_path, "test").layout == "vlmevalkit-tsv"
    assert FULL.locate(tmp_path, "test").layout == "json"
    parquet(tmp_path)
    assert SHOWN.locate(tmp_path, "test").layout == "parquet"
    repository(tmp_path)
    assert SHOWN.locate(tmp_path, "test").layout == "json"


def test_missing_pictures_cost_their_own_samples(tmp_path: Path) -> None:
    repository(tmp_path)
    (tmp_path / "hallusionbench" / "hallusion_bench" / "VD" / "video" / "3_0.png").unlink()
    paths = [part.path for one in FULL.samples(tmp_path) for part in one.parts[:-1]]  # type: ignore[union-attr]
    assert [path.exists() for path in paths] == [True] * 8 + [False]


def test_the_question_is_asked_alone_but_for_the_wrapper_of_qwen(tmp_path: Path) -> None:
    """lmms-eval's and VLMEvalKit's defaults; VLMEvalKit's `_build_yorn_prompt` of Qwen2-VL."""
    repository(tmp_path)

    def asked(task: Task, prompt: str) -> list[object]:
        return [sample.parts[-1] for sample in task.samples(tmp_path, prompt=prompt)]

    alone = [one.text for one in ROWS[2:]]
    assert asked(SHOWN, "vlmevalkit") == asked(SHOWN, "lmms-eval") == alone
    assert asked(SHOWN, "vlmevalkit-qwen") == [f"{one} Please answer yes or no." for one in alone]
    assert asked(FULL, "official") == [one.text for one in ROWS]
    assert SHOWN.prompt().rules[0] == "vlmevalkit"
    # Nothing needs a judge model unless it is asked for by name.
    for task in hallusionbench.TASKS:
        for prompt in task.prompts.values():
            assert task.rules[prompt.rules[0]].question is None


# Bad files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual_input": "3"}, "visual_input should be 0, 1 or 2 but is 3"),
        ({"gt_answer": "2"}, "gt_answer should be 0 or 1 but is 2"),
        ({"gt_answer": "yes"}, "gt_answer should be a whole number but is 'yes'"),
        ({"set_id": None}, "set_id should be a whole number but is None"),
        ({"figure_id": True}, "figure_id should be a whole number but is True"),
        ({"question": " "}, "question is empty"),
        ({"question": 5}, "column 'question' should be text"),
        ({"gt_answer_details": None}, "column 'gt_answer_details' should be text"),
        ({"subcategory": "maps"}, "VD_maps is none of the sub-categories VD_figure"),
        ({"category": "VS", "subcategory": "video"}, "VS_video is none of the sub-categories"),
        ({"filename": None}, "visual_input says that there is a picture, but filename is null"),
        ({"filename": "../secret.png"}, "leads out of the data folder"),
        ({"filename": "/etc/passwd"}, "leads out of the data folder"),
        (columns(ROWS[6]), "VD_ocr_1_0_0_0 asks what row 7 asks about the same picture"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = [columns(one) for one in ROWS]
    rows[10] |= change
    write_json(tmp_path / "hallusionbench", rows)
    with pytest.raises(DataError, match=rf"HallusionBench\.json, row 11: .*{message}"):
        list(SHOWN.samples(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": "12"}, "index '12' does not end in three numbers behind three _"),
        ({"index": "VD_video_1_3_0_x"}, "does not end in three numbers"),
        ({"answer": "1"}, "answer should be Yes or No but is '1'"),
        ({"l2-category": "VD_maps"}, "VD_maps is none of the sub-categories"),
        ({"image": "7"}, "image '7' is neither a picture nor the index of a row"),
    ],
)
def test_bad_table_rows_are_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    rows = table_rows()
    rows[8] |= change
    write_table(tmp_path, rows)
    with pytest.raises(DataError, match=rf"HallusionBench\.tsv, row 9: .*{message}"):
        list(SHOWN.samples(tmp_path))


def test_a_table_may_leave_out_what_its_index_begins_with(tmp_path: Path) -> None:
    """Only the last three parts of the index and the prefixed sub-category are known for sure."""
    rows = table_rows()
    for row in rows:
        row["index"] = "_".join(["a", "b", "c", *row["index"].split("_")[3:]])
        row["l2-category"] = row["l2-category"].removeprefix(f"{row['category']}_")
        row["image"] = base64.b64encode(png(ROWS[2])).decode()
    for number, row in enumerate(rows):  # an index must be the row's own
        row["index"] = row["index"].replace("a_", f"a{number}_", 1)
    write_table(tmp_path, rows)
    judged = [verdict(SHOWN, one, "Yes", "spare") for one in SHOWN.samples(tmp_path)]
    found = {metric.name: metric.n for metric in SHOWN.summarise(judged, "spare")}
    assert found == {"aAcc": 9, "fAcc": 5, "qAcc": 5, "average": 19}


def test_the_full_task_needs_the_rows_without_a_picture(tmp_path: Path) -> None:
    parquet(tmp_path)
    (tmp_path / "hallusionbench" / "data" / "non_image-00000-of-00001.parquet").unlink()
    assert len(list(SHOWN.samples(tmp_path))) == 9
    with pytest.raises(DataError, match=r"image-00000.*: there are no rows without a picture"):
        list(FULL.samples(tmp_path))


# Judging


def verdict(task: Task, sample: Sample, text: str, rules: str) -> Judged:
    found = task.judge(sample, Reply(text), rules)
    return Judged(sample.id, sample.target, found, sample.tags, sample.group, sample.cluster)


OPTIONS = {"Yes": "Yes", "No": "No"}
PICTURE = Picture(Path("1_0.png"), "1_0.png")
SEEN = Sample("VS_map_1_0_1_0", (PICTURE, "Is it?"), "Yes", OPTIONS, answers=("Yes, it is.",))
UNSEEN = replace(SEEN, id="VS_map_0_0_0_0", parts=("Is it?",))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("Yes", "Yes"),
        ("No.", "No"),
        ("Yes, it is.", "Yes"),
        ("NO!", "No"),
        ("(no)", "No"),
        ("1. No", "No"),
        ("Answer: yes", "Yes"),
        ("The answer is No", "No"),
        ("No answer", "No"),
        *(
            (text, "")
            for text in (
                *("**Yes**", "**No**", "Yes: it is", "Yes.It is", "'Yes'", "Yes。", "Yes…"),
                *("Not visible", "nope", "Unable to determine", "I don't know", ""),
                *("It is correct.", "There is no cat, but yes a dog", "yes and no", "yes-no"),
                *("No way! Yes", "eyes are open", "Yesterday"),
            )
        ),
    ],
)
def test_vlmevalkit_reads_replies_as_it_does(text: str, parsed: str) -> None:
    found = SHOWN.judge(SEEN, Reply(text), "vlmevalkit")
    assert (found.parsed, found.score) == (parsed, parsed == "Yes")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("**Yes**", "Yes"),
        ("'No'", "No"),
        ("Yes: it is", "Yes"),
        ("Yes。", "Yes"),
        ("Yes…", "Yes"),
        ("Answer: yes", "Yes"),
        ("There is no such text.", "No"),
        ("yes and no", ""),
        ("eyes are open", ""),
        ("I don't know", ""),
        ("Unable to determine", ""),
    ],
)
def test_our_rules_neither_guess_nor_mind_the_form(text: str, parsed: str) -> None:
    assert SHOWN.judge(SEEN, Reply(text), "spare").parsed == parsed


@pytest.mark.parametrize("rules", ["vlmevalkit", "spare"])
def test_what_cannot_be_seen_may_be_left_open(rules: str) -> None:
    """The official exception: unclear is right in the rows without a picture."""
    unclear = Reply("I cannot tell without the picture.")
    assert SHOWN.judge(SEEN, unclear, rules) == Verdict("", 0.0, "unparsed")
    assert FULL.judge(UNSEEN, unclear, rules) == Verdict("", 1.0, "unparsed")
    assert FULL.judge(UNSEEN, Reply("No"), rules) == Verdict("No", 0.0, "ok")
    assert FULL.judge(UNSEEN, Reply("Yes"), rules) == Verdict("Yes", 1.0, "ok")
    assert FULL.judge(UNSEEN, Reply(" "), rules) == Verdict("", 0.0, "empty")
    assert FULL.judge(UNSEEN, Reply(error="x"), rules) == Verdict("", 0.0, "error")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("correct", 1),
        ("Correct.", 1),
        ("“correct”", 1),
        ("incorrect", 0),
        ("unclear", 2),
        ("not correct", 1),
        ("partially correct", 1),
        ("", 2),
        ("The prediction is correct, not incorrect", 0),
        ("same", 2),
    ],
)
def test_a_judge_is_read_as_the_authors_read_it(text: str, label: int) -> None:
    assert FULL.judge(SEEN, Reply(text), "official").score == (label == 1)
    assert FULL.judge(UNSEEN, Reply(text), "official").score == (label in (1, 2))


def test_a_judge_is_asked_as_the_authors_ask() -> None:
    question = SHOWN.rules["official"].question
    assert question is not None
    asked = question(SEEN, Reply("It is\nso."))
    assert asked.startswith(
        "Imagine you are an intelligent teacher. Thoroughly read the question, "
    )
    assert "please generate “correct”. If the prediction answer conflict with" in asked
    assert asked.endswith(
        'please generate "unclear". \n\n Question:Is it?\nReference answer: Yes, it is.\n'
        "Prediction answer:It is\nso.\nOutput:"
    )
    with pytest.raises(SpareError, match="no reference sentences to show a judge"):
        question(replace(SEEN, answers=()), Reply("Yes"))
    # The question must be the benchmark's own.
    assert "official" not in SHOWN.prompts["vlmevalkit-qwen"].rules


@given(
    st.text() | st.text("yesnoYESNO. ,*\n<>/'correctin"),
    st.sampled_from(list(SHOWN.rules)),
    st.booleans(),
)
def test_any_reply_gets_a_verdict(text: str, rules: str, seen: bool) -> None:
    sample = SEEN if seen else UNSEEN
    found = FULL.judge(sample, Reply(text), rules)
    assert found.score in (0.0, 1.0)
    assert (found.status == "ok") == bool(found.parsed)
    question = FULL.rules[rules].question
    assert question is None or text in question(sample, Reply(text))
    if rules != "official" and found.status != "ok":
        assert found.score == (not seen and found.status == "unparsed")


@pytest.mark.parametrize("rules", SHOWN.rules)
@pytest.mark.parametrize("piece", ["a", " ", "yes ", "not ", "in", "<answer>", "y.", ", ;", "1,2 "])
def test_a_megabyte_of_anything_is_no_trouble(piece: str, rules: str) -> None:
    """Quadratic work would take hours."""
    found = FULL.judge(SEEN, Reply(piece * (2**20 // len(piece))), rules)
    assert found.score in (0.0, 1.0)


# Figures of the eleven rows


def judged(tmp_path: Path, task: Task, rules: str) -> list[Judged]:
    repository(tmp_path)
    by_id = {one.id: one for one in ROWS}

    def said(sample: Sample) -> str:
        one = by_id[sample.id]
        return LABELS[one.label] if rules == "official" else one.reply

    return [verdict(task, sample, said(sample), rules) for sample in task.samples(tmp_path)]


def figures(rows: Iterable[Judged]) -> dict[str, float]:
    return {metric.name: metric.value for metric in SHOWN.summarise(rows, "") if metric.n}


def three(rows: Iterable[Judged]) -> tuple[float, ...]:
    found = figures(rows)
    assert found["average"] == pytest.approx((found["aAcc"] + found["fAcc"] + found["qAcc"]) / 3)
    return tuple(found[name] for name in ("aAcc", "fAcc", "qAcc"))


def shares(*fractions: tuple[int, int]) -> Any:
    return pytest.approx(tuple(100 * part / whole for part, whole in fractions))


def test_figures_with_the_official_judge(tmp_path: Path) -> None:
    assert three(judged(tmp_path, FULL, "official")) == shares((8, 11), (2, 5), (3, 5))


def test_figures_of_lmms_eval_are_those_of_the_rows_with_pictures(tmp_path: Path) -> None:
    assert three(judged(tmp_path, SHOWN, "official")) == shares((6, 9), (2, 5), (3, 5))


def test_figures_of_vlmevalkit(tmp_path: Path) -> None:
    rows = judged(tmp_path, SHOWN, "vlmevalkit")
    assert three(rows) == shares((5, 9), (1, 5), (2, 5))
    # By category: the same arithmetic on a part of the rows.
    for category, expected in (("VD", (40.0, 0.0, 100 / 3)), ("VS", (75.0, 50.0, 50.0))):
        part = [one for one in rows if one.tags["category"] == category]
        assert three(part) == pytest.approx(expected)


def test_figures_of_our_rules(tmp_path: Path) -> None:
    """The bold No is read, and the full task forgives row 1."""
    assert three(judged(tmp_path, SHOWN, "spare")) == shares((6, 9), (2, 5), (3, 5))
    assert three(judged(tmp_path, FULL, "spare")) == shares((8, 11), (2, 5), (3, 5))


def test_easy_and_hard_are_questions_over_the_figures_of_a_kind(tmp_path: Path) -> None:
    found = figures(judged(tmp_path, FULL, "official"))
    # Easy: VS 0 and 1 right (with and without the picture), VD_ocr 0, not 1, not VD_video.
    assert (found["easy"], found["hard"]) == shares((3, 5), (3, 4))


# The published questions


POLICIES: dict[str, Callable[[Sample], str]] = {
    "truth": lambda sample: sample.target,
    "yes": lambda sample: "Yes",
    "no": lambda sample: "No",
    "even": lambda sample: "No" if len(str(sample.parts[-1])) % 2 else "Yes",
    "unsure": lambda sample: "I don't know",
}
GOLDEN = [
    # policy, task, rows, figures, questions
    ("truth", FULL, (1129, 1129), (346, 346), (455, 455)),
    ("yes", FULL, (484, 1129), (25, 346), (18, 455)),
    ("no", FULL, (645, 1129), (42, 346), (88, 455)),
    ("even", FULL, (557, 1129), (64, 346), (50, 455)),
    ("unsure", FULL, (178, 1129), (0, 346), (0, 455)),
    ("truth", SHOWN, (951, 951), (346, 346), (455, 455)),
    ("yes", SHOWN, (401, 951), (25, 346), (21, 455)),
    ("no", SHOWN, (550, 951), (42, 346), (91, 455)),
    ("even", SHOWN, (472, 951), (64, 346), (58, 455)),
    ("unsure", SHOWN, (0, 951), (0, 346), (0, 455)),
]


@needs_questions
@pytest.mark.parametrize("rules", ["vlmevalkit", "spare"])
@pytest.mark.parametrize(("policy", "task", "rows", "pictures", "questions"), GOLDEN)
def test_published_figures_of_simple_policies(
    policy: str,
    task: Task,
    rows: tuple[int, int],
    pictures: tuple[int, int],
    questions: tuple[int, int],
    rules: str,
) -> None:
    said = POLICIES[policy]
    found = [verdict(task, sample, said(sample), rules) for sample in task.samples(PUBLISHED)]
    assert three(found) == shares(rows, pictures, questions)


EVEN = {
    "VD": (49.2386, 20.4348, 8.3032),
    "VS": (50.2778, 14.6552, 19.6629),
    "VD_math": (50.0, 2.7778, 24.0741),
    "VS_ocr": (51.8519, 19.2308, 7.4074),
    "VD_video": (48.8235, 8.3333, 5.7971),
    "VS_chart": (56.9231, 17.5, 38.1579),
    "VD_ocr": (48.3146, 20.9302, 2.3256),
    "VS_map": (42.1875, 13.6364, 0),
    "VD_figure": (50.0, 26.8293, 0),
    "VD_illusion": (49.3056, 35.4839, 6.9444),
    "VS_table": (46.4286, 7.1429, 9.3023),
}


@needs_questions
def test_published_figures_by_category() -> None:
    said = POLICIES["even"]
    rows = [verdict(SHOWN, one, said(one), "vlmevalkit") for one in SHOWN.samples(PUBLISHED)]
    for name, expected in EVEN.items():
        part = [one for one in rows if name in (one.tags["category"], one.tags["subcategory"])]
        assert three(part) == pytest.approx(expected, abs=5e-5)


@needs_questions
def test_published_counts() -> None:
    samples = list(FULL.samples(PUBLISHED))
    assert len(samples) == len({one.id for one in samples}) == FULL.splits["test"] == 1129
    assert Counter(one.tags["subcategory"] for one in samples) == hallusionbench.ROWS
    kinds = Counter(one.tags["visual_input"] for one in samples)
    assert kinds == {"none": 178, "original": 447, "edited": 504}
    bare = [one for one in samples if len(one.parts) == 1]
    # The official exception names them "VS, figure 0".
    assert bare == [one for one in samples if one.id[:2] == "VS" and one.id.split("_")[4] == "0"]
    assert len(bare) == hallusionbench.WITHOUT_PICTURE
    shown = list(SHOWN.samples(PUBLISHED))
    assert shown == [one for one in samples if len(one.parts) == 2]
    assert len(shown) == SHOWN.splits["test"] == 951
    assert len({one.tags["figure"] for one in shown}) == 346
    assert len({one.group for one in shown}) == len({one.group for one in samples}) == 455
    assert len({part.path for one in shown for part in one.parts if isinstance(part, Picture)}) == (
        346
    )


@needs_questions
def test_chance_is_that_of_the_published_sizes() -> None:
    for task, questions in (
        (SHOWN, hallusionbench.QUESTION_SIZES),
        (FULL, hallusionbench.FULL_QUESTION_SIZES),
    ):
        samples = list(task.samples(PUBLISHED))
        groups = Counter(one.group for one in samples)
        assert Counter(groups.values()) == questions
        pictures = Counter(one.tags["figure"] for one in samples if len(one.parts) == 2)
        assert Counter(pictures.values()) == hallusionbench.FIGURE_SIZES
        assert task.chance["qAcc"] == pytest.approx(
            100 * sum(0.5**size for size in groups.values()) / len(groups)
        )
        assert task.chance["fAcc"] == pytest.approx(
            100 * sum(0.5**size for size in pictures.values()) / len(pictures)
        )


@needs_questions
def test_published_fractions_of_easy_and_hard() -> None:
    """The README's GPT-4V has 75.60 and 37.67: 344 of 455 and 162 of 430 questions."""
    rows = [verdict(FULL, one, one.target, "spare") for one in FULL.samples(PUBLISHED)]
    sizes = {metric.name: metric.n for metric in FULL.summarise(rows, "spare")}
    assert (sizes["easy"], sizes["hard"]) == (455, 430)
    assert (round(34400 / 455, 2), round(16200 / 430, 2)) == (75.6, 37.67)


# The command


@pytest.mark.parametrize("layout", [repository, parquet, table])
def test_validate_finds_nothing_but_the_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: Callable[[Path], None]
) -> None:
    layout(tmp_path)
    asked = ["--data", str(tmp_path), "--prompt", "vlmevalkit-qwen"]
    assert main(["validate", "hallusionbench", *asked]) == 0
    assert "951 are published" in capsys.readouterr().out
    for task in [SHOWN] if layout is table else [SHOWN, FULL]:
        report = validate(task, tmp_path)
        assert report.samples == (11 if task is FULL else 9)
        faults = [
            one for check in report.checks if check.outcome == "failed" for one in check.items
        ]
        # Rules that a judge model's answers are for do not know right replies.
        assert all(one.startswith("official, ") for one in faults)


def test_eval_scores_baselines(tmp_path: Path) -> None:
    from spare.harness.run import load_run

    repository(tmp_path / "data")
    names = "hallusionbench,hallusionbench_full"
    for model in ("random", "majority"):
        common = ["--model", model, "--data", str(tmp_path / "data")]
        assert main(["eval", "--tasks", names, *common, "--out", str(tmp_path / model)]) == 0
    scores = {score.task: score for score in load_run(tmp_path / "majority").scores}
    # Always Yes: five of nine, and six of eleven.
    assert scores["hallusionbench"].metrics["aAcc"]["value"] == pytest.approx(500 / 9)
    assert scores["hallusionbench_full"].metrics["aAcc"]["value"] == pytest.approx(600 / 11)


def test_all_three_accuracies_by_category(tmp_path: Path) -> None:
    """Figures and questions lie within a category; over the kinds of pictures a question is split,
    so its accuracy would be one of halves."""
    from spare.harness.evaluate import evaluate
    from spare.leaderboards.breakdown import breakdown

    repository(tmp_path / "data")
    run = evaluate("majority", "hallusionbench", data=tmp_path / "data", out=tmp_path / "run")
    parts = {part.values[0]: part for part in breakdown(run, ["category"])}
    for name in ("fAcc", "qAcc"):
        counts = [part.beside[name].n for part in parts.values()]
        assert sum(counts) == run.scores[0].metrics[name]["n"]
        whole = sum(part.beside[name].value * part.beside[name].n for part in parts.values())
        assert whole / sum(counts) == pytest.approx(run.scores[0].metrics[name]["value"])
    by_picture = list(breakdown(run, ["visual_input"]))
    assert len(by_picture) > 1
    assert all(set(part.beside) == {"fAcc"} for part in by_picture)
