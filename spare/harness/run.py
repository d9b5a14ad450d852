"""The run directory: everything that a run asked, heard and scored, safe against being killed
anywhere.

    runs/<name>/
      manifest.json           what was asked, of which weights, over which files, by which versions
      replies.jsonl           one line per reply, appended the moment it arrives, before it is
      judged verdicts.<rules>.jsonl  how each reply was read, in the benchmark's order
      scores.json             the figures

Only `replies.jsonl` holds what cannot be computed again. It is append-only, and a line cut off in
the middle is dropped on the next start. The other files are replaced whole. A lock keeps two
writers apart.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from spare import images
from spare.errors import SpareError
from spare.images import Picture
from spare.tasks.types import Judged, Likelihood, Reply, Sample, Verdict

FORMAT = 1
"""Version of the run directory's layout. A run of a newer one is refused, never misread."""


@dataclass(frozen=True, slots=True)
class Score:
    """The figures of one task under one prompt and one rule set: a row of `scores.json`.

    Attributes:
        task, version, split, layout, prompt, rules: what the figures belong to; only scores that
            agree in all six may share a column.
        published: samples in the published split; samples: samples in the user's files.
        limit: if set, only the first so many samples were asked, and the figures are provisional.
        statuses: how many replies were read how (see `Status`).
        headline, breakdown: names of the metrics that stand for the task, and for a subset of it.
        metrics: name -> value, n, clusters, stderr, low, high.
        chance: name -> figure of a uniform random guesser.
    """

    task: str
    version: int
    split: str
    layout: str
    prompt: str
    rules: str
    samples: int
    published: int
    limit: int | None
    statuses: Mapping[str, int]
    headline: str
    breakdown: str
    metrics: Mapping[str, Mapping[str, Any]]
    chance: Mapping[str, float]

    @property
    def errors(self) -> int:
        """Samples that no reply was got for."""
        return self.statuses.get("error", 0)

    @property
    def unread(self) -> int:
        """Replies that no answer was read from, errors not counted."""
        return sum(self.statuses.get(name, 0) for name in ("ambiguous", "empty", "unparsed"))


@dataclass(frozen=True, slots=True)
class Run:
    """A run on disk, for reading."""

    path: Path
    manifest: Mapping[str, Any]
    scores: Sequence[Score]

    def verdicts(self, score: Score) -> Iterator[Judged]:
        """The judged samples behind one score, in the benchmark's order."""
        path = self.path / f"verdicts.{score.rules}.jsonl"
        for line in read_lines(path):
            if (line["task"], line["split"], line["prompt"]) == (
                score.task,
                score.split,
                score.prompt,
            ):
                yield judged_from_line(line)

    def replies(self) -> Iterator[Mapping[str, Any]]:
        """Every line of `replies.jsonl`: questions and replies, in order of arrival."""
        return (line for _, line in read_log(self.path / "replies.jsonl"))


def load_run(path: str | Path) -> Run:
    """Read a run directory. Raises SpareError if it is none, is unfinished beyond use, or is newer
    than this program."""
    path = Path(path)
    manifest_path = path / "manifest.json"
    if not manifest_path.is_file():
        raise SpareError(
            f"{path} is not a run: it has no manifest.json. `spare eval --out {path}` makes one."
        )
    manifest = read_json(manifest_path)
    if manifest.get("format") != FORMAT:
        raise SpareError(
            f"{path} has run format {manifest.get('format')}, and this program reads {FORMAT}; "
            "update spare, or evaluate again."
        )
    scores_path = path / "scores.json"
    rows = read_json(scores_path)["scores"] if scores_path.is_file() else []
    return Run(path, manifest, [Score(**row) for row in rows])


# What makes a reply belong to a question


def digest_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, in hex."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def picture_digests(sample: Sample) -> dict[Picture, str]:
    """The digest of each picture of a sample. Raises PictureError for one that cannot be read."""
    return {part: images.digest(part) for part in sample.parts if isinstance(part, Picture)}


def reply_key(
    model: str, task: str, sample: Sample, digests: Mapping[Picture, str], max_new_tokens: int
) -> str:
    """Identity of a reply: weights, prompt, pictures, decoding, and the question that it answers.

    Args:
        model: digest of the model's identity.
        digests: digest of each picture; one that is missing stands as "unreadable".
    """
    parts = [
        part if isinstance(part, str) else {"picture": digests.get(part, "unreadable")}
        for part in sample.parts
    ]
    asked = [max_new_tokens, list(sample.options.values())] if sample.rank else [max_new_tokens]
    return digest_json([model, task, sample.id, parts, sample.rank, asked])[:32]


# Lines


