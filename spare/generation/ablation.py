"""The paper's ablations: several generators on one sample of captions, and several pre-filters on
captions that a person has labelled (its Tables 6 and 7)."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Any

from spare.disk import write_json
from spare.errors import DataError, SpareError, counted
from spare.generation import captions as reading
from spare.generation import llm, shards
from spare.generation.captions import find_parts
from spare.generation.mentions import find_mentions, tokens
from spare.generation.models import Models
from spare.generation.pipeline import Event, Progress, generate
from spare.generation.stages import Options


@dataclass(frozen=True, slots=True)
class Generator:
    """What a generator made of a sample of captions.

    Attributes:
        captions: in the sample; passed: those that its pre-filter let pass; replied: those of
            these that it wrote a reply about.
        pairs: all that it wrote; spatial: those with a keyword of Table 10; kept: those that all
            filters let pass.
        cut_off: replies that reached their bound.
        unheard: questions of any stage without a reply; first_error: why the first has none.
        seconds: per caption, of all stages, models loaded in between; also those of earlier calls.
    """

    name: str
    captions: int
    passed: int
    replied: int
    pairs: int
    spatial: int
    kept: int
    cut_off: int
    unheard: int
    first_error: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Classifier:
    """How a pre-filter does on labelled captions.

    Attributes:
        hits, misses, false_alarms, rejections: captions that it said something of.
        unheard: captions that it gave no reply to, in none of the other counts; first_error: why
            the first has none.
        seconds: per caption.
    """

    name: str
    hits: int
    misses: int
    false_alarms: int
    rejections: int
    unheard: int
    first_error: str
    seconds: float

    @property
    def heard(self) -> int:
        """Captions that it said something of."""
        return self.hits + self.misses + self.false_alarms + self.rejections

    @property
    def accuracy(self) -> float:
        """Share that is right of what it said."""
        return (self.hits + self.rejections) / self.heard if self.heard else 0.0

    @property
    def precision(self) -> float:
        """Share of what it lets pass that is about space."""
        passed = self.hits + self.false_alarms
        return self.hits / passed if passed else 0.0

    @property
    def recall(self) -> float:
        """Share of what is about space that it lets pass."""
        there = self.hits + self.misses
        return self.hits / there if there else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def compare_generators(
    captions: str | Path,
    llms: Sequence[str],
    *,
    out: str | Path,
    number: int = 100,
    on_event: Callable[[Any], None] = lambda event: None,
    engine: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Generator]:
    """Have several models make pairs of the same captions, drawn at random.

    Args:
        captions: folder of `spare captions`.
        llms: names of models; "template:" is the generator without one.
        out: folder for the sample and for each model's pairs; one that is there goes on.
        number: captions in the sample.
        options: of `generate`, the same for all.

    Raises:
        SpareError: there are no captions, or a model cannot be loaded.
    """
    if number < 1:
        raise SpareError("-n must be at least 1.")
    out = Path(out)
    sample = _sample(Path(captions), out / "captions", number)
    found = []
    for name in dict.fromkeys(llms):
        on_event(f"Generator {name}")
        funnel = generate(
            out / "captions",
            out=out / (re.sub(r"[^\w.-]+", "-", name).strip("-") or "model"),
            llm=name,
            on_event=on_event,
            engine=engine,
            **options,
        )
        sources = funnel["sources"].values()
        pairs = Counter(funnel["pairs"])
        passed = sum(one.get("passed", 0) for one in sources)
        found.append(
            Generator(
                name=name,
                captions=sample,
                passed=passed,
                replied=passed - funnel["unheard"].get("generate", 0),
                pairs=sum(pairs.values()),
                spatial=funnel["spatial"],
                kept=pairs["kept"],
                cut_off=funnel["replies"].get("length", 0),
                unheard=sum(funnel["unheard"].values()),
                first_error=funnel["first_error"],
                seconds=funnel["seconds"] / sample,
            )
        )
    return found


def _sample(captions: Path, out: Path, number: int) -> int:
    """Write a sample of captions as a source of its own; the same one every time."""
    import pyarrow

    parts = find_parts(captions)
    names = [name for part in parts for name in _ids(part.path)]
    chosen = set(nsmallest(number, names))  # digests, so the smallest are a random draw
    mark = shards.remade(sorted(chosen))
    path = out / "sample" / "00000.parquet"
    made = path.with_name("manifest.json")
    there = _sampled(made)
    if there and there != mark:
        raise SpareError(
            f"{out.parent} holds another sample than {counted(number, 'caption')} of {captions}; "
            "choose another --out."
        )
    if there and shards.is_fresh(path, mark):
        return len(chosen)
    tables = []
    for part in parts:
        table = shards.read(part.path, writer="spare captions")
        mask = [name in chosen for name in table.column("caption_id").to_pylist()]
        kept = table.filter(pyarrow.array(mask, pyarrow.bool_()))
        # A picture below its own source's folder is named from the root here.
        images = [
            str(part.data / image) if kind in ("path", "tar") else image
            for kind, image in zip(
                kept.column("image_kind").to_pylist(), kept.column("image").to_pylist(), strict=True
            )
        ]
        place = kept.schema.get_field_index("image")
        tables.append(kept.set_column(place, "image", pyarrow.array(images, pyarrow.string())))
    whole = pyarrow.concat_tables(tables).cast(reading.schema())
    shards.write(path, whole, {"fingerprint": mark})
    told = {"format": 1, "source": "sample", "data": "/", "files": {}, "faults": [], "shards": 1}
    write_json(made, {**told, "counts": {"captions": len(whole)}, "drawn": mark})
    return len(chosen)


def _sampled(made: Path) -> str:
    """Which captions a sample is of, as its manifest says it; "" if there is none, or a torn one:
    then it is drawn again."""
    try:
        return str(reading.read_manifest(made).get("drawn", "of an earlier version"))
    except DataError:
        return ""


def _ids(path: Path) -> list[str]:
    table = shards.read(path, ["caption_id"], "spare captions")
    names: list[str] = table.column("caption_id").to_pylist()
    return names


def compare_classifiers(
    labelled: str | Path,
    llms: Sequence[str],
    *,
    out: str | Path,
    on_event: Callable[[Event], None] = lambda event: None,
    engine: Mapping[str, Any] | None = None,
    cutoff: float = 0.5,
) -> list[Classifier]:
    """Have several models say of labelled captions whether they are about space.

    Args:
        labelled: JSON Lines with `caption` and `spatial` (true or false).
        llms: as for `compare_generators`; "template:" is the gate of keywords.
        out: folder for their replies.
        on_event: receives a line before each model is loaded, and Progress.

    Raises:
        SpareError: the file is no such one, or a model cannot be loaded.
    """
    rows = _labelled(Path(labelled))
    found = []
    for name in dict.fromkeys(llms):
        start = time.monotonic()
        if name == "template:":
            said: list[bool | None] = [bool(find_mentions(tokens(caption))) for caption, _ in rows]
            errors: list[str] = []
        else:
            log = Path(out) / f"{llm.caption_key(name, 'classify')}.replies.jsonl"
            requests = [
                llm.classify_request(str(number), caption)
                for number, (caption, _) in enumerate(rows)
            ]
            # The model before is held by nobody any more when this one needs the memory.
            models = Models(Options(llm=name), engine or {}, {}, on_event)
            progress = Progress(name, len(rows), started=start, awaited=models.awaited)

            def on_reply(done: int, progress: Progress = progress) -> None:
                progress.done = done
                on_event(progress)

            replies = llm.answered(models.llm, requests, log, on_reply)
            if models.tokens.told:
                on_event(models.tokens.line())
            given = [replies[str(number)] for number in range(len(rows))]
            errors = [reply.error for reply in given if not reply.likelihoods]
            said = [llm.probability(one) >= cutoff if one.likelihoods else None for one in given]
        seconds = (time.monotonic() - start) / len(rows)
        counts = Counter(zip(said, (truth for _, truth in rows), strict=True))
        found.append(
            Classifier(
                name,
                hits=counts[True, True],
                misses=counts[False, True],
                false_alarms=counts[True, False],
                rejections=counts[False, False],
                unheard=counts[None, True] + counts[None, False],
                first_error=next(iter(errors), ""),
                seconds=seconds,
            )
        )
    return found


def _labelled(path: Path) -> list[tuple[str, bool]]:
    rows = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    caption, spatial = row["caption"], row["spatial"]
                except (ValueError, TypeError, KeyError):
                    caption = spatial = None
                if not isinstance(caption, str) or not isinstance(spatial, bool):
                    raise DataError(
                        "a JSON object with caption (a text) and spatial (true or false) was "
                        "expected",
                        path,
                        number,
                    )
                rows.append((caption, spatial))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path) from None
    if not rows:
        raise DataError("has no captions", path)
    return rows
