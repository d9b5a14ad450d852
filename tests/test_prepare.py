"""`prepare` fetches what is public from a hub, survives every way of being stopped, and unpacks
archives from strangers. The hub is a real server on this machine that speaks the hub's protocol."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spare.errors import DataError, SpareError
from spare.harness import hub
from spare.harness.archives import unpack
from spare.harness.prepare import Prepared, plan, prepare
from spare.tasks import load_task
from spare.tasks.custom import custom_task
from spare.tasks.files import not_found
from spare.tasks.types import Files, Source, Task

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Hub:
    """A hub with data sets in it, and ways to misbehave.

    Attributes:
        files: repository -> file -> content; large: files that are listed with a SHA-256.
        refuse: path prefix -> (status, the hub's error code).
        cut: file -> bytes after which a connection breaks, each time.
        slow: files of which one piece comes, and then nothing.
        asked: (path, headers) of every request.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    lies: set[str] = field(default_factory=set)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    ranges: bool = True
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def requests_for(self, name: str) -> list[str]:
        """The ranges that were asked of a file."""
        return [headers["range"] for path, headers in self.asked if path.endswith(f"/{name}")]

    def listing(self, repo: str) -> dict[str, Any]:
        siblings = []
        for name, content in self.files[repo].items():
            said = content[::-1] if name in self.lies else content
            blob = hashlib.sha1(b"blob %d\0" % len(said) + said).hexdigest()
            entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
            if name in self.large:
                sha256 = hashlib.sha256(said).hexdigest()
                entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        return {"id": repo, "sha": COMMIT, "siblings": siblings}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub
    from huggingface_hub import constants

    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.asked.append((path, headers))
            for prefix, (status, code) in state.refuse.items():
                if path.startswith(prefix):
                    return self.reply(status, b"{}", {"X-Error-Code": code})
            if path.startswith("/api/datasets/"):
                repo = path.removeprefix("/api/datasets/").split("/revision/")[0]
                if repo not in state.files:
                    return self.reply(401, b"{}", {"X-Error-Code": "RepoNotFound"})
                return self.reply(200, json.dumps(state.listing(repo)).encode(), {})
            repo, _, name = path.removeprefix("/datasets/").partition(f"/resolve/{COMMIT}/")
            return self.send_file(name, state.files[repo][name], headers)

        def send_file(self, name: str, content: bytes, headers: dict[str, str]) -> None:
            start = int(headers["range"].removeprefix("bytes=").rstrip("-")) if state.ranges else 0
            rest = content[start:]
            whole = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self.send_response(206 if state.ranges else 200)
            for header, value in (whole if state.ranges else {}).items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if name in state.cut:
                rest = rest[: state.cut[name]]
                self.close_connection = True
            if name in state.slow:
                self.wfile.write(rest[: len(rest) // 2])
                self.wfile.flush()
                time.sleep(30)
            self.wfile.write(rest)

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for header, value in headers.items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    state.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    # What HF_ENDPOINT and HF_HUB_OFFLINE set; the library reads them when it is imported.
    monkeypatch.setattr(constants, "ENDPOINT", state.url)
    template = f"{state.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_the_user")
    huggingface_hub.close_session()
    yield state
    huggingface_hub.close_session()
    listening.shutdown()
    listening.server_close()
    thread.join()


def picture() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(stream, "PNG")
    return stream.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return stream.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


QUESTIONS = "".join(
    json.dumps(
        {
            "id": str(number),
            "image": f"pictures/{number % 2}.png",
            "question": f"Where is mug {number}?",
            "options": ["left", "right"],
            "answer": "A",
        }
    )
    + "\n"
    for number in range(4)
).encode()
PICTURES = {"pictures/0.png": picture(), "pictures/1.png": picture()}
BENCH = Source(
    "questions and pictures",
    repo="someone/bench",
    patterns=("*.jsonl", "pictures.zip"),
    folder="bench",
)


def make_task(folder: Path, *sources: Source) -> Task:
    """A benchmark of four questions that wants `bench/q.jsonl` and `bench/pictures/`."""
    (folder / "q.jsonl").write_bytes(QUESTIONS)

    def locate(data: Path, split: str) -> Files:
        path = data / "bench" / "q.jsonl"
        if not path.is_file():
            raise not_found("bench", data, ["bench"], ["q.jsonl"])
        return Files((path,), (path.parent,), "jsonl")

    task = custom_task(str(folder / "q.jsonl"))
    return replace(task, name="bench", sources=sources, locate=locate)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return make_task(tmp_path, BENCH)


def publish(server: Hub, repo: str = "someone/bench") -> None:
    files = {"q.jsonl": QUESTIONS, "pictures.zip": zipped(PICTURES), "README.md": b"hello"}
    server.files[repo] = files
    server.large.add("pictures.zip")


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# From a hub


def test_from_nothing_to_good_files(server: Hub, task: Task, tmp_path: Path) -> None:
    publish(server)
    data = tmp_path / "data"
    seen: dict[str, int] = {}
    done = prepare(task, data, on_progress=lambda what, now, total: seen.update({what: now}))
    assert done.ok, (done.problems, done.report)
    assert done.problems == ()
    assert set(done.fetched) == {data / "bench" / "q.jsonl", data / "bench" / "pictures.zip"}
    assert done.unpacked == (data / "bench" / "pictures",)
    assert (data / "bench" / "q.jsonl").read_bytes() == QUESTIONS
    assert (data / "bench" / "pictures" / "1.png").read_bytes() == PICTURES["pictures/1.png"]
    assert [wanted.state for wanted in done.wanted] == ["there"]
    # Nothing that was not asked for, and nothing half done.
    visible = {name for name in files_in(data) if not name.startswith(".spare/")}
    assert visible == {f"bench/{name}" for name in ("q.jsonl", "pictures.zip", *PICTURES)}
    assert not [name for name in files_in(data) if name.endswith(".part")]
    assert seen["bytes of q.jsonl"] == len(QUESTIONS)
    assert seen["files of pictures.zip unpacked"] == 2
    assert seen["pictures opened"] == 2
    # Public: the user's token stays at home.
    assert server.asked
    assert not [headers for _, headers in server.asked if "authorization" in headers]


def test_what_is_there_needs_no_network(server: Hub, task: Task, tmp_path: Path) -> None:
    publish(server)
    prepare(task, tmp_path / "data")
    server.asked.clear()
    again = prepare(task, tmp_path / "data")
    assert again.ok
    assert (again.fetched, again.unpacked, server.asked) == ((), (), [])
    # Nor does what a person put there.
    (tmp_path / "mine" / "bench" / "pictures").mkdir(parents=True)
    (tmp_path / "mine" / "bench" / "q.jsonl").write_bytes(QUESTIONS)
    for name, content in PICTURES.items():
        (tmp_path / "mine" / "bench" / name).write_bytes(content)
    assert prepare(task, tmp_path / "mine").ok
    assert server.asked == []


def test_dry_run_touches_nothing(server: Hub, task: Task, tmp_path: Path) -> None:
    publish(server)
    done = prepare(task, tmp_path / "data", dry_run=True)
    assert not (tmp_path / "data").exists()
    assert server.asked == []
    assert done.report is None
    assert not done.ok
    assert done.free > 0
    (wanted,) = done.wanted
    assert (wanted.state, wanted.folder) == ("fetch", tmp_path / "data" / "bench")
    (tmp_path / "data" / "bench").mkdir(parents=True)
    (tmp_path / "data" / "bench" / "q.jsonl").write_bytes(QUESTIONS)
    done = prepare(task, tmp_path / "data", dry_run=True)
    assert done.report is not None
    assert not done.ok
    assert files_in(tmp_path / "data") == {"bench/q.jsonl"}


def test_alternatives_are_fetched_only_if_needed(server: Hub, tmp_path: Path) -> None:
    publish(server)
    publish(server, "mirror/bench")
    mirror = replace(BENCH, repo="mirror/bench")
    task = make_task(tmp_path, BENCH, mirror)
    done = prepare(task, tmp_path / "one")
    assert done.ok
    assert [wanted.state for wanted in done.wanted] == ["there", "fetch"]
    assert not [path for path, _ in server.asked if "mirror" in path]
    del server.files["someone/bench"]
    done = prepare(task, tmp_path / "two")
    assert done.ok
    assert len(done.problems) == 1
    assert "someone/bench is not public, or there is none" in done.problems[0]
    assert [wanted.state for wanted in done.wanted] == ["fetch", "there"]


def test_sources_of_other_splits_are_left_out(task: Task, tmp_path: Path) -> None:
    both = replace(
        task, splits={"all": 4, "more": 1}, sources=(replace(BENCH, task_splits=("more",)),)
    )
    assert plan(both, tmp_path) == ()
    assert len(plan(both, tmp_path, "more")) == 1


def test_a_broken_connection_is_gone_on_with(server: Hub, task: Task, tmp_path: Path) -> None:
    publish(server)
    server.cut["q.jsonl"] = 200
    assert prepare(task, tmp_path / "data").ok
    starts = range(0, len(QUESTIONS), 200)
    assert server.requests_for("q.jsonl") == [f"bytes={start}-" for start in starts]
    # A server that knows no ranges sends all again, and nothing is doubled.
    server.cut.clear()
    server.ranges = False
    part = tmp_path / "file.part"
    part.write_bytes(QUESTIONS[:77])
    (file,) = hub.list_files(replace(BENCH, patterns=("q.jsonl",)))
    hub.download(BENCH, file, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == QUESTIONS
    assert not part.exists()


def test_a_later_call_goes_on(server: Hub, task: Task, tmp_path: Path) -> None:
    publish(server)
    data = tmp_path / "data"
    file = f"/datasets/someone/bench/resolve/{COMMIT}/pictures.zip"
    server.refuse[file] = (403, "")
    done = prepare(task, data)
    assert not done.ok
    assert "the hub answers 403" in done.problems[0]
    # All files of a source or none: q.jsonl has arrived, and waits.
    assert {name for name in files_in(data) if not name.startswith(".spare/")} == set()
    server.refuse.clear()
    assert prepare(task, data).ok
    assert len(server.requests_for("q.jsonl")) == 1


DRIVER = """
import sys
from pathlib import Path
from spare.harness import hub
from spare.tasks.types import Source
source = Source("", repo="someone/bench", patterns=("big.bin",))
(file,) = hub.list_files(source)
hub.download(source, file, Path(sys.argv[1]))
"""


def test_ctrl_c_stops_at_once_and_keeps_what_came(server: Hub, tmp_path: Path) -> None:
    """In a process of its own, by the variables that a user would set."""
    content = random.Random(0).randbytes(3_000_000)
    server.files["someone/bench"] = {"big.bin": content}
    server.slow.add("big.bin")
    target = tmp_path / "big.bin"
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(target)], env=environment, stderr=subprocess.PIPE
    )
    part = tmp_path / "big.bin.part"
    for _ in range(1000):
        if part.exists() and part.stat().st_size > 1_000_000:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=10)
    assert complaint.decode().strip().endswith("KeyboardInterrupt")
    kept = part.stat().st_size
    assert 1_000_000 < kept < 3_000_000
    server.slow.clear()
    source = replace(BENCH, patterns=("big.bin",))
    (file,) = hub.list_files(source)
    hub.download(source, file, target)
    assert server.requests_for("big.bin")[-1] == f"bytes={kept}-"
    assert target.read_bytes() == content
    assert not [headers for _, headers in server.asked if "authorization" in headers]


