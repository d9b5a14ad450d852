"""What lm-eval and lmms-eval call while they ask our tasks: questions, pictures, verdicts, figures.
It runs in their process and imports neither of them, nor torch."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare import images
from spare.errors import PictureError
from spare.harness.lines import Saved
from spare.harness.scoring import verdict_of
from spare.images import ParquetCell, Picture, TableCell, open_picture
from spare.tasks import load_task
from spare.tasks.types import Judged, Metric, Reply, Sample, Task, Verdict

if TYPE_CHECKING:
    import PIL.Image

CELLS = {cell.__name__: cell for cell in (TableCell, ParquetCell)}

Doc = Mapping[str, Any]


class Scored(float):
    """A sample's score, as a harness logs it, and what our metrics need to know of it."""

    task: str
    rules: str
    sample: Sample
    reply: Reply
    verdict: Verdict


def load(helper: str, file: str) -> dict[str, Any]:
    """The questions in `file`, beside the helper module, as lm-eval wants a data set. (lmms-eval
    loads its own.)"""
    import datasets

    with (Path(helper).parent / file).open(encoding="utf-8", errors="surrogatepass") as lines:
        rows = [json.loads(line) for line in lines]
    columns = {name: datasets.Value("string") for name in rows[0]}
    return {"test": datasets.Dataset.from_list(rows, features=datasets.Features(columns))}


def pictures(doc: Doc) -> list[PIL.Image.Image]:
    """A question's pictures as every engine of ours sees them. Raises PictureError for one that is
    not there or torn, or is not the one that was written down."""
    import PIL.ImageFile

    # lmms-eval switches it on, and half a picture would pass for a whole one.
    PIL.ImageFile.LOAD_TRUNCATED_IMAGES = False
    opened = []
    for one in json.loads(doc["sample"])["parts"]:
        if isinstance(one, str):
            continue
        picture = _picture(one)
        if images.digest(picture) != one["sha256"]:
            raise PictureError(
                f"Picture {picture.name} is another than when the tasks were exported; run "
                "`spare export-tasks` again."
            )
        opened.append(open_picture(picture))
    return opened


def messages(doc: Doc) -> list[dict[str, Any]]:
    """A question as one turn, with its parts in our order: as lmms-eval's chat models take it."""
    shown = iter(pictures(doc))
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image", "url": next(shown)}
        for part in json.loads(doc["sample"])["parts"]
    ]
    return [{"role": "user", "content": content}]


def _picture(line: Mapping[str, Any]) -> Picture:
    cell = dict(line["cell"] or {})
    kind = cell.pop("kind", "")
    return Picture(Path(line["path"]), line["name"], CELLS[kind](**cell) if kind else None)


def results(doc: Doc, replies: Sequence[str]) -> dict[str, Scored]:
    """Metric -> the score of a reply. The same for all metrics: they differ in how they sum up."""
    line = json.loads(doc["sample"])
    task = _task(line["task"])
    sample = Sample(
        id=doc["id"],
        parts=tuple(part if isinstance(part, str) else _picture(part) for part in line["parts"]),
        target=doc["target"],
        options=line["options"],
        tags=line["tags"],
        group=line["group"],
        cluster=line["cluster"],
        answers=tuple(line["answers"]),
    )
    reply = Reply(text=replies[0])
    verdict = task.judge(sample, reply, line["rules"])
    scored = Scored(verdict.score)
    scored.task, scored.rules = line["task"], line["rules"]
    scored.sample, scored.reply, scored.verdict = sample, reply, verdict
    return dict.fromkeys(line["figures"], scored)


def aggregation(metric: str) -> Callable[[Sequence[Scored]], float]:
    """What sums up the scores of a task's samples, in the benchmark's order, to one figure."""
    if metric.startswith("__"):
        raise AttributeError(metric)

    def aggregate(scores: Sequence[Scored]) -> float:
        task, name = _task(scores[0].task), scores[0].rules
        found = summed_up(task, name, (Saved(one.sample, one.reply) for one in scores))
        return found[metric].value if metric in found else float("nan")

    return aggregate


def summed_up(task: Task, rules: str, replies: Iterable[Saved]) -> dict[str, Metric]:
    """The metrics of replies, given in the benchmark's order, by name."""
    chosen = task.rules[rules]
    guesses = random.Random(chosen.guess_seed)
    judged = (
        Judged(
            saved.sample.id,
            saved.sample.target,
            verdict_of(task, chosen, saved, guesses),
            saved.sample.tags,
            saved.sample.group,
            saved.sample.cluster,
        )
        for saved in replies
    )
    return {metric.name: metric for metric in task.summarise(judged, rules) if metric.strata}


@functools.cache
def _task(name: str) -> Task:
    return load_task(name)
