"""The engine `vllm`: a checkpoint run by vLLM in this very program, without a server.

Requests about one picture come together (`windows`), so that vLLM's prefix cache has what they
share; prompts are made in background threads (`vllm_prompts`). Replies are greedy, and end as those
of the engine `transformers` do; so do errors. `vllm_ranking` says how options are ranked.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from spare.errors import ModelError
from spare.harness.models import Options
from spare.harness.models.adapters import adapter_lineage
from spare.harness.models.ahead import preparing_threads, work_ahead
from spare.harness.models.decoding import NOT_A_NUMBER
from spare.harness.models.digests import (
    PROCESSOR_FILES,
    digest_files,
    digest_settings,
    digest_text,
)
from spare.harness.models.loading import (
    Checkpoint,
    check_kind,
    find_checkpoint,
    first_line,
    is_language_model,
    load_processor,
    load_tokenizer,
    read_lineage,
    require_packages,
)
from spare.harness.models.probe import sample_picture
from spare.harness.models.prompts import REFUSALS, Preparer, context_of, ends_of
from spare.harness.models.types import Request, Response
from spare.harness.models.vllm_loading import (
    Adapter,
    check_options,
    import_vllm,
    put_on,
    read_adapter,
    start,
)
from spare.harness.models.vllm_prompts import Prompt, VllmPreparer
from spare.harness.models.vllm_ranking import Beginning, Ranking, questions
from spare.harness.models.windows import read_groups
from spare.images import Picture
from spare.tasks.types import Reply

WAITING = 32768
"""Tokens of prompts that are prepared before their turn; their pictures take the memory."""

PATIENCE = 0.05
"""Seconds for which questions are handed over before replies are looked at again."""

LOOP = {"min_pattern_size": 8, "max_pattern_size": 128, "min_count": 4}
"""A reply of a given shape that says the same 8 to 128 tokens four times over is cut off: small
models repeat one pair up to the bound."""


def load(name: str, options: Options) -> Vllm:
    """The checkpoint at a path or hub id.

    Raises:
        ModelError: there is none, or vLLM cannot run it, or is not installed.
    """
    require_packages("vllm")
    check_options(options)
    vllm = import_vllm()
    checkpoint = find_checkpoint(name, options.trust_remote_code)
    text = options.language and is_language_model(checkpoint)
    if not text:
        check_kind(checkpoint, options.trust_remote_code)
    adapter = read_adapter(options.adapter, not text) if options.adapter else None
    # Not beside the loading, as elsewhere: vLLM forks, which threads do not survive.
    identity = {"engine": "vllm", "weights": digest_files(checkpoint.weights)}
    lineage = read_lineage(checkpoint.folder)
    if adapter:
        lineage = adapter_lineage(Path(options.adapter), checkpoint, identity["weights"])
        identity["adapter"] = adapter.digest
    processor = (load_tokenizer if text else load_processor)(checkpoint, options)
    model = Vllm(vllm, processor, checkpoint, identity, adapter, options)
    model.lineage = lineage
    return model


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a question that vLLM has not answered yet is for."""

    prompt: Prompt
    ranking: Ranking | None = None
    beginning: Beginning = ()


