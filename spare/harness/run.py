"""The run directory: everything that a run asked, heard and scored, safe against being killed
anywhere.

    runs/<name>/
      manifest.json           what was asked, of which weights, over which files, by which versions
      replies.jsonl           one line per reply, appended as it arrives, before it is judged
      verdicts.<rules>.jsonl  how each reply was read, in the benchmark's order
      scores.json             the figures

Only `replies.jsonl` holds what cannot be computed again. It is append-only, and a line cut off in
the middle is dropped on the next start. The other files are replaced whole. A lock keeps two
writers apart.
"""

from __future__ import annotations

import bisect
import errno
import hashlib
import json
import math
import os
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from spare import images
from spare.disk import disk_error
from spare.errors import SpareError
from spare.images import Picture
from spare.tasks.types import Judged, Likelihood, Reply, Sample, Verdict

FORMAT = 1
"""Version of the run directory's layout. A run of a newer one is refused, never misread."""


PLACE = ("task", "split", "prompt")
"""What names an evaluation in the files of a run; lines about it begin with these, in this
order."""

READ = 2048
"""Bytes that nearly every line of `replies.jsonl` fits in."""


class DamagedError(SpareError):
    """A file of a run is not what this program wrote."""


@dataclass(frozen=True, slots=True)
class Score:
    """The figures of one task under one prompt and one rule set: a row of `scores.json`.

    Attributes:
        task, version, split, layout, prompt, rules: what the figures belong to; only scores that
            agree in all six may share a column.
        published: samples in the published split; samples: those that were scored, which are all
            in the user's files unless there was a limit.
        limit: if set, no more than the first so many samples of the files were scored.
        statuses: how many replies were read how (see `Status`).
        headline, breakdown: names of the metrics that stand for the task, and for a subset of it.
        metrics: name -> value, n, clusters, stderr, low, high.
        chance: name -> figure of a uniform random guesser.
        judge: the judge model that decided, where the rules have one; part of what the figures
            belong to.
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
    judge: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """Task, split and prompt: whose replies were judged."""
        return self.task, self.split, self.prompt

    @property
    def errors(self) -> int:
        """Samples that no reply was got for."""
        return self.statuses.get("error", 0)

    @property
    def asked(self) -> int:
        """Samples that were asked: all but those that lazily asked groups left out."""
        return self.samples - self.statuses.get("skipped", 0)

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

    @property
    def unfinished(self) -> list[Mapping[str, Any]]:
        """The manifest's entries of the tasks that were begun and have no scores (now)."""
        scored = {score.place for score in self.scores}
        return [
            entry
            for entry in self.manifest["evaluations"]
            if tuple(entry[name] for name in PLACE) not in scored
            and entry["task"] not in self.submissions
        ]

    def answered(self) -> Counter[tuple[str, str, str]]:
        """How many questions of each task, split and prompt have a reply on disk that is no
        error."""
        ids = {
            (line["task"], line["split"], line["prompt"], line["id"])
            for line in self.replies()
            if "error" not in line
        }
        return Counter((task, split, prompt) for task, split, prompt, _ in ids)

    @property
    def submissions(self) -> dict[str, Mapping[str, Any]]:
        """Task -> its entry in the manifest, for tasks whose answers are not public and whose file
        to hand in is written."""
        return {
            str(entry["task"]): entry
            for entry in self.manifest["evaluations"]
            if "submission" in entry and (self.path / entry["submission"]).exists()
        }

    @property
    def errors(self) -> int:
        """Samples that no reply was got for, in all tasks."""
        handed_in = sum(int(entry["errors"]) for entry in self.submissions.values())
        return handed_in + sum(score.errors for score in self.scores)

    def verdicts(self, score: Score) -> Iterator[Judged]:
        """The judged samples behind one score, in the benchmark's order."""
        return map(judged_from_line, self.verdict_lines(score))

    def verdict_lines(self, score: Score) -> Iterator[Mapping[str, Any]]:
        """The lines of `verdicts.<rules>.jsonl` behind one score, in the benchmark's order."""
        path = self.path / f"verdicts.{score.rules}.jsonl"
        return (parsed_line(path, data) for data in self.raw_verdicts(score))

    def raw_verdicts(self, score: Score) -> Iterator[bytes]:
        """The same lines as they stand in the file. Raises DamagedError if there are not as many
        as were scored."""
        path = self.path / f"verdicts.{score.rules}.jsonl"
        start = line_start(dict(zip(PLACE, score.place, strict=True)))
        count = 0
        with readable(path).open("rb") as file:
            for data in file:
                if data.startswith(start):
                    count += 1
                    yield data
        if count != score.samples:
            raise DamagedError(
                f"{path} has {count:,} verdicts on {score.task}, and {score.samples:,} were "
                "scored; run the same `spare eval` again, which asks nothing twice."
            )

    def replies(self) -> Iterator[Mapping[str, Any]]:
        """Every line of `replies.jsonl`: questions and replies, in order of arrival."""
        return (line for _, line in read_log(self.path / "replies.jsonl"))


