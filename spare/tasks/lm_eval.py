"""Text tasks of lm-eval, asked like ours: `--tasks lm-eval:NAME`, or `lm-eval:FILE.yaml` for a task
of the user's own. They show what a retrained model has forgotten.

lm-eval builds the questions (its few-shot examples included), filters the replies and scores each
of them; what lies between is ours: engines, replies on disk, intervals, comparison. A question is
one user turn of the checkpoint's chat template, and a multiple choice ranks whole replies. So the
figures are those of `lm_eval --apply_chat_template --fewshot_as_multiturn False`, and not those of
bare text, which is lm-eval's default and no way to ask a model that was tuned to chat. Where a task
has a description or the beginning of an answer, lm-eval makes turns of their own of them; here they
stand in the one turn. Where a template ends in a line break, lm-eval counts its likelihood to every
choice, and we do not; that moves `acc_norm`. Few-shot examples are drawn with lm-eval's default
seed.

Figures are lm-eval's metrics in per cent, the first one as headline, those of several filters as
`metric,filter`. Left out are metrics that are no means over questions (F1, BLEU, perplexity), since
they have no intervals here, and those that want to know whether a choice is the likeliest text of
all. Tasks that have no other, that run code, that see pictures, or that are groups are refused.

The task's version and lm-eval's own are the layout, so only scores of the same of both share a
column. The layout's data come from the hub or wherever the task's YAML says, by lm-eval itself.
"""

from __future__ import annotations

import importlib.metadata
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spare.errors import SpareError
from spare.guests import as_guest, require_lm_eval
from spare.tasks.types import Files, Judged, Metric, Prompt, Reply, Rules, Sample, Task, Verdict

PREFIX = "lm-eval:"

SEED = 1234
"""lm-eval's default for drawing few-shot examples."""

LONGEST = 256
"""Tokens of a written reply where a task sets no bound: lm-eval's default."""

INVALID = "[invalid]"
"""What lm-eval's filters make of a reply in which they find nothing."""

KINDS = ("multiple_choice", "generate_until")

GREEDY = ("exact_match", "acc_mutual_info")
"""Metrics of multiple choice that want more than the likelihoods of the choices."""


def lm_eval_task(name: str) -> Task:
    """The task of lm-eval called `name`, or in the YAML file `name`, as `lm-eval:<its name>`.

    Raises SpareError if lm-eval is not installed, has no such task or cannot load it, or if it is
    of a kind that cannot be asked here.
    """
    if not name:
        raise SpareError("Name the task of lm-eval, too: lm-eval:hellaswag, or lm-eval:FILE.yaml.")
    require_lm_eval()
    path = _find(name)
    with as_guest():
        theirs = _load(name, path)
        asked = _Asked(theirs)
    prompt = Prompt(
        name="lm-eval",
        about="lm-eval's text as one user turn of the checkpoint's chat template.",
        rules=("lm-eval",),
        rank=asked.ranks,
        max_new_tokens=0 if asked.ranks else asked.bound,
    )
    release = importlib.metadata.version("lm_eval")
    rules = Rules(
        name="lm-eval",
        about="lm-eval's filters and metrics of the task.",
        judge=asked.judge,
        source=f"lm-eval {release}",
    )
    layout = f"lm-eval {release}, version {theirs.VERSION}"
    return Task(
        name=f"{PREFIX}{asked.name}",
        version=_whole(theirs.VERSION),
        about=f"The task {asked.name} of lm-eval {release}.",
        paper="",
        licence="whatever its data came with",
        sources=(),
        splits={asked.split: len(asked.samples)},
        split=asked.split,
        chance=asked.chance(),
        headline=asked.metrics[0],
        breakdown=asked.metrics[0],
        prompts={prompt.name: prompt},
        rules={rules.name: rules},
        locate=lambda data, split: Files((path, *asked.files), (), layout),
        read=lambda files, split, prompt: iter(asked.samples),
        summarise=partial(_summed_up, names=asked.metrics),
    )


def summarise(judged: Iterable[Judged], rules: str) -> list[Metric]:
    """The metrics of a task of lm-eval, whichever it is, from finished verdicts."""
    return _summed_up(judged, rules, names=())


