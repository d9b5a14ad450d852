"""Lines of a run's files: how replies and verdicts are written down, and read back.

`replies.jsonl` is append-only. A line cut off in the middle, by a kill or a full disk, is dropped
on the next start; a line that is damaged otherwise is an error that names it.
"""

from __future__ import annotations

import bisect
import errno
import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from spare import images
from spare.disk import disk_error
from spare.errors import SpareError
from spare.images import Picture
from spare.tasks.types import Judged, Likelihood, Reply, Sample, Verdict

PLACE = ("task", "split", "prompt")
"""What names an evaluation in the files of a run; lines about it begin with these, in this
order."""

READ = 2048
"""Bytes that nearly every line of `replies.jsonl` fits in."""


class DamagedError(SpareError):
    """A file of a run is not what this program wrote."""


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
    return line | reply_fields(reply)


def reply_fields(reply: Reply) -> dict[str, Any]:
    """A reply as it stands in a line; `reply_of` reads it."""
    fields: dict[str, Any] = {}
    if reply.error:
        fields["error"] = reply.error
    elif reply.likelihoods is not None:
        fields["likelihoods"] = {name: asdict(one) for name, one in reply.likelihoods.items()}
    else:
        fields["text"] = reply.text
    tokens = {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens}
    return fields | {"finish": reply.finish} | tokens


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
