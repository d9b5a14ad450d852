"""Every picture opened and every text looked at once, before the first step.

A damaged picture that turns up on the second day of a training is one too many. What was found is
kept beside the training, so going on does not open them all again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from spare.disk import write_json
from spare.errors import DataError, ModelError, PictureError, SpareError, counted
from spare.finetune.pairs import Pairs, refuse_many
from spare.finetune.sequences import Encoder, collate
from spare.harness.models.digests import digest_text
from spare.harness.models.prompts import signs
from spare.images import Picture, open_picture

Size = tuple[int, int]
"""Width and height in pixels."""

SMALL: Size = (64, 64)

SECONDS = 30.0
"""From one sentence about how many pictures are opened to the next."""

NOTED = 5
"""Bad pictures that are told one by one; all are counted."""


def picture_sizes(
    pairs: Pairs, rank: int, ranks: int, on_done: Callable[[int], None]
) -> list[Size | str]:
    """Size of every `ranks`-th picture from `rank` on; a sentence if it cannot be opened."""

    def look(place: Picture | str) -> Size | str:
        if isinstance(place, str):
            return place
        try:
            return open_picture(place).size
        except PictureError as error:
            return str(error)

    found: list[Size | str] = []
    told = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count(), "open") as pool:
        for size in pool.map(look, pairs.pictures[rank::ranks]):
            found.append(size)
            if time.monotonic() - told > SECONDS:
                told = time.monotonic()
                on_done(len(found) * ranks)
    return found


def survey(
    pairs: Pairs, kept: Path, spread: Any, on_done: Callable[[int], None]
) -> list[Size | str]:
    """Sizes of all pictures, or why one is not to be had.

    Args:
        kept: the file that remembers them, if it is of this data set.
        spread: the processes of this training (`accelerate.PartialState`), which share the work.
    """
    from accelerate.utils import broadcast_object_list, gather_object

    known = [_read(kept, pairs) if spread.is_main_process else None]
    if spread.num_processes > 1:
        known = broadcast_object_list(known)
    if known[0] is not None:
        return known[0]
    mine = picture_sizes(pairs, spread.process_index, spread.num_processes, on_done)
    parts = gather_object([mine]) if spread.num_processes > 1 else [mine]
    sizes: list[Size | str] = [""] * len(pairs.pictures)
    for rank, part in enumerate(parts):
        sizes[rank :: spread.num_processes] = part
    if spread.is_main_process:
        write_json(kept, {"data": pairs.digest, "places": _places(pairs), "sizes": sizes})
    return sizes


def _read(kept: Path, pairs: Pairs) -> list[Size | str] | None:
    """What is remembered. Pictures that were not to be had are looked for again."""
    try:
        told = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        return None
    known = (told.get("data"), told.get("places"))
    if known != (pairs.digest, _places(pairs)) or len(told["sizes"]) != len(pairs.pictures):
        return None
    if any(isinstance(size, str) for size in told["sizes"]):
        return None
    return [(size[0], size[1]) for size in told["sizes"]]


def _places(pairs: Pairs) -> str:
    """A digest of where the pictures are: another folder may hold others of the same names."""
    places = (one if isinstance(one, str) else str(one.path.absolute()) for one in pairs.pictures)
    return digest_text("\n".join(places))


class Lengths:
    """How many tokens pairs and pictures are.

    Attributes:
        asked: pair -> tokens of its own (question, what the template puts around, answer).
    """

    def __init__(self, pairs: Pairs, encoder: Encoder) -> None:
        self._encoder = encoder
        self._of_size: dict[Size, int | str] = {}
        tokenizer = encoder.tokenizer
        bare = encoder.encode(_blank(SMALL), [("a", "a")], True)[0]
        if not self._beginning(bare):
            raise ModelError("It is not known which tokens stand for pictures in this model.")
        around = len(bare) - self._beginning(bare) - 2
        self.asked = [
            around + len(question) + len(answer)
            for question, answer in zip(
                _tokens(tokenizer, pairs.questions), _tokens(tokenizer, pairs.answers), strict=True
            )
        ]

    @staticmethod
    def _beginning(sequence: Any) -> int:
        return int((sequence.branches == 0).sum())

    def of_picture(self, size: Size) -> int | str:
        """Tokens up to the last one of a picture of this size; a sentence if the model's processor
        refuses it."""
        if size not in self._of_size:
            try:
                sequence = self._encoder.encode(_blank(size), [("a", "a")], True)[0]
                self._of_size[size] = self._beginning(sequence)
            except SpareError as error:
                said = str(error).split(" The question:")[0]
                self._of_size[size] = said.replace("refused the question", "refuses the picture")
        return self._of_size[size]


def _blank(size: Size) -> Any:
    import PIL.Image

    return PIL.Image.new("RGB", size, "grey")


def blank_batch(encoder: Encoder) -> dict[str, Any]:
    """The smallest batch there is."""
    return collate(encoder.encode(_blank(SMALL), [("a", "a")], False), 0, False)


def _tokens(tokenizer: Any, texts: Any) -> Iterator[Sequence[int]]:
    for chunk in texts.chunks:
        for start in range(0, len(chunk), 10_000):
            part = chunk.slice(start, 10_000).to_pylist()
            if part:
                yield from tokenizer(part, add_special_tokens=False)["input_ids"]


def refuse_signs(pairs: Pairs, processor: Any) -> None:
    """Raises DataError if a text spells out what the model would take for a sign of its own."""
    import pyarrow.compute

    for sign in signs(processor):
        for name, texts in (("question", pairs.questions), ("answer", pairs.answers)):
            found = pyarrow.compute.index(
                pyarrow.compute.match_substring(texts, pattern=sign), True
            ).as_py()
            if found >= 0:
                path, row = pairs.place(found)
                raise DataError(
                    f"its {name} spells out {sign}, which the model would not take for text", path,
                    row, "Leave it out.",
                )  # fmt: skip


def usable_pictures(
    pairs: Pairs,
    sizes: Sequence[Size | str],
    lengths: Lengths,
    allowed: float,
    on_event: Callable[[str], None],
) -> list[int]:
    """Tokens of each picture; 0 if it is missing, damaged or refused, which is told.

    Raises:
        SpareError: there are more of those than the recipe allows.
    """
    tokens, faults = [], []
    for number, size in enumerate(sizes):
        length = size if isinstance(size, str) else lengths.of_picture(size)
        tokens.append(0 if isinstance(length, str) else length)
        if isinstance(length, str):
            faults.append((number, length))
    if not faults:
        return tokens
    first = {picture: pair for pair, picture in reversed(list(enumerate(pairs.picture_of)))}
    for number, reason in faults[:NOTED]:
        path, row = pairs.place(first[number])
        on_event(f"{path}, row {row}: {reason}")
    refuse_many(len(faults), pairs, allowed, faults[0][1])
    on_event(
        f"{counted(len(faults), 'picture')} of {len(tokens):,} left out, with all their pairs."
    )
    return tokens
