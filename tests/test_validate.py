"""`validate` finds every fault that can be known without a model, and none where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spare.cli import main
from spare.errors import DataError, SpareError
from spare.harness.validate import Check, Report, validate
from spare.tasks import load_task
from spare.tasks.custom import custom_task
from spare.tasks.types import (
    Files,
    Prompt,
    Reply,
    Rules,
    Sample,
    Source,
    Submission,
    Task,
    Verdict,
)

VSR = Path(__file__).parent.parent.parent / "shared" / "data"


def write_task(folder: Path, size: int = 40, **columns: object) -> Task:
    """Multiple choice about `size` / 2 pictures, two questions each."""
    from PIL import Image

    with (folder / "q.jsonl").open("w") as file:
        for number in range(size):
            name = f"{number // 2}.png"
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name)
            row = {
                "id": f"q{number}",
                "image": name,
                "question": f"Where is mug {number}?",
                "options": ["left", "right"],
                "answer": "AB"[number % 2],
                "relation": ["left of", "right of"][number % 2],
                "group": number // 2,
                **columns,
            }
            file.write(json.dumps(row) + "\n")
    return custom_task(str(folder / "q.jsonl"))


def check(report: Report, name: str) -> Check:
    (found,) = [one for one in report.checks if one.name == name]
    return found


def outcomes(report: Report) -> dict[str, str]:
    return {one.name: one.outcome for one in report.checks}


def with_samples(task: Task, change: object) -> Task:
    """The same task, each sample changed by `change(number, sample)`."""

    def read(files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
        for number, sample in enumerate(task.read(files, split, prompt)):
            yield change(number, sample)  # type: ignore[operator]

    return replace(task, read=read)


def with_judge(task: Task, judge: object, source: str = "") -> Task:
    prompt = Prompt("only", "", ("lax",))
    rules = {"lax": Rules("lax", "", judge, source)}  # type: ignore[arg-type]
    return replace(task, prompts={"only": prompt}, rules=rules)


def test_good_files_are_good(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    seen: list[tuple[int, int]] = []
    report = validate(task, tmp_path, on_picture=lambda done, total: seen.append((done, total)))
    assert (report.task, report.split, report.layout) == ("custom:q", "all", "jsonl")
    assert report.samples == 40
    assert set(outcomes(report).values()) == {"passed"}, report.checks
    assert report.ok
    assert check(report, "pictures").detail == "20 distinct pictures, all open"
    assert seen == [(done, 20) for done in range(1, 21)]
    assert check(report, "groups").detail == "20 groups: 20 with 2 samples"
    names = ["ids", "options", "tags", "relations", "contradictions", "samples", "files"]
    names += ["gold", "wrong replies", "empty replies"]
    assert set(names) <= set(outcomes(report))


def test_one_prompt_if_asked(tmp_path: Path) -> None:
    report = validate(write_task(tmp_path), tmp_path, prompt="vlmevalkit")
    assert "under spare, vlmevalkit" in check(report, "gold").detail


def test_requests_that_cannot_be_met_raise(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    for arguments, sentence in (
        ({"split": "train"}, "no split 'train'"),
        ({"prompt": "loud"}, "no prompt 'loud'"),
        ({"data": tmp_path / "nowhere"}, "data folder .* does not exist"),
    ):
        with pytest.raises(SpareError, match=sentence):
            validate(task, **{"data": tmp_path, **arguments})  # type: ignore[arg-type]


def test_faults_of_files_are_failed_checks(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    path = tmp_path / "q.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-20])
    report = validate(task, tmp_path)
    assert not report.ok
    assert "q.jsonl, row 40: not JSON" in check(report, "files").detail
    path.unlink()
    report = validate(task, tmp_path)
    assert (report.ok, report.samples, report.layout) == (False, 0, "")
    assert "there is no such file" in check(report, "files").detail
    path.write_text("")
    report = validate(task, tmp_path)
    assert check(report, "samples") == Check("samples", "failed", "there are none")


def test_bad_pictures_are_named_with_their_samples(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    (tmp_path / "3.png").unlink()
    (tmp_path / "7.png").write_bytes((tmp_path / "7.png").read_bytes()[:-30])
    (tmp_path / "9.png").write_text("<html>Not found</html>")
    report = validate(task, tmp_path)
    pictures = check(report, "pictures")
    assert not report.ok
    assert pictures.detail == (
        "3 of 20 distinct pictures do not open, so that 6 samples could not be asked"
    )
    missing, torn, page = pictures.items
    assert "3.png is missing" in missing
    assert missing.endswith("Samples: q6, q7")
    assert torn.endswith("Samples: q14, q15")
    assert page.endswith("Samples: q18, q19")
    assert [one.name for one in report.checks if one.outcome != "passed"] == ["pictures"]


def test_another_number_than_published_is_a_warning(tmp_path: Path) -> None:
    task = replace(write_task(tmp_path), splits={"all": 41}, sources=(Source("a file"),))
    report = validate(task, tmp_path)
    assert check(report, "samples").outcome == "warned"
    assert "40, but 41 are published" in check(report, "samples").detail
    assert report.ok


def test_ids_and_options(tmp_path: Path) -> None:
    def spoil(number: int, sample: Sample) -> Sample:
        changes: dict[int, dict[str, object]] = {
            3: {"id": "q2"},
            5: {"target": "C"},
            6: {"target": ""},
            8: {"options": {"A": "left"}},
            10: {"options": {"A": "left", "B": " "}},
            12: {"options": {"A": "left", "B": "left"}},
        }
        return replace(sample, **changes.get(number, {}))  # type: ignore[arg-type]

    report = validate(with_samples(write_task(tmp_path), spoil), tmp_path)
    assert check(report, "ids").items == ("q2",)
    assert check(report, "options").outcome == "failed"
    assert check(report, "options").items == (
        "q5: the right answer 'C' is not among A, B",
        "q6: there is no right answer",
        "q8: there is only one option",
        "q10: option B has no text",
    )
    assert check(report, "distinct options").outcome == "warned"
    assert check(report, "distinct options").items == ("q12: 'left'",)


def test_rules_that_cannot_read_the_right_reply_fail(tmp_path: Path) -> None:
    def judge(sample: Sample, reply: Reply) -> Verdict:
        right = reply.text == sample.target and sample.id != "q4"
        return Verdict(reply.text, float(right), "ok" if right else "unparsed")

    report = validate(with_judge(write_task(tmp_path), judge), tmp_path)
    gold = check(report, "gold")
    assert (gold.outcome, gold.items) == ("failed", ("lax, q4: 'A' is unparsed",))
    assert gold.detail == "1 right replies do not score 1"


def test_a_copy_may_lose_some_right_replies_but_not_all(tmp_path: Path) -> None:
    def judge(sample: Sample, reply: Reply) -> Verdict:
        right = reply.text == sample.target and sample.id not in lost
        return Verdict(reply.text, float(right), "ok" if right else "unparsed")

    task = with_judge(write_task(tmp_path), judge, "another harness")
    lost = {"q4"}
    assert check(validate(task, tmp_path), "gold").outcome == "warned"
    lost = {f"q{number}" for number in range(40)}
    assert check(validate(task, tmp_path), "gold").outcome == "failed"


@pytest.mark.parametrize(("source", "outcome"), [("", "failed"), ("another harness", "warned")])
def test_rules_that_accept_anything_fail_unless_they_are_copies(
    tmp_path: Path, source: str, outcome: str
) -> None:
    def judge(sample: Sample, reply: Reply) -> Verdict:
        return Verdict(sample.target, 1.0, "ok")

    report = validate(with_judge(write_task(tmp_path), judge, source), tmp_path)
    assert check(report, "gold").outcome == "passed"
    assert check(report, "wrong replies").outcome == outcome
    assert check(report, "empty replies").outcome == outcome
    assert check(report, "empty replies").detail == "40 empty replies score"
    assert len(check(report, "empty replies").items) == 20  # the first of them


def test_a_prompt_that_wants_words_is_answered_in_words(tmp_path: Path) -> None:
    def judge(sample: Sample, reply: Reply) -> Verdict:
        right = reply.text == sample.options[sample.target]
        return Verdict(reply.text, float(right), "ok" if reply.text else "empty")

    report = validate(with_judge(write_task(tmp_path), judge), tmp_path)
    assert set(outcomes(report).values()) == {"passed"}, report.checks


def test_declared_chance_is_held_against_a_guesser(tmp_path: Path) -> None:
    # Two options, two samples per group: 50 and 25 per cent.
    task = write_task(tmp_path, size=200)
    assert task.chance == {"accuracy": 50.0, "group_accuracy": 25.0}
    report = validate(task, tmp_path)
    assert check(report, "chance").outcome == "passed"
    wrong = replace(task, chance={"accuracy": 25.0})
    assert check(validate(wrong, tmp_path, prompt="spare"), "chance").outcome == "warned"


def test_a_group_that_lost_a_member_is_a_warning(tmp_path: Path) -> None:
    task = write_task(tmp_path, size=60)
    lines = (tmp_path / "q.jsonl").read_text().splitlines()
    (tmp_path / "q.jsonl").write_text("\n".join(lines[:7] + lines[8:]) + "\n")
    groups = check(validate(task, tmp_path), "groups")
    assert groups.outcome == "warned"
    assert "30 groups: 29 with 2 samples, 1 with 1 samples" in groups.detail
    assert groups.items == ("3: 1",)


def test_tags_that_nearly_all_have_are_missed_on_the_rest(tmp_path: Path) -> None:
    task = write_task(tmp_path)

    def drop(number: int, sample: Sample) -> Sample:
        tags = {name: value for name, value in sample.tags.items() if number or name != "relation"}
        return replace(sample, tags={**tags, **({"frame": "1"} if number < 9 else {})})

    report = validate(with_samples(task, drop), tmp_path)
    assert check(report, "tags").outcome == "warned"
    assert "relation on 39 of 40" in check(report, "tags").detail

    def annotate(number: int, sample: Sample) -> Sample:
        return replace(sample, tags={**sample.tags, **({"frame": "1"} if number < 9 else {})})

    report = validate(with_samples(task, annotate), tmp_path)
    assert check(report, "tags").outcome == "passed"


def test_unknown_relations_are_named(tmp_path: Path) -> None:
    report = validate(write_task(tmp_path, relation="diagonally opposite"), tmp_path)
    assert check(report, "relations").outcome == "warned"
    assert check(report, "relations").items == ("diagonally opposite: 40 samples",)


def test_one_question_with_two_right_answers_is_a_warning(tmp_path: Path) -> None:
    report = validate(write_task(tmp_path, question="Where is the mug?"), tmp_path)
    contradictions = check(report, "contradictions")
    assert contradictions.outcome == "warned"
    assert contradictions.detail.startswith("20 questions")
    assert contradictions.items[0] == "q0 wants 'left', q1 wants 'right'"


def test_a_prompt_that_does_not_fit_the_files_warns_unless_it_is_the_default(
    tmp_path: Path,
) -> None:
    task = write_task(tmp_path)

    def read(files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
        if prompt.name == unfit:
            raise DataError(f"these files cannot be asked as {unfit}")
        return task.read(files, split, prompt)

    unfit = "vlmevalkit"
    report = validate(replace(task, read=read), tmp_path)
    assert report.ok
    assert check(report, "files (vlmevalkit)").outcome == "warned"
    assert check(report, "pictures").outcome == "passed"
    unfit = "spare"
    assert not validate(replace(task, read=read), tmp_path).ok
    unfit = "vlmevalkit"
    assert not validate(replace(task, read=read), tmp_path, prompt="vlmevalkit").ok


def test_whats_up_in_every_prompt(tmp_path: Path) -> None:
    """Two sets in the published layout (amitakamath/whatsup_vlms): ranked, lettered, in words."""
    from PIL import Image

    relations = {
        "on": "on",
        "under": "under",
        "left_of": "to the left of",
        "right_of": "to the right of",
    }
    rows = []
    folder = tmp_path / "whatsup" / "controlled_images"
    folder.mkdir(parents=True)
    for thing in ("mug", "toy-robot"):
        for relation in relations:
            name = f"{thing}_{relation}_table.jpeg"
            Image.new("RGB", (16, 16), (len(rows), 9, 9)).save(folder / name)
            order = [relation, *(other for other in relations if other != relation)]
            spelt = thing.replace("-", " ")
            captions = [f"A {spelt} {relations[one]} a table" for one in order]
            rows.append(
                {"image_path": f"data/controlled_images/{name}", "caption_options": captions}
            )
    (tmp_path / "whatsup" / "controlled_images_dataset.json").write_text(json.dumps(rows))
    report = validate("whatsup_a", tmp_path)
    assert report.samples == 8
    assert report.ok, [one for one in report.checks if one.outcome != "passed"]
    assert check(report, "pictures").detail.startswith("8 distinct pictures")
    # Captions and answers are ranked by the same rules, so what is said of one is said of both.
    golden = {"gold (captions, answers)", "gold (mcq)", "gold (words)"}
    assert golden <= set(outcomes(report)), outcomes(report)
    warned = [one.name for one in report.checks if one.outcome == "warned"]
    assert warned[0] == "samples"


@pytest.mark.skipif(not VSR.is_dir(), reason="the published VSR annotations are not beside us")
@pytest.mark.parametrize(
    ("task", "split", "samples", "relations", "pictures"),
    [
        ("vsr_zeroshot", "test", 1222, 53, 715),
        ("vsr_zeroshot", "dev", 340, 40, 227),
        ("vsr_random", "test", 2195, 61, 1874),
    ],
)
def test_the_published_vsr(
    task: str, split: str, samples: int, relations: int, pictures: int
) -> None:
    """Counts of cambridgeltl/visual-spatial-reasoning, data/splits; no photographs are there."""
    report = validate(task, VSR, split)
    assert report.samples == samples
    assert check(report, "samples").detail == f"{samples:,}, as published"
    assert check(report, "relations").detail == f"{relations}, all of a known class"
    assert check(report, "contradictions").outcome == "passed"
    assert check(report, "pictures").detail == (
        f"{pictures:,} of {pictures:,} distinct pictures do not open, "
        f"so that {samples:,} samples could not be asked"
    )
    assert [one.name for one in report.checks if one.outcome == "failed"] == ["pictures"]


def write_3dsrbench(folder: Path, swap: str = "") -> Task:
    from test_threedsrbench import published_rows, write_tsv

    other = {"A": "B", "B": "A"}
    rows = [
        {**row, "answer": other[row["answer"]]} if row["qid"] == swap else row
        for row in published_rows()
    ]
    write_tsv(folder / "3dsrbench/3dsrbench_v1_vlmevalkit_circular.tsv", rows)
    return load_task("3dsrbench")


def test_rotations_of_a_question_want_the_same_option(tmp_path: Path) -> None:
    report = validate(write_3dsrbench(tmp_path), tmp_path)
    assert check(report, "rotations").outcome == "passed"
    report = validate(write_3dsrbench(tmp_path, swap="VIN6MS3J-1"), tmp_path)
    rotations = check(report, "rotations")
    assert (rotations.outcome, report.ok) == ("failed", False)
    assert rotations.detail == "1 rotations contradict the first of their question"
    assert rotations.items == (
        "VIN6MS3J wants 'red hat of the person in red in the back', "
        "VIN6MS3J-1 wants 'baseball glove'",
    )


def test_rotations_of_a_question_have_the_same_options(tmp_path: Path) -> None:
    """Every row is sound by itself; only together they are not."""
    from test_threedsrbench import published_rows, write_tsv

    rows = [dict(row) for row in published_rows()]
    for row in rows:
        if row["qid"] == "VIN6MS3J-1":
            row["A"] = "red hut"
    write_tsv(tmp_path / "3dsrbench/3dsrbench_v1_vlmevalkit_circular.tsv", rows)
    rotations = check(validate(load_task("3dsrbench"), tmp_path), "rotations")
    assert rotations.outcome == "failed"
    (item,) = rotations.items
    assert item.startswith("VIN6MS3J offers ")
    assert "; VIN6MS3J-1 offers " in item
    assert item.count("red hut") == 1


@pytest.mark.parametrize("layout", ["tsv", "parquet"])
@pytest.mark.parametrize(("column", "item"), [("answer", "wants"), ("A", "offers")])
def test_rotations_of_mmbench(tmp_path: Path, layout: str, column: str, item: str) -> None:
    """Its groups are index % 1,000,000; in parquet every rotation has a copy of the picture."""
    import test_mmbench

    with pytest.MonkeyPatch.context() as patch:
        rows = test_mmbench.rows()
        (row,) = [row for row in rows if row["index"] == 1_000_252]
        row[column] = "A" if column == "answer" and row["answer"] != "A" else "B"
        patch.setattr(test_mmbench, "rows", lambda: rows)
        if layout == "tsv":
            test_mmbench.write_vlmevalkit(tmp_path)
        else:
            test_mmbench.write_lmms_lab(tmp_path)
    rotations = check(validate("mmbench_dev_en", tmp_path), "rotations")
    assert rotations.outcome == "failed"
    assert rotations.items[0].startswith(f"252 {item} ")
    assert f"1000252 {item} " in rotations.items[0]


def circular(folder: Path, **columns: object) -> Task:
    """Groups of two all-or-nothing samples with one wording, about two pictures or one."""
    task = write_task(folder, question="Where is the mug?", **columns)

    def swap(number: int, sample: Sample) -> Sample:
        if not number % 2:
            return sample
        (picture, text) = sample.parts
        assert isinstance(text, str)
        options = {"A": sample.options["B"], "B": sample.options["A"]}
        a, b = options.values()
        before, _, after = text.partition("\nA. ")
        _, _, last = after.rpartition("\n")
        return replace(
            sample, parts=(picture, f"{before}\nA. {a}\nB. {b}\n{last}"), options=options
        )

    task = replace(with_samples(task, swap), all_or_nothing=True)
    return replace(task, prompts={"spare": task.prompt("spare")})


def test_rotations_are_told_by_their_words(tmp_path: Path) -> None:
    """The right option of each row has the letter that write_task gave it: A, then B."""
    assert check(validate(circular(tmp_path), tmp_path), "rotations").outcome == "passed"
    rotations = check(validate(circular(tmp_path, answer="A"), tmp_path), "rotations")
    assert rotations.detail.startswith("20 rotations contradict")
    assert rotations.items[0] == "q0 wants 'left', q1 wants 'right'"


def test_one_question_about_two_pictures_is_no_rotation(tmp_path: Path) -> None:
    task = circular(tmp_path, answer="A")
    lines = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    for line in lines[1::2]:
        line["image"] = f"other-{line['image']}"
        (tmp_path / line["image"]).write_bytes((tmp_path / "0.png").read_bytes() + b"other")
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert check(validate(task, tmp_path), "rotations").outcome == "passed"
    # The same bytes under another name are the same picture.
    for line in lines:
        same = (tmp_path / line["image"].removeprefix("other-")).read_bytes()
        (tmp_path / line["image"]).write_bytes(same)
    assert check(validate(task, tmp_path), "rotations").outcome == "failed"


def test_two_questions_of_a_group_may_have_two_answers(tmp_path: Path) -> None:
    """As in MME: rotations have the same words, and these do not."""
    task = replace(write_task(tmp_path, options=["yes", "no"]), all_or_nothing=True)
    assert check(validate(task, tmp_path), "rotations").outcome == "passed"


def test_where_answers_are_not_public_nothing_is_judged(tmp_path: Path) -> None:
    hidden = with_samples(write_task(tmp_path), lambda number, sample: replace(sample, target=""))
    nowhere = Submission("x.json", "Nobody scores it.", lambda files, split, replies, path: None)
    report = validate(replace(hidden, submission=nowhere), tmp_path)
    assert report.ok
    assert check(report, "answers").detail == "they are not public, so nothing is judged"
    assert not {"gold", "options", "chance", "contradictions"} & set(outcomes(report))
    assert not validate(hidden, tmp_path).ok


def test_a_judge_model_is_not_asked(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    judged = Rules("judged", "", lambda sample, reply: 1 / 0, question=lambda sample, reply: "")  # type: ignore[arg-type,return-value]
    prompt = task.prompt()
    prompt = replace(prompt, rules=("judged", *prompt.rules))
    task = replace(task, prompts={prompt.name: prompt}, rules={**task.rules, "judged": judged})
    assert validate(task, tmp_path).ok


def test_of_several_accepted_answers_the_target_need_not_be_worth_all(tmp_path: Path) -> None:
    def judge(sample: Sample, reply: Reply) -> Verdict:
        return Verdict(reply.text, 0.3 * (reply.text == sample.target), "ok")

    task = with_judge(write_task(tmp_path, options=None, answer="mug"), judge)
    assert not validate(task, tmp_path).ok
    answers = with_samples(task, lambda number, sample: replace(sample, answers=("mug", "cup")))
    assert check(validate(answers, tmp_path), "gold").outcome == "passed"


def test_a_users_own_file_is_not_published(tmp_path: Path) -> None:
    report = validate(write_task(tmp_path), tmp_path)
    assert check(report, "samples").detail == "40"


def test_faulty_rows_of_a_users_file_are_a_failed_check(tmp_path: Path) -> None:
    write_task(tmp_path)
    lines = (tmp_path / "q.jsonl").read_text().splitlines()
    lines[3] = lines[3].replace('"B"', '"D"')
    lines[7] = lines[7].replace("q7", "q6")
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    report = validate(f"custom:{tmp_path / 'q.jsonl'}", tmp_path)
    assert not report.ok
    first, *faults = check(report, "files").detail.split("\n")
    assert first == f"{tmp_path / 'q.jsonl'}: 2 rows are faulty"
    assert faults[0].startswith("  row 4: answer 'D' fits none")
    assert faults[1].startswith("  row 8: id 'q6' was used in row 7")


@pytest.mark.parametrize(("blind", "outcome"), [(1, "warned"), (20, "passed"), (40, "warned")])
def test_samples_that_lost_their_picture(tmp_path: Path, blind: int, outcome: str) -> None:
    def hide(number: int, sample: Sample) -> Sample:
        return replace(sample, parts=sample.parts[1:]) if number < blind else sample

    report = validate(with_samples(write_task(tmp_path), hide), tmp_path)
    assert check(report, "picture per sample") == Check(
        "picture per sample", outcome, f"{blind} of 40 samples have none"
    )  # type: ignore[arg-type]


def test_the_values_of_a_tag_are_counted_if_they_are_few(tmp_path: Path) -> None:
    """A file of statements with labels 0 and 1 is one of short answers: this shows it."""
    report = validate(write_task(tmp_path, options=None, answer=1), tmp_path)
    detail = check(report, "tags").detail
    assert "kind on all (short 40)" in detail
    assert "relation on all (left of 20, right of 20)" in detail
    report = validate(
        with_samples(
            write_task(tmp_path),
            lambda number, sample: replace(sample, tags={"from": str(number % 5)}),
        ),
        tmp_path,
    )
    assert check(report, "tags").detail == "from on all"


# On the screen


@pytest.mark.parametrize("task", ["vsr_zeroshot", "whatsup_a", "3dsrbench", "mmmu_val", "mme"])
@pytest.mark.parametrize("verb", [["validate"], ["prepare", "--dry-run"]], ids=" ".join)
def test_no_line_is_wider_than_the_screen(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    verb: list[str],
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for columns in ("", "70"):
        monkeypatch.setenv("COLUMNS", columns)
        main([*verb, task, "--data", "data"])
        lines = capsys.readouterr().out.splitlines()
        # An address or a path stays whole, to be copied.
        wide = [line for line in lines if len(line) > int(columns or 100) and " " in line.strip()]
        assert not wide
        assert [line for line in lines if line.strip() == "data"], "a place has a line of its own"


def test_a_missing_file_is_a_readable_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    common = ["--model", "random", "--data", "data", "--out", "run"]
    assert main(["eval", "--tasks", "vsr_zeroshot", *common]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("spare: no files of vsr_zeroshot found: looked for test.jsonl or")
    assert "    data/vsr/zeroshot" in lines
    assert lines[-1] == "`spare prepare vsr_zeroshot --data data` fetches what may be fetched."
    assert max(map(len, lines)) <= 100


def test_what_cannot_be_printed_is_spelled_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path, relation="up\x1b[2J")
    assert main(["validate", f"custom:{tmp_path / 'q.jsonl'}", "--data", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert r"up\x1b[2J: 40 samples" in shown


def test_a_data_folder_with_an_impossible_name_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SpareError, match="does not exist"):
        validate("vsr_zeroshot", tmp_path / ("a" * 300))