class Vllm:
    """A checkpoint in vLLM; answers one call at a time. `Model` says what the attributes are."""

    identity: Mapping[str, str]
    facts: Mapping[str, str]
    lineage: Mapping[str, Any]

    def __init__(
        self,
        vllm: Any,
        processor: Any,
        checkpoint: Checkpoint,
        identity: Mapping[str, str],
        adapter: Adapter | None,
        options: Options,
    ) -> None:
        from transformers import AutoConfig
        from vllm.exceptions import VLLMError
        from vllm.v1.engine.exceptions import EngineDeadError

        config = AutoConfig.from_pretrained(
            checkpoint.folder, trust_remote_code=options.trust_remote_code, local_files_only=True
        )
        preparer = Preparer(processor, frozenset(), context_of(config), options.max_pixels)
        self._llm = start(vllm, checkpoint, options, adapter, _processing(preparer, options))
        self._engine = self._llm.llm_engine
        # vLLM holds on to itself; its process and the memory go when this model goes.
        weakref.finalize(self, self._engine.engine_core.shutdown)
        settings = self._engine.vllm_config
        preparer.context = min(preparer.context, settings.model_config.max_model_len)
        self._dead = EngineDeadError
        self._refusals = (*REFUSALS, TypeError, VLLMError)
        self._preparer = VllmPreparer(preparer, self._engine.renderer, self._refusals)
        self._tokenizer = processor.tokenizer
        self._ends = ends_of(_shipped_ends(checkpoint, config), processor.tokenizer)
        # More than it computes at once, so that it never waits for us.
        self._most = settings.scheduler_config.max_num_seqs * 5 // 4
        self._names = map(str, itertools.count())
        self._adapter = adapter and put_on(self._engine, adapter)
        self._parameters: dict[object, Any] = {}
        dtype = str(settings.model_config.dtype).removeprefix("torch.")
        self.identity = {
            **identity,
            "config": digest_settings([checkpoint.folder / "config.json"]),
            "processor": digest_settings(checkpoint.folder / name for name in PROCESSOR_FILES),
            "chat template": digest_text(str(processor.chat_template)),
            "dtype": dtype,
            "max pixels": str(options.max_pixels or "as the processor has it"),
            "decoding": f"greedy, ended by {' or '.join(map(str, self._ends)) or 'length alone'}; "
            "by schema: no loops",
        }
        self.facts = {
            "model": checkpoint.name,
            "revision": checkpoint.revision,
            "adapter": options.adapter,
            "kind": str(checkpoint.config.get("model_type")),
            "device": f"{options.tensor_parallel} x {_device()}",
            "prefix caching": "yes" if options.share else "no",
            "context": str(preparer.context),
            "vllm": vllm.__version__,
            "torch": importlib.metadata.version("torch"),
            "transformers": importlib.metadata.version("transformers"),
        }
        self._probe(checkpoint)

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request, as vLLM finishes them.

        A background thread reads the requests, no further ahead of the replies than a window and a
        queue. What reading raises is raised here, and ends it.

        Raises:
            ModelError: vLLM's process has died.
        """
        closed = threading.Event()
        groups = chain.from_iterable(read_groups(requests, _length, closed))
        with contextlib.closing(
            work_ahead(groups, self._preparer.prepare, _weigh, WAITING, preparing_threads())
        ) as prepared:
            try:
                yield from self._respond(chain.from_iterable(prepared))
            finally:
                closed.set()

    def _respond(self, prompts: Iterator[Prompt]) -> Iterator[Response]:
        """Hand questions over and take replies, in turns.

        vLLM's process computes all the while. Handing it chunks by `LLM.generate` would let it run
        dry at the end of each, waiting for the longest reply, and none would come before that.
        """
        flight: dict[str, _Asked] = {}
        more = True
        try:
            while more or flight:
                begun = time.monotonic()
                while more and len(flight) < self._most:
                    prompt = next(prompts, None)
                    if prompt is None:
                        more = False
                    elif fault := prompt.error or self._ask(prompt, flight):
                        yield Response(prompt.request.key, Reply(error=fault))
                    if flight and time.monotonic() - begun > PATIENCE:
                        break
                if flight:
                    yield from self._take(flight)
        except self._dead as error:
            raise ModelError(
                "vLLM's process has died; what it printed above says why. The same command goes "
                "on from the replies that are there."
            ) from error
        finally:
            if flight:
                # The process may have had the same Ctrl-C.
                with contextlib.suppress(self._dead, OSError):
                    self._engine.abort_request(list(flight))

    def _ask(self, prompt: Prompt, flight: dict[str, _Asked]) -> str:
        """Hand a prompt over. Why vLLM refuses it, or ""."""
        request = prompt.request
        if not request.rank:
            return self._add(_Asked(prompt), self._writing(request), flight)
        asked = questions(prompt.options.values())
        ranking = Ranking(prompt, len(asked))
        for beginning, choices in asked:
            parameters = self._sampling(max_tokens=1, logprob_token_ids=choices)
            fault = self._add(_Asked(prompt, ranking, beginning), parameters, flight)
            if fault:
                ranking.close(fault)
        return "" if ranking.open else ranking.fault

    def _add(self, asked: _Asked, parameters: Any, flight: dict[str, _Asked]) -> str:
        name = next(self._names)
        try:
            self._engine.add_request(
                name, asked.prompt.inputs(asked.beginning), parameters, lora_request=self._adapter
            )
        except self._dead:
            raise
        except self._refusals as error:
            return f"vLLM refused the question: {first_line(error)}"
        if asked.prompt.pictures:
            asked.prompt.pictures.sent = True
        flight[name] = asked
        return ""

    def _take(self, flight: dict[str, _Asked]) -> Iterator[Response]:
        """The responses that vLLM's next step completes, if any."""
        for output in self._engine.step():
            asked = flight.pop(output.request_id, None) if output.finished else None
            if asked is None:
                continue
            key, ranking = asked.prompt.request.key, asked.ranking
            (made,) = output.outputs
            fault = ""
            if made.finish_reason in ("abort", "error"):
                fault = f"vLLM gave the question up ({made.finish_reason})."
            if ranking is None:
                reply = Reply(error=fault) if fault else self._written(asked.prompt, made.token_ids)
                yield Response(key, reply)
                continue
            if not fault:
                found = {token: one.logprob for token, one in made.logprobs[0].items()}
                ranking.odds.setdefault(asked.beginning, {}).update(found)
            ranking.close(fault)
            if not ranking.open:
                yield Response(key, ranking.reply())

    def _written(self, prompt: Prompt, written: Iterable[int]) -> Reply:
        ids = list(written)
        end = next((place for place, token in enumerate(ids) if token in self._ends), None)
        return Reply(
            self._tokenizer.decode(ids[:end], skip_special_tokens=True),
            # A loop that was cut off ends like a bound that was reached: there would be more.
            finish="length" if end is None else "stop",
            input_tokens=len(prompt.tokens),
            output_tokens=len(ids) if end is None else end + 1,
        )

    def _writing(self, request: Request) -> Any:
        """How a request is written on; the same object for all of a kind."""
        from vllm.sampling_params import RepetitionDetectionParams, StructuredOutputsParams

        kind = request.max_new_tokens, request.schema
        if kind not in self._parameters:
            settings: dict[str, Any] = {"max_tokens": request.max_new_tokens}
            if request.schema:
                # White space could go on for ever (vllm-project/vllm #38696).
                settings["structured_outputs"] = StructuredOutputsParams(
                    json=request.schema, disable_any_whitespace=True
                )
                settings["repetition_detection"] = RepetitionDetectionParams(**LOOP)
            self._parameters[kind] = self._sampling(**settings)
        return self._parameters[kind]

    def _sampling(self, **settings: Any) -> Any:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        return SamplingParams(
            temperature=0,
            repetition_penalty=1.0,
            stop_token_ids=self._ends,
            detokenize=False,  # we do, as everywhere
            output_kind=RequestOutputKind.FINAL_ONLY,
            **settings,
        )

    def _probe(self, checkpoint: Checkpoint) -> None:
        """Ask about two pictures, or after two texts. Raises ModelError if vLLM is given another
        prompt than the checkpoint's own processor makes, or computes what cannot be."""
        plain = self._preparer.preparer
        prompts = []
        # The larger one is scaled down by most bounds on pixels.
        for key, side in (("small", 112), ("large", 560)):
            images = [sample_picture(side, 180 if side > 112 else 0)] if plain.sees else []
            picture = Picture(Path("probe"), "probe")  # stands for the image; never opened
            parts = (picture, "Is this left?") if plain.sees else (f"Is it {key}?",)
            request = Request(key, parts, {"A": "left", "B": "right"}, rank=True)
            (prompt,) = self._preparer.prompts([request], images)
            (expected,) = plain.prompts([request], images)
            if fault := prompt.error or expected.error:
                raise checkpoint.error(f"fails at a plain question: {fault}")
            if list(prompt.tokens) != expected.aligned["input_ids"][0].tolist():
                raise checkpoint.error(
                    "is given other tokens by vLLM than by its own processor; name it "
                    f"transformers:{checkpoint.name}."
                )
            prompts.append(prompt)
        found = dict(self._respond(iter(prompts)))
        for reply in found.values():
            if reply.error == NOT_A_NUMBER:
                raise checkpoint.error(
                    f"computes something that is not a number (NaN) as {self.identity['dtype']}; "
                    "try another --dtype."
                )
            if reply.error:
                raise checkpoint.error(f"fails at a plain question: {reply.error}")
        if plain.sees and found["small"].likelihoods == found["large"].likelihoods:
            raise checkpoint.error("does not look at pictures: it says the same under any two.")


