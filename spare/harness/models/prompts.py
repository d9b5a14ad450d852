"""From a request to the tensors that a model is given: chat template, tokens and pictures."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spare.errors import PictureError
from spare.harness.models.types import Request
from spare.harness.models.windows import Group
from spare.images import Picture, open_picture

if TYPE_CHECKING:
    import PIL.Image
    import torch

REFUSALS = (ValueError, RuntimeError, IndexError, ZeroDivisionError, StopIteration)
"""What processors raise about a question that they cannot take, such as a picture 300 times as wide
as high."""


@dataclass(slots=True, eq=False)
class Prompt:
    """One request as a model is given it.

    Attributes:
        request: what is asked.
        aligned: name -> tensor of shape (1, tokens): the tokens and whatever goes with each of
            them.
        pictures: name -> tensor; what the picture processor made, the pictures' dimension first.
            Prompts of one group hold the same tensors, not copies.
        options: label -> tokens of the option's text, if the options are to be ranked.
        last_picture: place of the last token that stands for a picture; -1 if there is none.
        error: why the request cannot be answered, or "". If set, there are no tensors.
        beginning: the same object for prompts without pictures that begin alike.
    """

    request: Request
    aligned: Mapping[str, torch.Tensor] = field(default_factory=dict)
    pictures: Mapping[str, torch.Tensor] = field(default_factory=dict)
    options: Mapping[str, torch.Tensor] = field(default_factory=dict)
    last_picture: int = -1
    error: str = ""
    beginning: object = None

    @property
    def tokens(self) -> int:
        """Length of the prompt in tokens, pictures included."""
        return self.aligned["input_ids"].shape[1] if self.aligned else 0

    @property
    def kind(self) -> tuple[object, ...]:
        """Prompts of one kind may be computed together: they are answered in the same way, and
        their pictures' tensors can be put one after another."""
        shapes = ((name, value.shape[1:]) for name, value in self.pictures.items())
        schema = self.request.schema
        return self.request.rank, self.longest_written, schema, *self.aligned, *shapes

    @property
    def seen(self) -> object:
        """Equal for prompts that hold the very same pictures, or that begin alike without any; and
        for no others."""
        return tuple(map(id, self.pictures.values())) or id(self.beginning or self)

    @property
    def longest_written(self) -> int:
        """Bound on a written reply; 0 if none is written."""
        return 0 if self.request.rank else self.request.max_new_tokens

    @property
    def longest_reply(self) -> int:
        """Most tokens that may follow the prompt."""
        if self.request.rank:
            return max((tokens.shape[0] for tokens in self.options.values()), default=0)
        return self.request.max_new_tokens


