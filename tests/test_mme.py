"""MME: all published layouts give the same questions, and points add up as the references add them.

Replies: the authors' `calculation.py`, lmms-eval's `parse_pred_ans`, VLMEvalKit's `YOrN_Extraction`
(run on these texts), and our own rules where it says so. Figures: the authors' sample results of
LaVIN (eval_tool.zip), scored by their tool.
"""

import base64
import io
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.cli import main
from spare.errors import DataError, SpareError
from spare.images import Picture, open_picture
from spare.tasks import mme
from spare.tasks.types import Judged, Reply, Sample, Task, Verdict

(MME,) = mme.TASKS
END = " Please answer yes or no."
SPLIT = ("artwork", "celebrity", "landmark", "posters", "scene")
"""The sub-tasks that the release keeps in two folders."""

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "mme" / "eval_tool" / "LaVIN"
needs_lavin = pytest.mark.skipif(
    not PUBLISHED.is_dir(),
    reason=f"the authors' sample results (eval_tool.zip) are not in {PUBLISHED}",
)


# Small files in the published layouts


def questions() -> dict[tuple[str, str], tuple[str, str]]:
    """(Sub-task, picture) -> the question whose answer is Yes, and the other; two pictures each."""
    found = {}
    for task in mme.PICTURES:
        names = ("0001.png", "0002.png") if task in mme.COGNITION else ("a1.jpg", "b2.jpg")
        for name in names:
            found[task, name] = (f"Is {task} {name} so?{END}", f"Is {task} {name} not so?{END}")
    # One COCO picture in two sub-tasks, and the oddities of the published texts.
    for task in ("existence", "position"):
        found[task, "000000006471.jpg"] = found.pop((task, "a1.jpg"))
    found["color", "a1.jpg"] = (f"Is it red? {END}", f"Is it blue?{END}")  # two spaces
    found["position", "b2.jpg"] = (f"Is it left？{END}", f"Is it right？{END}")
    found["count", "a1.jpg"] = (f"Are there two{END}", f"Are there three?{END}")
    found["artwork", "a1.jpg"] = (f"Is it by Édouard Manet?{END}", f"Is it by Monet?{END}")
    order = list(mme.PICTURES)
    return dict(sorted(found.items(), key=lambda one: (order.index(one[0][0]), one[0][1])))


QUESTIONS = questions()


def colour(task: str, name: str) -> tuple[int, int, int]:
    """COCO's picture is the same in both sub-tasks; all others differ."""
    if name.startswith("0000"):
        return (250, 0, 0)
    return (0, 15 * list(mme.PICTURES).index(task), 0 if name.startswith(("a", "0001")) else 200)


def encoded(task: str, name: str) -> bytes:
    buffer = io.BytesIO()
    kind = "PNG" if name.endswith("png") else "JPEG"
    PIL.Image.new("RGB", (8, 8), colour(task, name)).save(buffer, kind, quality=95)
    return buffer.getvalue()


def write_tree(tree: Path, split: Iterable[str] = SPLIT) -> None:
    for (task, name), (yes, no) in QUESTIONS.items():
        folders = (tree / task, tree / task)
        if task in split:
            folders = (tree / task / "images", tree / task / "questions_answers_YN")
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        (folders[0] / name).write_bytes(encoded(task, name))
        text = folders[1] / Path(name).with_suffix(".txt").name
        text.write_text(f"{yes}\tYes\n{no}\tNo\n", encoding="utf-8")


def release(data: Path) -> None:
    write_tree(data / "mme" / "MME_Benchmark_release_version")


