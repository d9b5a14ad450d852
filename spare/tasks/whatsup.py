"""What's Up: which caption is right, when only the relation differs? (Kamath, Hessel and Chang,
EMNLP 2023)

Source    github.com/amitakamath/whatsup_vlms; its data (JSON and picture archives) is on Google
          Drive, and the hub data set ServiceNow/whatsup_all holds the same as parquet, without file
          names. No revision is pinned by either.
Licence   MIT for the code; none is stated for the data. COCO pictures under COCO's terms, GQA's
          from Visual Genome (CC BY 4.0).
Subsets   A: 103 sets of four photographs of an object on, under, left and right of furniture;
          B: 102 sets of a table-top object in front of, behind, left and right of another ("clevr"
          on disk, but photographs). COCO and GQA: two captions per picture, one object (where in
          the picture) or two.
Official  A score for every caption, the best wins: `captions`. Individual accuracy over rows; a
          pair (left/right; on/under or front/behind) and a set count if all of their photographs
          are right, out of rows / 2 and rows / 4. The right caption is always first in the file and
          the first maximum wins, so a model that scores all alike gets 100 per cent, and so do
          scores that are all NaN. Rules `official` keep that for parity; under `spare` a tie is
          wrong and NaN is an error.
Ours      A model that writes has to be shown one user turn, and we use the shortest neutral one.
          The figures rank by the sum of log-likelihoods; `individual_mean` (per token) and
          `individual_per_character` are the same ranking normalised.
          `mcq`, the default, is SpaRE's protocol (arXiv 2504.20648): options with letters, reply
          matched. Its wording and order are unpublished. The file's order gives the answer away,
          so the options are ordered by SHA-256 of seed 0, subset, set (COCO, GQA: sample) and
          caption: the four photographs of a set have one order, and every letter is right as often.
          `words` is AdaptVis's (github.com/shiqichen17/AdaptVis, arXiv 2503.01773): the relation in
          a word. Its wording, but always "is" and without its stray spaces.
Figures   individual, in per cent. SpaRE's table 3 for A / B: Qwen2-VL-2B 44.6 / 79.1, Qwen2-VL-7B
          99.5 / 99.3, human 100. AdaptVis, `words`, LLaVA-1.5-7B: A 60.3, B 73.1, COCO 53.0 and
          58.2, GQA 35.9 and 40.8. One relation always: 25 for A and B, and no pair right.
Traps     Two pictures of A, the pillow left and right of the chair, are swapped (issue 4 of the
          repository): the headline keeps the published labels, and the figures `*_fixed` swap them.
          Captions keep their grammar ("A sunglasses on a armchair"). Several rows of COCO and GQA
          share a picture.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from spare.relations import RELATION_CLASS
from spare.tasks import answers, references
from spare.tasks.files import Row
from spare.tasks.replies import EMPTY, Reading, only, statements, united
from spare.tasks.types import (
    Files,
    Judged,
    Likelihood,
    Metric,
    Prompt,
    Reply,
    Rules,
    Sample,
    Status,
    Task,
    Verdict,
)
from spare.tasks.whatsup_files import (
    COCO_ONE,
    CONTROLLED,
    GQA_ONE,
    SUBSETS,
    WORDS,
    A,
    Scene,
    Subset,
    locate_files,
    scenes,
    sources,
)

LETTERS = "ABCD"


# Questions

CAPTION_REQUEST = "Describe the picture in one sentence."
LETTER_REQUEST = "Which caption is right for the picture?\n{}\nAnswer with the letter only."


def _read(subset: Subset, files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    ask = {
        "mcq": _ask_letter,
        "captions": _ask_captions,
        "answers": _ask_place,
        "words": _ask_word,
    }[prompt.name]
    seen: dict[str, int] = {}
    for row, scene in scenes(subset, files):
        if scene.id in seen:
            raise row.error(f"the same photograph as in row {seen[scene.id]}, {scene.id}")
        seen[scene.id] = row.number
        text, options, target = ask(subset, row, scene)
        tags = {
            "relation": scene.relation,
            "class": RELATION_CLASS[scene.relation],
            "subject": scene.subject,
            "object": scene.object,
        }
        yield Sample(
            id=scene.id,
            parts=(scene.picture, text),
            target=target,
            options=options,
            rank=prompt.rank,
            tags={name: value for name, value in tags.items() if value},
            group=scene.group,
            cluster=scene.cluster,
        )


_Question = tuple[str, Mapping[str, str], str]


def _ask_captions(subset: Subset, row: Row, scene: Scene) -> _Question:
    return CAPTION_REQUEST, dict(zip(LETTERS, scene.captions, strict=False)), "A"


def _ask_place(subset: Subset, row: Row, scene: Scene) -> _Question:
    found = [CONTROLLED.fullmatch(caption) for caption in scene.captions]
    places = [f"{one['place']} the {one['object']}." for one in found if one]
    if len(places) != len(found) or not scene.subject:
        raise row.error(
            f"no two objects can be told apart in the captions {list(scene.captions)!r}",
            "Ask with the prompt mcq or captions.",
        )
    options = [place[0].upper() + place[1:] for place in places]
    question = f"Where is the {scene.subject}?"
    return question, dict(zip(LETTERS, options, strict=True)), "A"


def _ask_letter(subset: Subset, row: Row, scene: Scene) -> _Question:
    # The photographs of a set get one order, so each letter is right for one of them: a model that
    # always says the same letter has exactly 25 per cent, and no pair.
    key = f"0\0{subset.key}\0{scene.group or scene.id}"

    def place(caption: str) -> bytes:
        return hashlib.sha256(f"{key}\0{caption}".encode()).digest()

    options = dict(zip(LETTERS, sorted(scene.captions, key=place), strict=False))
    listed = "\n".join(f"{letter}. {caption}" for letter, caption in options.items())
    target = next(letter for letter, text in options.items() if text == scene.captions[0])
    return LETTER_REQUEST.format(listed), options, target


def _ask_word(subset: Subset, row: Row, scene: Scene) -> _Question:
    if not scene.subject or not (scene.object or subset in (COCO_ONE, GQA_ONE)):
        raise row.error(
            f"no object to ask for can be told apart in the caption {scene.captions[0]!r}",
            "Ask with the prompt mcq or captions.",
        )
    place = f"in relation to the {scene.object}" if scene.object else "in the photo"
    listed = f"{', '.join(subset.words[:-1])} or {subset.words[-1]}"
    text = f"Where is the {scene.subject} {place}? Answer with {listed}."
    return text, {word: word for word in subset.words}, WORDS.get(scene.relation, scene.relation)


# Judging

SWAPPED = ("pillow_left_of_chair", "pillow_right_of_chair")
"""Samples of A whose pictures are each other's."""