def _summed_up(judged: Iterable[Judged], rules: str, *, names: Sequence[str]) -> list[Metric]:
    metrics = {name: Metric(name) for name in names}
    unanswered: list[str] = []
    for one in judged:
        if one.verdict.status == "error":
            unanswered.append(one.cluster)
            continue
        for name, value in one.verdict.also.items():
            metrics.setdefault(name, Metric(name)).add(value, cluster=one.cluster)
    for metric in metrics.values():
        for cluster in unanswered:
            metric.add(0.0, cluster=cluster)
    return list(metrics.values())


class _Asked:
    """A task of lm-eval, and the questions that it makes, built once and in its order: few-shot
    examples are drawn one question after the other.

    Attributes:
        bound: most tokens of a written reply; ends: texts that end one.
        metrics: those that are shown, the headline first.
        files: what its data were read from, as far as that is known.
    """

    def __init__(self, theirs: Any) -> None:
        config = theirs.config
        self.theirs = theirs
        self.name = str(config.task)
        self.ranks = theirs.OUTPUT_TYPE == "multiple_choice"
        settings = dict(config.generation_kwargs or {})
        self.bound = int(settings.get("max_gen_toks") or LONGEST)
        ends = settings.get("until") or []
        self.ends = [end for end in ([ends] if isinstance(ends, str) else ends) if end]
        self.split = str(config.test_split or config.validation_split)
        self.filters = list(theirs._filters)
        self.metrics = self._find_metrics()
        self.docs = theirs.eval_docs
        cached = getattr(self.docs, "cache_files", None) or []
        self.files = tuple(Path(one["filename"]) for one in cached)
        theirs.set_fewshot_seed(SEED)
        self.samples = [self._sample(number, doc) for number, doc in enumerate(self.docs)]

    def chance(self) -> dict[str, float]:
        """What guessing gets, where there are choices."""
        if not self.ranks:
            return {}
        guess = math.fsum(1 / len(sample.options) for sample in self.samples) / len(self.samples)
        return dict.fromkeys(self.metrics, 100 * guess)

    def _find_metrics(self) -> list[str]:
        from lm_eval.api.metrics import mean

        better = self.theirs.higher_is_better()
        names = [
            name
            for name, aggregation in self.theirs.aggregation().items()
            if aggregation is mean
            and better.get(name, True)
            and not (self.ranks and name in GREEDY)
        ]
        if not names:
            raise self._refusal("has no metric that is a mean over its questions")
        return [self._metric(name, one.name) for one in self.filters for name in names]

    def _metric(self, name: str, filtered: str) -> str:
        return name if len(self.filters) == 1 else f"{name},{filtered}"

    def _refusal(self, why: str) -> SpareError:
        return SpareError(f"lm-eval's task {self.name} {why}, so it cannot be asked here.")

    def _sample(self, number: int, doc: Mapping[str, Any]) -> Sample:
        context = self.theirs.fewshot_context(
            doc,
            num_fewshot=self.theirs.config.num_fewshot or 0,
            gen_prefix=self.theirs.doc_to_prefix(doc),
        )
        if not isinstance(context, str):
            raise self._refusal("puts its choices into the question")
        target = self.theirs.doc_to_target(doc)
        choices = list(self.theirs.doc_to_choice(doc)) if self.theirs.config.doc_to_choice else []
        if isinstance(target, str) and target in choices:
            target = choices.index(target)
        several = target if isinstance(target, list) else []
        return Sample(
            id=str(number),
            parts=(context,),
            target=str(several[0] if several else target),
            options={str(place): choice for place, choice in enumerate(choices)}
            if self.ranks
            else {},
            rank=self.ranks,
            cluster=str(number),
            answers=tuple(map(str, several)),
        )

    def judge(self, sample: Sample, reply: Reply) -> Verdict:
        """lm-eval's scores of a reply; the headline's is the verdict's."""
        doc = self.docs[int(sample.id)]
        if not self.ranks:
            return self._judge_text(doc, reply.text)
        if reply.likelihoods is None or set(reply.likelihoods) != set(sample.options):
            return self._verdict("", "unparsed", {})
        totals = [reply.likelihoods[label].total for label in sample.options]
        scores = self.theirs.process_results(doc, [(total, False) for total in totals])
        best = list(sample.options)[totals.index(max(totals))]
        found = {
            self._metric(name, one.name): value
            for one in self.filters
            for name, value in scores.items()
        }
        return self._verdict(best, "ok", found)

    def _judge_text(self, doc: Any, text: str) -> Verdict:
        from lm_eval.api.instance import Instance

        for end in self.ends:
            text = text.split(end)[0]
        instance = Instance("generate_until", doc, ("", {}), 0, resps=[text])
        found: dict[str, Any] = {}
        for one in self.filters:
            one.apply([instance])
            scores = self.theirs.process_results(doc, [instance.filtered_resps[one.name]])
            found |= {self._metric(name, one.name): value for name, value in scores.items()}
        read = str(instance.filtered_resps[self.filters[0].name])
        if not text.strip():
            return self._verdict("", "empty", found)
        return self._verdict(read, "unparsed" if read == INVALID else "ok", found)

    def _verdict(self, parsed: str, status: Any, found: Mapping[str, Any]) -> Verdict:
        also = {name: float(found.get(name, 0.0)) for name in self.metrics}
        score = min(1.0, max(0.0, also[self.metrics[0]]))
        return Verdict("" if status == "unparsed" else parsed, score, status, also)


