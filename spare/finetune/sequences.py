"""Pairs as the tokens that a model is trained on, with the tokens of answers marked.

A question's tokens are those that evaluation gives the same checkpoint for it, made by the same
code. What is learnt is the answer and the token that ends the turn, and nothing else.

Layout "pairs" has a sequence for each pair. Layout "shared" has one for all pairs about a picture:
the prompt up to the picture's last token once, and behind it each pair's rest as a branch, which
sees the beginning and itself (`branches`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.errors import ModelError, SpareError
from spare.harness.models.prompts import Preparer, Prompt
from spare.harness.models.types import Request
from spare.images import Picture, open_picture

if TYPE_CHECKING:
    import PIL.Image
    import torch

IGNORED = -100
"""Label of tokens that are not learnt."""

PADDING = -1
"""Branch of tokens that only fill a row up."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a checkpoint's chat template opens and closes an answer.

    Attributes:
        before: the text of the assistant's turn before the answer.
        space: what the template puts between the two.
        end: tokens behind the answer that are learnt: up to the one that ends the turn.
    """

    before: str
    space: str
    end: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sequence_:
    """One row of a batch before it is filled up; all tensors but the pictures' have its length.

    Attributes:
        tokens: name -> tensor of shape (tokens,): input_ids and what goes with each of them.
        labels: the token itself where it is learnt, `IGNORED` elsewhere.
        branches: 0 for the beginning, which all see; 1, 2 ... for the pairs.
        shifts: how much smaller a token's position is than its place among the tokens says.
        pictures: name -> tensor, the picture's dimension first.
    """

    tokens: Mapping[str, torch.Tensor]
    labels: torch.Tensor
    branches: torch.Tensor
    shifts: torch.Tensor
    pictures: Mapping[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.labels)


class Encoder:
    """Makes sequences of pairs. Threads and forked processes may use it at once.

    Args:
        preparer: of the engine, so that prompts are those of an evaluation.
        ends: tokens that end a reply.
    """

    def __init__(self, preparer: Preparer, ends: Sequence[int]) -> None:
        self.preparer = preparer
        self.tokenizer = preparer.processor.tokenizer
        self.opening = _opening(preparer.processor, ends)
        self._before = self._cut(self.opening.before)

    def answer_tokens(self, answer: str) -> list[int]:
        """Tokens of an answer as it follows the prompt, and of the end of its turn."""
        opening, before = self.opening, self._before
        both = self._cut(opening.before + opening.space + answer)
        if both[: len(before)] != before:  # a token reaches over the joint
            return [*self._cut(answer), *opening.end]
        return [*both[len(before) :], *opening.end]

    def _cut(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens

    def encode(
        self, picture: Picture | PIL.Image.Image, pairs: Sequence[tuple[str, str]], shared: bool
    ) -> list[Sequence_]:
        """Sequences of some pairs about one picture: one if shared, else one for each.

        Raises:
            SpareError: the picture cannot be opened, or a pair is not what the model can read.
        """
        image = open_picture(picture) if isinstance(picture, Picture) else picture
        place = picture if isinstance(picture, Picture) else Picture(Path(), "")
        answers = [self.answer_tokens(answer) for _, answer in pairs]
        requests = [
            Request(str(number), (place, question), {"answer": answer}, False, len(tokens))
            for number, ((question, answer), tokens) in enumerate(zip(pairs, answers, strict=True))
        ]
        prompts = self.preparer.prompts(requests, [self.preparer.scaled(image)])
        for prompt in prompts:
            if prompt.error:
                raise SpareError(f"{prompt.error} The question: {prompt.request.parts[-1]!r}.")
        if shared:
            return [_sequence(prompts, answers)]
        return [_sequence([one], [answer]) for one, answer in zip(prompts, answers, strict=True)]


def _sequence(prompts: Sequence[Prompt], answers: Sequence[Sequence[int]]) -> Sequence_:
    """The beginning that all prompts share, then the rest of each prompt with its answer."""
    import torch

    first = prompts[0]
    fork = first.last_picture + 1
    beginning = first.aligned["input_ids"][0, :fork]
    parts: dict[str, list[torch.Tensor]] = {
        name: [value[0, :fork]] for name, value in first.aligned.items()
    }
    labels = [torch.full((fork,), IGNORED)]
    branches = [torch.zeros(fork, dtype=torch.long)]
    shifts = [torch.zeros(fork, dtype=torch.long)]
    length = fork
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True), start=1):
        if not torch.equal(prompt.aligned["input_ids"][0, :fork], beginning):
            raise SpareError(
                "This model's prompts do not begin alike for one picture; use --set layout=pairs."
            )
        written = torch.tensor(answer)
        for name, value in prompt.aligned.items():
            # Masks go on over the answer; what marks a token as a picture's does not.
            tail = {"input_ids": written, "attention_mask": torch.ones_like(written)}
            parts[name] += [value[0, fork:], tail.get(name, torch.zeros_like(written))]
        asked = prompt.tokens - fork
        labels += [torch.full((asked,), IGNORED), written]
        branches.append(torch.full((asked + len(written),), number))
        shifts.append(torch.full((asked + len(written),), length - fork))
        length += asked + len(written)
    return Sequence_(
        {name: torch.cat(found) for name, found in parts.items()},
        torch.cat(labels),
        torch.cat(branches),
        torch.cat(shifts),
        first.pictures,
    )


def collate(sequences: Sequence[Sequence_], padding: int, shared: bool) -> dict[str, torch.Tensor]:
    """A batch: rows filled up on the right with the token `padding`, pictures one after another.

    If shared, the batch also has `branches` and `shifts`, which `branches.see_branches` reads.
    """
    import torch

    def rows(values: Sequence[torch.Tensor], fill: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(
            list(values), batch_first=True, padding_value=float(fill)
        )

    batch = {
        name: rows([one.tokens[name] for one in sequences], padding if name == "input_ids" else 0)
        for name in sequences[0].tokens
    }
    batch["labels"] = rows([one.labels for one in sequences], IGNORED)
    if shared:
        batch["branches"] = rows([one.branches for one in sequences], PADDING)
        batch["shifts"] = rows([one.shifts for one in sequences], 0)
    for name in sequences[0].pictures:
        batch[name] = _joined([one.pictures[name] for one in sequences])
    return batch


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Pictures' tensors one after another. Where a picture is cut into more tiles than another,
    the rest is zeros, as the families that do so have it."""
    import torch

    shapes = [value.shape[1:] for value in tensors]
    if len(set(shapes)) == 1:
        return torch.cat(list(tensors))
    largest = [max(sides) for sides in zip(*shapes, strict=True)]
    padded = []
    for value in tensors:
        whole = value.new_zeros((len(value), *largest))
        whole[(slice(None), *(slice(side) for side in value.shape[1:]))] = value
        padded.append(whole)
    return torch.cat(padded)


