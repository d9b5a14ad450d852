"""From a request to what vLLM is given: the tokens that the engine `transformers` would be given,
and pictures as vLLM's own processor prepares them.

Tokens are never left to vLLM's chat functions. A text is cut by the checkpoint's chat template and
tokenizer, as always; where there are pictures, vLLM puts as many tokens as each of them takes in
the place of its sign. Whether that makes the very same prompt is tried after loading (`vllm.load`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spare.errors import PictureError
from spare.harness.models.prompts import REFUSALS, Preparer, refusal
from spare.harness.models.types import Request
from spare.harness.models.windows import Group

if TYPE_CHECKING:
    import PIL.Image


@dataclass(slots=True, eq=False)
class Pictures:
    """What vLLM's processor made of the pictures that a group of requests shares.

    Attributes:
        features: as vLLM takes them (its `MultiModalInput`), less the tokens.
        sent: vLLM has their pixels. It keeps them under their digest for the requests that follow,
            so they travel to its process once per group.
    """

    features: Mapping[str, Any]
    sent: bool = False


@dataclass(slots=True, eq=False)
class Prompt:
    """One request as vLLM is given it.

    Attributes:
        request: what is asked.
        tokens: of the prompt, those that stand for pictures included.
        pictures: None if there are none.
        options: label -> tokens of the option's text, if the options are to be ranked.
        error: why the request cannot be answered, or "". If set, there is nothing else.
    """

    request: Request
    tokens: Sequence[int] = ()
    pictures: Pictures | None = None
    options: Mapping[str, Sequence[int]] = field(default_factory=dict)
    error: str = ""

    def inputs(self, more: Sequence[int] = ()) -> dict[str, Any]:
        """What vLLM takes: the prompt, and after it the tokens `more`."""
        tokens = [*self.tokens, *more]
        if self.pictures is None:
            return {"type": "token", "prompt_token_ids": tokens}
        features = dict(self.pictures.features)
        if self.pictures.sent:
            features["mm_kwargs"] = {
                kind: [None] * len(items) for kind, items in features["mm_kwargs"].items()
            }
        return features | {"prompt_token_ids": tokens}


class VllmPreparer:
    """Makes prompts of requests. Safe to use from several threads.

    Args:
        preparer: of the engine `transformers`; it also says what cannot be asked, and why.
        renderer: vLLM's own, which belongs to one thread at a time.
        failures: what vLLM raises about a question that it cannot take.
    """

    def __init__(
        self, preparer: Preparer, renderer: Any, failures: tuple[type[Exception], ...]
    ) -> None:
        self.preparer = preparer
        self._renderer = renderer
        self._failures: tuple[type[Exception], ...] = (*REFUSALS, *failures)
        self._lock = threading.Lock()

    def prepare(self, group: Group) -> list[Prompt]:
        """One prompt per request of the group. Their pictures are opened once."""
        if group.error:
            return [Prompt(request, error=group.error) for request in group.requests]
        try:
            # Decoding needs no lock, so threads do it side by side.
            images = self.preparer.open(group.requests[0])
        except PictureError as error:
            return [Prompt(request, error=str(error)) for request in group.requests]
        return self.prompts(group.requests, images)

    def prompts(
        self, requests: Sequence[Request], images: Sequence[PIL.Image.Image]
    ) -> list[Prompt]:
        """One prompt per request, all of which see `images`."""
        prompts = [self._prompt(request, images) for request in requests]
        first = next((prompt.pictures for prompt in prompts if prompt.pictures), None)
        for prompt in prompts:
            # They see the same pictures after the same words.
            if first and prompt.pictures and _is_same(first, prompt.pictures):
                prompt.pictures = first
        return prompts

    def _prompt(self, request: Request, images: Sequence[PIL.Image.Image]) -> Prompt:
        preparer = self.preparer
        if fault := preparer.fault(request):
            return Prompt(request, error=fault)
        pictures = None
        try:
            if images:
                made = dict(self._render(preparer.spell(request, images), images))
                tokens = made.pop("prompt_token_ids")
                pictures = Pictures(made)
            else:
                tokens = preparer.encode(request, images)["input_ids"][0].tolist()
        except self._failures as error:
            return Prompt(request, error=refusal(_root(error)))
        options = {label: cut.tolist() for label, cut in preparer.options(request).items()}
        longest = max(map(len, options.values()), default=request.max_new_tokens)
        if excess := preparer.excess(len(tokens), longest):
            return Prompt(request, error=excess)
        return Prompt(request, tokens, pictures, options)

    def _render(self, text: str, images: Sequence[PIL.Image.Image]) -> Mapping[str, Any]:
        tokenizer = self.preparer.processor.tokenizer
        # As a processor's `apply_chat_template` cuts it: templates may bring the first token along.
        begun = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
        with self._lock:
            tokens = tokenizer(text, **({"add_special_tokens": False} if begun else {}))
            made: Mapping[str, Any] = self._renderer.process_for_engine(
                {
                    "prompt_token_ids": list(tokens["input_ids"]),
                    "multi_modal_data": {"image": list(images)},
                },
                time.time(),
                # That cache believes that what it has seen was sent; we send in our own order.
                skip_mm_cache=True,
            )
        return made


def _root(error: Exception) -> Exception:
    """What the processor itself raised, which vLLM wraps."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _is_same(one: Pictures, other: Pictures) -> bool:
    names = ("mm_hashes", "mm_placeholders")
    return all(one.features[name] == other.features[name] for name in names)