def copy_of_release(data: Path) -> None:
    """One level more, nothing split, the official tool and translations beside it."""
    tree = data / "MME_Benchmark_release_version" / "MME_Benchmark"
    write_tree(tree, split=())
    (tree.parent / "eval_tool" / "LaVIN").mkdir(parents=True)
    (tree.parent / "eval_tool" / "LaVIN" / "existence.txt").write_text("a.jpg\tq\tYes\tyes\n")
    (tree / "scene" / "a1_zh.txt").write_text("是吗？\tYes\n不是吗？\tNo\n", encoding="utf-8")
    (tree / "scene" / "._a1.txt").write_bytes(b"\0\5\x16\7")
    (tree / "artwork" / "questions_answers_YN_zh").mkdir()


def folder_itself(data: Path) -> None:
    """--data names the release; its lines end as Windows ends them, with blank ones behind."""
    write_tree(data)
    for path in (data / "count").glob("*.txt"):
        text = path.read_text(encoding="utf-8").replace("\n", "\r\n") + "\r\n \r\n"
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())


def shuffled() -> list[tuple[str, str, str, str]]:
    """Sub-task, picture, question, answer, in no order, as the mirrors have them."""
    rows = [
        (*picture, text, answer)
        for picture, texts in QUESTIONS.items()
        for text, answer in zip(texts, ("Yes", "No"), strict=True)
    ]
    random.Random(7).shuffle(rows)
    return rows


def parquet(data: Path) -> None:
    folder = data / "mme" / "data"
    folder.mkdir(parents=True)
    rows = [
        {
            "question_id": f"{task}/{name}",
            "image": {"bytes": encoded(task, name), "path": name},
            "question": text,
            "answer": answer,
            "category": task,
        }
        for task, name, text, answer in shuffled()
    ]
    for number, some in enumerate((rows[:20], rows[20:])):
        path = folder / f"test-{number:05d}-of-00002-a25531b4a8a3ac86.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(some), path, row_group_size=7)


def table_rows() -> list[dict[str, str]]:
    first: dict[tuple[str, str], int] = {}
    rows = []
    for number, (task, name, text, answer) in enumerate(shuffled()):
        picture = base64.b64encode(encoded(task, name)).decode()
        if first.setdefault((task, name), number) != number:
            picture = str(first[task, name])  # the row that has the picture
        cells = (str(number), picture, f"images/{task}/{name}", text, answer, task)
        names = ("index", "image", "image_path", "question", "answer", "category")
        rows.append(dict(zip(names, cells, strict=True)))
    return rows


