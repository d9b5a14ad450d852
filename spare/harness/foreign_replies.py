"""Replies that another harness saved, as a run of ours: `spare score --replies`.

A reply is joined to a question only if there is no doubt about it: by the id where the file has
our ids, else by its place in the file; and in both cases what the file says of question and answer
must fit. Whatever is missing, doubled or left over is refused: nothing is scored on a guess.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from spare import disk
from spare.errors import DataError, counted
from spare.harness import run as runs
from spare.harness.asking import Evaluation, Event
from spare.harness.choosing import choose
from spare.harness.evaluate import open_manifest, record, submit
from spare.harness.foreign_files import ForeignReply, own_log, read_own, read_replies
from spare.harness.lines import ReplyLog, digest_json, reply_line
from spare.harness.run import Run
from spare.harness.scoring import score_evaluation
from spare.tasks import load_task
from spare.tasks.files import PANDAS_NA
from spare.tasks.types import Reply, Sample

CELL = 32_767
"""Characters that a spreadsheet's cell holds; longer texts were cut there."""


def score_replies(
    task: str,
    replies: str | Path,
    *,
    data: str | Path,
    out: str | Path,
    split: str = "",
    prompt: str = "",
    rules: str = "",
    on_event: Callable[[Event], None] = lambda event: None,
) -> Run:
    """Judge replies that another harness saved.

    Args:
        task: name of the benchmark that was asked.
        replies: the harness's file, or its folder.
        data: folder with the benchmark's published files, which have the right answers.
        out: run directory to keep the replies in.
        split: the task's default one if empty.
        prompt: way of asking that the harness used; its own if the task has it, else the default.
        rules: a rule set, or "all"; the prompt's default if empty.

    Raises:
        SpareError: the replies do not belong to these questions, one by one.
    """
    path = Path(replies)
    chosen = load_task(task)
    own = own_log(path)
    if own:
        harness = "spare"
        split, prompt, found = read_own(own, task, split, prompt)
    else:
        harness, found = read_replies(path)
        prompt = prompt or (harness if harness in chosen.prompts else "")
    evaluation = choose(chosen, Path(data), split, prompt, rules, None)
    with disk.locked(Path(out)):
        evaluation.count_samples()
        matched = match(found, evaluation)
        identity = {"engine": "replies", "harness": harness, "replies": _digest(path)}
        evaluation.fingerprint = digest_json(identity)
        manifest = open_manifest(Path(out), identity, [evaluation])
        record(manifest, evaluation, lazy_groups=False)
        disk.write_json(Path(out) / "manifest.json", manifest)
        with contextlib.closing(ReplyLog(Path(out) / "replies.jsonl")) as log:
            on_event(f"{chosen.name}: {counted(len(matched), 'reply')} of {harness}")
            if not any(reply.asked or reply.target for reply in found):
                on_event(
                    "The file has neither questions nor right answers: that these are replies to "
                    f"{chosen.name} and to no other benchmark, nothing but their ids can tell."
                )
            for number, sample in enumerate(evaluation.samples()):
                key, digests, _ = evaluation.key(sample)
                evaluation.keys[number] = key
                if key not in log:
                    reply = Reply(matched[sample.id].text or "")
                    log.append(reply_line(key, evaluation.place, sample, digests, reply))
            if chosen.submission:  # its answers are not public, so nothing can be scored
                submit(Path(out), manifest, evaluation, 0, log, on_event)
            else:
                score_evaluation(Path(out), evaluation, log)
    return runs.load_run(out)


# Joining replies and questions


def match(replies: Sequence[ForeignReply], evaluation: Evaluation) -> dict[str, ForeignReply]:
    """Sample id -> its reply. Raises SpareError unless every question has exactly one."""
    ids = [sample.id for sample in evaluation.samples()]
    replies = _of_split(replies, evaluation.split)
    column = _id_column(replies, set(ids))
    matched: dict[str, ForeignReply] = {}
    if column:
        for reply in replies:
            name = reply.names[column]
            if name in matched:
                raise reply.error(
                    f"{column} {name!r} stands in {_row(matched[name], reply)} already"
                )
            matched[name] = reply
    else:
        _require_order(replies)
        _require_places(replies, len(ids), evaluation)
        by_position = {reply.position: reply for reply in replies}
        matched = {name: by_position[position] for position, name in enumerate(ids)}
    missing = [name for name in ids if name not in matched]
    if missing:
        raise DataError(
            f"{len(missing):,} of the {len(ids):,} questions of {evaluation.task.name} have no "
            f"reply: {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}",
            replies[0].file,
            remedy="A part of a benchmark has no score; let the harness finish.",
        )
    known = set(ids)
    extra = [name for name in matched if name not in known]
    if extra:
        raise matched[extra[0]].error(
            f"{len(extra):,} replies are to questions that {evaluation.task.name} does not have, "
            f"{extra[0]!r} the first of them"
        )
    _check_contents(matched, evaluation)
    return matched


def _row(first: ForeignReply, second: ForeignReply) -> str:
    """Where the first of two replies stands, for a sentence about the second."""
    return f"row {first.number}" + ("" if first.file == second.file else f" of {first.file}")


def _of_split(replies: Sequence[ForeignReply], split: str) -> Sequence[ForeignReply]:
    """VLMEvalKit keeps two splits of MMMU in one file."""
    ours = [reply for reply in replies if reply.split == split]
    return ours if ours else replies


