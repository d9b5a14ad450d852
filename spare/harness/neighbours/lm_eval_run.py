"""Runs lm-eval's own evaluator on an exported task and writes down what it saw: a process of its
own, so that nothing of it stays here.

    python -m spare.harness.neighbours.lm_eval_run TASKS NAME CHECKPOINT OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from spare.harness.models.lm_eval import default_device
from spare.harness.neighbours.differences import reading_of
from spare.torchvision_repair import repair_torchvision


def main(tasks: str, name: str, checkpoint: str, out: str) -> None:
    """Ask the task `name`, which is in the folder `tasks`, of a checkpoint; a line of JSON per
    question goes to `out`, with the fields of `Seen`."""
    repair_torchvision()
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    found = simple_evaluate(
        model="hf-multimodal",
        model_args={"pretrained": checkpoint},
        tasks=[name],
        device=default_device(),
        apply_chat_template=True,
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=tasks, include_defaults=False),
    )
    assert found is not None
    with Path(out).open("w", encoding="utf-8", errors="surrogatepass") as file:
        for one in found["samples"][name]:
            ((prompt, _, extra),) = one["arguments"]
            scored = one[one["metrics"][0]]
            line = {
                "id": one["doc"]["id"],
                "prompt": prompt,
                # lm-eval's own digests of what it gave to the model.
                "pictures": extra["visual"],
                "reply": one["resps"][0][0],
                "reading": reading_of(scored.verdict),
                "score": float(scored),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
