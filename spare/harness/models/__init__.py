"""Engines: everything that can answer requests, each in a module of its own, imported only when it
is asked for.

To add one: write `spare/harness/models/<engine>.py` with a function (name, options) -> Model, and
add its line to `ENGINES`. Other packages, and a file that lies here, have theirs named by `own`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spare.errors import ModelError
from spare.harness.models.types import Model

ENGINES: Mapping[str, str] = {
    "transformers": "spare.harness.models.transformers:load",
    "random": "spare.harness.models.baselines:load_random",
    "majority": "spare.harness.models.baselines:load_majority",
    "vllm": "spare.harness.models.vllm:load",
    "clip": "spare.harness.models.clip:load",
    "openai": "spare.harness.models.openai:load",
    "lm-eval": "spare.harness.models.lm_eval:load",
    "vlmevalkit": "spare.harness.models.vlmevalkit:load",
    "shuffled": "spare.harness.models.shuffled:load",
}
"""Engine -> "module:function". The function gets what follows `engine:` in the model's name."""

OWN = "spare.harness.models.own:load"
"""What is given names of no engine of ours: a user's `module:Class`, or another package's."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may say about how a model is loaded and run.

    Attributes:
        adapter: folder of a PEFT adapter to put on the checkpoint, or "".
        dtype: "auto" (as the checkpoint was saved), "float32", "bfloat16" or "float16".
        device: "auto" (the first accelerator, else the processor), or a torch device ("cuda:1").
        max_pixels: pictures with more pixels are scaled down to this many; None leaves it to the
            checkpoint's own processor.
        attention: an attention implementation of transformers ("sdpa", "eager", ...); "" lets it
            choose.
        batch_tokens: tokens of all rows of a batch together, pictures and padding included; None
            derives it from the device's memory.
        seed: seed of the engines that draw random numbers.
        trust_remote_code: run Python code that comes with the checkpoint.
        share: let questions about one picture share its computation. Off only to prove that it
            changes nothing.
        language: nothing that is asked has a picture, so a language model will do.
        base_url: address of the server that the engine `openai` asks; "" leaves it to
            OPENAI_BASE_URL.
        concurrency: most requests that it has in flight.
        tensor_parallel: accelerators that the engine vllm spreads a model over.
        replicas: actors on a Ray cluster that answer side by side; 0 answers here.
    """

    adapter: str = ""
    dtype: str = "auto"
    device: str = "auto"
    max_pixels: int | None = None
    attention: str = ""
    batch_tokens: int | None = None
    seed: int = 0
    trust_remote_code: bool = False
    share: bool = True
    language: bool = False
    base_url: str = ""
    concurrency: int = 16
    tensor_parallel: int = 1
    replicas: int = 0


def load_model(
    spec: str,
    *,
    adapter: str = "",
    dtype: str = "auto",
    device: str = "auto",
    max_pixels: int | None = None,
    attention: str = "",
    batch_tokens: int | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
    share: bool = True,
    language: bool = False,
    base_url: str = "",
    concurrency: int = 16,
    tensor_parallel: int = 1,
    replicas: int = 0,
) -> Model:
    """A model that answers requests. The keyword arguments are the fields of `Options`.

    Args:
        spec: path or hub id of a checkpoint, which the `transformers` engine loads; or `random` or
            `majority`; or `engine:rest` for any engine of `ENGINES`; or `module:Class`, `NAME` or
            `NAME:rest` for a model of your own or of another package (see `own`).

    Raises:
        ModelError: there is no such engine or checkpoint, or it cannot answer questions about
            pictures, or a package that the engine needs is not installed.
    """
    if max_pixels is not None and max_pixels < 1:
        raise ModelError(f"A budget of {max_pixels} pixels leaves nothing to see; give more.")
    if batch_tokens is not None and batch_tokens < 1:
        raise ModelError(f"A batch of {batch_tokens} tokens holds no question; give more.")
    if concurrency < 1:
        raise ModelError("With --concurrency below 1 nothing is ever asked; give more.")
    engine, name = _split(spec)
    if tensor_parallel != 1 and not engine:
        raise ModelError(
            f"{name} is a model of your own, which --tensor-parallel does not spread; leave the "
            "option out."
        )
    if tensor_parallel != 1 and engine not in ("vllm", "shuffled"):
        raise ModelError(
            f"The engine {engine} does not spread a model by --tensor-parallel; name it "
            f"vllm:{name}, or leave the option out."
        )
    if replicas < 0:
        raise ModelError("There cannot be fewer than no replicas; --replicas 2 makes two.")
    options = Options(
        adapter=adapter,
        dtype=dtype,
        device=device,
        max_pixels=max_pixels,
        attention=attention,
        batch_tokens=batch_tokens,
        seed=seed,
        trust_remote_code=trust_remote_code,
        share=share,
        language=language,
        base_url=base_url,
        concurrency=concurrency,
        tensor_parallel=tensor_parallel,
        replicas=replicas,
    )
    if replicas and engine != "shuffled":  # which deals pictures out here, to the model inside
        from spare.harness.models.cluster import load_on_ray

        return load_on_ray(spec, options)
    module, function = ENGINES.get(engine, OWN).split(":")
    load = getattr(importlib.import_module(module), function)
    model: Model = load(name, options)
    return model


def _split(spec: str) -> tuple[str, str]:
    """The engine that `spec` names, "" if it is none of ours, and what it is to load."""
    engine, colon, rest = spec.partition(":")
    if engine in ENGINES and (colon or engine in ("random", "majority")):
        return engine, rest
    if colon and not Path(spec).exists():  # hub ids have no colon; a folder may have one
        return "", spec
    if not spec:
        raise ModelError("No model was named; give a checkpoint's path or hub id.")
    # No hub id is one word, and what lies here comes first.
    if "/" not in spec and not Path(spec).expanduser().exists():
        from spare.harness.models import own

        if spec in own.entry_points():
            return "", spec
        file = Path(f"{spec.replace('.', '/')}.py")
        if file.is_file():
            raise ModelError(f"Name the class in {file}, too: {spec}:Class.")
    return "transformers", spec