def _id_column(replies: Sequence[ForeignReply], ids: set[str]) -> str:
    """The column that has our ids; "" if there is none."""
    for column in replies[0].names:
        known = sum(reply.names.get(column, "") in ids for reply in replies)
        # Most are enough to tell what the column means; the others are missing or left over.
        if 2 * known > len(replies) and all(column in reply.names for reply in replies):
            distinct = {reply.names[column] for reply in replies}
            if 2 * len(distinct) > len(replies):
                return column
    return ""


def _require_order(replies: Sequence[ForeignReply]) -> None:
    """VLMEvalKit numbers the rows of its tables. Where the numbers are not our ids they still tell
    of rows that were moved, doubled or taken away."""
    if not all("index" in reply.names for reply in replies):
        return
    seen: dict[str, ForeignReply] = {}
    numbered = all(reply.names["index"].isdecimal() for reply in replies)
    before = -1
    for reply in replies:
        name = reply.names["index"]
        if name in seen:
            raise reply.error(f"index {name} stands in {_row(seen[name], reply)} already")
        seen[name] = reply
        if numbered and int(name) < before:
            raise reply.error(
                f"index {name} stands behind index {before}, so the rows are not in the "
                "benchmark's order",
                "Sort the file by index.",
            )
        before = int(name) if numbered else before


def _require_places(
    replies: Sequence[ForeignReply], questions: int, evaluation: Evaluation
) -> None:
    seen: dict[int, ForeignReply] = {}
    for reply in replies:
        if reply.position in seen and seen[reply.position].file != reply.file:
            raise DataError(
                f"{reply.file.name} counts from 0 as others beside it do, and its ids, if it has "
                f"any, are not those of {evaluation.task.name}",
                reply.file.parent,
                remedy="The replies may belong to another benchmark, split or version of its "
                "files.",
            )
        if reply.position in seen:
            where = _row(seen[reply.position], reply)
            raise reply.error(f"question {reply.position} was answered in {where} too")
        if reply.position >= questions:
            raise reply.error(
                f"this is question {reply.position}, counted from 0, and {evaluation.task.name} "
                f"has {questions:,}",
                "The replies may belong to another benchmark, split or version of its files.",
            )
        seen[reply.position] = reply
    if len(replies) != questions:
        raise DataError(
            f"there are {len(replies):,} replies, and {evaluation.task.name} has {questions:,} "
            "questions",
            replies[0].file,
            remedy="The replies may belong to another benchmark, or are a part of one, which has "
            "no score.",
        )


def _check_contents(matched: Mapping[str, ForeignReply], evaluation: Evaluation) -> None:
    """Each reply must be to the question that it was joined to, as far as its file tells."""
    # Words that all prompts share (the instruction) tell nothing.
    common: set[str] = set.intersection(*(_words(sample) for sample in evaluation.samples()))
    for sample in evaluation.samples():
        reply = matched[sample.id]
        wrong = _contradiction(sample, reply, common)
        if wrong:
            raise reply.error(
                f"{wrong}, unlike question {sample.id} of {evaluation.task.name}",
                "The replies may belong to another benchmark, or to files with the questions in "
                "another order: name the files that the harness read with --data.",
            )
        text = reply.text
        if text is not None and reply.file.suffix == ".xlsx" and len(text) >= CELL:
            raise reply.error(
                f"the reply has {len(text):,} characters, as many as a spreadsheet's cell holds, "
                "so its end was cut off",
                "Let VLMEvalKit write TSV or JSON (PRED_FORMAT=tsv).",
            )
        if text is None and _may_be_lost(sample, evaluation):
            raise reply.error(
                "the reply is blank, and tables that pandas has read and written lose replies "
                'such as "None" and "NA", which may be an answer here',
                "Give the file as VLMEvalKit first wrote it, or as JSON.",
            )


def _may_be_lost(sample: Sample, evaluation: Evaluation) -> bool:
    """Whether a text that pandas takes for nothing would be judged otherwise than nothing, now or
    under other rules later: it may be an answer, or begin like one ("None" begins with "no")."""
    if not sample.options:
        return True

    task = evaluation.task
    rules = [name for name in evaluation.prompt.rules if not task.rules[name].question]

    def scores(text: str) -> list[float]:
        return [task.judge(sample, Reply(text), name).score for name in rules]

    nothing = scores("")
    return any(scores(text) != nothing for text in PANDAS_NA)


def _contradiction(sample: Sample, reply: ForeignReply, common: set[str]) -> str:
    ours = _words(sample) - common
    theirs = set(_WORD.findall(reply.asked.casefold())) - common
    if ours and theirs and 2 * len(ours & theirs) < min(len(ours), len(theirs)):
        return f"it asks {reply.asked[:80]!r}"
    labels = {label.casefold(): label for label in sample.options}
    answer = labels.get(reply.target.strip().casefold())
    if answer and sample.target and answer != sample.target:
        return f"its answer is {answer}, not {sample.target}"
    return ""


_WORD = re.compile(r"\w+")


def _words(sample: Sample) -> set[str]:
    text = "\n".join(part for part in sample.parts if isinstance(part, str))
    return set(_WORD.findall(text.casefold()))


def _digest(path: Path) -> str:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()