class Preparer:
    """Makes prompts of requests. Safe to use from several threads.

    Args:
        processor: of transformers; it has a chat template.
        picture_tokens: the tokens that stand for pictures.
        context: most tokens that the model can take.
        max_pixels: pictures with more pixels are scaled down to this many, if set.
    """

    def __init__(
        self, processor: Any, picture_tokens: frozenset[int], context: int, max_pixels: int | None
    ) -> None:
        self.processor = processor
        self.picture_tokens = picture_tokens
        self.context = context
        self.scale_to: int | None = None
        if max_pixels is not None and not _bound_pixels(processor.image_processor, max_pixels):
            self.scale_to = max_pixels
        self.sees: bool = processor.image_processor is not None
        self._signs = signs(processor)
        self._once = _Once(processor.image_processor)
        processor.image_processor = self._once

    def prepare(self, group: Group) -> list[Prompt]:
        """One prompt per request of the group. Their pictures are opened and processed once."""
        if group.error:
            return [Prompt(request, error=group.error) for request in group.requests]
        try:
            images = self.open(group.requests[0])
        except PictureError as error:
            return [Prompt(request, error=str(error)) for request in group.requests]
        return self.prompts(group.requests, images)

    def prompts(
        self, requests: Sequence[Request], images: Sequence[PIL.Image.Image]
    ) -> list[Prompt]:
        """One prompt per request, all of which see `images`."""
        self._once.begin()
        prompts = [self._prompt(request, images) for request in requests]
        first: Mapping[str, torch.Tensor] = {}
        for prompt in prompts:
            first = first or prompt.pictures
            prompt.pictures = {
                name: first[name] if _is_same(value, first.get(name)) else value
                for name, value in prompt.pictures.items()
            }
            prompt.beginning = requests
        return prompts

    def open(self, request: Request) -> list[PIL.Image.Image]:
        """The request's pictures, scaled down if the picture processor does not do that. Raises
        PictureError if one cannot be opened."""
        return [self.scaled(open_picture(one)) for one in request.parts if isinstance(one, Picture)]

    def scaled(self, image: PIL.Image.Image) -> PIL.Image.Image:
        """The picture within the bound on pixels, where the processor has none of its own."""
        return scale(image, self.scale_to) if self.scale_to else image

    def fault(self, request: Request) -> str:
        """Why a request cannot be put to any model of this kind, or ""."""
        return request_fault(request, self._signs)

    def excess(self, tokens: int, longest_reply: int) -> str:
        """Why a prompt of so many tokens is too long, or ""."""
        if tokens + longest_reply <= self.context:
            return ""
        return (
            f"The prompt is too long: {tokens} tokens, and up to {longest_reply} for the reply, "
            f"exceed the model's context of {self.context}."
        )

    def _prompt(self, request: Request, images: Sequence[PIL.Image.Image]) -> Prompt:
        if fault := self.fault(request):
            return Prompt(request, error=fault)
        try:
            inputs = self.encode(request, images)
        except REFUSALS as error:
            return Prompt(request, error=refusal(error))
        tokens = inputs["input_ids"]
        aligned = {name: value for name, value in inputs.items() if value.shape == tokens.shape}
        pictures = {name: value for name, value in inputs.items() if name not in aligned}
        prompt = Prompt(
            request,
            aligned,
            pictures,
            self.options(request),
            max(
                (i for i, t in enumerate(tokens[0].tolist()) if t in self.picture_tokens),
                default=-1,
            ),
        )
        if excess := self.excess(prompt.tokens, prompt.longest_reply):
            return Prompt(request, error=excess)
        return prompt

    def encode(
        self, request: Request, images: Sequence[PIL.Image.Image]
    ) -> dict[str, torch.Tensor]:
        """What the checkpoint's processor makes of one user turn and the opening of a reply."""
        return dict(
            self._fill_in(request, images, tokenize=True, return_dict=True, return_tensors="pt")
        )

    def spell(self, request: Request, images: Sequence[PIL.Image.Image]) -> str:
        """The prompt as a text, in which a sign stands for each picture."""
        text: str = self._fill_in(request, images, tokenize=False)
        return text

    def _fill_in(self, request: Request, images: Sequence[PIL.Image.Image], **settings: Any) -> Any:
        """Fill in the chat template. Raises ValueError, among others of `REFUSALS`."""
        import jinja2

        remaining = iter(images)
        content = [
            {"type": "image", "image": next(remaining)}
            if isinstance(part, Picture)
            else {"type": "text", "text": part}
            for part in request.parts
        ]
        try:
            return self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, **settings
            )
        except jinja2.TemplateError as error:
            raise ValueError(f"its chat template cannot be filled in ({error})") from None

    def options(self, request: Request) -> dict[str, torch.Tensor]:
        """Tokens of each option that is to be ranked, as a whole reply, shape (tokens,).

        An option is cut into tokens on its own: what precedes it is the template's opening of a
        reply, which a written reply could not merge with either. The end of the turn is not
        counted.
        """
        if not request.rank:
            return {}
        cut = self.processor.tokenizer
        return {
            label: cut(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
            for label, text in request.options.items()
        }


class _Once:
    """Stands in for a picture processor and, within one group, processes its pictures once.

    The processor around it still sees every question, so tokens are exactly what they would be
    without sharing.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._local = threading.local()

    def begin(self) -> None:
        """From now on, until the next call, this thread processes the same pictures."""
        self._local.made = None

    def __call__(self, images: Any, **settings: Any) -> Any:
        if self._local.made is None:
            self._local.made = self._processor(images, **settings)
        # A copy, since some processors take out what they alone need.
        return copy.copy(self._local.made)

    def fetch_images(self, images: Any) -> Any:
        """Pictures are opened already, and nothing else is ever fetched."""
        return images

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)


def refusal(error: Exception) -> str:
    """What is said of a question that a processor refuses."""
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return f"The model's processor refused the question: {reason}."


def context_of(config: Any) -> int:
    """Most tokens that a language model can take, by its configuration; practically no bound if
    that names none."""
    text = config.get_text_config()
    return int(getattr(text, "max_position_embeddings", None) or 2**31)


def ends_of(shipped: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a reply: those of a checkpoint's generation settings (a number, a list or
    None), and the end of a chat turn."""
    ends = set(shipped if isinstance(shipped, list) else [shipped])
    # Fine-tuned checkpoints often keep their base's settings, which lack the end of a chat turn.
    return sorted((ends | {tokenizer.eos_token_id}) - {None})


def request_fault(request: Request, signs: Iterable[str]) -> str:
    """Why a request cannot be put to a model that takes `signs` for something else than text, or
    ""."""
    if request.rank:
        empty = [label for label, text in request.options.items() if not text]
        if empty or not request.options:
            what = f"option {empty[0]} is empty" if empty else "there are no options"
            return f"The options cannot be ranked: {what}."
    texts = [part for part in request.parts if isinstance(part, str)]
    texts += request.options.values()
    for sign in signs:
        if any(sign in text for text in texts):
            return (
                f"The question spells out {sign}, which the model would not take for text but "
                "for one of its own signs; change the data."
            )
    return ""


def signs(processor: Any) -> list[str]:
    """Tokens that mean something to the model and that no text should contain. Some tokenizers
    count a plain "!" among them, to pad with; such are text all the same."""
    tokens = {*processor.tokenizer.all_special_tokens, getattr(processor, "image_token", None)}
    return sorted(token for token in tokens if token and token[0] in "<[" and token[-1] in ">]")


def _is_same(value: torch.Tensor, other: torch.Tensor | None) -> bool:
    import torch

    return value is other or (other is not None and torch.equal(value, other))


def _bound_pixels(image_processor: Any, max_pixels: int) -> bool:
    """Set the bound inside the processor; False if it has none that counts pixels."""
    if "max_pixels" not in getattr(image_processor.valid_kwargs, "__annotations__", {}):
        return False
    # Under these names Qwen's processors keep areas, not edges.
    size = image_processor.size
    size["longest_edge"] = max_pixels
    size["shortest_edge"] = min(size["shortest_edge"], max_pixels)
    return True


def scale(image: PIL.Image.Image, max_pixels: int) -> PIL.Image.Image:
    """A picture of at most so many pixels; the same one if it is small enough."""
    import PIL.Image

    pixels = image.width * image.height
    if pixels <= max_pixels:
        return image
    factor = (max_pixels / pixels) ** 0.5
    size = max(1, int(image.width * factor)), max(1, int(image.height * factor))
    return image.resize(size, PIL.Image.Resampling.BICUBIC)
