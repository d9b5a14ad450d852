"""Small text tasks of lm-eval, written into a folder, and lm-eval's own figures for them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from spare.guests import as_guest
from spare.torchvision_repair import repair_torchvision

# Importing it here would change the process for other tests.
NEEDS_LM_EVAL = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed"
)

CHOICE = """
task: where_is_it
dataset_path: json
dataset_kwargs:
  data_files: {{train: {folder}/train.jsonl, test: {folder}/test.jsonl}}
  cache_dir: {folder}/cache
training_split: train
fewshot_split: train
test_split: test
num_fewshot: 2
output_type: multiple_choice
doc_to_text: "{{{{question}}}}\\nAnswer:"
doc_to_target: gold
doc_to_choice: choices
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
metadata: {{version: 2.5}}
"""

WRITTEN = """
task: say_it
dataset_path: json
dataset_kwargs:
  data_files: {{test: {folder}/test.jsonl}}
  cache_dir: {folder}/cache
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[gold]}}}}"
generation_kwargs: {{until: [" is", "."], max_gen_toks: 12, do_sample: false}}
filter_list:
  - name: whole
    filter: [{{function: take_first}}]
  - name: first-word
    filter: [{{function: regex, regex_pattern: "(\\\\w+)"}}, {{function: take_first}}]
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}}
metadata: {{version: 1}}
"""

QUESTIONS = (
    ("Which furniture is there?", ["a desk", "a chair", "a shelf"]),
    ("What is there besides the desk?", ["a cross", "a bowl"]),
    ("Is there a lamp?", ["yes", "no"]),
    ("Where is the cross?", ["on the desk", "under the desk", "left of the desk", "nowhere"]),
)


def write_tasks(folder: Path) -> dict[str, Path]:
    """Task -> its YAML file."""
    for name, count in (("train", 5), ("test", 12)):
        lines = [
            json.dumps({"question": f"{number}. {question}", "choices": choices, "gold": gold})
            for number in range(count)
            for question, choices in [QUESTIONS[number % len(QUESTIONS)]]
            for gold in [number // 2 % len(choices)]
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    paths = {}
    for name, text in (("where_is_it", CHOICE), ("say_it", WRITTEN)):
        paths[name] = folder / f"{name}.yaml"
        paths[name].write_text(text.format(folder=folder))
    return paths


def ask_lm_eval(checkpoint: Path, folder: Path, names: list[str], **settings: Any) -> Any:
    """What lm-eval's own evaluator gives for tasks in `folder`."""
    repair_torchvision()
    with as_guest():
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        return simple_evaluate(
            model="hf-multimodal",
            model_args=f"pretrained={checkpoint}",
            tasks=names,
            device="cpu",
            batch_size=8,
            apply_chat_template=True,
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            **settings,
        )
