"""PixMo-Cap (Deitke et al. 2024, hub data set allenai/pixmo-cap): 717,042 captions of about 196
words, written by an LLM from what people said about a picture.

    data/train-00000-of-00004.parquet    image_url, caption, transcripts

The pictures are named by URL only, and 491 URLs stand there twice. A picture's key is the SHA-256
of its URL, as in the stores that people share.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from spare.errors import DataError
from spare.generation.captions import Caption, Licence, Notes, Source

NAME = re.compile(r"train-(\d{5})-of-(\d{5})\.parquet")


def read(data: Path, notes: Notes) -> Iterator[Caption]:
    """Every caption of every shard that is there."""
    folders = (data, data / "data", data / "pixmo-cap", data / "pixmo-cap" / "data")
    paths = sorted(
        path
        for folder in folders
        for path in folder.glob("train-*.parquet")
        if NAME.fullmatch(path.name)
    )
    if not paths:
        raise DataError(
            f"There are no files like data/train-00000-of-00004.parquet in {data}",
            remedy="Fetch them: hf download allenai/pixmo-cap --repo-type dataset.",
        )
    parts = [tuple(map(int, match.groups())) for path in paths if (match := NAME.match(path.name))]
    missing = set(range(parts[0][1])) - {part for part, _ in parts}
    if missing:
        names = ", ".join(f"{part:05d}" for part in sorted(missing))
        notes.fault("incomplete sets", f"train: of {parts[0][1]} parts {names} are not there.")
    for path in paths:
        yield from _read(path, notes)


def _read(path: Path, notes: Notes) -> Iterator[Caption]:
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        file = pyarrow.parquet.ParquetFile(path)
        absent = {"image_url", "caption"} - set(file.schema_arrow.names)
        if absent:
            raise DataError(f"has no column {min(absent)}", path)
        for name in ("image_url", "caption"):
            kind = file.schema_arrow.field(name).type
            if kind not in (pyarrow.string(), pyarrow.large_string(), pyarrow.null()):
                raise DataError(f"holds no text in its column {name}, but {kind}", path)
        for batch in file.iter_batches(4096, columns=["image_url", "caption"]):
            for row in batch.to_pylist():
                notes.counts["rows"] += 1
                url = row["image_url"]
                if not url:
                    notes.fault("no URL", f"{path}: row {notes.counts['rows']} names no picture.")
                    continue
                yield Caption(
                    source="pixmo-cap",
                    subset="pixmo-cap",
                    split="train",
                    image_key=hashlib.sha256(url.encode()).hexdigest(),
                    image_kind="url",
                    image=url,
                    caption=row["caption"] or "",
                )
    except (OSError, pyarrow.ArrowException):
        raise DataError(
            "cannot be read as a whole parquet file", path, remedy="Fetch it again."
        ) from None
    notes.read_whole(path, digest)


SOURCE = Source(
    name="pixmo-cap",
    about="717,042 captions of pictures on the web, about 196 words, by an LLM from speech",
    read=read,
    licences={
        "pixmo-cap": Licence("ODC-BY 1.0; captions written by Claude", "none granted", False)
    },
)
