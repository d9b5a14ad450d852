"""The pairs that were kept as a data set: parquet shards, and a card that says what they are.

    dataset/README.md    the card: counts, funnel, licences, models, what was checked
    dataset/data/train-00000-of-00003.parquet

`datasets.load_dataset("dataset")` reads it. A picture travels by its key and its place; its pixels
only if its licence lets them, or for a copy that is not passed on.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.disk import locked, replaced
from spare.errors import PictureError, SpareError, counted
from spare.generation import shards
from spare.generation.manifest import read_pipeline
from spare.generation.pictures import Pictures
from spare.generation.stages import Inputs, Options, wanted
from spare.generation.stages.tags import COLUMNS
from spare.generation.words import word_set

if TYPE_CHECKING:
    import pyarrow

SHARD = 20_000
"""Pairs in a shard; with pictures a hundredth of that."""

ROW_GROUP = 16
"""Rows with pictures that are read together: training asks for pictures one by one."""

OF_CAPTION = (
    *("source", "subset", "split", "image_key", "image_kind", "image", "annotator"),
    *("text_license", "image_license", "image_redistributable"),
)
CARD = "README.md"
NEW, OLD = ".new", ".old"
"""Folders of shards that are being written, and that are being replaced."""

NAMES = re.compile(r"train-\d{5}(?:-of-\d{5})?\.parquet(?:\.part)?")
ONLY = ("source", "subset", "split", "relation", "class", "frame", "form")
"""Columns by which a part can be published: the paper's ablations by source and by relation."""

QUESTION_WORDS = word_set("what where which who whose how why when")
AUXILIARIES = word_set("is are was were do does did has have had can could will would")


def publish(
    pairs: str | Path,
    *,
    out: str | Path,
    pictures: str = "none",
    only: Mapping[str, str | Collection[str]] | None = None,
    on_event: Callable[[str], None] = lambda event: None,
) -> dict[str, Any]:
    """Write the pairs of `spare generate` that were kept as a data set, and return its counts.

    Args:
        pairs: folder of `spare generate`.
        out: folder of the data set; the one that is in it is replaced once the new one is whole.
        pictures: "none", "free" (pixels whose licence lets them be passed on), or "all" (for a copy
            that stays at home).
        only: column -> value or values: pairs of one source, of two classes of relations ...
        on_event: receives a line for each shard.

    Raises:
        SpareError: nothing is decided on yet, nothing was kept, or the disk is full.
    """
    if pictures not in ("none", "free", "all"):
        raise SpareError("--pictures is none, free or all.")
    chosen = {
        name: {value} if isinstance(value, str) else set(value)
        for name, value in (only or {}).items()
    }
    strange = set(chosen) - set(ONLY)
    if strange:
        raise SpareError(f"--only knows {', '.join(ONLY)}, and not {min(strange)}.")
    parts, options, manifest = read_pipeline(pairs)
    out = Path(out)
    if out.resolve() == Path(pairs).resolve():
        raise SpareError(f"{out} holds the pairs themselves; choose another --out.")
    if out.exists() and not _is_ours(out):
        raise SpareError(f"{out} holds something else; choose another --out.")
    try:
        funnel = json.loads((Path(pairs) / "funnel.json").read_text("utf-8"))
    except ValueError:
        raise SpareError(
            f"{pairs}/funnel.json is damaged; `spare generate ... --rethreshold` writes it anew."
        ) from None
    with locked(out):
        for left in (NEW, OLD):
            shutil.rmtree(out / left, ignore_errors=True)
        inputs = (Inputs(Path(pairs), part) for part in parts)
        kept = (
            row
            for one in inputs
            for row in _rows(one, options, pictures)
            if all(row[name] in values for name, values in chosen.items())
        )
        counts: Counter[str] = Counter()
        written: list[Path] = []
        size = SHARD if pictures == "none" else SHARD // 100
        while rows := list(islice(kept, size)):
            path = out / NEW / f"train-{len(written):05d}.parquet"
            group = None if pictures == "none" else ROW_GROUP
            shards.write(path, _table(rows, pictures), row_group=group)
            written.append(path)
            _count(counts, rows)
            on_event(f"{path.name}: {counted(len(rows), 'pair')}")
        told = {name: " or ".join(sorted(values)) for name, values in chosen.items()}
        if not written:
            what = "".join(f" with {name} {value}" for name, value in told.items())
            raise SpareError(f"{pairs} has no pair{what} that was kept.")
        for number, path in enumerate(written):
            path.rename(path.with_name(f"train-{number:05d}-of-{len(written):05d}.parquet"))
        from spare.generation.card import card

        # A reader sees the old set or the new one, or, for a moment, none.
        (out / CARD).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (out / "data").rename(out / OLD)
        (out / NEW).rename(out / "data")
        with replaced(out / CARD) as file:
            file.write(card(funnel, manifest, counts, pictures, told).encode())
        shutil.rmtree(out / OLD, ignore_errors=True)
    return dict(counts)


