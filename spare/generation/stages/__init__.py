"""The stages from captions to judged pairs, one file each.

A stage is a module with

    VERSION               raised whenever the same input would give another output
    NEEDS                 names of the stages whose output it reads
    settings(options)     what else its output depends on, for its shards' fingerprints
    open_stage(options, models) -> work
    work(inputs) -> table with one row per caption (prefilter, generate) or per pair (the others)

and three that are optional: `wanted(options)`, False if the options leave it out;
`asks(options)`, True if it asks a model; and `enough(inputs, options)`, the options of the shard
that is there if that holds all that is wanted, and more, which `cut` stops. Neighbours that ask
none do a shard one after another, on one reading of it (`Inputs`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from spare.errors import SpareError
from spare.generation import shards
from spare.generation.captions import Part
from spare.generation.mentions import Mention, find_mentions, normalised, tokens

if TYPE_CHECKING:
    import pyarrow

    from spare.generation.models import Models

STAGES = (
    "prefilter",
    "generate",
    "duplicates",
    "reference",
    "support",
    "clipscore",
    "spatial",
    "tags",
    "contamination",
)
"""In the order in which they run: the paper's, cheapest filter first."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may say about how data are built.

    Attributes:
        llm: a language model ("transformers:PATH"), or "template:".
        clip: a dual encoder for duplicates and CLIPScore; "" leaves those scores out.
        blobs: folder of fetched pictures; "" if all lie where the captions say.
        benchmarks: folder with the benchmarks' files whose pictures must not be trained on.
        exclude: a file with further pictures to leave out, one key or SHA-256 per line.
        max_new_tokens: bound on a reply with pairs.
        prefilter: least probability that a caption is about space; spatial: that a pair is.
        similar: cosine from which two questions of a caption say the same.
        guard: questions whose direction words, numbers or arguments differ never do.
        support: least share of an answer's content words that the caption must have.
        in_sentence: one sentence of the caption must say all that a pair says; beyond the paper.
        clipscore: least score of a question against its picture; clip_scale: "raw" (the cosine) or
            "w2.5" (2.5 times that, as Hessel et al. 2021 scale it).
        llm_frames: the language model says whose left is meant where the rules cannot.
        weights: relation -> weight, for training; empty keeps the natural mix.
        cap: largest share of kept pairs that one relation may have; 1 for any.
        harmless: share of the kept pairs that may be pairs that only the spatial check would drop.
    """

    llm: str = "template:"
    clip: str = ""
    blobs: str = ""
    benchmarks: str = ""
    exclude: str = ""
    max_new_tokens: int = 8192
    prefilter: float = 0.5
    spatial: float = 0.5
    similar: float = 0.95
    guard: bool = True
    support: float = 0.7
    in_sentence: bool = False
    clipscore: float = 0.25
    clip_scale: str = "raw"
    llm_frames: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)
    cap: float = 1.0
    harmless: float = 0.0

    @property
    def template(self) -> bool:
        """Nothing is asked of a model."""
        return self.llm == "template:"


@dataclass(frozen=True)
class Inputs:
    """What stages read of one shard; what several of them need is read once.

    Attributes:
        out: folder that all stages write below.
        part: the shard of captions.
    """

    out: Path
    part: Part

    def shard(self, stage: str) -> Path:
        """Where a stage's output for this shard is."""
        return shard_path(self.out, stage, self.part)

    def log(self, stage: str) -> Path:
        """Where the replies to a stage's requests are kept until its shard is whole."""
        return self.shard(stage).with_suffix(".replies.jsonl")

    def table(self, stage: str) -> pyarrow.Table:
        """A stage's output."""
        return shards.read(self.shard(stage))

    def column(self, stage: str, name: str) -> list[Any]:
        """One column of a stage's output."""
        values: list[Any] = shards.read(self.shard(stage), [name]).column(name).to_pylist()
        return values

    @cached_property
    def captions(self) -> pyarrow.Table:
        """The captions."""
        return shards.read(self.part.path, writer="spare captions")

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs that were generated, in their order."""
        return read_pairs(self.table("generate"), self.captions)


@dataclass(frozen=True)
class Pairs:
    """Columns of the pairs of a shard; entry i of each belongs to pair i.

    Attributes:
        ids: caption id and the pair's number in it.
        sentences: the words of the caption that a template read; "" for a model's pairs.
        rows: the row of the pair's caption in its shard.
        captions: text of every caption of the shard, by row.
    """

    ids: list[str]
    questions: list[str]
    answers: list[str]
    sentences: list[str]
    rows: list[int]
    captions: list[str]

    @cached_property
    def asked(self) -> list[list[str]]:
        """The tokens of every question."""
        return list(map(tokens, self.questions))

    @cached_property
    def said(self) -> list[list[str]]:
        """The tokens of every answer."""
        return list(map(tokens, self.answers))

    @cached_property
    def plain(self) -> list[tuple[str, str]]:
        """Every question and its answer without what makes no difference."""
        return [
            (normalised(question), normalised(answer))
            for question, answer in zip(self.questions, self.answers, strict=True)
        ]

    @cached_property
    def mentions(self) -> list[tuple[list[Mention], list[Mention]]]:
        """The relations that every question and every answer speaks of."""
        return [
            (find_mentions(asked), find_mentions(said))
            for asked, said in zip(self.asked, self.said, strict=True)
        ]

    def by_caption(self) -> Sequence[range]:
        """The pairs of each caption that has some, as ranges of their numbers."""
        starts = [
            number
            for number, row in enumerate(self.rows)
            if not number or row != self.rows[number - 1]
        ]
        ends = [*starts[1:], len(self.rows)] if starts else []
        return [range(start, end) for start, end in zip(starts, ends, strict=True)]


def read_pairs(generated: pyarrow.Table, captions: pyarrow.Table) -> Pairs:
    """The pairs of a shard of `generate`."""
    import pyarrow.compute

    lists = generated.column("pairs").combine_chunks()
    flat = lists.flatten()
    questions, answers, sentences = (
        flat.field(name).to_pylist() for name in ("question", "answer", "sentence")
    )
    names = generated.column("caption_id").to_pylist()
    ids: list[str] = []
    rows: list[int] = []
    for row, count in enumerate(pyarrow.compute.list_value_length(lists).to_pylist()):
        ids += [f"{names[row]}-{number}" for number in range(count)]
        rows += [row] * count
    texts = captions.column("caption").to_pylist()
    return Pairs(ids, questions, answers, sentences, rows, texts)


def shard_path(out: Path, stage: str, part: Part) -> Path:
    """Where a stage's output for a shard of captions is."""
    return out / stage / f"{part.name}.parquet"