# Finding and loading


def _find(name: str) -> Path:
    """The YAML file of a task. lm-eval's own index of 14,000 of them takes most of a minute."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
        if not path.is_file():
            raise SpareError(f"There is no file {name}; lm-eval:FILE.yaml takes a path.")
        text = path.read_bytes()
        if re.search(rb"^group:", text, re.M) and not re.search(
            rb"^task:[ \t]*[\"'\w]", text, re.M
        ):
            raise SpareError(f"{path} is a group of lm-eval's tasks; name one of its tasks.")
        return path.resolve()
    import importlib.util

    found = importlib.util.find_spec("lm_eval")
    assert found is not None
    assert found.origin is not None
    wanted = re.compile(rb"^(task|group):\s*[\"']?%b[\"']?\s*$" % re.escape(name.encode()), re.M)
    groups = []
    for path in sorted((Path(found.origin).parent / "tasks").rglob("*.yaml")):
        if match := wanted.search(path.read_bytes()):
            if match[1] == b"task":
                return path
            groups.append(path)
    if groups:
        raise SpareError(
            f"{name} is a group of lm-eval's tasks, and a run asks single ones: name those that "
            f"{groups[0]} lists."
        )
    raise SpareError(
        f"lm-eval has no task {name!r}; `lm_eval ls tasks` lists them. Your own YAML file is named "
        "by its path: lm-eval:FILE.yaml."
    )


def _load(name: str, path: Path) -> Any:
    """lm-eval's own object. Raises SpareError if that fails, or it is of no kind that fits."""
    from lm_eval.tasks import TaskManager

    try:
        # What the data loader raises is only known to be one of these.
        loaded = TaskManager(include_defaults=False).load(str(path))["tasks"]
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SpareError(
            f"lm-eval cannot load its task {name} ({path}): {lines[0].rstrip('.')}."
        ) from error
    if len(loaded) != 1:
        raise SpareError(f"{path} is a group of lm-eval's tasks; name one of its tasks.")
    (theirs,) = loaded.values()
    why = ""
    if getattr(theirs, "OUTPUT_TYPE", "") not in KINDS or not hasattr(theirs, "_filters"):
        why = f"is of the kind {getattr(theirs, 'OUTPUT_TYPE', '')!r}, and not {' or '.join(KINDS)}"
    elif getattr(theirs, "MULTIMODAL", False):
        why = "is about pictures or sounds"
    elif getattr(theirs, "UNSAFE_CODE", False):
        why = "runs code that models write"
    elif theirs.config.repeats != 1:
        why = "asks each question several times"
    elif "acc_mutual_info" in theirs.aggregation():
        why = "wants to know how likely its choices are without the question"
    if why:
        raise SpareError(f"lm-eval's task {name} {why}, so it cannot be asked here.")
    return theirs


def _whole(version: Any) -> int:
    """The whole part of a task's version, which lm-eval keeps as any kind of number or text."""
    try:
        number = float(version)
    except (TypeError, ValueError):
        return 0
    return int(number) if math.isfinite(number) else 0