def _judge_spare(sample: Sample, reply: Reply) -> Verdict:
    if sample.rank:
        return _rank(sample, reply, _only_best)
    reading = (
        answers.read_option(reply.text, sample.options)
        if sample.target in LETTERS
        else _read_word(reply.text, sample)
    )
    return _verdict(sample, reading.answer, reading.status)


def _judge_official(sample: Sample, reply: Reply) -> Verdict:
    return _rank(sample, reply, _first_best)


def _judge_adaptvis(sample: Sample, reply: Reply) -> Verdict:
    if not reply.text.strip():
        return Verdict("", 0.0, "empty")
    # A reply may satisfy several words, and then the target counts.
    right = [word for word in sample.options if references.adaptvis_word(reply.text, word)]
    parsed = sample.target if sample.target in right else ", ".join(right)
    also = {"fixed": float(_swapped_target(sample) in right)} if sample.id in SWAPPED else {}
    return Verdict(parsed, float(sample.target in right), "ok" if right else "unparsed", also)


def _verdict(sample: Sample, parsed: str, status: Status, **also: str) -> Verdict:
    """`also`: further figures by name, as what was read for them."""
    scores = {name: float(answer == sample.target) for name, answer in also.items()}
    if sample.id in SWAPPED:
        scores["fixed"] = float(parsed == _swapped_target(sample))
    return Verdict(parsed, float(parsed == sample.target), status, scores)


