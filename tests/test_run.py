"""The run directory survives whatever happens to it."""

import contextlib
import json
import subprocess
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare import disk
from spare.errors import SpareError
from spare.harness import run as runs
from spare.harness.lines import ReplyLog, read_json, read_log, reply_key, reply_line, reply_of
from spare.images import Picture
from spare.tasks.types import Likelihood, Reply, Sample

PLACE = {"task": "t", "split": "test", "prompt": "p"}

texts = st.text(st.characters(), max_size=30)  # every code point, lone surrogates included
replies = st.one_of(
    st.builds(Reply, text=texts, finish=st.sampled_from(["stop", "length"])),
    st.builds(Reply, error=texts.filter(bool)),
    st.builds(
        Reply,
        likelihoods=st.dictionaries(
            texts,
            st.builds(
                Likelihood, total=st.floats(-1e6, 0), tokens=st.integers(0), characters=st.just(3)
            ),
        ),
    ),
)
samples = st.builds(
    Sample,
    id=texts,
    parts=st.lists(texts, max_size=3).map(tuple),
    target=texts,
    options=st.dictionaries(texts, texts),
    rank=st.booleans(),
    tags=st.dictionaries(texts, texts),
    group=texts,
    cluster=texts,
)


@given(samples, replies)
def test_a_line_holds_the_sample_and_the_reply(
    tmp_path_factory: pytest.TempPathFactory, sample: Sample, reply: Reply
) -> None:
    path = tmp_path_factory.mktemp("log") / "replies.jsonl"
    log = ReplyLog(path)
    log.append(reply_line("k", PLACE, sample, {}, reply))
    log.close()
    ((_, line),) = read_log(path)
    assert reply_of(line) == reply
    for name in ("id", "target", "options", "rank", "tags", "group", "cluster"):
        assert line[name] == getattr(sample, name)
    assert tuple(line["parts"]) == sample.parts


def lines_of(path: Path) -> list[str]:
    return [line["key"] for _, line in read_log(path)]


def test_a_torn_last_line_is_dropped_wherever_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    for cut in range(0, 60, 7):
        path.unlink(missing_ok=True)
        log = ReplyLog(path)
        for key in ("a", "b", "c"):
            log.append({"key": key, "text": "ünï" * 4})
        log.close()
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) - cut])
        kept = 3 - len(whole[len(whole) - cut :].splitlines()) if cut else 3
        log = ReplyLog(path)
        log.append({"key": "new"})
        log.close()
        assert lines_of(path) == [*"abc"[:kept], "new"]


def test_a_torn_line_longer_than_a_block_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_bytes(b'{"key": "a"}\n' + b'{"key": "' + b"x" * 200_000)
    ReplyLog(path).close()
    assert path.read_bytes() == b'{"key": "a"}\n'


def test_damage_in_the_middle_costs_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_bytes(b'{"key": "a"}\n\x00\x00garbage\n[1]\n{"key": "b"}\n')
    assert lines_of(path) == ["a", "b"]
    for offset, line in read_log(path):
        assert path.read_bytes()[offset:].startswith(json.dumps(line).encode())


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(full)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        log = ReplyLog(full / "replies.jsonl")
        lines = ({"key": str(number), "text": "x" * 100} for number in range(2000))
        with pytest.raises(SpareError, match=r"disk is full.*run the same command again"):
            deque(map(log.append, lines), maxlen=0)
        log.close()
        kept = lines_of(full / "replies.jsonl")
        assert kept == [str(number) for number in range(len(kept))]
        assert len(kept) > 100
        with pytest.raises(SpareError, match="disk is full"):
            disk.write_json(full / "scores.json", {"scores": ["x" * 100_000]})
        (full / "replies.jsonl").unlink()
        disk.write_json(full / "scores.json", {"scores": []})
        assert [path.name for path in full.iterdir()] == ["scores.json"]
    finally:
        subprocess.run(["umount", str(full)], check=True)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    disk.write_json(path, {"scores": [1]})
    with contextlib.suppress(KeyboardInterrupt), disk.replaced(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert read_json(path) == {"scores": [1]}
    assert [one.name for one in tmp_path.iterdir()] == ["scores.json"]


def test_two_writers_are_kept_apart(tmp_path: Path) -> None:
    with (
        disk.locked(tmp_path / "run"),
        pytest.raises(SpareError, match="Another process is writing"),
        disk.locked(tmp_path / "run"),
    ):
        pass


def test_a_key_is_the_content(tmp_path: Path) -> None:
    picture = Picture(tmp_path / "a.png", "a.png")
    sample = Sample("1", (picture, "Where?"), "A", {"A": "left", "B": "right"}, tags={"x": "y"})
    digests = {picture: "d1"}
    key = reply_key("m", "t", sample, digests, 16)
    moved = Picture(tmp_path / "b.png", "b.png")
    same = Sample("1", (moved, "Where?"), "A", sample.options, tags={"x": "z"})
    assert reply_key("m", "t", same, {moved: "d1"}, 16) == key
    others = [
        reply_key("m2", "t", sample, digests, 16),
        reply_key("m", "t2", sample, digests, 16),
        reply_key("m", "t", sample, {picture: "d2"}, 16),
        reply_key("m", "t", sample, {}, 16),
        reply_key("m", "t", sample, digests, 17),
        reply_key("m", "t", Sample("2", sample.parts, "A"), digests, 16),
        reply_key("m", "t", Sample("1", ("Where?", picture), "A"), digests, 16),
        reply_key("m", "t", Sample("1", sample.parts, "A", sample.options, True), digests, 16),
        # Likelihoods are kept by label, so labels that change places are another question.
        reply_key(
            "m", "t", Sample("1", sample.parts, "A", {"B": "left", "A": "right"}, True), digests, 16
        ),
    ]
    assert len({key, *others}) == len(others) + 1


def test_what_is_no_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SpareError, match="is not a run"):
        runs.load_run(tmp_path)
    disk.write_json(tmp_path / "manifest.json", {"format": runs.FORMAT + 1})
    with pytest.raises(SpareError, match="update spare"):
        runs.load_run(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    for damage in ("{", "[1]", "{}", '{"format": 1, "model": 3}'):
        (tmp_path / "manifest.json").write_text(damage)
        with pytest.raises(SpareError, match=r"manifest.json is damaged.*another --out"):
            runs.load_run(tmp_path)
    disk.write_json(
        tmp_path / "manifest.json", {"format": runs.FORMAT, "model": {}, "evaluations": []}
    )
    for damage in ("{", "[]", '{"scores": [{"task": "t"}]}'):
        (tmp_path / "scores.json").write_text(damage)
        with pytest.raises(SpareError, match=r"scores.json is damaged or .*; delete it"):
            runs.load_run(tmp_path)