def load_run(path: str | Path) -> Run:
    """Read a run directory, finished or not. Raises SpareError if it is none, is damaged, or was
    made by a newer version of this program."""
    path = Path(path)
    manifest = load_manifest(path)
    scores_path = path / "scores.json"
    scores: list[Score] = []
    if scores_path.exists():
        try:
            scores = [_score(row) for row in read_json(scores_path)["scores"]]
        except (DamagedError, KeyError, TypeError, AttributeError):
            raise SpareError(
                f"{scores_path} is damaged or of another version of spare; delete it and run the "
                "same `spare eval` again: the replies are kept apart, and no question is asked "
                "again."
            ) from None
    return Run(path, manifest, scores)


def _score(row: Mapping[str, Any]) -> Score:
    """A row of `scores.json`. Raises TypeError or KeyError if it cannot be one of ours."""
    score = Score(**row)
    for figure in score.metrics.values():
        for name in ("value", "stderr", "low", "high"):
            number = figure[name]
            if number is not None and not math.isfinite(number):
                raise TypeError(f"{name} is {number}")
        counts = (figure["n"], figure["clusters"])
        if not all(isinstance(count, int) for count in counts):
            raise TypeError("n is no count")
    if not all(isinstance(count, int) for count in (score.samples, *score.statuses.values())):
        raise TypeError("samples is no count")
    return score