def _processing(preparer: Preparer, options: Options) -> dict[str, Any] | None:
    """Settings of the picture processor that bound its pixels as `preparer` does."""
    if not preparer.sees:
        return None
    if options.max_pixels is None or preparer.scale_to is not None:
        return {}
    return {"size": dict(preparer.processor.image_processor.size)}


def _shipped_ends(checkpoint: Checkpoint, config: Any) -> Any:
    """The tokens that a checkpoint's own generation settings end a reply with."""
    from transformers import GenerationConfig

    if (checkpoint.folder / "generation_config.json").is_file():
        settings = GenerationConfig.from_pretrained(checkpoint.folder, local_files_only=True)
    else:
        settings = GenerationConfig.from_model_config(config)
    return settings.eos_token_id


def _device() -> str:
    from vllm.platforms import current_platform

    name: str = current_platform.get_device_name()
    return name


def _length(request: Request) -> float:
    """About how long a request's text is. vLLM batches whatever it is given, so this only keeps the
    work that waits even."""
    return float(sum(len(part) for part in request.parts if isinstance(part, str)))


def _weigh(prompts: Sequence[Prompt]) -> int:
    """Memory that waiting prompts take, in tokens of pictures, which they share."""
    return max(len(prompt.tokens) for prompt in prompts)
