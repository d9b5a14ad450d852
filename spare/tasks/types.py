"""The records that pass between benchmarks, models and scores.

`Sample` is one question, `Reply` is what a model said to it, `Verdict` is how a rule set read that
reply, `Judged` ties the three together without the pictures, `Metric` sums judged samples into one
figure, and `Task` is a benchmark: where its files are, what it asks, how replies are judged. All
but `Metric` are frozen.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spare.errors import SpareError
from spare.images import Picture

Part = str | Picture
Status = Literal["ok", "ambiguous", "empty", "unparsed", "error", "skipped"]
"""How a reply was read.

ok         an answer was read (right or wrong)
ambiguous  it names more than one answer, or the best options tie
empty      nothing but white space
unparsed   there is text, but no answer in it
error      the model never answered: unreadable picture, prompt too long, ...
skipped    not asked, because its all-or-nothing group had failed already (`--lazy-groups`)
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One question exactly as it is put to a model, and what is needed to judge the reply.

    Attributes:
        id: unique within (task, split); the same in every layout where the published files allow
            it.
        parts: text and pictures in the order in which the model sees them, one user turn.
        target: label of the right option, or the right text if there are no options; "" if the
            publisher keeps the answers to itself.
        options: label -> text in the order asked ("A" -> "a mug under a table"; "True" -> "True").
            Labels may have gaps where a published file has them. Empty for open questions.
        rank: True if the model does not write but ranks the options' texts by likelihood.
        tags: what scores can be broken down by (relation, category, subject, ...).
        group: samples with one group are judged together (a circular set, a set of four
            photographs).
        cluster: samples with one cluster share a picture and are not independent; unit of the
            intervals.
        answers: all texts that an open question accepts, as published and with their repetitions
            (TextVQA's ten people); empty if `target` is the only one.
    """

    id: str
    parts: tuple[Part, ...]
    target: str
    options: Mapping[str, str] = field(default_factory=dict)
    rank: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    cluster: str = ""
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Log-likelihood of one option after the prompt: natural log, summed over its tokens."""

    total: float
    tokens: int
    characters: int

    def by(self, normalisation: Literal["sum", "mean", "character"]) -> float:
        """The figure to rank by: the sum, the mean per token, or the mean per character."""
        count = {"sum": 1, "mean": self.tokens, "character": self.characters}[normalisation]
        return self.total / max(count, 1)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said: a text, or a likelihood per option label, or an error; never two of
    them."""

    text: str = ""
    likelihoods: Mapping[str, Likelihood] | None = None
    error: str = ""
    finish: Literal["stop", "length", ""] = ""
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one rule set reads one reply.

    Attributes:
        parsed: the label or text that was read; empty if none was.
        score: 0 to 1.
        status: see `Status`. Anything but "ok" counts as unread, and scores 0 unless the rule set
            copies a reference that guesses.
        also: further scores of the same reply under other readings (another normalisation, ...).
    """

    parsed: str
    score: float
    status: Status
    also: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """A sample without its pictures, and the verdict on it: a line of `verdicts.<rules>.jsonl`."""

    id: str
    target: str
    verdict: Verdict
    tags: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    cluster: str = ""


@dataclass(slots=True)
class Stratum:
    """Sums of one part of a metric, per cluster: `numerators[index[cluster]]`, and so on.

    Arrays, because a benchmark may have as many clusters as samples.
    """

    index: dict[str, int] = field(default_factory=dict)
    numerators: array[float] = field(default_factory=lambda: array("d"))
    denominators: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True)
class Metric:
    """One figure of a benchmark as sums per cluster, so that its interval can be computed later.

    The value is `scale` x the mean over strata of (sum of numerators / sum of denominators): a
    plain accuracy has one stratum and denominators of 1; an F1 is a ratio of sums; a macro average
    has one stratum per class; `total=True` adds the strata up instead of averaging them (MME's
    points).
    """

    name: str
    scale: float = 100.0
    total: bool = False
    n: int = 0
    strata: dict[str, Stratum] = field(default_factory=dict)

    def add(
        self, numerator: float, denominator: float = 1.0, *, cluster: str, stratum: str = ""
    ) -> None:
        """Count one unit (a sample, a pair, a group) that was drawn with `cluster`."""
        if not cluster:
            raise ValueError(f"metric {self.name}: a unit without a cluster has no interval")
        sums = self.strata.get(stratum)
        if sums is None:
            sums = self.strata[stratum] = Stratum()
        place = sums.index.get(cluster)
        if place is None:
            sums.index[cluster] = len(sums.numerators)
            sums.numerators.append(numerator)
            sums.denominators.append(denominator)
        else:
            sums.numerators[place] += numerator
            sums.denominators[place] += denominator
        self.n += 1

    @property
    def value(self) -> float:
        """The figure itself; NaN if nothing was counted."""
        ratios = [
            math.fsum(sums.numerators) / denominator
            if (denominator := math.fsum(sums.denominators))
            else math.nan
            for sums in self.strata.values()
        ]
        if not ratios:
            return math.nan
        return self.scale * math.fsum(ratios) / (1 if self.total else len(ratios))