Work = Callable[[Inputs, Callable[[int], None]], "pyarrow.Table"]
"""(inputs, how many rows are done) -> table."""


class Stage(Protocol):
    """What a module of a stage has."""

    VERSION: int
    NEEDS: tuple[str, ...]

    def settings(self, options: Options) -> Mapping[str, Any]: ...
    def open_stage(self, options: Options, models: Models) -> Work: ...


def load_stage(name: str) -> Stage:
    """The module of a stage. Raises SpareError if there is none."""
    if name not in STAGES:
        raise SpareError(f"There is no stage {name!r}; there are {', '.join(STAGES)}.")
    stage: Stage = importlib.import_module(f"spare.generation.stages.{name}")
    return stage


def wanted(name: str, options: Options) -> bool:
    """Whether the options have a stage run."""
    says: Callable[[Options], bool] | None = getattr(load_stage(name), "wanted", None)
    return says is None or says(options)


IDLE = {
    "clipscore": "without --clip, which names a dual encoder",
    "contamination": "with --benchmarks none and without --exclude-images",
}
"""The stages that options may leave out -> when they do."""


def require_wanted(names: Sequence[str], options: Options) -> None:
    """Raises SpareError if a stage is none, or has nothing to do under the options."""
    for name in names:
        if not wanted(name, options):
            raise SpareError(f"The stage {name} has nothing to do {IDLE[name]}.")


def asks(name: str, options: Options) -> bool:
    """Whether a stage asks a model under the options."""
    says: Callable[[Options], bool] | None = getattr(load_stage(name), "asks", None)
    return says is not None and says(options)


def groups(names: Sequence[str], options: Options) -> list[tuple[str, ...]]:
    """The stages in their order; neighbours that ask no model are together."""
    found: list[tuple[str, ...]] = []
    for asking, neighbours in groupby(names, lambda name: asks(name, options)):
        together = tuple(neighbours)
        found += [(name,) for name in together] if asking else [together]
    return found