def write_table(data: Path, rows: list[dict[str, str]]) -> None:
    (data / "LMUData").mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(rows[0]), *("\t".join(one.values()) for one in rows)]
    (data / "LMUData" / "MME.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(data: Path) -> None:
    write_table(data, table_rows())


LAYOUTS = [release, copy_of_release, folder_itself, parquet, table]


def question(sample: Sample) -> str:
    (text,) = [part for part in sample.parts if isinstance(part, str)]
    return text


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_questions(
    tmp_path: Path, layout: Callable[[Path], None]
) -> None:
    layout(tmp_path)
    samples = {sample.id: sample for sample in MME.samples(tmp_path)}
    assert len(samples) == 2 * len(QUESTIONS) == 56
    for (task, name), texts in QUESTIONS.items():
        for text, answer in zip(texts, ("Yes", "No"), strict=True):
            sample = samples[f"{task}/{name}/{answer}"]
            assert (question(sample), sample.target) == (text, answer)
            assert sample.group == f"{task}/{name}"
            assert sample.tags["subtask"] == task
            assert sample.tags["ability"] == (
                "perception" if task in mme.PERCEPTION else "cognition"
            )
            (picture,) = [part for part in sample.parts if isinstance(part, Picture)]
            seen: Any = open_picture(picture).getpixel((4, 4))
            assert all(abs(a - b) < 8 for a, b in zip(seen, colour(task, name), strict=True))


def test_layouts_are_named(tmp_path: Path) -> None:
    for layout, name in ((table, "vlmevalkit-tsv"), (parquet, "parquet"), (release, "release")):
        layout(tmp_path)
        assert MME.locate(tmp_path, "test").layout == name


def test_release_order_is_the_official_one(tmp_path: Path) -> None:
    release(tmp_path)
    samples = list(MME.samples(tmp_path))
    tasks = list(dict.fromkeys(sample.tags["subtask"] for sample in samples))
    assert tasks == list(mme.PICTURES)
    assert [sample.target for sample in samples] == ["Yes", "No"] * 28


def test_pictures_are_told_apart_by_subtask_and_name(tmp_path: Path) -> None:
    release(tmp_path)
    samples = list(MME.samples(tmp_path))
    groups = Counter(sample.group for sample in samples)
    assert set(groups.values()) == {2}
    assert sum(name.endswith("/0001.png") for name in groups) == 4
    # COCO numbers its pictures once, so that one stands for both sub-tasks.
    assert len({sample.cluster for sample in samples}) == len(groups) - 1


# Prompts


def asked(tmp_path: Path, prompt: str) -> dict[str, str]:
    return {sample.id: question(sample) for sample in MME.samples(tmp_path, prompt=prompt)}


def test_prompts_are_those_of_the_references(tmp_path: Path) -> None:
    """lmms-eval's `mme_doc_to_text`, and the texts of the release."""
    release(tmp_path)
    stored = asked(tmp_path, "official")
    assert stored == asked(tmp_path, "vlmevalkit")
    single = asked(tmp_path, "lmms-eval")
    instruction = "\nAnswer the question using a single word or phrase."
    assert single["existence/b2.jpg/Yes"] == f"Is existence b2.jpg so?{instruction}"
    # Where there are two spaces, one of them stays.
    assert stored["color/a1.jpg/Yes"] == "Is it red?  Please answer yes or no."
    assert single["color/a1.jpg/Yes"] == f"Is it red? {instruction}"
    assert MME.prompt().name == "official"
    assert MME.prompt().rules[0] == "official"


def test_a_question_without_its_ending_is_not_the_official_one(tmp_path: Path) -> None:
    rows = table_rows()
    rows[4]["question"] = "Is it so?"
    write_table(tmp_path, rows)
    assert "Is it so?" in asked(tmp_path, "vlmevalkit").values()
    with pytest.raises(DataError, match=r"MME\.tsv, row 5: the question does not end .*vlmevalkit"):
        asked(tmp_path, "official")


# Bad files


TEXT = Path("mme/MME_Benchmark_release_version/count/b2.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Is it?\tYes\n", r"b2\.txt: two questions were expected.* but there are 1, answered Yes"),
        ("Is it?\tYes\nIsn't it?\tYes\n", r"b2\.txt: two questions .*answered Yes, Yes"),
        ("a\tYes\nb\tNo\nc\tNo\n", r"b2\.txt: two questions .*there are 3"),
        ("", r"b2\.txt: two questions .*there are 0, answered nothing"),
        ("Is it? Yes\nb\tNo\n", r"b2\.txt, row 1: question, tab, answer were expected"),
        ("a\tYes\tyes\nb\tNo\n", r"b2\.txt, row 1: question, tab, answer were expected"),
        ("a\tYes\n\nb\tmaybe\n", r"b2\.txt, row 3: the answer should be Yes or No but is 'maybe'"),
        (b"\xff\xfe\0", r"b2\.txt: it cannot be read as text"),
    ],
)
def test_a_broken_text_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    release(tmp_path)
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / TEXT).write_bytes(data)
    with pytest.raises(DataError, match=message):
        list(MME.samples(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "yep"}, "row 5: the answer should be Yes or No but is 'yep'"),
        ({"category": "ocr"}, "row 5: category 'ocr' is none of the sub-tasks existence"),
        ({"image_path": ""}, "row 5: image_path '' names no picture"),
        ({"image": "9999"}, "row 5: image '9999' is neither a picture nor the index of a row"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    rows = table_rows()
    rows[4] |= change
    write_table(tmp_path, rows)
    with pytest.raises(DataError, match=rf"MME\.tsv, {message}"):
        list(MME.samples(tmp_path))


def test_a_question_asked_again_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path, [*table_rows(), {**table_rows()[3], "index": "99"}])
    with pytest.raises(DataError, match=r"row 57: a second question about .* stands in row 4"):
        list(MME.samples(tmp_path))