def _swapped_target(sample: Sample) -> str:
    """What would be right if left were right."""
    gold = sample.options[sample.target]
    other = re.sub("left|right", lambda side: "right" if side[0] == "left" else "left", gold)
    return next((label for label, text in sample.options.items() if text == other), "")


_Best = Callable[[Sequence[float]], tuple[int | None, Status]]


def _rank(sample: Sample, reply: Reply, best: _Best) -> Verdict:
    given = reply.likelihoods or {}
    if given.keys() != sample.options.keys():
        return Verdict("", 0.0, "unparsed" if given else "empty")

    def read(figure: Callable[[Likelihood], float]) -> tuple[str, Status]:
        place, status = best([figure(given[label]) for label in sample.options])
        return ("" if place is None else list(sample.options)[place]), status

    parsed, status = read(lambda one: one.by("sum"))
    mean, _ = read(lambda one: one.by("mean"))
    per_character, _ = read(lambda one: one.by("character"))
    return _verdict(sample, parsed, status, mean=mean, per_character=per_character)


def _first_best(values: Sequence[float]) -> tuple[int | None, Status]:
    """NumPy's argmax, which the reference uses: the first NaN, else the first maximum."""
    for place, value in enumerate(values):
        if math.isnan(value):
            return place, "ok"
    return values.index(max(values)), "ok"


def _only_best(values: Sequence[float]) -> tuple[int | None, Status]:
    if any(math.isnan(value) for value in values):
        return None, "error"
    if values.count(max(values)) > 1:
        return None, "ambiguous"
    return values.index(max(values)), "ok"


_WORD = re.compile(  # "on the far left" is not "on"
    r"\b(not )?(?:(?:on|to|at|in) (?:\w+ ){0,2}?)?"
    r"(left|right|top|bottom|front|behind|above|below|on|under)\b"
)


def _read_word(text: str, sample: Sample) -> Reading:
    """The one word of those asked for that a reply has, as a word: "on" in "on the table", "left"
    and not "on" in "on the left". The objects' names do not count ("the front wheel")."""
    if not text.strip():
        return EMPTY
    return united([_read_word_in(part, sample) for part in statements(text)])


def _read_word_in(text: str, sample: Sample) -> Reading:
    text = " ".join(text.lower().replace("n't", " not").split())
    for name in (sample.tags["subject"], sample.tags.get("object")):
        if name:
            text = re.sub(rf"\b{re.escape(name.lower())}\b", "it", text)
    found = {match[2] for match in _WORD.finditer(text) if not match[1]}
    if "top" in found and "top" not in sample.options:  # "on top of" something
        found |= {"on", "above"}
    return only(found & set(sample.options))


# Figures


def _summarise(subset: Subset, judged: Iterable[Judged], rules: str) -> list[Metric]:
    rows = list(judged)
    metrics = _accuracies(subset, rows, "", lambda row: row.verdict.score)
    for name in ("mean", "per_character"):
        if any(name in row.verdict.also for row in rows):
            metric = Metric(f"individual_{name}")
            for row in rows:
                metric.add(row.verdict.also.get(name, 0.0), cluster=row.cluster or row.id)
            metrics.append(metric)
    if subset is A and any(row.id in SWAPPED for row in rows):

        def fixed(row: Judged) -> float:
            return row.verdict.also.get("fixed", 0.0 if row.id in SWAPPED else row.verdict.score)

        metrics += _accuracies(subset, rows, "_fixed", fixed)
    return metrics