def reply_line(
    key: str,
    place: Mapping[str, str],
    sample: Sample,
    digests: Mapping[Picture, str],
    reply: Reply,
) -> dict[str, Any]:
    """A line of `replies.jsonl`: the question whole (pictures by digest), then the reply.

    With it a run can be judged again, and its failures shown, without the benchmark's files.
    """
    line: dict[str, Any] = {"key": key, **place, "id": sample.id}
    line["parts"] = [
        part if isinstance(part, str) else {"picture": digests.get(part, ""), "name": part.name}
        for part in sample.parts
    ]
    line |= {"target": sample.target, "options": dict(sample.options), "rank": sample.rank}
    line |= {"tags": dict(sample.tags), "group": sample.group, "cluster": sample.cluster}
    if reply.error:
        line["error"] = reply.error
    elif reply.likelihoods is not None:
        line["likelihoods"] = {name: asdict(one) for name, one in reply.likelihoods.items()}
    else:
        line["text"] = reply.text
    line |= {"finish": reply.finish}
    line |= {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens}
    return line


def sample_and_reply(line: Mapping[str, Any]) -> tuple[Sample, Reply]:
    """A line of `replies.jsonl` as the sample (its pictures left out) and the reply to it."""
    parts = tuple(part for part in line["parts"] if isinstance(part, str))
    sample = Sample(
        id=line["id"],
        parts=parts,
        target=line["target"],
        options=line["options"],
        rank=line["rank"],
        tags=line["tags"],
        group=line["group"],
        cluster=line["cluster"],
    )
    likelihoods = line.get("likelihoods")
    if likelihoods is not None:
        likelihoods = {name: Likelihood(**one) for name, one in likelihoods.items()}
    reply = Reply(
        text=line.get("text", ""),
        likelihoods=likelihoods,
        error=line.get("error", ""),
        finish=line["finish"],
        input_tokens=line["input_tokens"],
        output_tokens=line["output_tokens"],
    )
    return sample, reply


def verdict_line(place: Mapping[str, str], key: str, judged: Judged) -> dict[str, Any]:
    """A line of `verdicts.<rules>.jsonl`. `key` names the reply that was judged."""
    verdict = judged.verdict
    line: dict[str, Any] = {**place, "id": judged.id, "key": key, "target": judged.target}
    line |= {"parsed": verdict.parsed, "score": verdict.score, "status": verdict.status}
    line |= {"also": dict(verdict.also), "tags": dict(judged.tags)}
    return line | {"group": judged.group, "cluster": judged.cluster}


def judged_from_line(line: Mapping[str, Any]) -> Judged:
    """The judged sample in a line of `verdicts.<rules>.jsonl`."""
    verdict = Verdict(line["parsed"], line["score"], line["status"], line["also"])
    return Judged(line["id"], line["target"], verdict, line["tags"], line["group"], line["cluster"])


# Files


class ReplyLog:
    """`replies.jsonl`, opened for appending. Each line is handed to the system whole, at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _drop_torn_end(path)
        self._file = path.open("ab", buffering=0)

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one line. A full disk raises SpareError; what was written before stays."""
        data = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        try:
            written = self._file.write(data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise disk_error(self.path, error) from None

    def close(self) -> None:
        """Close the file; every line is in the system's hands already."""
        self._file.close()


def _drop_torn_end(path: Path) -> None:
    # A process that was killed, or a full disk, may have left the last line without its end.
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        keep = end
        while keep > 0:
            start = max(0, keep - 65536)
            file.seek(start)
            newline = file.read(keep - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < end:
            file.truncate(keep)


def read_log(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(byte offset, line) for every whole line. A damaged line is passed over: it is asked
    again."""
    if not path.exists():
        return
    with path.open("rb") as file:
        offset = 0
        for data in file:
            try:
                line = json.loads(data) if data.endswith(b"\n") else None
            except ValueError:
                line = None
            if isinstance(line, dict) and "key" in line:
                yield offset, line
            offset += len(data)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a JSON Lines file that this program wrote whole."""
    try:
        with path.open("rb") as file:
            for number, data in enumerate(file, 1):
                try:
                    yield json.loads(data)
                except ValueError:
                    raise SpareError(
                        f"{path}, line {number} is damaged; run the same `spare eval` again "
                        "to write it anew."
                    ) from None
    except FileNotFoundError:
        raise SpareError(
            f"{path} is missing; run the same `spare eval` again to write it anew."
        ) from None


def read_json(path: Path) -> Any:
    """A JSON file that this program wrote whole."""
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise SpareError(
            f"{path} is damaged; delete it and run the same `spare eval` again: "
            "the replies are kept apart."
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file whole."""
    with replaced(path) as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[TextIO]:
    """A file to write that takes the place of `path` at the end: readers see the old one or the
    new one, never a part."""
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise disk_error(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def disk_error(path: Path, error: OSError) -> SpareError:
    """The sentence for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpareError(
            f"The disk is full: {path} could not be written. Nothing is lost; make room and run "
            "the same command again."
        )
    return SpareError(f"{path} could not be written: {error.strerror or error}.")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the run directory `path` for writing; raises SpareError if another process holds it."""
    from filelock import FileLock, Timeout

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpareError(f"{path} cannot be made a run directory: {error.strerror}.") from None
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SpareError(
            f"Another process is writing the run {path}; wait for it, or choose another --out."
        ) from None
    except OSError as error:
        raise disk_error(path / ".lock", error) from None
    try:
        yield
    finally:
        lock.release()
