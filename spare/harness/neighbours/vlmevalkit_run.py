"""Runs VLMEvalKit's own inference on an exported task and writes down what it saw: a process of its
own, so that nothing of it stays here.

    python -m spare.harness.neighbours.vlmevalkit_run TASKS NAME WRAPPER OUT
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spare.harness.models.vlmevalkit_child import load_wrapper
from spare.harness.neighbours.vlmevalkit import CONFIG, PLACEHOLDER


def main(tasks: str, name: str, wrapper: str, out: str) -> None:
    """Ask the data set `name`, which is in the folder `tasks`, of a wrapper (JSON: its name, its
    settings); a line of JSON per question goes to `out`, in the table's order: `prompt`,
    `pictures`, `reply`, and `reading` and `score` if VLMEvalKit reads replies to it."""
    os.environ["LMUData"] = tasks  # noqa: SIM112 - its name
    model, _ = load_wrapper(*json.loads(wrapper))
    from vlmeval.inference import infer_data_job
    from vlmeval.run import build_dataset_from_config

    config = json.loads((Path(tasks) / CONFIG).read_bytes())["data"]
    dataset = build_dataset_from_config(config, name)
    seen: list[dict[str, Any]] = []
    generate = model.generate

    def observed(message: Any, dataset: str | None = None) -> Any:
        asked = [dict(part) for part in message]  # wrappers change it
        reply = generate(message, dataset=dataset)
        seen.append({**_asked(asked), "reply": str(reply)})
        return reply

    model.generate = observed
    work = Path(tasks) / "inference"
    work.mkdir()
    infer_data_job(model, str(work), "model", dataset, api_nproc=1)
    rows = [row for _, row in dataset.data.iterrows()]
    with Path(out).open("w", encoding="utf-8", errors="surrogatepass") as file:
        for row, line in zip(rows, seen, strict=True):
            found = {**line, **_read(config[name]["class"], row, line["reply"])}
            file.write(json.dumps(found, ensure_ascii=False) + "\n")


def _asked(message: list[dict[str, str]]) -> dict[str, Any]:
    import PIL.Image

    pictures = []
    for part in message:
        if part["type"] == "image":
            buffer = io.BytesIO()
            with PIL.Image.open(part["value"]) as image:
                image.convert("RGB").save(buffer, format="PNG")
            pictures.append(hashlib.sha256(buffer.getvalue()).hexdigest())
    words = [PLACEHOLDER if part["type"] == "image" else part["value"] for part in message]
    return {"prompt": "\n".join(words), "pictures": pictures}


def _read(kind: str, row: Mapping[str, Any], reply: str) -> dict[str, Any]:
    """VLMEvalKit's reading of a reply, and its score, without a judge model."""
    if kind == "ImageYORNDataset":
        from vlmeval.dataset.utils.yorn import YOrN_Extraction

        answer = YOrN_Extraction(reply)
        return _reading("" if answer == "Unknown" else answer, reply, row["answer"])
    if kind == "ImageMCQDataset":
        from vlmeval.dataset.utils.multiple_choice import extract_answer_from_item

        answer = extract_answer_from_item(None, {**row, "prediction": reply})["opt"]
        return _reading("" if answer == "Z" else answer, reply, row["answer"])
    return {}


def _reading(answer: str, reply: str, target: str) -> dict[str, Any]:
    none = "(unparsed)" if reply.strip() else "(empty)"
    return {"reading": answer or none, "score": float(answer == target)}


if __name__ == "__main__":
    main(*sys.argv[1:])