MARK = "Sesame"
"""Stands in for an answer, to see what a template puts around it."""


def _opening(processor: Any, ends: Sequence[int]) -> Opening:
    """What the template puts around an answer. Raises ModelError if nothing ends a turn."""

    def written(answer: str | None) -> str:
        asked: dict[str, Any] = {"role": "user", "content": [{"type": "text", "text": "Where?"}]}
        messages = [asked]
        if answer is not None:
            said = [{"type": "text", "text": answer}]
            messages.append({"role": "assistant", "content": said})
        text: str = processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=answer is None
        )
        return text

    prompt, whole = written(None), written(MARK)
    place = whole.rindex(MARK)
    between = whole[len(prompt) : place] if whole.startswith(prompt) else ""
    # Anything but a space would be words that the model is to write of itself.
    space = between if between.isspace() else ""
    cut = processor.tokenizer
    closing = cut(whole[place + len(MARK) :], add_special_tokens=False)["input_ids"]
    stop = next((number for number, token in enumerate(closing) if token in ends), None)
    if stop is not None:
        end = tuple(closing[: stop + 1])
    elif cut.eos_token_id is not None:
        end = (cut.eos_token_id,)
    else:
        raise ModelError(
            "This checkpoint's chat template does not end an answer, and its tokenizer has no "
            "token that does, so the model could not learn to stop; give it an eos_token."
        )
    line = prompt.rstrip("\n").rfind("\n") + 1
    return Opening(prompt[line:], space, end)