def test_a_picture_without_its_second_question_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path, table_rows()[:-1])
    with pytest.raises(DataError, match=r"1 of 28 pictures have only one of their two questions"):
        list(MME.samples(tmp_path))


@pytest.mark.parametrize("layout", [release, table])
def test_a_missing_subtask_is_refused(tmp_path: Path, layout: Callable[[Path], None]) -> None:
    if layout is table:
        write_table(tmp_path, [row for row in table_rows() if row["category"] != "OCR"])
    else:
        release(tmp_path)
        tree = tmp_path / TEXT.parents[1]
        (tree / "OCR").rename(tree / "elsewhere")
    with pytest.raises(DataError, match=r"there are no questions of OCR, and MME's score is the"):
        list(MME.samples(tmp_path))


def test_a_missing_picture_costs_its_own_samples_only(tmp_path: Path) -> None:
    release(tmp_path)
    (tmp_path / TEXT).with_suffix(".jpg").unlink()
    lost = []
    for sample in MME.samples(tmp_path):
        (picture,) = [part for part in sample.parts if isinstance(part, Picture)]
        if not picture.path.exists():
            lost.append(sample.id)
    assert lost == ["count/b2.jpg/Yes", "count/b2.jpg/No"]


def test_nothing_there_says_where_it_looked(tmp_path: Path) -> None:
    (tmp_path / "count").mkdir()  # anybody's
    with pytest.raises(DataError, match=r"(?s)no files of mme found: .*test-\*\.parquet.*MME\.tsv"):
        MME.locate(tmp_path, "test")


# Judging

ASKED = Sample("existence/a.jpg/Yes", ("Is it?",), "Yes", {"Yes": "Yes", "No": "No"})


def read(text: str, rules: str) -> str:
    return MME.judge(ASKED, Reply(text), rules).parsed


Y, N, OTHER = "Yes", "No", ""


@pytest.mark.parametrize(
    ("text", "official", "lmms_eval", "vlmevalkit"),
    [
        ("Yes", Y, Y, Y),
        ("No.", N, N, N),
        ("Yes, it is.", Y, Y, Y),
        ("No, there isn't.", N, N, N),
        ("Not sure", N, N, OTHER),
        ("None", N, N, OTHER),
        ("Nope", N, N, OTHER),
        ("Know", N, N, OTHER),
        ("Nah", OTHER, OTHER, OTHER),
        ("Unknown", OTHER, OTHER, OTHER),
        ("Cannot tell", OTHER, OTHER, OTHER),
        ("Yeah", OTHER, OTHER, OTHER),
        ("", OTHER, OTHER, OTHER),
        ("y", OTHER, Y, OTHER),
        ("N", OTHER, N, OTHER),
        ("Y.", OTHER, Y, OTHER),
        (" Yes", Y, Y, Y),
        ("  Yes", OTHER, Y, Y),
        ("\n\nYes", OTHER, Y, Y),
        ("**Yes**", OTHER, OTHER, OTHER),
        ("**No**", N, N, OTHER),
        ('"Yes"', Y, Y, Y),
        ("[Yes]", Y, Y, Y),
        ("(no)", N, N, N),
        ("<yes>", Y, Y, Y),
        ("The answer is yes", OTHER, OTHER, Y),
        ("Answer: Yes", OTHER, OTHER, Y),
        ("A: no", OTHER, OTHER, N),
        ("1. Yes", OTHER, OTHER, Y),
        ("There is no train", OTHER, OTHER, N),
        ("Yes, no doubt", Y, Y, OTHER),
        ("Yes and no", Y, Y, OTHER),
        ("yes/no", Y, Y, OTHER),
        ("No - yes", N, N, OTHER),
        ("no yes", N, N, OTHER),
        ("a no", N, N, N),
        ("a yes", OTHER, OTHER, Y),
        ("eyes", Y, Y, OTHER),
        ("Yesterday", Y, Y, OTHER),
        ("yes1", Y, Y, OTHER),
        ("Now yes", N, N, Y),
        ("n.o", OTHER, N, N),
        ("y.e.s", OTHER, Y, Y),
        ("yes.it is", Y, Y, OTHER),
        ("<answer>Yes</answer>", OTHER, OTHER, Y),
        ("true", OTHER, OTHER, OTHER),
        ("False", OTHER, OTHER, OTHER),
        ("да", OTHER, OTHER, OTHER),
        ("ｙｅｓ", OTHER, OTHER, OTHER),
    ],
)
def test_references_read_replies_as_they_do(
    text: str, official: str, lmms_eval: str, vlmevalkit: str
) -> None:
    rules = ("official", "lmms-eval", "vlmevalkit")
    assert tuple(read(text, name) for name in rules) == (official, lmms_eval, vlmevalkit)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("**Yes**", Y),
        ("**No**", N),
        ("The answer is yes.", Y),
        ("<think>No?</think>\n\nYes", Y),
        ("Yes, there is no doubt", Y),
        ("<answer>No</answer>", N),
        ("Not sure", OTHER),
        ("None", OTHER),
        ("Know", OTHER),
        ("eyes", OTHER),
        ("Yesterday", OTHER),
        ("yes/no", OTHER),
        ("Yes. No.", OTHER),
    ],
)
def test_our_rules_neither_guess_nor_mind_the_form(text: str, parsed: str) -> None:
    assert read(text, "spare") == parsed


