"""Our tasks as lm-eval's, which finds them by `--include_path`. See `yaml_tasks` for how they are
written down. What can differ from `spare eval` is the model's side alone:

- The prompt is ours only with `--apply_chat_template`. Without it lm-eval sends bare text.
- lm-eval cuts a prompt that is too long from the left; we count it as an error.

Prompts that rank options are refused: lm-eval 0.4.13 has no log-likelihoods beside pictures (its
`hf-multimodal` and `vllm-vlm` raise NotImplementedError).
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spare import disk
from spare.errors import SpareError
from spare.guests import require_lm_eval
from spare.harness.asking import Evaluation
from spare.harness.models.types import Request
from spare.harness.neighbours import yaml_tasks
from spare.harness.neighbours.differences import Observed, Seen
from spare.harness.neighbours.processes import run_harness
from spare.harness.neighbours.yaml_tasks import HELPER, Dialect, Line
from spare.tasks.types import Part

PLACEHOLDER = "<image>"
"""What lm-eval puts a picture in the place of."""


def write_task(evaluation: Evaluation, folder: Path) -> str:
    """See `Neighbour`."""
    return yaml_tasks.write_task(evaluation, folder, DIALECT)


def command(folder: Path, names: Sequence[str]) -> str:
    """See `Neighbour`."""
    tasks = shlex.quote(",".join(names))
    return (
        "lm_eval --model hf-multimodal --model_args pretrained=CHECKPOINT --apply_chat_template "
        f"--batch_size 8 --include_path {shlex.quote(str(folder))} --tasks {tasks}"
    )


def observe(evaluation: Evaluation, checkpoint: str, folder: Path, settings: str = "") -> Observed:
    """See `Neighbour`. lm-eval runs in a process of its own."""
    if settings:
        raise SpareError(f"lm-eval takes no {settings!r} here; --against lm-eval is all.")
    require_lm_eval()
    name = write_task(evaluation, folder)
    arguments = [str(folder.resolve()), name, checkpoint]
    task, out = evaluation.task.name, folder / "seen.jsonl"
    lines = run_harness("lm-eval", task, "lm_eval_run", arguments, out)
    return Observed([Seen(**line) for line in lines])


def spell(model: Any, request: Request) -> str:
    """See `Neighbour`: the filled-in chat template."""
    return str(model.spell(request))


def name_and_version() -> str:
    """See `Neighbour`."""
    return f"lm-eval {importlib.metadata.version('lm_eval')}"


def _spelt(parts: Sequence[Part]) -> str:
    return "".join(part if isinstance(part, str) else PLACEHOLDER for part in parts)


def _write_lines(path: Path, lines: Iterable[Line]) -> None:
    with disk.replaced(path) as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass"))
            file.write(b"\n")


DIALECT = Dialect(
    harness="lm-eval",
    ranking="which lm-eval refuses to do beside pictures",
    signs=re.compile(re.escape(PLACEHOLDER)),
    spell=_spelt,
    suffix=".jsonl",
    write=_write_lines,
    keys=f"""\
custom_dataset: !function {HELPER}.docs
dataset_kwargs:
  file: {{file}}
doc_to_image: !function {HELPER}.pictures
""",
    bound="max_gen_toks",
    advice="Give lm-eval --apply_chat_template, or the model gets another prompt than in "
    "`spare eval`.",
)