def problem(done: Prepared) -> str:
    assert not done.ok
    (sentence,) = done.problems
    return sentence


def test_what_the_hub_refuses_is_a_sentence(server: Hub, task: Task, tmp_path: Path) -> None:
    publish(server)
    api, resolve = "/api/datasets/someone/bench", "/datasets/someone/bench/resolve"
    data = tmp_path / "data"
    for refusal, sentence in (
        ({resolve: (401, "GatedRepo")}, "wants its terms agreed to"),
        ({api: (401, "RepoNotFound")}, "is not public, or there is none of that name"),
        ({api: (404, "RevisionNotFound")}, "has no revision main any more"),
        ({api: (403, "")}, "the hub answers 403"),
    ):
        server.refuse = refusal
        assert sentence in problem(prepare(task, data))
    server.refuse = {}
    none = replace(task, sources=(replace(BENCH, patterns=("*.parquet",)),))
    assert r"no files like *.parquet at revision main" in problem(prepare(none, data))


def test_a_busy_hub_is_asked_again(
    server: Hub, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server)
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.refuse[f"/datasets/someone/bench/resolve/{COMMIT}/q.jsonl"] = (503, "")
    assert "the hub answers 503" in problem(prepare(task, tmp_path / "data"))
    assert len(server.requests_for("q.jsonl")) == hub.TRIES
    assert waits == sorted(waits)