@pytest.mark.parametrize("rules", MME.rules)
def test_gold_scores_1_and_everything_else_0(rules: str) -> None:
    for target, said in itertools.product(ASKED.options, repeat=2):
        verdict = MME.judge(replace(ASKED, target=target), Reply(said), rules)
        assert verdict == Verdict(said, float(said == target), "ok")
    assert MME.judge(ASKED, Reply(" \n"), rules) == Verdict("", 0.0, "empty")
    assert MME.judge(ASKED, Reply("maybe"), rules) == Verdict("", 0.0, "unparsed")
    assert MME.judge(ASKED, Reply(error="x"), rules) == Verdict("", 0.0, "error")


@given(st.text() | st.text("yesnoYESNO. ,*\n<>/'"), st.sampled_from(list(MME.rules)))
def test_any_reply_gets_a_verdict(text: str, rules: str) -> None:
    verdict = MME.judge(ASKED, Reply(text), rules)
    assert verdict.score == (verdict.parsed == "Yes")
    assert (verdict.parsed in ASKED.options) == (verdict.status == "ok")


@pytest.mark.parametrize("rules", MME.rules)
@pytest.mark.parametrize(
    "piece", ["a", " ", "yes ", "not ", "if yes ", "<answer>", "y.", ", ;", "1,2 ", "\\boxed{"]
)
def test_a_megabyte_of_anything_is_no_trouble(piece: str, rules: str) -> None:
    """Quadratic work would take hours."""
    verdict = MME.judge(ASKED, Reply(piece * (2**20 // len(piece))), rules)
    assert verdict.score in (0.0, 1.0)


# Points


def judged(sample: Sample, text: str, rules: str = "official") -> Judged:
    verdict = MME.judge(sample, Reply(text), rules)
    return Judged(sample.id, sample.target, verdict, sample.tags, sample.group, sample.cluster)


def points(rows: Iterable[Judged], task: Task = MME) -> dict[str, float]:
    return {metric.name: metric.value for metric in task.summarise(rows, "official") if metric.n}


LAVIN = {
    # sub-task: questions right, pictures with both right, points
    "existence": (57, 27, 185.0),
    "count": (37, 8, 88.333),
    "position": (32, 3, 63.333),
    "color": (35, 5, 75.0),
    "posters": (174, 30, 79.592),
    "celebrity": (129, 16, 47.353),
    "scene": (315, 116, 136.75),
    "landmark": (256, 59, 93.5),
    "artwork": (237, 56, 87.25),
    "OCR": (27, 8, 107.5),
    "commonsense_reasoning": (82, 20, 87.143),
    "numerical_calculation": (22, 2, 65.0),
    "text_translation": (19, 0, 47.5),
    "code_reasoning": (20, 0, 50.0),
}
PERCEPTION, COGNITION = 963.6114445778312, 249.64285714285714


def with_counts(right: int, both: int, task: str) -> Iterable[Judged]:
    """Replies to a whole sub-task with these counts."""
    ability = "perception" if task in mme.PERCEPTION else "cognition"
    for number in range(mme.PICTURES[task]):
        scores = (1, 1) if number < both else (1, 0) if number < right - both else (0, 0)
        for answer, score in zip(("Yes", "No"), scores, strict=True):
            picture = f"{task}/{number}.jpg"
            tags = {"subtask": task, "ability": ability}
            verdict = Verdict(answer if score else "", float(score), "ok" if score else "unparsed")
            yield Judged(f"{picture}/{answer}", answer, verdict, tags, picture, picture)


def test_points_of_the_official_sample_results_by_their_counts() -> None:
    found = points(one for task, counts in LAVIN.items() for one in with_counts(*counts[:2], task))
    assert found["perception"] == pytest.approx(PERCEPTION, abs=1e-9)
    assert found["cognition"] == pytest.approx(COGNITION, abs=1e-9)
    assert found["total"] == pytest.approx(PERCEPTION + COGNITION, abs=1e-9)
    assert {task: found[task] for task in LAVIN} == pytest.approx(
        {task: counts[2] for task, counts in LAVIN.items()}, abs=5e-4
    )


@pytest.mark.parametrize(("said", "each"), [("", 0), ("Yes", 50), ("No", 50), ("gold", 200)])
def test_points_of_one_answer_to_everything(tmp_path: Path, said: str, each: int) -> None:
    release(tmp_path)
    found = points(
        judged(sample, sample.target if said == "gold" else said)
        for sample in MME.samples(tmp_path)
    )
    assert (found["perception"], found["cognition"]) == pytest.approx((10 * each, 4 * each))
    assert {found[task] for task in mme.PICTURES} == {each}
    assert found["accuracy"] == each / (2 if each == 200 else 1)
    assert found["accuracy_plus"] == (100 if said == "gold" else 0)


def test_pairs_are_those_of_a_picture_and_not_neighbours() -> None:
    """Where the official tool takes lines of two pictures for a pair: it gives 100, and not 50."""
    rows = [
        judged(replace(ASKED, id=f"{picture}/{target}", target=target, group=picture,
                       cluster=picture, tags={"subtask": "OCR", "ability": "perception"}), "Yes")
        for target in ("Yes", "No")
        for picture in ("OCR/a.jpg", "OCR/b.jpg")
    ]  # fmt: skip
    assert points(rows)["OCR"] == 50.0


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(shuffler: random.Random) -> None:
    rows = list(with_counts(19, 3, "OCR"))
    shuffler.shuffle(rows)
    assert points(rows)["OCR"] == pytest.approx(100 * 19 / 40 + 100 * 3 / 20)


def test_half_a_pair_is_no_pass() -> None:
    """With --limit the last picture may lose its second question."""
    rows = list(with_counts(40, 20, "OCR"))[:3]
    metrics = {metric.name: metric for metric in MME.summarise(rows, "official")}
    assert (metrics["accuracy"].n, metrics["accuracy_plus"].n) == (3, 1)


def test_chance_is_what_a_coin_gets() -> None:
    rows: list[Judged] = []
    for task in mme.PICTURES:
        for said in itertools.product((0, 1), repeat=2):
            for number, score in enumerate(said):
                verdict = Verdict("Yes", float(score), "ok")
                tags = {"subtask": task, "ability": "perception"}
                if task in mme.COGNITION:
                    tags["ability"] = "cognition"
                rows.append(Judged(f"{said}{number}", "Yes", verdict, tags, f"{task}{said}", task))
    assert points(rows) == pytest.approx(dict(MME.chance))


def test_published_sizes() -> None:
    assert (sum(mme.PERCEPTION.values()), sum(mme.COGNITION.values())) == (1057, 130)
    assert MME.splits == {"test": 2374}


# The authors' sample results


@pytest.fixture(scope="module")
def lavin(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Sample], dict[str, str]]:
    """The whole benchmark without its pictures, as the real reader gives it, and LaVIN's
    replies."""
    tree = tmp_path_factory.mktemp("mme")
    replies = {}
    for task in mme.PICTURES:
        (tree / task).mkdir()
        rows: dict[str, str] = {}
        for line in (PUBLISHED / f"{task}.txt").read_text(encoding="utf-8").splitlines():
            name, text, answer, reply = line.split("\t")
            rows[name] = rows.get(name, "") + f"{text}\t{answer}\n"
            replies[f"{task}/{name}/{answer}"] = reply
        for name, lines in rows.items():
            path = tree / task / Path(name).with_suffix(".txt")
            path.write_text(lines, encoding="utf-8")
    return list(MME.samples(tree)), replies


@needs_lavin
@pytest.mark.parametrize(
    ("rules", "cognition"),
    [("official", COGNITION), ("lmms-eval", COGNITION), ("vlmevalkit", 248.92857142857142)],
)
def test_points_of_the_official_sample_results(
    lavin: tuple[list[Sample], dict[str, str]], rules: str, cognition: float
) -> None:
    samples, replies = lavin
    assert len(samples) == len(replies) == 2374
    found = points(judged(sample, replies[sample.id], rules) for sample in samples)
    assert found["perception"] == pytest.approx(PERCEPTION, abs=1e-9)
    assert found["cognition"] == pytest.approx(cognition, abs=1e-9)


@needs_lavin
@pytest.mark.parametrize("rules", MME.rules)
def test_points_of_the_length_of_the_question(
    lavin: tuple[list[Sample], dict[str, str]], rules: str
) -> None:
    """Yes if the stored question has an even number of characters: any loss of one shows."""
    rows = [
        judged(sample, "No" if len(question(sample)) % 2 else "Yes", rules) for sample in lavin[0]
    ]
    found = points(rows)
    assert found["perception"] == pytest.approx(705.4048619447778, abs=1e-9)
    assert found["cognition"] == pytest.approx(268.92857142857142, abs=1e-9)


# The command


@pytest.mark.parametrize("layout", [release, parquet, table])
def test_validate_finds_nothing_but_the_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: Callable[[Path], None]
) -> None:
    layout(tmp_path)
    assert main(["validate", "mme", "--data", str(tmp_path)]) == 0
    assert "2,374 are published" in capsys.readouterr().out


def test_eval_scores_baselines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parquet(tmp_path / "data")
    for model in ("random", "majority"):
        common = ["--model", model, "--data", str(tmp_path / "data")]
        assert main(["eval", "--tasks", "mme", *common, "--out", str(tmp_path / model)]) == 0
    shown = capsys.readouterr().out
    assert "perception" in shown
    from spare.harness.run import load_run

    (score,) = load_run(tmp_path / "majority").scores
    # It says the same to both questions about a picture.
    assert score.metrics["perception"]["value"] == pytest.approx(500)
    assert score.metrics["cognition"]["value"] == pytest.approx(200)


def test_an_unknown_prompt_or_rule_set_is_refused() -> None:
    with pytest.raises(SpareError, match="no prompt 'llava'"):
        MME.prompt("llava")