@dataclass(frozen=True, slots=True)
class Prompt:
    """A named way of asking.

    Attributes:
        rules: the rule sets that can read replies to it; the first is the default.
        rank: the model ranks the options instead of writing.
        max_new_tokens: bound on a written reply.
        chance: figures of a uniform random guesser, where they differ from the task's.
    """

    name: str
    about: str
    rules: tuple[str, ...]
    rank: bool = False
    max_new_tokens: int = 16
    chance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """A named way of reading replies.

    Attributes:
        judge: (sample, reply) -> verdict. Any text gets one, and no exception.
        source: the reference that it copies, or "" if it is our own.
        guess_seed: if set, the reference draws one of the options for a reply that it cannot read,
            from Python's generator with this seed, in the order of the samples. The verdict keeps
            its status, so that a figure without the luck can stand beside the reference's.
        question: if set, the reference has a judge model decide: (sample, reply) -> what the judge
            is asked, and `judge` is given the judge's answer instead of the reply.
    """

    name: str
    about: str
    judge: Callable[[Sample, Reply], Verdict]
    source: str = ""
    guess_seed: int | None = None
    question: Callable[[Sample, Reply], str] | None = None


@dataclass(frozen=True, slots=True)
class Files:
    """What a task found under the user's data folder.

    Attributes:
        annotations: the files with the questions; their digests go into the manifest.
        pictures: folders to look for named pictures in, best first; empty if the annotations hold
            them.
        layout: the published form that was recognised. Two layouts that hold different questions
            (RealWorldQA's mixed and all-multiple-choice files) have different names, and the name
            travels with the score.
    """

    annotations: tuple[Path, ...]
    pictures: tuple[Path, ...]
    layout: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where published files come from.

    Attributes:
        about: what it is, for a person.
        repo: dataset repository on the Hugging Face hub that `spare prepare` can fetch, or "".
        patterns: which of its files are wanted (glob patterns).
        folder: where they go under the data folder.
        url: where a person fetches them if there is no repo.
        size: download size, for a person ("843 MB").
        revision: the hub revision that the reader was written for; "main" if the publisher pins
            none.
        task_splits: the splits that this source serves; empty means all of them.
    """

    about: str
    repo: str = ""
    patterns: tuple[str, ...] = ()
    folder: str = ""
    url: str = ""
    size: str = ""
    revision: str = "main"
    task_splits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Submission:
    """How replies are handed in where the answers are not public.

    Attributes:
        name: the file's name, as its receiver wants it.
        where: who scores it, for a person.
        write: (files, split, samples with replies in the benchmark's order, path) writes it.
    """

    name: str
    where: str
    write: Callable[[Files, str, Iterable[tuple[Sample, Reply]], Path], None]


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark. Everything about it is in one file of `spare/tasks/`, which builds this record.

    Attributes:
        version: raised whenever the same replies would get another score or the same data other
            prompts.
        splits: split -> number of samples in the published files; 0 if that is not known.
        chance: headline figure of a uniform random guesser, per metric, in the metric's own unit.
        headline: the metric that stands for the task in a table.
        breakdown: the metric shown per relation and the like (it must make sense on a subset).
        beside: metrics that are shown beside it where no group is split (pairs per sub-task).
        prompts, rules: by name; the first prompt is the default.
        locate: (data folder, split) -> Files. Raises DataError naming every place it looked in.
        read: (files, split, prompt) -> samples, lazily, in file order. Raises DataError with file
            and row.
        summarise: judged samples of one run (any iterable, read once) and the rules' name ->
            metrics, headline included.
        all_or_nothing: every sample of a group must be right for the headline to count it, so a
            group that has failed need not be asked again.
        submission: set if the answers are not public: replies are written down for those who have
            them, and nothing is scored.
        figures: metric -> what it is, in a few words, for every metric that `summarise` may return.
    """

    name: str
    version: int
    about: str
    paper: str
    licence: str
    sources: tuple[Source, ...]
    splits: Mapping[str, int]
    split: str
    chance: Mapping[str, float]
    headline: str
    breakdown: str
    prompts: Mapping[str, Prompt]
    rules: Mapping[str, Rules]
    locate: Callable[[Path, str], Files]
    read: Callable[[Files, str, Prompt], Iterator[Sample]]
    summarise: Callable[[Iterable[Judged], str], list[Metric]]
    all_or_nothing: bool = False
    submission: Submission | None = None
    beside: tuple[str, ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)

    def prompt(self, name: str = "") -> Prompt:
        """The prompt called `name`, or the default one."""
        if not name:
            return next(iter(self.prompts.values()))
        if name not in self.prompts:
            raise SpareError(
                f"Task {self.name} has no prompt {name!r}; it has {', '.join(self.prompts)}."
            )
        return self.prompts[name]

    def rules_for(self, prompt: Prompt, name: str = "") -> Rules:
        """The rule set called `name`, or the prompt's default one; it must be able to read the
        prompt's replies."""
        name = name or prompt.rules[0]
        if name not in prompt.rules:
            raise SpareError(
                f"Task {self.name} with prompt {prompt.name!r} has no rules {name!r}; "
                f"it has {', '.join(prompt.rules)}."
            )
        return self.rules[name]

    def samples(self, data: Path | str, split: str = "", prompt: str = "") -> Iterator[Sample]:
        """All samples of a split, lazily, as they would be asked with `prompt`."""
        split = self.check_split(split)
        return self.read(self.locate(Path(data), split), split, self.prompt(prompt))

    def chance_for(self, prompt: Prompt) -> dict[str, float]:
        """What a uniform random guesser gets when asked with `prompt`, per metric."""
        return {**self.chance, **prompt.chance}

    def check_split(self, split: str = "") -> str:
        """`split`, or the default one; a split that the task lacks is refused."""
        split = split or self.split
        if split not in self.splits:
            raise SpareError(
                f"Task {self.name} has no split {split!r}; it has {', '.join(self.splits)}."
            )
        return split

    def judge(self, sample: Sample, reply: Reply, rules: str) -> Verdict:
        """How the rule set `rules` reads `reply`. A reply that is an error scores 0 under every
        rule set."""
        if reply.error:
            return Verdict("", 0.0, "error")
        return self.rules[rules].judge(sample, reply)
