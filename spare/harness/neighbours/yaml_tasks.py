"""Our tasks written down for lm-eval and for lmms-eval, which came of it: for each a YAML file and
a file of questions, beside one helper module. What the two have alike is here.

A question keeps its place in the published pictures, which are opened by our rules and must be the
very files that were there when it was written; replies are judged by our rules and summed up by our
metrics. The end of a reply, its bound and greedy decoding are set in the YAML as we have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spare import disk, images
from spare.errors import SpareError
from spare.harness.asking import Evaluation
from spare.harness.lines import Saved
from spare.harness.neighbours import lm_eval_docs
from spare.images import Picture
from spare.tasks.types import Part, Prompt, Reply, Sample, Task

HELPER = "spare_tasks"

_HELPER_TEXT = '''"""What a harness calls for these tasks. Written by `spare export-tasks`."""

try:
    from spare.harness.neighbours import lm_eval_docs
except ImportError as error:
    raise ImportError(
        "These tasks open pictures and judge replies with spare, which is not installed here; run "
        "`pip install -e .` in the folder of spare's repository, with the harness's pip."
    ) from error

pictures = lm_eval_docs.pictures
messages = lm_eval_docs.messages
results = lm_eval_docs.results


def docs(file, **_):
    return lm_eval_docs.load(__file__, file)


def __getattr__(name):
    return lm_eval_docs.aggregation(name)
'''

COLUMNS = ("id", "question", "target", "sample")
"""What a line of the file of questions has: `id`, `question` and `target`, for a person and for the
harness, and `sample`, all of it as JSON."""

Line = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the harnesses have not alike.

    Attributes:
        harness: its name, for a person.
        ranking: why a prompt that ranks options is refused, behind "ranks options by likelihood,".
        signs: what would stand for a picture in a question, or vanish from it (pattern).
        spell: the parts of a question as one text.
        suffix: of the file of questions; write: writes them.
        keys: lines of the YAML about data and pictures; "{file}" stands for the questions' file.
        bound: what the bound of a reply is called.
        advice: what its user has to know, for the head of the YAML.
    """

    harness: str
    ranking: str
    signs: re.Pattern[str]
    spell: Callable[[Sequence[Part]], str]
    suffix: str
    write: Callable[[Path, Iterable[Line]], None]
    keys: str
    bound: str
    advice: str


def write_task(evaluation: Evaluation, folder: Path, dialect: Dialect) -> str:
    """See `Neighbour`."""
    task, prompt = evaluation.task, evaluation.prompt
    _check(task, prompt, dialect)
    name = f"spare_{task.name.removeprefix('custom:')}"
    (folder / "questions").mkdir(parents=True, exist_ok=True)
    file = folder / "questions" / f"{name}{dialect.suffix}"
    evaluation.count_samples()
    figures = _figures(evaluation)
    dialect.write(file, _lines(evaluation, figures, dialect))
    _write(folder / f"{HELPER}.py", _HELPER_TEXT)
    # The YAML comes last: with it the task is there.
    _write(folder / f"{name}.yaml", _yaml(name, evaluation, file.name, figures, dialect))
    return name


def _check(task: Task, prompt: Prompt, dialect: Dialect) -> None:
    if task.submission:
        raise SpareError(
            f"The answers to {task.name} are not public, so {dialect.harness} could not score it."
        )
    if prompt.rank:
        writing = [name for name, other in task.prompts.items() if not other.rank]
        remedy = (
            f"choose --prompt {task.name}={writing[0]}"
            if writing
            else f"leave {task.name} out, which has no prompt that is answered in writing"
        )
        raise SpareError(
            f"The prompt {prompt.name} of {task.name} ranks options by likelihood, "
            f"{dialect.ranking}; {remedy}."
        )


def _figures(evaluation: Evaluation) -> list[str]:
    """The metrics that replies to this prompt have under these rules, headline first."""
    task = evaluation.task
    right = (Saved(sample, Reply(text=sample.target)) for sample in evaluation.samples())
    found = lm_eval_docs.summed_up(task, evaluation.rules[0].name, right)
    return [name for name in dict.fromkeys((task.headline, *found)) if name in found]


def _lines(evaluation: Evaluation, figures: Sequence[str], dialect: Dialect) -> Iterator[Line]:
    for sample in evaluation.samples():
        texts = [part for part in sample.parts if isinstance(part, str)]
        if found := next(filter(None, map(dialect.signs.search, texts)), None):
            raise SpareError(
                f"Question {sample.id} of {evaluation.task.name} spells out {found[0]}, where "
                f"{dialect.harness} would put a picture; change the data or leave the task out."
            )
        if len(texts) == len(sample.parts):
            raise SpareError(
                f"Question {sample.id} of {evaluation.task.name} has no picture, and "
                f"{dialect.harness}'s models for pictures take none without; leave the task out."
            )
        yield {
            "id": sample.id,
            "question": dialect.spell(sample.parts),
            "target": sample.target,
            "sample": json.dumps(_whole(evaluation, sample, figures), ensure_ascii=False),
        }


def _whole(evaluation: Evaluation, sample: Sample, figures: Sequence[str]) -> dict[str, Any]:
    """All that judging and opening need."""
    task = evaluation.task
    is_custom = task.name.startswith("custom:")
    return {
        "task": f"custom:{evaluation.files.annotations[0].resolve()}" if is_custom else task.name,
        "rules": evaluation.rules[0].name,
        "figures": list(figures),
        "parts": [_place(part) if isinstance(part, Picture) else part for part in sample.parts],
        "options": dict(sample.options),
        "tags": dict(sample.tags),
        "group": sample.group,
        "cluster": sample.cluster,
        "answers": list(sample.answers),
    }


def _place(picture: Picture) -> dict[str, Any]:
    """Where a picture lies, and what it is. Raises PictureError if it is not there."""
    return {
        "path": str(picture.path.resolve()),
        "name": picture.name,
        "cell": picture.cell and {"kind": type(picture.cell).__name__, **asdict(picture.cell)},
        "sha256": images.digest(picture),
    }


def _yaml(
    name: str, evaluation: Evaluation, file: str, figures: Sequence[str], dialect: Dialect
) -> str:
    """Strings are written as JSON, which YAML reads."""
    task, prompt, rules = evaluation.task, evaluation.prompt, evaluation.rules[0]
    metrics = "".join(
        f"  - metric: {json.dumps(figure)}\n"
        f"    aggregation: !function {json.dumps(f'{HELPER}.{figure}')}\n"
        "    higher_is_better: true\n"
        for figure in figures
    )
    return f"""\
# Written by `spare export-tasks`: {task.name}, split {evaluation.split}, prompt {prompt.name},
# rules {rules.name}.
# {dialect.advice}
task: {json.dumps(name)}
tag: spare
{dialect.keys.format(file=json.dumps(f"questions/{file}"))}\
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: target
generation_kwargs:
  until: []
  {dialect.bound}: {prompt.max_new_tokens}
  do_sample: false
  temperature: 0.0
  # Many checkpoints ship a penalty, and greedy decoding would not be greedy with it.
  repetition_penalty: 1.0
process_results: !function {HELPER}.results
metric_list:
{metrics}metadata:
  version: {task.version}
"""


def _write(path: Path, text: str) -> None:
    with disk.replaced(path) as file:
        file.write(text.encode())
