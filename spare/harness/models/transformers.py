"""The engine `transformers`: any checkpoint that `AutoModelForImageTextToText` loads; and, where
nothing that is asked has a picture, that `AutoModelForCausalLM` loads.

Requests are looked ahead over a bounded window and those about one picture brought together
(`windows`). Background threads open and preprocess pictures (`ahead`, `prompts`) while a batch is
computed, in which rows about one picture branch from one computation of it (`decoding`). Batches
are filled up to a number of tokens, those of pictures included.

Replies are greedy. Of a checkpoint's own generation settings only the tokens that end a reply are
kept: temperatures, penalties and the like, which many checkpoints ship, would change replies
without anyone having asked for it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from spare.harness.models import Options
from spare.harness.models.adapters import adapter_lineage, apply_adapter
from spare.harness.models.ahead import preparing_threads, work_ahead
from spare.harness.models.decoding import Decoder, Row
from spare.harness.models.digests import (
    PROCESSOR_FILES,
    digest_files,
    digest_settings,
    digest_text,
)
from spare.harness.models.loading import (
    Checkpoint,
    check_kind,
    device_of,
    dtype_of,
    find_checkpoint,
    is_language_model,
    load_network,
    load_processor,
    load_tokenizer,
    read_lineage,
    require_packages,
)
from spare.harness.models.probe import probe
from spare.harness.models.prompts import REFUSALS, Preparer, Prompt, context_of, ends_of
from spare.harness.models.types import INSTEAD_OF_RANKING, Request, Response
from spare.harness.models.windows import pixels, read_groups
from spare.images import Picture
from spare.tasks.types import Likelihood, Reply

Outcome = Likelihood | Reply
"""What a row comes to."""

NO_MEMORY = ("not enough memory", "can't allocate memory")
"""How torch words it where there is no accelerator."""

OUT_OF_MEMORY = "Out of memory, even with no other question beside it; lower --max-pixels."

NO_RANKING = (
    "This family of models does not simply read from left to right, so the likelihood of an option "
    f"is not known; {INSTEAD_OF_RANKING}."
)


def load(name: str, options: Options) -> Transformers:
    """The checkpoint at a path or hub id.

    Raises:
        ModelError: there is none, or it cannot answer questions about pictures, and they have some.
    """
    require_packages()
    checkpoint = find_checkpoint(name, options.trust_remote_code)
    text = options.language and is_language_model(checkpoint)
    if not text:
        check_kind(checkpoint, options.trust_remote_code)
    # Both read every byte of the weights; side by side, the disk delivers them once.
    with ThreadPoolExecutor(1, "digest") as pool:
        weights = pool.submit(digest_files, checkpoint.weights)
        if text:
            network = load_network(checkpoint, options, "AutoModelForCausalLM")
            processor = load_tokenizer(checkpoint, options)
        else:
            network = load_network(checkpoint, options)
            processor = load_processor(checkpoint, options)
        identity = {"engine": "transformers", "weights": weights.result()}
    lineage = read_lineage(checkpoint.folder)
    if options.adapter:
        lineage = adapter_lineage(Path(options.adapter), checkpoint, identity["weights"])
        network, file = apply_adapter(network, options.adapter)
        settings = digest_settings([file.with_name("adapter_config.json")])
        identity["adapter"] = digest_text(digest_files([file]) + settings)
    model = Transformers(network, processor, checkpoint, identity, options)
    model.lineage = lineage
    return model


class Transformers:
    """A loaded checkpoint. See `Model` for what the attributes mean."""

    identity: Mapping[str, str]
    facts: Mapping[str, str]
    lineage: Mapping[str, Any]

    def __init__(
        self,
        network: Any,
        processor: Any,
        checkpoint: Checkpoint,
        identity: Mapping[str, str],
        options: Options,
    ) -> None:
        ends, pad = make_greedy(network, processor.tokenizer)
        self.decoder = Decoder(network, processor.tokenizer, ends, pad)
        self._preparer = Preparer(
            processor,
            picture_tokens(network.config, processor),
            context_of(network.config),
            options.max_pixels,
        )
        findings = probe(checkpoint, self.decoder, self._preparer)
        self._share = options.share and not findings.shares
        self._ranks = findings.ranks
        self._pixel_tokens = findings.pixel_tokens
        self._batch_tokens = options.batch_tokens or _default_batch_tokens(network)
        if not findings.batches:
            self._batch_tokens = 1
        if options.share and findings.shares:
            warnings.warn(f"Nothing is shared between questions: {findings.shares}.", stacklevel=2)
        self.identity = {
            **identity,
            "config": digest_settings([checkpoint.folder / "config.json"]),
            "processor": digest_settings(checkpoint.folder / name for name in PROCESSOR_FILES),
            "chat template": digest_text(str(processor.chat_template)),
            "dtype": dtype_of(network),
            "max pixels": str(options.max_pixels or "as the processor has it"),
            "attention": str(network.config._attn_implementation),
            "decoding": f"greedy, ended by {' or '.join(map(str, ends)) or 'length alone'}",
        }
        self.facts = {
            "model": checkpoint.name,
            "revision": checkpoint.revision,
            "adapter": options.adapter,
            "kind": str(checkpoint.config.get("model_type")),
            "parameters": str(sum(weight.numel() for weight in network.parameters())),
            "device": device_of(network),
            "shared pictures": "yes" if self._share else f"no: {findings.shares or 'switched off'}",
            "batch tokens": str(self._batch_tokens),
            "context": str(self._preparer.context),
            "torch": importlib.metadata.version("torch"),
            "transformers": importlib.metadata.version("transformers"),
        }

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request, batch by batch.

        A background thread reads the requests, no further ahead of the replies than a window and a
        queue. What reading raises is raised here, and ends it.
        """
        closed = threading.Event()
        groups = chain.from_iterable(read_groups(requests, self._length, closed))
        limit = 2 * self._batch_tokens
        with contextlib.closing(
            work_ahead(groups, self._preparer.prepare, _weigh, limit, preparing_threads())
        ) as prepared:
            try:
                yield from self._respond(prepared)
            finally:
                closed.set()

    def spell(self, request: Request) -> str:
        """The prompt of a request as a text, in which the checkpoint's signs stand for pictures.
        Raises PictureError, or one of `REFUSALS`."""
        return self._preparer.spell(request, self._preparer.open(request))

    def _respond(self, prepared: Iterable[Sequence[Prompt]]) -> Iterator[Response]:
        ranked: dict[int, dict[str, Outcome]] = {}
        batch: list[Row] = []
        # Batches grow, so that the first is soon under way while the next is prepared.
        bound = max(1, self._batch_tokens // 8)
        for prompts in prepared:
            rows = []
            for prompt in prompts:
                if prompt.error:
                    yield Response(prompt.request.key, Reply(error=prompt.error))
                elif prompt.request.rank and not self._ranks:
                    yield Response(prompt.request.key, Reply(error=NO_RANKING))
                elif prompt.request.rank:
                    rows += [Row(prompt, label) for label in prompt.options]
                else:
                    rows.append(Row(prompt))
            for part in self._parts(rows):
                if batch and not _fits([*batch, *part], bound):
                    yield from self._responses(batch, ranked)
                    batch = []
                    bound = min(2 * bound, self._batch_tokens)
                batch += part
        if batch:
            yield from self._responses(batch, ranked)

    def _parts(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        """Rows of one group in parts that fit into a batch each: usually, all of them."""
        for _, same in groupby(rows, key=lambda row: row.prompt.kind):
            part = list(same)
            size = max(1, self._batch_tokens // max(row.tokens for row in part))
            for start in range(0, len(part), size):
                yield part[start : start + size]

    def _responses(
        self, batch: Sequence[Row], ranked: dict[int, dict[str, Outcome]]
    ) -> Iterator[Response]:
        """Responses that a batch completes. `ranked` keeps the options of rankings until all are
        there, since they may be spread over several batches."""
        for row, outcome in self._run(batch):
            prompt = row.prompt
            if isinstance(outcome, Reply) and not prompt.request.rank:
                yield Response(prompt.request.key, outcome)
                continue
            outcomes = ranked.setdefault(id(prompt), {})
            outcomes[row.label] = outcome
            if len(outcomes) == len(prompt.options):
                yield Response(prompt.request.key, _ranking(prompt, ranked.pop(id(prompt))))

    def _run(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Outcome]]:
        """Rows and their outcomes. A batch that fails is halved, down to the row that is at fault;
        one that is too large for the memory also lowers the bound for the batches to come."""
        import torch

        outcomes: Sequence[Outcome] = ()
        fault, too_large = "", False
        try:
            outcomes = self.decoder.run(rows, self._share)
        except torch.OutOfMemoryError:
            too_large = True
        except torch.AcceleratorError:
            raise  # the device is in no state to go on
        except REFUSALS as error:
            too_large = any(words in str(error) for words in NO_MEMORY)
            fault = f"The model failed at the question: {type(error).__name__}: {error}"
        # Outside of `except`, which would keep the failed batch's tensors alive.
        if outcomes:
            yield from zip(rows, outcomes, strict=True)
        elif len(rows) == 1:
            yield rows[0], Reply(error=OUT_OF_MEMORY if too_large else fault)
        else:
            if too_large:
                self._batch_tokens = max(row.tokens for row in rows) * (len(rows) // 2)
                if torch.accelerator.is_available():
                    torch.accelerator.empty_cache()
            middle = len(rows) // 2
            yield from self._run(rows[:middle])
            yield from self._run(rows[middle:])

    def _length(self, request: Request) -> float:
        """About how many tokens a request has; only to bring like to like."""
        length = sum(len(part) for part in request.parts if isinstance(part, str)) / 4
        if self._pixel_tokens > 0:
            pictures = (part for part in request.parts if isinstance(part, Picture))
            length += self._pixel_tokens * sum(pixels(picture) for picture in pictures)
        return length


def _fits(rows: Sequence[Row], bound: int) -> bool:
    """Whether rows may be computed together, in at most `bound` tokens, padding included."""
    tokens = len(rows) * max(row.tokens for row in rows)
    return tokens <= bound and len({row.prompt.kind for row in rows}) == 1


def _ranking(prompt: Prompt, outcomes: Mapping[str, Outcome]) -> Reply:
    likelihoods = {}
    for label in prompt.options:
        outcome = outcomes[label]
        if isinstance(outcome, Reply):
            return outcome
        likelihoods[label] = outcome
    return Reply(likelihoods=likelihoods, input_tokens=prompt.tokens)


def make_greedy(network: Any, tokenizer: Any) -> tuple[list[int], int]:
    """Strip a network of its own generation settings; the tokens that end a reply, and padding."""
    from transformers import GenerationConfig

    shipped = network.generation_config.to_dict()
    ends = ends_of(shipped.get("eos_token_id"), tokenizer)
    pad = tokenizer.pad_token_id
    if pad is None:
        pad = ends[0] if ends else 0
    network.generation_config = GenerationConfig(
        **{
            name: value
            for name, value in shipped.items()
            if name.endswith("_token_id") and value is not None
        }
    )
    return ends, pad


def picture_tokens(config: Any, processor: Any) -> frozenset[int]:
    """The tokens that stand for pictures; families call them by different names."""
    found = {
        getattr(holder, name, None)
        for holder in (processor, config)
        for name in ("image_token_id", "image_token_index")
    }
    return frozenset(token for token in found if isinstance(token, int))


def _default_batch_tokens(network: Any) -> int:
    """As many tokens as half of the free memory holds, by a generous estimate, within reason.

    Processors gain nothing from batches of more than a few thousand tokens, accelerators nothing
    from more than some ten thousand.
    """
    import torch

    text = network.config.get_text_config()
    # Keys and values of all layers, twice while they are copied, and what is in flight at once.
    token = text.hidden_size * (4 * text.num_hidden_layers + 64) * network.dtype.itemsize
    if network.device.type == "cuda":
        free, most = torch.cuda.mem_get_info(network.device)[0], 32768
    else:
        free, most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2, 2048
    return max(1024, min(most, int(free // 2 // token)))


def _weigh(prompts: Sequence[Prompt]) -> int:
    """Memory that waiting prompts take, in tokens: their pictures, which they share, are all that
    counts."""
    return max(prompt.tokens for prompt in prompts)
