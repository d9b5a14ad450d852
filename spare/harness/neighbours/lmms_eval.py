"""Our tasks as lmms-eval's, which finds them by `--include_path`. See `yaml_tasks` for how they are
written down. What can differ from `spare eval` is the model's side alone, and that is a lot: each
model of lmms-eval's spells the prompt, changes the pictures and decodes in its own way.

- Models of its chat kind get our parts in our order. Those of its older, simple kind get all
  pictures first and then one text; where pictures do not come first, `<image 1>` stands in the text
  for each, as in lmms-eval's own MMMU (some put the picture there with `interleave_visuals=True`).
- Its Qwen2-VL adds a system prompt, and makes JPEG of quality 85 of pictures; its Qwen2.5-VL and
  Qwen3-VL compute in bfloat16. All of them scale pictures beforehand, by bounds of their own.
- Most read no generation setting but length and temperature, and what a checkpoint ships counts.

Prompts that rank options are refused: its chat models have no log-likelihoods.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spare import disk
from spare.errors import SpareError
from spare.harness.asking import Evaluation
from spare.harness.models.loading import find_checkpoint
from spare.harness.models.types import Request
from spare.harness.models.vlmevalkit import settings_of
from spare.harness.neighbours import yaml_tasks
from spare.harness.neighbours.differences import Observed, Seen
from spare.harness.neighbours.processes import run_harness
from spare.harness.neighbours.yaml_tasks import COLUMNS, HELPER, Dialect, Line
from spare.tasks.types import Part

MISSING = "lmms-eval is not installed; docs/neighbours.md says how, in an environment of its own"

MODELS: Mapping[str, str] = {
    "qwen2_vl": "qwen2_vl",
    "qwen2_5_vl": "qwen2_5_vl",
    "qwen3_vl": "qwen3_vl",
    "llava": "llava_hf",
    "llava_next": "llava_hf",
    "llava_onevision": "llava_hf",
}
"""A checkpoint's `model_type` -> the model of lmms-eval's that is for it, where there is but
one."""


def write_task(evaluation: Evaluation, folder: Path) -> str:
    """See `Neighbour`."""
    return yaml_tasks.write_task(evaluation, folder, DIALECT)


def command(folder: Path, names: Sequence[str]) -> str:
    """See `Neighbour`."""
    return (
        "python -m lmms_eval --model MODEL --model_args pretrained=CHECKPOINT "
        f"--include_path {shlex.quote(str(folder))} --tasks {shlex.quote(','.join(names))}"
    )


def observe(evaluation: Evaluation, checkpoint: str, folder: Path, settings: str = "") -> Observed:
    """See `Neighbour`. `settings` is a model of lmms-eval's and its arguments; without a name, it
    is the one for the checkpoint's family. lmms-eval runs in a process of its own."""
    model, _, rest = settings.partition(",")
    made = json.dumps([model or _model(checkpoint), settings_of(rest)])
    if importlib.util.find_spec("lmms_eval") is None:
        raise SpareError(f"{MISSING}.")
    name = write_task(evaluation, folder)
    first, *lines = run_harness(
        "lmms-eval",
        evaluation.task.name,
        "lmms_eval_run",
        [str(folder.resolve()), name, checkpoint, made],
        folder / "seen.jsonl",
        # Else a copy of the questions would stay there.
        {"HF_DATASETS_CACHE": str(folder.resolve() / "cache")},
    )
    return Observed([Seen(**line) for line in lines], first["notes"])


def _model(checkpoint: str) -> str:
    kind = str(find_checkpoint(checkpoint).config.get("model_type"))
    if kind not in MODELS:
        raise SpareError(
            "lmms-eval has a model for each family; name the one for this checkpoint (model_type "
            f"{kind}): --against lmms-eval:qwen2_vl, or lmms-eval:NAME,SETTING=VALUE."
        )
    return MODELS[kind]


def spell(model: Any, request: Request) -> str:
    """See `Neighbour`: the filled-in chat template."""
    return str(model.spell(request))


def name_and_version() -> str:
    """See `Neighbour`."""
    return f"lmms-eval {importlib.metadata.version('lmms_eval')}"


def _spelt(parts: Sequence[Part]) -> str:
    pictures = [number for number, part in enumerate(parts) if not isinstance(part, str)]
    if pictures == list(range(len(pictures))):  # they come first, as simple models have it anyway
        return "".join(part for part in parts if isinstance(part, str))
    signs = (f"<image {number}>" for number in range(1, len(pictures) + 1))
    return "".join(part if isinstance(part, str) else next(signs) for part in parts)


def _write_table(path: Path, lines: Iterable[Line]) -> None:
    import pyarrow
    from pyarrow import parquet

    # A table says that all of it is text. Of lines of JSON `datasets` would make dates and numbers.
    schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])
    try:
        table = pyarrow.Table.from_pylist(list(lines), schema)
    except UnicodeEncodeError:
        raise SpareError(
            f"A question for {path} holds half a character (a lone surrogate); change the data."
        ) from None
    with disk.replaced(path) as file:
        parquet.write_table(table, file)


DIALECT = Dialect(
    harness="lmms-eval",
    ranking="which lmms-eval's chat models cannot do",
    signs=re.compile(r"<image(?: \d+)?>"),
    spell=_spelt,
    suffix=".parquet",
    write=_write_table,
    keys=f"""\
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {{file}}
doc_to_visual: !function {HELPER}.pictures
doc_to_messages: !function {HELPER}.messages
""",
    bound="max_new_tokens",
    advice="lmms-eval's models spell the prompt, and change pictures, in their own ways.",
)
