"""VSR: is a sentence about two objects in a photograph true? (Liu, Emerson and Collier, TACL 2023)

Source    github.com/cambridgeltl/visual-spatial-reasoning, data/splits (5,051 zero-shot and 10,972
          random statements); the same files are the hub datasets cambridgeltl/vsr_zeroshot and
          cambridgeltl/vsr_random. The photographs are COCO 2017, train and validation.
Licence   Apache-2.0 (the hub cards say CC BY 4.0); photographs under COCO's terms.
Splits    `random` draws statements, `zeroshot` keeps concepts apart: both objects of a test
          statement are concepts that its training split never shows. Both cut up the *same* 10,972
          statements: of the 1,222 zero-shot test rows 830 lie in the random training split, so a
          model tuned on one must not be tested on the other.
Official  A two-class classifier; accuracy over all rows, by relation and by meta-category. There is
          no official prompt for models that write.
Ours      `spare`: True or False. SpaRE (arXiv 2504.20648) asks the same, with unpublished wording,
          and does not name the split. A reply that says neither counts as wrong, not as False:
          half of the labels are False, and silence would score like a coin.
          `vlmevalkit`: Yes or No, as in VLMEvalKit's `VSR-zeroshot`. Its questions are stored in
          its TSV and are asked unchanged if that is the file at hand; from other files we ask our
          own wording, so only the reading of the reply is VLMEvalKit's then. The layout, which
          stands beside every score, tells which.
Figures   zero-shot / random test, accuracy in per cent: human 95.4 / 95.4, always True
          51.5 / 53.8, LXMERT 61.2 / 70.1, ViLT 63.0 / 69.3 (repository README; it counts an older
          zero-shot split of 616 rows). Reported for SpaRE, split not named: Qwen2-VL-2B 70.3,
          Qwen2-VL-7B 82.3. VLMEvalKit with GPT-4o-mini, zero-shot: precision 79.1246, recall
          74.7218, accuracy 76.8412, F1 0.768602 (VLMEvalKit pull request 1164); the rule set
          `vlmevalkit` gives these from the same counts, F1 in per cent like everything here.
Traps     The published `subj` lost letters ("andbag", "orse", "ot dog", "lephant"), so objects are
          read from the sentence, which spells them out. `reference_frame` (0, 1 or 2; left and
          right statements of the random split only) has no published legend, so the tag `frame`
          shows the number.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from spare.errors import PictureError
from spare.images import digest
from spare.relations import RELATION_CLASS, VSR_CATEGORY
from spare.tasks import answers, references
from spare.tasks.files import (
    Row,
    find_picture,
    locate_shards,
    not_found,
    read_json_lines,
    read_parquet,
    read_table,
)
from spare.tasks.types import (
    Files,
    Judged,
    Metric,
    Prompt,
    Reply,
    Rules,
    Sample,
    Source,
    Stratum,
    Task,
    Verdict,
)

PARTS: Mapping[str, Mapping[str, int]] = {
    "zeroshot": {"train": 3489, "dev": 340, "test": 1222},
    "random": {"train": 7680, "dev": 1097, "test": 2195},
}
TRUE_TEST_ROWS: Mapping[str, int] = {"zeroshot": 629, "random": 1181}


# Files

PLACES = ("vsr", "vsr/data", "visual-spatial-reasoning/data", ".", "data")
COCO_FOLDERS = ("trainval2017", "train2017", "val2017")
"""The merged folder that the repository's README makes, and COCO's own two. COCO numbers its
pictures once over all of them, so it does not matter which folder holds one."""

TSV_FOLDERS = ("vsr", "LMUData", ".")
TSV_NAMES = ("VSR-zeroshot.tsv", "vsr_zeroshot_dataset_yn_strict.tsv")


def _locate(part: str, data: Path, split: str) -> Files:
    names = ("dev", "validation") if split == "dev" else (split,)
    patterns = [f"{name}.jsonl" for name in names]
    for name in names:
        # As stored by the hub in a data set, as converted by it, as converted by a person.
        patterns += [f"{name}-*.parquet", f"data/{name}-*.parquet"]
        patterns += [f"{name}/*.parquet", f"*-{name}.parquet", f"{name}.parquet"]
    found: tuple[Path, ...] = ()
    pictures: list[Path] = []
    folders = [
        [f"{place}/splits/{part}", f"{place}/{part}", f"{place}/vsr_{part}"] for place in PLACES
    ]
    for place, its_folders in zip(PLACES, folders, strict=True):
        found = locate_shards(data, its_folders, patterns)
        if found:
            named = [f"{place}/images", f"{place}/vsr_images", "vsr/images", "vsr/vsr_images"]
            named += [
                f"{root}/{name}" for root in (place, "vsr", "coco", ".") for name in COCO_FOLDERS
            ]
            pictures = [data / name for name in dict.fromkeys(named) if (data / name).is_dir()]
            break
    if part == "zeroshot" and split == "test" and not pictures:
        table = locate_shards(data, TSV_FOLDERS, TSV_NAMES)
        if table:
            return Files(table, (), "vlmevalkit-tsv")
    if not found:
        raise not_found(f"vsr_{part}", data, [name for some in folders for name in some], patterns)
    layout = "parquet" if found[0].suffix == ".parquet" else "jsonl"
    # Without any folder, each sample says that its picture is missing from the usual one.
    return Files(found, tuple(pictures) or (data / "vsr" / "images",), layout)


# Questions

STATEMENT = re.compile(
    r"\b[Tt]he (?P<subject>\w+(?: \w+)??)(?: is| are)? "
    rf"(?P<relation>{'|'.join(map(re.escape, (*VSR_CATEGORY, 'congruent')))}) "
    r"the (?P<object>\w+(?: \w+)?)(?=[.?!\"'\n]|$)"
)
"""A statement about two objects. It gives back the published relation of all 10,972 statements, and
the published objects of the 5,051 that have them (but for the letters that `subj` lost)."""

TRUE_FALSE = "Statement about the picture: {}\nIs the statement true? Answer with True or False."
YES_NO = "Statement about the picture: {}\nIs the statement right? Answer with Yes or No."


def _read(part: str, files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    seen: dict[str, int] = {}
    for row in _rows(files):
        if ("subj" if part == "random" else "reference_frame") in row.values:
            raise row.error(
                f"this file belongs to VSR's other way of splitting, not to {part}",
                f"Put the file of {part} {split} in its place.",
            )
        if files.layout == "vlmevalkit-tsv":
            sample = _sample_from_table(row, prompt)
        else:
            sample = _sample(row, files, prompt)
        if sample.id in seen:
            raise row.error(f"the same statement as in row {seen[sample.id]}, id {sample.id}")
        seen[sample.id] = row.number
        yield sample


def _rows(files: Files) -> Iterator[Row]:
    if files.layout == "vlmevalkit-tsv":
        columns = ("index", "question", "answer", "image")
        return read_table(files.annotations[0], columns, pictures=("image",), index="index")
    columns = ("image", "caption", "label", "relation")
    if files.layout == "parquet":
        return read_parquet(files.annotations, columns, pictures=("image",))
    return read_json_lines(files.annotations[0], columns)


def _sample(row: Row, files: Files, prompt: Prompt) -> Sample:
    if "image" in row.cells:
        picture, name = row.picture("image"), row.text("image_link").rpartition("/")[2]
    else:
        name = row.text("image")
        picture = find_picture(files.pictures, name, row)
    caption, relation, label = row.text("caption"), row.text("relation"), row.values["label"]
    if type(label) is not int or label not in (0, 1):
        raise row.error(f"label should be 0 or 1 but is {label!r}")
    if not caption.strip():
        raise row.error("caption is empty")
    tags = _tags(relation)
    statement = STATEMENT.match(caption)
    if statement and statement["relation"] == relation:
        tags |= {"subject": statement["subject"], "object": statement["object"]}
    frame = row.values.get("reference_frame")
    if frame is not None:
        if not isinstance(frame, int | float):
            raise row.error(f"reference_frame should be a number or null but is {frame!r}")
        tags["frame"] = f"{frame:g}"
    stem = PurePosixPath(name).stem
    yes, no = ("True", "False") if prompt.name == "spare" else ("Yes", "No")
    return Sample(
        # No two rows share picture and sentence, and row numbers differ between revisions.
        id=f"{stem}-{hashlib.sha256(caption.encode()).hexdigest()[:8]}",
        parts=(picture, (TRUE_FALSE if prompt.name == "spare" else YES_NO).format(caption)),
        target=yes if label else no,
        options={yes: yes, no: no},
        tags=tags,
        cluster=stem,
    )


def _sample_from_table(row: Row, prompt: Prompt) -> Sample:
    question, answer, picture = row.text("question"), row.text("answer"), row.picture("image")
    if answer not in ("Yes", "No"):
        raise row.error(f"answer should be Yes or No but is {answer!r}")
    statements = list(STATEMENT.finditer(question))
    tags: dict[str, str] = {}
    if len(statements) == 1:
        tags = _tags(statements[0]["relation"])
        tags |= {"subject": statements[0]["subject"], "object": statements[0]["object"]}
    yes, no = "Yes", "No"
    if prompt.name == "spare":
        if len(statements) != 1:
            raise row.error(
                "no single statement can be told apart in the question",
                "Ask it as it stands, with the prompt vlmevalkit.",
            )
        question = TRUE_FALSE.format(f"{statements[0][0][0].upper()}{statements[0][0][1:]}.")
        yes, no = "True", "False"
    try:
        cluster = digest(picture)
    except PictureError:  # it costs its own sample, when it is opened
        cluster = ""
    return Sample(
        # The file names no pictures, so that its rows cannot be tied to those of other layouts.
        id=f"tsv-{row.text('index')}",
        parts=(picture, question),
        target=yes if answer == "Yes" else no,
        options={yes: yes, no: no},
        tags=tags,
        cluster=cluster,
    )


def _tags(relation: str) -> dict[str, str]:
    tags = {
        "relation": relation,
        "category": VSR_CATEGORY.get(relation, ""),
        "class": RELATION_CLASS.get(relation, ""),
    }
    return {name: value for name, value in tags.items() if value}


# Judging


def _judge_spare(sample: Sample, reply: Reply) -> Verdict:
    read = answers.read_true_false if "True" in sample.options else answers.read_yes_no
    reading = read(reply.text)
    return Verdict(reading.answer, float(reading.answer == sample.target), reading.status)


def _judge_vlmevalkit(sample: Sample, reply: Reply) -> Verdict:
    answer = references.vlmevalkit_yes_no(reply.text)
    if answer == "Unknown":
        return Verdict("", 0.0, "unparsed" if reply.text.strip() else "empty")
    return Verdict(answer, float(answer == sample.target), "ok")


def _summarise(judged: Iterable[Judged], rules: str) -> list[Metric]:
    accuracy = Metric("accuracy")
    # A stratum from the start: where nothing is said or meant, a figure is not a number, but there.
    precision, recall, f1 = (
        Metric(name, strata={"": Stratum()}) for name in ("precision", "recall", "f1")
    )
    for one in judged:
        cluster = one.cluster or one.id
        accuracy.add(one.verdict.score, cluster=cluster)
        said, meant = one.verdict.parsed == "Yes", one.target == "Yes"  # unread counts as No
        if said:
            precision.add(meant, cluster=cluster)
        if meant:
            recall.add(said, cluster=cluster)
        if said or meant:
            f1.add(2.0 * (said and meant), said + meant, cluster=cluster)
    return [accuracy, precision, recall, f1] if rules == "vlmevalkit" else [accuracy]


# The tasks


def _chance(part: str) -> dict[str, float]:
    """A fair coin on the test split."""
    share = TRUE_TEST_ROWS[part] / PARTS[part]["test"]
    return {
        "accuracy": 50.0,
        "precision": 100.0 * share,
        "recall": 50.0,
        "f1": 100.0 * share / (share + 0.5),
    }


def _sources(part: str) -> tuple[Source, ...]:
    table = Source(
        about="VLMEvalKit's file with pictures (zero-shot test only; no file names)",
        repo="ignoreandfly/vsr_zeroshot_tsv",
        patterns=("vsr_zeroshot_dataset_yn_strict.tsv",),
        folder="vsr",
        task_splits=("test",),
    )
    return (
        Source(
            about="statements and labels",
            repo=f"cambridgeltl/vsr_{part}",
            patterns=("train.jsonl", "dev.jsonl", "test.jsonl"),
            folder=f"vsr/{part}",
            size="1.6 MB" if part == "zeroshot" else "3.3 MB",
        ),
        *((table,) if part == "zeroshot" else ()),
        Source(
            about="photographs (6,259 of COCO 2017), from the authors",
            url="https://www.dropbox.com/s/0s3bj25s62crjh2/vsr_images.zip",
            folder="vsr",
        ),
        Source(
            about="or all of COCO 2017: train",
            url="http://images.cocodataset.org/zips/train2017.zip",
            folder="coco",
            size="18 GB",
        ),
        Source(
            about="and validation",
            url="http://images.cocodataset.org/zips/val2017.zip",
            folder="coco",
            size="1 GB",
        ),
    )


def _task(part: str, about: str) -> Task:
    return Task(
        name=f"vsr_{part}",
        version=1,
        about=about,
        paper="arXiv 2205.00363",
        licence="Apache-2.0 (the hub cards: CC BY 4.0); photographs under COCO's terms",
        sources=_sources(part),
        splits=PARTS[part],
        split="test",
        chance=_chance(part),
        headline="accuracy",
        breakdown="accuracy",
        prompts={
            "spare": Prompt("spare", "Is the statement true? True or False.", ("spare",)),
            "vlmevalkit": Prompt(
                "vlmevalkit",
                "Yes or No: VLMEvalKit's own question if its TSV is the file at hand, else our "
                "wording.",
                ("vlmevalkit", "spare"),
            ),
        },
        rules={
            "spare": Rules(
                "spare",
                "One of the two words, said once and not negated away; anything else is unread.",
                _judge_spare,
            ),
            "vlmevalkit": Rules(
                "vlmevalkit",
                "Exactly one of the words yes and no; True and False are not understood.",
                _judge_vlmevalkit,
                source="VLMEvalKit's Y/N matching without a judge model",
            ),
        },
        locate=partial(_locate, part),
        read=partial(_read, part),
        summarise=_summarise,
        figures={
            "accuracy": "statements answered right",
            "precision": "rules vlmevalkit: of the statements that it calls true, those that are",
            "recall": "rules vlmevalkit: of the true statements, those that it calls true",
            "f1": "rules vlmevalkit: harmonic mean of precision and recall",
        },
    )


TASKS = (
    _task("zeroshot", "Is a sentence about two objects true? Objects unseen in training."),
    _task("random", "Is a sentence about two objects true? Random split."),
)
