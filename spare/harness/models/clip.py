"""The engine `clip`: dual encoders (CLIP, SigLIP, SigLIP 2, ALIGN, ...), which rank captions.

    spare eval --model clip:openai/clip-vit-large-patch14 --tasks whatsup_a --prompt captions ...

A dual encoder has no words, only a space in which it lays pictures and texts. What it says of a
caption is the cosine of its angle to the picture there, between -1 and 1. That is a similarity and
no log-likelihood, though it travels in a `Likelihood`: of one token and one character, so that
every normalisation leaves it as it is. The model's own temperature and bias, which turn it into a
probability, change no order and are left out.

So the study scored them that What's Up comes from (amitakamath/whatsup_vlms 8ba8b2a,
model_zoo/clip_models.py): every caption alone, embeddings of length 1, their product. Like there,
a caption that the text encoder cannot hold is an error; transformers would cut it, and the relation
often comes last. Unlike there, products are computed in 32 bits whatever the model's precision
(half precision, which the study has on a GPU, makes captions tie that do not), and pictures are
opened as everywhere in this project (upright, for one).

Only captions are embedded, so a question is answered if the rest of it asks for nothing but a
caption. To a question that has to be read ("Is the mug left of the bowl?", ranked True and False)
the similarity of its options alone would be no answer, and it gets an error.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import TYPE_CHECKING, TypeAlias

from spare.errors import ModelError, PictureError
from spare.harness.models import Options
from spare.harness.models.ahead import work_ahead
from spare.harness.models.decoding import NOT_A_NUMBER
from spare.harness.models.digests import PROCESSOR_FILES, digest_files, digest_settings
from spare.harness.models.encoders import Encoders, Inputs
from spare.harness.models.loading import (
    Checkpoint,
    device_of,
    dtype_of,
    find_checkpoint,
    first_line,
    load_network,
    load_processor,
    require_packages,
)
from spare.harness.models.prompts import REFUSALS
from spare.harness.models.transformers import NO_MEMORY
from spare.harness.models.types import Request, Response
from spare.harness.models.windows import Group, read_groups
from spare.images import Picture, open_picture
from spare.tasks.types import Likelihood, Reply
from spare.tasks.whatsup import CAPTION_REQUEST
from spare.torchvision_repair import repair_torchvision

if TYPE_CHECKING:
    import torch

KNOWN = 4096
"""Most captions whose embeddings are kept: benchmarks say the same of many pictures."""

OUT_OF_MEMORY = "Out of memory, even with nothing beside it; try another --device or --dtype."
ONLY_RANKS = "A dual encoder cannot write; choose a prompt that ranks captions."
ASKS_MORE = (
    "A dual encoder compares captions with a picture and cannot take the question beside them into "
    "account; choose a prompt that ranks captions."
)

Encode: TypeAlias = "Callable[[Sequence[Inputs]], torch.Tensor]"
"""`Encoders.of_pictures` or `Encoders.of_texts`."""

Outcome: TypeAlias = "torch.Tensor | str"
"""An embedding, shape (width,), or a sentence about why there is none."""


def load(name: str, options: Options) -> Clip:
    """The dual encoder at a path or hub id.

    Raises:
        ModelError: there is none, it is something else, or an option makes no sense for it.
    """
    if not name:
        raise ModelError("No dual encoder was named; give its path or hub id behind `clip:`.")
    if options.adapter:
        raise ModelError("The engine clip takes no adapter; merge it into the checkpoint first.")
    if options.max_pixels is not None:
        raise ModelError(
            "A dual encoder's processor gives every picture the size that the model was trained "
            "on; leave out --max-pixels."
        )
    require_packages("clip")
    checkpoint = find_checkpoint(name, options.trust_remote_code)
    _check_kind(checkpoint)
    # Both read every byte of the weights; side by side, the disk delivers them once.
    with ThreadPoolExecutor(1, "digest") as pool:
        weights = pool.submit(digest_files, checkpoint.weights)
        network = load_network(checkpoint, options, "AutoModel")
        processor = load_processor(checkpoint, options, chat=False)
        return Clip(Encoders(network, processor), checkpoint, weights.result(), options)


def _check_kind(checkpoint: Checkpoint) -> None:
    """Raises ModelError if it is no dual encoder that transformers can load."""
    repair_torchvision()
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    kind = checkpoint.config.get("model_type")
    name = MODEL_MAPPING_NAMES.get(kind)
    network = getattr(transformers, name) if isinstance(name, str) else None
    if not (hasattr(network, "get_image_features") and hasattr(network, "get_text_features")):
        raise checkpoint.error(
            f"is no dual encoder that transformers knows (it is of the kind {kind!r}): the engine "
            "clip compares pictures with texts, as CLIP and SigLIP do; leave out `clip:` for a "
            "model that writes."
        )


@dataclass(slots=True, eq=False)
class Question:
    """A request whose picture and captions are ready to be embedded.

    Attributes:
        picture: the same object for all questions about one picture.
        captions: text -> tokens, each text once.
        error: why it cannot be answered, or "". If set, there is no picture.
    """

    request: Request
    picture: Inputs | None = None
    captions: Mapping[str, Inputs] = field(default_factory=dict)
    error: str = ""


class Clip:
    """A loaded dual encoder. See `Model` for what the attributes mean."""

    identity: Mapping[str, str]
    facts: Mapping[str, str]
    writes = False

    def __init__(
        self, encoders: Encoders, checkpoint: Checkpoint, weights: str, options: Options
    ) -> None:
        encoders.check(checkpoint)
        self.encoders = encoders
        network = encoders.network
        # Processors gain nothing from larger batches, accelerators little.
        most = 2048 if network.device.type == "cpu" else 32768
        self._batch_tokens = options.batch_tokens or most
        self._known: dict[str, torch.Tensor] = {}
        self.identity = {
            "engine": "clip",
            "weights": weights,
            "config": digest_settings([checkpoint.folder / "config.json"]),
            "processor": digest_settings(checkpoint.folder / name for name in PROCESSOR_FILES),
            "captions": encoders.reading,
            "dtype": dtype_of(network),
            "attention": str(network.config._attn_implementation),
        }
        self.facts = {
            "model": checkpoint.name,
            "revision": checkpoint.revision,
            "kind": str(checkpoint.config["model_type"]),
            "parameters": str(sum(weight.numel() for weight in network.parameters())),
            "device": device_of(network),
            "batch tokens": str(self._batch_tokens),
            "torch": importlib.metadata.version("torch"),
            "transformers": importlib.metadata.version("transformers"),
        }

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request, batch by batch: the similarity of each option's text.

        A background thread reads the requests, no further ahead of the replies than a window and a
        queue. Requests about one picture that are that near to each other share its embedding. What
        reading raises is raised here, and ends it.
        """
        closed = threading.Event()
        groups = chain.from_iterable(read_groups(requests, lambda request: 0.0, closed))
        limit = 2 * self._batch_tokens
        threads = max(1, min(8, (os.cpu_count() or 1) // 2))
        with contextlib.closing(
            work_ahead(groups, self._prepare, _weigh, limit, threads)
        ) as prepared:
            try:
                yield from self._respond(prepared)
            finally:
                closed.set()

    def embed(self, texts: Sequence[str]) -> list[torch.Tensor | str]:
        """Embeddings of texts, each of length 1 and shape (width,), or sentences about why there is
        none: a text that is too long is never cut."""
        inputs: dict[str, Inputs] = {}
        for text in dict.fromkeys(texts):
            inputs[text] = self.encoders.read(text)
        fits = {text: one for text, one in inputs.items() if one.tokens <= self.encoders.longest}
        found = dict(zip(fits, self._embed(self.encoders.of_texts, fits.values()), strict=True))
        return [
            found[text]
            if text in found
            else f"{inputs[text].tokens} tokens, and the text encoder holds {self.encoders.longest}"
            for text in texts
        ]

    def _prepare(self, group: Group) -> list[Question]:
        """What the encoders need for the requests of a group, whose picture is opened once."""
        questions = [self._question(request, group.error) for request in group.requests]
        sound = [question for question in questions if not question.error]
        if not sound:
            return questions
        picture, error = None, ""
        (reference,) = (part for part in sound[0].request.parts if isinstance(part, Picture))
        try:
            picture = self.encoders.see(open_picture(reference))
        except PictureError as refusal:
            error = str(refusal)
        except REFUSALS as refusal:
            error = f"The model's processor refused the picture: {first_line(refusal)}"
        for question in sound:
            question.picture, question.error = picture, error
        return questions

    def _question(self, request: Request, error: str) -> Question:
        error = error or _refusal(request)
        if error:
            return Question(request, error=error)
        captions: dict[str, Inputs] = {}
        for label, text in request.options.items():
            sign = next((sign for sign in self.encoders.signs if sign in text), "")
            if sign:
                error = (
                    f"Option {label} spells out {sign}, which the model would not take for text "
                    "but for one of its own signs; change the data."
                )
                return Question(request, error=error)
            captions[text] = self.encoders.read(text)
            if captions[text].tokens > self.encoders.longest:
                error = (
                    f"Option {label} is too long: {captions[text].tokens} tokens, and the model's "
                    f"text encoder holds {self.encoders.longest}."
                )
                return Question(request, error=error)
        return Question(request, captions=captions)

    def _respond(self, prepared: Iterable[Sequence[Question]]) -> Iterator[Response]:
        batch: list[Question] = []
        # Batches grow, so that the first is soon under way while the next is prepared.
        tokens, bound = 0, max(1, self._batch_tokens // 8)
        for questions in prepared:
            for question in questions:
                if question.error:
                    yield Response(question.request.key, Reply(error=question.error))
            more = _weigh(questions)
            if batch and tokens + more > bound:
                yield from self._responses(batch)
                batch, tokens = [], 0
                bound = min(2 * bound, self._batch_tokens)
            batch += (question for question in questions if not question.error)
            tokens += more
        if batch:
            yield from self._responses(batch)

    def _responses(self, batch: Sequence[Question]) -> Iterator[Response]:
        pictures = {question.picture: None for question in batch if question.picture}
        seen = dict(zip(pictures, self._embed(self.encoders.of_pictures, pictures), strict=True))
        read = self._read(batch)
        for question in batch:
            assert question.picture is not None
            reply = _rank(question.request, seen[question.picture], read)
            yield Response(question.request.key, reply)

    def _read(self, batch: Sequence[Question]) -> Mapping[str, Outcome]:
        """Embeddings of the batch's captions by text, or sentences about why there is none. Those
        that are known already are not computed again."""
        wanted = {text: one for question in batch for text, one in question.captions.items()}
        new = {text: one for text, one in wanted.items() if text not in self._known}
        found = dict(zip(new, self._embed(self.encoders.of_texts, new.values()), strict=True))
        for text in wanted.keys() - new.keys():
            found[text] = self._known.pop(text)
        self._known |= {text: one for text, one in found.items() if not isinstance(one, str)}
        while len(self._known) > KNOWN:  # those that were asked for longest ago go
            del self._known[next(iter(self._known))]
        return found

    def _embed(self, encode: Encode, inputs: Iterable[Inputs]) -> list[Outcome]:
        """Embeddings of `inputs`, in their order, or sentences about why there is none. Inputs of
        one shape are computed together, so nothing is padded but what the model wants padded."""
        inputs = list(inputs)
        outcomes: dict[Inputs, Outcome] = {}
        for _, alike in groupby(sorted(inputs, key=lambda one: one.shapes), lambda one: one.shapes):
            rest = list(alike)
            while rest:
                size = max(1, self._batch_tokens // rest[0].tokens)
                part, rest = rest[:size], rest[size:]
                outcomes |= zip(part, self._run(encode, part), strict=True)
        return [outcomes[one] for one in inputs]

    def _run(self, encode: Encode, inputs: Sequence[Inputs]) -> list[Outcome]:
        """A batch that fails is halved, down to the input that is at fault; one that is too large
        for the memory also lowers the bound for the batches to come."""
        import torch

        try:
            # Copies, since a row that is kept would keep the whole batch.
            return [row.clone() for row in encode(inputs)]
        except torch.OutOfMemoryError:
            fault = OUT_OF_MEMORY
        except torch.AcceleratorError:
            raise  # the device is in no state to go on
        except REFUSALS as error:
            fault = f"The model failed at the question: {type(error).__name__}: {error}"
            if any(words in str(error) for words in NO_MEMORY):
                fault = OUT_OF_MEMORY
        # Outside of `except`, which would keep the failed batch's tensors alive.
        if len(inputs) == 1:
            return [fault]
        middle = len(inputs) // 2
        if fault == OUT_OF_MEMORY:
            self._batch_tokens = inputs[0].tokens * middle
            if torch.accelerator.is_available():
                torch.accelerator.empty_cache()
        return self._run(encode, inputs[:middle]) + self._run(encode, inputs[middle:])


def _rank(request: Request, picture: Outcome, captions: Mapping[str, Outcome]) -> Reply:
    """The reply to a request. Options of one text tie to the last bit."""
    if isinstance(picture, str):
        return Reply(error=picture)
    likelihoods = {}
    for label, text in request.options.items():
        caption = captions[text]
        if isinstance(caption, str):
            return Reply(error=caption)
        similarity = picture.dot(caption).item()
        if math.isnan(similarity):
            return Reply(error=NOT_A_NUMBER)
        likelihoods[label] = Likelihood(similarity, 1, 1)
    return Reply(likelihoods=likelihoods)


def _refusal(request: Request) -> str:
    """Why a dual encoder has no answer to a request, or ""."""
    if not request.rank:
        return ONLY_RANKS
    pictures = sum(isinstance(part, Picture) for part in request.parts)
    if pictures != 1:
        return f"A dual encoder compares captions with one picture, and here are {pictures}."
    texts = (part.strip() for part in request.parts if isinstance(part, str))
    if any(text not in ("", CAPTION_REQUEST) for text in texts):
        return ASKS_MORE
    empty = [label for label, text in request.options.items() if not text.strip()]
    if empty or not request.options:
        what = f"option {empty[0]} is empty" if empty else "there are no options"
        return f"The options cannot be ranked: {what}."
    return ""


def _weigh(questions: Sequence[Question]) -> int:
    """Tokens of the picture that questions of one group share; texts weigh next to nothing."""
    return max(question.picture.tokens if question.picture else 0 for question in questions)