def load_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the run in `path`; see `load_run` for what it raises."""
    manifest_path = path / "manifest.json"
    try:
        there = manifest_path.exists()
    except OSError as error:  # a folder that may not be looked into
        raise SpareError(f"{path} cannot be read: {error.strerror}.") from None
    if not there:
        raise SpareError(
            f"{path} is not a run: it has no manifest.json. `spare eval --out {path}` makes one."
        )
    try:
        manifest = read_json(manifest_path)
    except DamagedError:
        manifest = {}
    found = manifest.get("format")
    if isinstance(found, int) and found != FORMAT:
        raise SpareError(
            f"{path} has run format {found}, and this program reads {FORMAT}; update spare, or "
            "evaluate again."
        )
    entries = manifest.get("evaluations")
    shapes = {"model": dict, "evaluations": list, "calls": list, "lineage": dict}
    odd = [
        name for name, kind in shapes.items() if not isinstance(manifest.get(name, kind()), kind)
    ]
    if not found or "model" not in manifest or entries is None or odd:
        raise SpareError(
            f"{manifest_path} is damaged, and without it nobody knows whose replies these are; "
            "choose another --out."
        )
    manifest.setdefault("calls", [])
    return manifest


# What makes a reply belong to a question


def digest_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, in hex."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def picture_digests(sample: Sample) -> dict[Picture, str]:
    """The digest of each picture of a sample. Raises PictureError for one that cannot be read."""
    return {part: images.digest(part) for part in sample.parts if isinstance(part, Picture)}


def reply_key(
    fingerprint: str, task: str, sample: Sample, digests: Mapping[Picture, str], max_new_tokens: int
) -> str:
    """Identity of a reply: weights, prompt, pictures, decoding, and the question that it answers.

    Args:
        fingerprint: digest of the model's identity.
        digests: digest of each picture; one that is missing stands as "unreadable".
    """
    parts = [
        part if isinstance(part, str) else {"picture": digests.get(part, "unreadable")}
        for part in sample.parts
    ]
    asked = [max_new_tokens, list(sample.options.items())] if sample.rank else [max_new_tokens]
    return digest_json([fingerprint, task, sample.id, parts, sample.rank, asked])[:32]


# Lines


def dump(line: Mapping[str, Any]) -> bytes:
    """A line of JSON, its end included."""
    import orjson

    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # half of a surrogate pair, which models do write
        text = json.dumps(line, ensure_ascii=False) + "\n"
        return text.encode("utf-8", "backslashreplace")


def parse(data: bytes) -> Any:
    """What a line of JSON says. Raises ValueError if it is not whole."""
    import orjson

    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


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
    line |= {"answers": list(sample.answers)} if sample.answers else {}
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


def reply_of(line: Mapping[str, Any]) -> Reply:
    """The reply in a line of `replies.jsonl`."""
    likelihoods = line.get("likelihoods")
    if likelihoods is not None:
        likelihoods = {name: Likelihood(**one) for name, one in likelihoods.items()}
    return Reply(
        text=line.get("text", ""),
        likelihoods=likelihoods,
        error=line.get("error", ""),
        finish=line["finish"],
        input_tokens=line["input_tokens"],
        output_tokens=line["output_tokens"],
    )


class Saved(NamedTuple):
    """A sample and the reply that was saved for it.

    Attributes:
        reply: None if the sample was not asked.
        key: identity of the reply in `replies.jsonl`; "" without one.
    """

    sample: Sample
    reply: Reply | None
    key: str = ""


def verdict_line(place: Mapping[str, str], saved: Saved, verdict: Verdict) -> dict[str, Any]:
    """A line of `verdicts.<rules>.jsonl`."""
    sample = saved.sample
    line: dict[str, Any] = {**place, "id": sample.id, "key": saved.key, "target": sample.target}
    if sample.answers:
        line["answers"] = sample.answers
    line["parsed"], line["score"], line["status"] = verdict.parsed, verdict.score, verdict.status
    line["also"], line["tags"] = dict(verdict.also), dict(sample.tags)
    line["group"], line["cluster"] = sample.group, sample.cluster
    return line


def judged_from_line(line: Mapping[str, Any]) -> Judged:
    """The judged sample in a line of `verdicts.<rules>.jsonl`."""
    verdict = Verdict(line["parsed"], line["score"], line["status"], line["also"])
    return Judged(line["id"], line["target"], verdict, line["tags"], line["group"], line["cluster"])


# Files


class _Places:
    """Where the replies of a log are, in 17 bytes each: a dictionary of a million takes 200 MB.

    Keys are digests, so 64 bits of them are enough to tell a log's replies apart.
    """

    def __init__(self, path: Path) -> None:
        import numpy

        hashes, offsets = array("q"), array("q")
        failed = bytearray()
        for offset, line in read_log(path):
            hashes.append(hash(line["key"]))
            offsets.append(offset)
            failed.append("error" in line)
        order = numpy.argsort(numpy.frombuffer(hashes, numpy.int64), kind="stable")
        self._hashes = array("q", numpy.frombuffer(hashes, numpy.int64)[order].tobytes())
        self._offsets = array("q", numpy.frombuffer(offsets, numpy.int64)[order].tobytes())
        self._failed = numpy.frombuffer(failed, numpy.uint8)[order].tobytes()
        self.answers = len(failed) - sum(failed)

    def answer(self, key: str) -> int:
        """The first reply with this key that is no error; -1 if there is none."""
        wanted = hash(key)
        place = bisect.bisect_left(self._hashes, wanted)
        while place < len(self._hashes) and self._hashes[place] == wanted:
            if not self._failed[place]:
                return self._offsets[place]
            place += 1
        return -1

    def error(self, key: str) -> int:
        """The last error with this key; -1 if there is none."""
        wanted = hash(key)
        place = bisect.bisect_right(self._hashes, wanted) - 1
        return self._offsets[place] if place >= 0 and self._hashes[place] == wanted else -1


class ReplyLog:
    """`replies.jsonl`, opened for appending, with the place of every reply in it.

    Each line is handed to the system whole, at once; so a process that is killed leaves at most its
    last line torn, and that one is dropped here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            _drop_torn_end(path)
            self._file = path.open("ab", buffering=0)
            self._reader = path.open("rb", buffering=0)
        except OSError as error:
            raise disk_error(path, error) from None
        self._old = _Places(path)
        self._answers: dict[str, int] = {}
        self._errors: dict[str, int] = {}
        self._end = path.stat().st_size

    def _note(self, line: Mapping[str, Any], offset: int) -> None:
        # The first answer counts; of errors, the last.
        if "error" in line:
            self._errors[line["key"]] = offset
        else:
            self._answers.setdefault(line["key"], offset)

    def __contains__(self, key: str) -> bool:
        """Whether there is a reply with this key that is no error."""
        return key in self._answers or self._old.answer(key) >= 0

    @property
    def empty(self) -> bool:
        """Whether there is no reply at all."""
        return not self._answers and not self._old.answers

    def line(self, key: str) -> dict[str, Any]:
        """The line with this key: the reply if there is one, else the last error, else nothing."""
        offset = self._old.answer(key)
        if offset < 0:
            offset = self._answers.get(key, self._errors.get(key, self._old.error(key)))
        if offset < 0:
            return {}
        self._reader.seek(offset)
        data = self._reader.read(READ)
        while b"\n" not in data and (more := self._reader.read(len(data))):
            data += more
        line: dict[str, Any] = parse(data.partition(b"\n")[0])
        return line

    def behind(self, verdict: Mapping[str, Any]) -> dict[str, Any]:
        """The line that a verdict is on; empty if its sample was not asked. Raises DamagedError if
        it has been lost."""
        line = self.line(verdict["key"]) if verdict["key"] else {}
        if verdict["key"] and not line:
            raise lost(self.path, verdict)
        return line

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one line. A full disk raises SpareError; what was written before stays."""
        data = dump(line)
        try:
            written = self._file.write(data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise disk_error(self.path, error) from None
        self._note(line, self._end)
        self._end += len(data)

    def close(self) -> None:
        """Close the file; every line is in the system's hands already."""
        self._file.close()
        self._reader.close()