def _is_ours(out: Path) -> bool:
    """Whether a folder holds a data set of ours, or nothing that would be replaced by one."""
    if not out.is_dir():
        return False
    # A call that was killed leaves no more than these.
    if {file.name for file in out.iterdir()} <= {".lock", NEW, OLD}:
        return True
    path = out / CARD
    if path.is_file() and "spatial-qa" not in path.read_text("utf-8", errors="replace"):
        return False
    there = list((out / "data").iterdir()) if (out / "data").is_dir() else []
    return bool(there or path.is_file()) and all(
        NAMES.fullmatch(one.name) and shards.is_ours(one) for one in there
    )


def _rows(inputs: Inputs, options: Options, pictures: str) -> Iterator[dict[str, Any]]:
    """The kept pairs of a shard with everything that is known about them."""
    pairs = inputs.pairs
    cut = inputs.table("cut")
    reasons, weights = cut.column("reason").to_pylist(), cut.column("weight").to_pylist()
    captions = inputs.captions.select(OF_CAPTION).to_pylist()
    tags = inputs.table("tags").select(["relations", *COLUMNS]).to_pylist()
    support = inputs.table("support").to_pylist()
    spatial = inputs.column("spatial", "probability")
    cosines: Sequence[float | None] = [None] * len(pairs.ids)
    if wanted("clipscore", options):
        cosines = inputs.column("clipscore", "cosine")
    finder = Pictures(options.blobs)
    for number, reason in enumerate(reasons):
        if reason:
            continue
        row = pairs.rows[number]
        line = {
            "id": pairs.ids[number],
            "question": pairs.questions[number],
            "answer": pairs.answers[number],
            **captions[row],
            **tags[number],
            "form": form_of(pairs.questions[number]),
            "weight": weights[number],
            "support": support[number]["coverage"],
            "in_sentence": support[number]["in_sentence"],
            "clip_cosine": cosines[number],
            "spatial_probability": spatial[number],
        }
        if pictures != "none":
            line["picture"] = _pixels(finder, inputs, row, captions[row], pictures)
        yield line


def form_of(question: str) -> str:
    """How a question asks: its first word if that is "where", "what" and the like, "yes/no" if it
    can be answered so, else "other"."""
    first = question.split(maxsplit=1)[0].lower() if question.strip() else ""
    if first in QUESTION_WORDS:
        return first
    return "yes/no" if first in AUXILIARIES else "other"


def _pixels(
    finder: Pictures, inputs: Inputs, row: int, caption: Mapping[str, Any], pictures: str
) -> dict[str, Any] | None:
    """A picture's bytes as `datasets` keeps them; None if they may not travel, or are not there."""
    if pictures == "free" and not caption["image_redistributable"]:
        return None
    picture = finder.of(inputs, row)
    if isinstance(picture, str):
        return None
    try:
        return {"bytes": picture.read(), "path": caption["image_key"]}
    except PictureError:
        return None


def _count(counts: Counter[str], rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        counts["pairs"] += 1
        counts[f"source {row['source']}"] += 1
        counts[f"relation {row['relation'] or '(none)'}"] += 1
        counts[f"frame {row['frame']}"] += 1
        counts[f"form {row['form']}"] += 1
        counts[f"text licence {row['text_license']}"] += 1
        counts[f"picture licence {row['image_license']}"] += 1
        counts["with pixels"] += row.get("picture") is not None


def _table(rows: Sequence[Mapping[str, Any]], pictures: str) -> pyarrow.Table:
    import pyarrow

    text = pyarrow.string()
    fields = [(name, text) for name in ("id", "question", "answer", *OF_CAPTION[:-1])]
    fields += [("image_redistributable", pyarrow.bool_()), ("relations", pyarrow.list_(text))]
    fields += [(name, text) for name in (*COLUMNS, "form")]
    fields += [(name, pyarrow.float32()) for name in ("weight", "support")]
    fields += [("in_sentence", pyarrow.bool_())]
    fields += [(name, pyarrow.float32()) for name in ("clip_cosine", "spatial_probability")]
    metadata = {}
    if pictures != "none":
        fields.append(("picture", pyarrow.struct([("bytes", pyarrow.binary()), ("path", text)])))
        features = {"info": {"features": {"picture": {"_type": "Image"}}}}
        metadata = {b"huggingface": json.dumps(features).encode()}
    return pyarrow.Table.from_pylist(list(rows), pyarrow.schema(fields, metadata or None))