def test_without_a_network(
    server: Hub, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    publish(server)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "because HF_HUB_OFFLINE is set" in problem(prepare(task, tmp_path / "data"))
    assert server.asked == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    sentence = problem(prepare(task, tmp_path / "data"))
    assert "the hub cannot be reached" in sentence
    assert "run the same command again" in sentence


def test_what_arrives_damaged_is_thrown_away(server: Hub, task: Task, tmp_path: Path) -> None:
    for name in ("q.jsonl", "pictures.zip"):  # checked by git's id, and by SHA-256
        publish(server)
        server.lies = {name}
        data = tmp_path / f"data for {name}"
        assert f"{name} of the hub data set someone/bench arrived damaged" in problem(
            prepare(task, data)
        )
        assert not (data / "bench").exists()
        assert not [path for path in files_in(data) if path.endswith(".part")]


def test_a_persons_file_is_never_overwritten(server: Hub, task: Task, tmp_path: Path) -> None:
    publish(server)
    folder = tmp_path / "data" / "bench"
    folder.mkdir(parents=True)
    (folder / "q.jsonl").write_bytes(QUESTIONS.replace(b"mug", b"cup"))
    assert "q.jsonl differs from the published file" in problem(prepare(task, tmp_path / "data"))
    assert b"cup" in (folder / "q.jsonl").read_bytes()
    # The same file is taken as it is.
    (folder / "q.jsonl").write_bytes(QUESTIONS)
    assert prepare(task, tmp_path / "data").ok
    assert server.requests_for("q.jsonl") == []


def test_names_that_lead_out_are_refused(server: Hub, task: Task, tmp_path: Path) -> None:
    server.files["someone/bench"] = {"../../evil.jsonl": b"x"}
    assert "leads out of its folder" in problem(prepare(task, tmp_path / "data"))
    assert files_in(tmp_path) - {"q.jsonl"} <= {"data/.spare/lock"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_a_sentence(server: Hub, tmp_path: Path) -> None:
    publish(server)
    (file,) = hub.list_files(replace(BENCH, patterns=("q.jsonl",)))
    (tmp_path / "q.jsonl.part").symlink_to("/dev/full")
    with pytest.raises(SpareError, match=r"disk is full: .*q\.jsonl\.part.*run the same command"):
        hub.download(BENCH, file, tmp_path / "q.jsonl")


def test_more_than_fits_is_refused_before_it_starts(
    server: Hub, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server)
    monkeypatch.setattr("spare.harness.prepare.free_space", lambda data: 100)
    with pytest.raises(SpareError, match="0 MB are to be fetched, but only 0 MB are free"):
        prepare(task, tmp_path / "data")
    assert server.requests_for("q.jsonl") == []


def test_one_process_at_a_time(task: Task, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "data" / ".spare").mkdir(parents=True)
    with (
        FileLock(tmp_path / "data" / ".spare" / "lock"),
        pytest.raises(SpareError, match="Another process is preparing files"),
    ):
        prepare(task, tmp_path / "data")


def test_a_real_task_from_the_hub(server: Hub, tmp_path: Path) -> None:
    """VSR: statements from one repository, pictures by hand or from another one's table."""
    row = {
        "image": "000000000001.jpg",
        "image_link": "http://images.cocodataset.org/train2017/000000000001.jpg",
        "caption": "The cat is under the bed.",
        "label": 1,
        "relation": "under",
        "subj": "cat",
        "obj": "bed",
        "annotator_id": 1,
        "vote_true_validator_id": "[2]",
        "vote_false_validator_id": "[]",
    }
    lines = (json.dumps(row) + "\n").encode()
    server.files["cambridgeltl/vsr_zeroshot"] = {
        f"{split}.jsonl": lines for split in ("train", "dev", "test")
    }
    done = prepare("vsr_zeroshot", tmp_path)
    assert not done.ok
    assert done.report is not None
    assert done.report.samples == 1
    failed = [check.name for check in done.report.checks if check.outcome == "failed"]
    assert failed == ["pictures"]
    by_hand = [wanted for wanted in done.wanted if wanted.state == "by hand"]
    assert by_hand
    assert all(wanted.source.url for wanted in by_hand)


@pytest.mark.parametrize("name", ["vsr_zeroshot", "vsr_random", "whatsup_a", "3dsrbench"])
def test_every_source_can_be_fetched_or_says_where_it_is(name: str, tmp_path: Path) -> None:
    wanted = plan(load_task(name), tmp_path)
    assert wanted
    for one in wanted:
        assert one.state == ("fetch" if one.source.repo else "by hand")
        assert one.source.repo or one.source.url.startswith(("http://", "https://"))
        assert one.folder.is_relative_to(tmp_path)
    assert files_in(tmp_path) == set()


def test_a_users_own_questions_have_nothing_to_fetch(tmp_path: Path) -> None:
    row = {"question": "Q?", "answer": "yes"}
    (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n")
    done = prepare(f"custom:{tmp_path / 'q.jsonl'}", tmp_path)
    assert done.ok
    assert done.wanted == ()


# Archives

BY_HAND = Source("pictures", url="https://example.org/pictures.zip", folder="bench")


@pytest.mark.parametrize("name", ["anything.zip", "anything.tar.gz", "anything.tgz"])
def test_archives_put_there_by_hand_are_unpacked_once(name: str, tmp_path: Path) -> None:
    task = make_task(tmp_path, BY_HAND)
    folder = tmp_path / "data" / "bench"
    folder.mkdir(parents=True)
    (folder / "q.jsonl").write_bytes(QUESTIONS)
    pack = zipped if name.endswith(".zip") else tarred
    (folder / name).write_bytes(pack({**PICTURES, "__MACOSX/pictures/._0.png": b"junk"}))
    done = prepare(task, tmp_path / "data")
    assert done.ok, done.report
    assert done.unpacked == (folder / "pictures",)
    assert files_in(folder) == {"q.jsonl", name, *PICTURES}
    # What is spoilt later is not mended behind the user's back.
    (folder / "pictures" / "0.png").unlink()
    done = prepare(task, tmp_path / "data")
    assert done.unpacked == ()
    assert not done.ok


def test_an_archive_without_a_folder_gets_its_name(tmp_path: Path) -> None:
    archive = tmp_path / "val2017.tar.gz"
    archive.write_bytes(tarred({"1.jpg": b"one", "2.jpg": b"two"}))
    assert unpack(archive) == tmp_path / "val2017"
    assert files_in(tmp_path / "val2017") == {"1.jpg", "2.jpg"}


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "mine.png").write_bytes(b"mine")
    (tmp_path / "a.zip").write_bytes(zipped(PICTURES))
    assert unpack(tmp_path / "a.zip") == tmp_path / "pictures"
    assert files_in(tmp_path) == {"a.zip", "pictures/mine.png"}


def hostile_zip(kind: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        member = zipfile.ZipInfo({"climbs": "../../evil", "absolute": "/tmp/evil"}.get(kind, "a"))
        member.compress_type = zipfile.ZIP_BZIP2 if kind == "rare" else zipfile.ZIP_DEFLATED
        if kind == "link":
            member.external_attr = 0o120777 << 16
        content = bytes(30_000_000) if kind == "bomb" else b"/etc/passwd"
        file.writestr(member, content)
    data = bytearray(stream.getvalue())
    if kind == "password":
        data[6] |= 1
        data[data.rindex(b"PK\1\2") + 8] |= 1
    return bytes(data)


def hostile_tar(kind: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        member = tarfile.TarInfo({"climbs": "../../evil", "absolute": "/tmp/evil"}.get(kind, "a"))
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "../../../etc/passwd"
        elif kind == "hard link":
            member.type, member.linkname = tarfile.LNKTYPE, "../../../etc/passwd"
        elif kind == "device":
            member.type = tarfile.CHRTYPE
        member.size = 30_000_000 if kind == "bomb" else 0
        file.addfile(member, io.BytesIO(bytes(member.size)))
        if kind == "through a link":
            link, through = tarfile.TarInfo("out"), tarfile.TarInfo("out/evil")
            link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
            file.addfile(link)
            file.addfile(through)
    return stream.getvalue()


ZIPS = ("climbs", "absolute", "link", "bomb", "password", "rare")
TARS = ("climbs", "absolute", "link", "hard link", "device", "bomb", "through a link")


@pytest.mark.parametrize("kind", [*(f"zip {kind}" for kind in ZIPS), *(f"tar {k}" for k in TARS)])
def test_hostile_archives_are_refused(kind: str, tmp_path: Path) -> None:
    form, _, kind = kind.partition(" ")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    archive = folder / ("x.zip" if form == "zip" else "x.tar.gz")
    archive.write_bytes(hostile_zip(kind) if form == "zip" else hostile_tar(kind))
    with pytest.raises(DataError, match=r"x\.(zip|tar\.gz): the archive"):
        unpack(archive)
    assert files_in(tmp_path) == {archive.relative_to(tmp_path).as_posix()}
    assert list(folder.iterdir()) == [archive]


def test_a_bad_archive_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    task = make_task(tmp_path, BY_HAND)
    folder = tmp_path / "data" / "bench"
    folder.mkdir(parents=True)
    (folder / "pictures.zip").write_text("<html>Too many requests</html>")
    (folder / "empty.tar").write_bytes(b"")
    first, second = prepare(task, tmp_path / "data").problems
    assert "empty.tar: the archive" in first
    assert "pictures.zip: the archive is damaged or unsafe" in second


RANDOM = random.Random(1)
CONTENTS = {f"pictures/{number}.bin": RANDOM.randbytes(300) for number in range(4)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    share=st.floats(0, 1, exclude_max=True),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3),
    cut=st.booleans(),
    form=st.sampled_from(["x.zip", "x.tar.gz", "x.tar"]),
)
def test_a_damaged_archive_gives_all_or_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    share: float,
    flips: list[tuple[float, int]],
    cut: bool,
    form: str,
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    whole = zipped(CONTENTS) if form == "x.zip" else tarred(CONTENTS)
    if form == "x.tar":
        import gzip

        whole = gzip.decompress(whole)
    data = bytearray(whole[: int(share * len(whole))] if cut else whole)
    for place, change in flips:
        if data:
            data[int(place * len(data))] ^= change
    archive = folder / form
    archive.write_bytes(data)
    try:
        target = unpack(archive)
    except SpareError:
        assert list(folder.iterdir()) == [archive]
        return
    assert target.parent == folder
    if bytes(data) == whole:
        assert files_in(folder) == {form, *CONTENTS}
    assert {path.name for path in folder.iterdir()} == {form, target.name}
    if cut and not flips and form != "x.tar":  # a plain tar has no checksum at its end
        assert {name: (folder / name).read_bytes() for name in CONTENTS} == CONTENTS