def lost(path: Path, verdict: Mapping[str, Any]) -> DamagedError:
    """The error for a verdict whose reply is not in `path` any more."""
    return DamagedError(
        f"{path} has lost the reply to {verdict['id']} of {verdict['task']}; run the same `spare "
        "eval` again, which asks for it."
    )


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
    """(byte offset, line) for every whole line of `replies.jsonl`. A damaged one is passed over: it
    is asked again."""
    if not path.exists():
        return
    with readable(path).open("rb") as file:
        offset = 0
        for data in file:
            try:
                line = parse(data) if data.endswith(b"\n") else None
            except ValueError:
                line = None
            if not isinstance(line, dict):
                line = {}
            if isinstance(line.get("key"), str) and isinstance(line.get("text", ""), str):
                yield offset, line
            offset += len(data)


def read_lines(path: Path, start: int = 0, but: bytes = b"\n") -> Iterator[dict[str, Any]]:
    """Lines of a JSON Lines file that this program wrote whole: from the byte `start` on, without
    those that begin with `but`."""
    with readable(path).open("rb") as file:
        file.seek(start)
        for data in file:
            if not data.startswith(but):
                yield parsed_line(path, data)


def parsed_line(path: Path, data: bytes) -> dict[str, Any]:
    """A line that this program wrote. Raises DamagedError if it is not whole."""
    try:
        line = parse(data)
    except ValueError:
        line = None
    if not isinstance(line, dict):
        raise DamagedError(
            f"{path} has a damaged line; run the same `spare eval` again to write it anew."
        )
    return line


def line_start(place: Mapping[str, str]) -> bytes:
    """How every line about one task, split and prompt begins."""
    return dump(place)[:-2] + b","


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that this program wrote whole."""
    try:
        value = json.loads(readable(path).read_bytes())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise DamagedError(f"{path} is damaged.")
    return value


def readable(path: Path) -> Path:
    """The path itself, if it can be read."""
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise SpareError(
            f"{path} is missing; run the same `spare eval` again to write it anew."
        ) from None
    except OSError as error:
        raise SpareError(f"{path} cannot be read: {error.strerror}.") from None
    return path
