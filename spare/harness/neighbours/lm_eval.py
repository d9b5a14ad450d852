"""Our tasks as lm-eval's: for each a YAML file and a file of questions, beside one helper module.

lm-eval finds them by `--include_path`. A question keeps its place in the published pictures, which
are opened by our rules and must be the very files that were there when it was written; replies are
judged by our rules and summed up by our metrics. So what can differ is the model's side alone:

- The prompt is ours only with `--apply_chat_template`. Without it lm-eval sends bare text.
- lm-eval cuts a prompt that is too long from the left; we count it as an error.
- The end of a reply, its bound and greedy decoding are set in the YAML as we have them.

Prompts that rank options are refused: lm-eval 0.4.13 has no log-likelihoods beside pictures (its
`hf-multimodal` and `vllm-vlm` raise NotImplementedError).
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spare import disk, images
from spare.errors import SpareError
from spare.guests import require_lm_eval
from spare.harness.asking import Evaluation
from spare.harness.lines import Saved
from spare.harness.models.types import Request
from spare.harness.neighbours import lm_eval_docs
from spare.harness.neighbours.differences import Seen
from spare.images import Picture
from spare.tasks.types import Prompt, Reply, Sample, Task

PLACEHOLDER = "<image>"
"""What lm-eval puts a picture in the place of."""

HELPER = "spare_tasks"

_HELPER_TEXT = '''"""What lm-eval calls for the tasks beside it. Written by `spare export-tasks`."""

try:
    from spare.harness.neighbours import lm_eval_docs
except ImportError as error:
    raise ImportError(
        "These tasks open pictures and judge replies with spare, which is not installed here; run "
        "`pip install -e .` in the folder of spare's repository, with lm-eval's pip."
    ) from error

pictures = lm_eval_docs.pictures
results = lm_eval_docs.results


def docs(file, **_):
    return lm_eval_docs.load(__file__, file)


def __getattr__(name):
    return lm_eval_docs.aggregation(name)
'''


def write_task(evaluation: Evaluation, folder: Path) -> str:
    """See `Neighbour`. Lines of a question: `id`, `question`, `target`, for a person and for
    lm-eval, and `sample`, all of it as JSON."""
    task, prompt = evaluation.task, evaluation.prompt
    _check(task, prompt)
    name = f"spare_{task.name.removeprefix('custom:')}"
    (folder / "questions").mkdir(parents=True, exist_ok=True)
    file = folder / "questions" / f"{name}.jsonl"
    evaluation.count_samples()
    figures = _figures(evaluation)
    with disk.replaced(file) as lines:
        for line in _lines(evaluation, figures):
            lines.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass"))
            lines.write(b"\n")
    _write(folder / f"{HELPER}.py", _HELPER_TEXT)
    # The YAML comes last: with it the task is there.
    _write(folder / f"{name}.yaml", _yaml(name, evaluation, file.name, figures))
    return name


def command(folder: Path, names: Sequence[str]) -> str:
    """See `Neighbour`."""
    return (
        "lm_eval --model hf-multimodal --model_args pretrained=CHECKPOINT --apply_chat_template "
        f"--batch_size 8 --include_path {shlex.quote(str(folder))} --tasks {','.join(names)}"
    )


def observe(
    evaluation: Evaluation, checkpoint: str, folder: Path, settings: str = ""
) -> list[Seen]:
    """See `Neighbour`. lm-eval runs in a process of its own."""
    if settings:
        raise SpareError(f"lm-eval takes no {settings!r} here; --against lm-eval is all.")
    require_lm_eval()
    name = write_task(evaluation, folder)
    out = folder / "seen.jsonl"
    module = "spare.harness.neighbours.lm_eval_run"
    # It finds what this process finds, however that was arranged.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", module, str(folder), name, checkpoint, str(out)],
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        why = lines[-1].strip() if lines else f"exit code {done.returncode}"
        raise SpareError(f"lm-eval failed at {evaluation.task.name}: {why.rstrip('.')}.")
    with out.open(encoding="utf-8", errors="surrogatepass") as file:
        return [Seen(**json.loads(line)) for line in file]


def spell(model: Any, request: Request) -> str:
    """See `Neighbour`: the filled-in chat template."""
    return str(model.spell(request))


def name_and_version() -> str:
    """See `Neighbour`."""
    return f"lm-eval {importlib.metadata.version('lm_eval')}"


def _check(task: Task, prompt: Prompt) -> None:
    if task.submission:
        raise SpareError(
            f"The answers to {task.name} are not public, so lm-eval could not score it."
        )
    if prompt.rank:
        writing = [name for name, other in task.prompts.items() if not other.rank]
        remedy = (
            f"choose --prompt {task.name}={writing[0]}"
            if writing
            else f"leave {task.name} out, which has no prompt that is answered in writing"
        )
        raise SpareError(
            f"The prompt {prompt.name} of {task.name} ranks options by likelihood, which lm-eval "
            f"refuses to do beside pictures; {remedy}."
        )


def _figures(evaluation: Evaluation) -> list[str]:
    """The metrics that replies to this prompt have under these rules, headline first."""
    task = evaluation.task
    right = (Saved(sample, Reply(text=sample.target)) for sample in evaluation.samples())
    found = lm_eval_docs.summed_up(task, evaluation.rules[0].name, right)
    return [name for name in dict.fromkeys((task.headline, *found)) if name in found]


def _lines(evaluation: Evaluation, figures: Sequence[str]) -> Iterator[dict[str, str]]:
    for sample in evaluation.samples():
        texts = [part for part in sample.parts if isinstance(part, str)]
        if any(PLACEHOLDER in text for text in texts):
            raise SpareError(
                f"Question {sample.id} of {evaluation.task.name} spells out {PLACEHOLDER}, where "
                "lm-eval would put a picture; change the data or leave the task out."
            )
        if len(texts) == len(sample.parts):
            raise SpareError(
                f"Question {sample.id} of {evaluation.task.name} has no picture, and lm-eval's "
                "models for pictures take none without; leave the task out."
            )
        yield {
            "id": sample.id,
            "question": "".join(
                part if isinstance(part, str) else PLACEHOLDER for part in sample.parts
            ),
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


def _yaml(name: str, evaluation: Evaluation, file: str, figures: Sequence[str]) -> str:
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
# Give lm-eval --apply_chat_template, or the model gets another prompt than in `spare eval`.
task: {json.dumps(name)}
tag: spare
custom_dataset: !function {HELPER}.docs
dataset_kwargs:
  file: {json.dumps(f"questions/{file}")}
test_split: test
output_type: generate_until
doc_to_image: !function {HELPER}.pictures
doc_to_text: question
doc_to_target: target
generation_kwargs:
  until: []
  max_gen_toks: {prompt.max_new_tokens}
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
