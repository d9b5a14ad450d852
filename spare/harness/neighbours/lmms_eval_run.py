"""Runs lmms-eval's own evaluator on an exported task and writes down what it saw: a process of its
own, so that nothing of it stays here.

    python -m spare.harness.neighbours.lmms_eval_run TASKS NAME CHECKPOINT MODEL OUT

Every model of lmms-eval's fills in a template and prepares pictures in its own way, and logs none
of it. So its processor is watched: what that is handed is what the checkpoint sees.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from spare.errors import near
from spare.harness.models.lm_eval import default_device
from spare.harness.neighbours.differences import reading_of
from spare.torchvision_repair import repair_torchvision

UNSEEN = (
    "its model {} hands no prompt to a processor of transformers, so what it asks cannot be seen"
)


def main(tasks: str, name: str, checkpoint: str, model: str, out: str) -> None:
    """Ask the task `name`, which is in the folder `tasks`, of a checkpoint by a model of
    lmms-eval's (JSON: its name, its settings); lines of JSON go to `out`: first the `notes`, then
    for each question the fields of `Seen`."""
    repair_torchvision()
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    kind, settings = json.loads(model)
    network = _create(kind, {"pretrained": checkpoint, **settings})
    notes = [*dict.fromkeys(_notes(checkpoint, network))]
    seen = _watch(kind, network)
    found = simple_evaluate(
        model=network,
        tasks=[name],
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=tasks, include_defaults=False, model_name=kind),
    )
    with Path(out).open("w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(json.dumps({"notes": notes}) + "\n")
        for one in found["samples"][name]:
            scored = one[json.loads(one["doc"]["sample"])["figures"][0]]
            line = {
                "id": one["doc"]["id"],
                **seen[one["doc_id"]],
                "reading": reading_of(scored.verdict),
                "score": float(scored),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _create(kind: str, settings: Mapping[str, Any]) -> Any:
    """A model of lmms-eval's on the device that is there, which most take to be a GPU."""
    from lmms_eval.models import get_model, list_available_models

    there = list_available_models(include_aliases=True)
    if kind not in there:
        sys.exit(f"it has no model {kind}{near(kind, there)}")
    made = get_model(kind)
    known = inspect.signature(made.__init__).parameters
    device = {name: default_device() for name in ("device", "device_map") if name in known}
    return made(**{**device, **settings})


def _notes(checkpoint: str, network: Any) -> Iterator[str]:
    """What a model of lmms-eval's does to the weights and to pictures' sizes in its own way."""
    from transformers import AutoConfig, AutoProcessor, PreTrainedModel, ProcessorMixin

    for one in vars(network).values():
        if isinstance(one, PreTrainedModel):
            stored = AutoConfig.from_pretrained(checkpoint).dtype
            if stored is not None and stored != one.dtype:
                now, then = (str(dtype).removeprefix("torch.") for dtype in (one.dtype, stored))
                yield f"lmms-eval computes in {now}, and the checkpoint is in {then}."
        elif isinstance(one, ProcessorMixin):
            own, theirs = map(_bounds, (AutoProcessor.from_pretrained(checkpoint), one))
            if own != theirs:
                yield f"lmms-eval scales pictures by {theirs}, and the checkpoint by {own}."


def _bounds(processor: Any) -> str:
    """What a processor scales pictures by."""
    size = getattr(getattr(processor, "image_processor", None), "size", None) or {}
    return ", ".join(f"{name} {value:,}" for name, value in sorted(dict(size).items()))


def _watch(kind: str, network: Any) -> dict[int, dict[str, Any]]:
    """Have a model of lmms-eval's asked one question at a time. What it makes of each will be in
    the dictionary that is returned: place in the task -> fields of `Seen`."""
    from lmms_eval.api.instance import unwrap_generation_output
    from loguru import logger
    from transformers import ProcessorMixin

    processors = {type(one) for one in vars(network).values() if isinstance(one, ProcessorMixin)}
    handed: list[Mapping[str, Any]] = []
    for processor in processors:
        _listen(processor, handed)
    errors: list[str] = []
    logger.add(lambda message: errors.append(message.record["message"]), level="ERROR")
    seen: dict[int, dict[str, Any]] = {}
    generate = network.generate_until

    def observed(requests: list[Any]) -> list[Any]:
        replies = []
        for request in requests:
            handed.clear()
            errors.clear()
            (reply,) = generate([request])
            if not handed:
                sys.exit(UNSEEN.format(kind))
            text, _ = unwrap_generation_output(reply)
            # Some models log an error and reply nothing.
            seen[request.doc_id] = {**handed[-1], "reply": text or " ".join(errors)}
            replies.append(reply)
        return replies

    network.generate_until = observed
    return seen


def _listen(processor: type, handed: list[Mapping[str, Any]]) -> None:
    """Have every call of a processor written down: its prompt, its pictures."""
    call = processor.__call__
    named = inspect.signature(call)

    @functools.wraps(call)
    def listening(*args: Any, **settings: Any) -> Any:
        given = named.bind(*args, **settings).arguments
        text = given.get("text")
        handed.append(
            {
                "prompt": text if isinstance(text, str) else "".join(text or ()),
                "pictures": [*map(_pixels, _flat(given.get("images")))],
            }
        )
        return call(*args, **settings)

    processor.__call__ = listening  # type: ignore[method-assign]


def _flat(images: Any) -> Iterator[Any]:
    """Pictures come alone, in a list, or in a list for each question."""
    if isinstance(images, list | tuple):
        for one in images:
            yield from _flat(one)
    elif images is not None:
        yield images


def _pixels(image: Any) -> str:
    """See `Seen.pictures`."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return hashlib.sha256(buffer.getvalue()).hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