def _accuracies(
    subset: Subset, rows: Sequence[Judged], suffix: str, score: Callable[[Judged], float]
) -> list[Metric]:
    individual = Metric(f"individual{suffix}")
    sets: dict[str, dict[str, Judged]] = {}
    for row in rows:
        individual.add(score(row), cluster=row.cluster or row.id)
        sets.setdefault(row.group, {})[row.tags["relation"]] = row
    if not subset.pairs:
        return [individual]
    pair, whole = Metric(f"pair{suffix}"), Metric(f"set{suffix}")
    for group, photographs in sets.items():
        # Out of rows / 2 and rows / 4, as in the paper's code: a photograph that is missing from
        # the file makes its pair and its set wrong, and shrinks the denominators.
        right = {relation for relation, row in photographs.items() if score(row) == 1.0}
        for relations in subset.pairs:
            there = sum(relation in photographs for relation in relations)
            if there:
                pair.add(right.issuperset(relations), there / 2, cluster=group)
        whole.add(len(right) == 4, len(photographs) / 4, cluster=group)
    return [individual, pair, whole]


# The tasks


def _figures(subset: Subset) -> dict[str, str]:
    kinds = f"left and right, {'on and under' if subset is A else 'in front and behind'}"
    figures = {"individual": "photographs answered right"}
    if subset.pairs:
        figures |= {
            "pair": f"pairs of photographs of a set ({kinds}), both right",
            "set": "sets of four photographs of the same two objects, all right",
        }
    figures |= {
        "individual_mean": "individual, captions ranked by log-likelihood per token",
        "individual_per_character": "individual, captions ranked by log-likelihood per character",
    }
    if subset is A:
        swapped = "with the swapped captions of two photographs put right"
        figures |= {f"{name}_fixed": f"{name}, {swapped}" for name in ("individual", "pair", "set")}
    return figures


def _chance(subset: Subset) -> dict[str, float]:
    one = 1.0 / subset.captions
    figures = {"individual": one, "individual_mean": one, "individual_per_character": one}
    if subset.pairs:
        figures |= {"pair": one**2, "set": one**4}
    if subset is A:
        figures |= {f"{name}_fixed": figures[name] for name in ("individual", "pair", "set")}
    return {name: 100.0 * value for name, value in figures.items()}


def _prompts(subset: Subset) -> dict[str, Prompt]:
    one_word = 100.0 / len(subset.words)
    every: tuple[Prompt, ...] = (
        Prompt("mcq", "The captions with letters, in an order of our own.", ("spare",)),
        Prompt(
            "captions",
            f'The official protocol: the captions ranked, as replies to "{CAPTION_REQUEST}".',
            ("spare", "official"),
            rank=True,
        ),
        Prompt(
            "words",
            "AdaptVis's question: where is the object, in a word?",
            ("spare", "adaptvis"),
            chance={} if subset.pairs else {"individual": one_word},
        ),
    )
    if subset.pairs:
        every = (
            *every,
            Prompt(
                "answers",
                'The captions\' places, ranked as replies to "Where is the mug?": "On the table.", '
                '"To the left of the table." ... It is what is learnt from questions and answers.',
                ("spare", "official"),
                rank=True,
            ),
        )
    return {prompt.name: prompt for prompt in every}


RULES = {
    "spare": Rules(
        "spare",
        "A letter or the text of one caption; one of the words; the one best caption, where a tie "
        "is wrong and NaN an error.",
        _judge_spare,
    ),
    "official": Rules(
        "official",
        "The first best caption, NaN before all; the right one comes first, so ties are right.",
        _judge_official,
        source="amitakamath/whatsup_vlms, dataset_zoo/aro_datasets.py",
    ),
    "adaptvis": Rules(
        "adaptvis",
        'The right word is anywhere in the reply ("none" has "on").',
        _judge_adaptvis,
        source="shiqichen17/AdaptVis, model_zoo/llava15.py",
    ),
}


def _task(subset: Subset) -> Task:
    return Task(
        name=subset.name,
        version=1,
        about=subset.about,
        paper="arXiv 2310.19785",
        licence="none stated for the data (code: MIT); COCO's and Visual Genome's for pictures",
        sources=sources(subset),
        splits={"test": subset.rows},
        split="test",
        chance=_chance(subset),
        headline="individual",
        breakdown="individual",
        prompts=_prompts(subset),
        rules=RULES,
        locate=partial(locate_files, subset),
        read=partial(_read, subset),
        summarise=partial(_summarise, subset),
        figures=_figures(subset),
    )


TASKS = tuple(map(_task, SUBSETS))
