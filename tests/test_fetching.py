"""Pictures from addresses in data sets: hostile addresses, broken servers, and nothing lost."""

from __future__ import annotations

import hashlib
import http.server
import io
import ipaddress
import json
import os
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.cli import main
from spare.errors import SpareError
from spare.generation.addresses import RefusedError, is_public, target
from spare.generation.captions import captions
from spare.generation.fetching import Limits, fetch
from spare.generation.images import fetch_images
from spare.generation.pictures import picture_table

LIMITS = Limits(size=200_000, connect=2, idle=1, total=3, tries=2, private=frozenset(["127.0.0.1"]))


def encoded(kind: str = "JPEG", size: tuple[int, int] = (60, 40), **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image = PIL.Image.linear_gradient("L").resize(size).convert("RGB")
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def turned() -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return encoded(exif=exif)


def bomb() -> bytes:
    """A PNG whose header claims 200 megapixels."""
    data = bytearray(encoded("PNG"))
    data[16:24] = struct.pack(">II", 20_000, 10_000)
    return bytes(data)


GOOD = encoded()

# Addresses


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
        *("::1", "::", "fe80::1", "fc00::1", "ff02::1", "fe80::1%eth0"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::a9fe:a9fe"),
        *("64:ff9b::7f00:1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "64:ff9b:1::1", "nonsense"),
    ],
)
def test_addresses_that_lead_home_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_addresses_of_the_web_are(address: str) -> None:
    assert is_public(address)


@given(st.integers(0, 2**32 - 1))
def test_what_is_private_stays_private_in_any_clothes(number: int) -> None:
    inner = ipaddress.IPv4Address(number)
    public = is_public(str(inner))
    assert is_public(f"64:ff9b::{inner}") == public
    if not public:
        assert not is_public(f"::ffff:{inner}")
        assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80))))


@given(st.ip_addresses())
def test_private_addresses_are_never_public(address: Any) -> None:
    if is_public(str(address)):
        assert not address.is_private
        assert not address.is_loopback
        assert not address.is_link_local


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://example.org/a", "gopher://example.org", "example.org/a"),
        *("http://", "http:///a", "http://user:pass@example.org/", "http://example.org:22/"),
        *("http://[::1/", "http://example.org:99999/", "javascript:alert(1)", ""),
    ],
)
def test_urls_that_are_no_web_addresses_are_refused(url: str) -> None:
    with pytest.raises(RefusedError):
        target(url, look_up=lambda host, port: ["93.184.216.34"])


def test_every_address_of_a_name_is_looked_at() -> None:
    names = {"both.example": ["93.184.216.34", "127.0.0.1"], "good.example": ["93.184.216.34"]}
    with pytest.raises(RefusedError, match=r"127\.0\.0\.1"):
        target("http://both.example/", look_up=lambda host, port: names[host])
    found = target("https://good.example/a?b#c", look_up=lambda host, port: names[host])
    assert found == ("https", "good.example", 443, "93.184.216.34", "/a?b")


@given(st.text(max_size=60))
def test_any_text_is_refused_or_led_somewhere(text: str) -> None:
    try:
        found = target(f"http://{text}", look_up=lambda host, port: ["93.184.216.34"])
    except RefusedError:
        return
    assert found.port in (80, 443)


# A hostile server

Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pages: ClassVar[dict[str, Answer]] = {}
    asked: ClassVar[Counter[str]] = Counter()
    headers_seen: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        self.asked[self.path] += 1
        self.headers_seen[self.path] = dict(self.headers)
        try:
            self.pages.get(self.path, missing)(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def say(self, data: bytes, code: int = 200, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content_Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def missing(handler: Handler) -> None:
    handler.say(b"no", 404)


def gives(data: bytes, code: int = 200, **headers: str) -> Answer:
    return lambda handler: handler.say(data, code, **headers)


def leads(url: str) -> Answer:
    return gives(b"", 302, Location=url)


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"\xff\xd8\xff" + bytes(65_536))


def drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"\xff")
        handler.wfile.flush()
        time.sleep(0.2)


def short(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(GOOD) + 1000))
    handler.end_headers()
    handler.wfile.write(GOOD)
    handler.close_connection = True


def closes(handler: Handler) -> None:
    handler.close_connection = True
    handler.connection.close()


def once(first: Answer, then: Answer) -> Answer:
    calls: list[int] = []

    def answer(handler: Handler) -> None:
        calls.append(1)
        (first if len(calls) == 1 else then)(handler)

    return answer


@pytest.fixture
def server() -> Iterator[str]:
    Handler.pages, Handler.asked, Handler.headers_seen = {}, Counter(), {}
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()


@pytest.mark.parametrize(
    ("page", "status", "words"),
    [
        (gives(GOOD), "ok", ""),
        (once(gives(b"", 500), gives(GOOD)), "ok", ""),
        (once(closes, gives(GOOD)), "ok", ""),
        (gives(b"", 404), "gone", "answers 404"),
        (gives(b"", 403), "gone", "answers 403"),
        (gives(b"", 204), "broken", "answers 204"),
        (gives(b""), "broken", "empty"),
        (gives(b"", 503), "transient", "answers 503"),
        (gives(b"", 429, Retry_After="864000"), "transient", "asks for 864,000 seconds"),
        (endless, "broken", "more than 200,000 bytes"),
        (drip, "transient", ""),
        (short, "transient", "broke off"),
        (closes, "transient", "broke off"),
        (gives(GOOD, Content_Encoding="gzip"), "broken", "packed"),
        (gives(GOOD, X_Robots_Tag="noai, noimageai"), "refused", "does not want"),
        (gives(GOOD, X_Robots_Tag="otherbot: noindex"), "refused", "does not want"),
        (leads("http://169.254.169.254/latest"), "refused", "not on the public internet"),
        (leads("file:///etc/passwd"), "refused", "no http"),
        (leads("http://[::ffff:127.0.0.1]/"), "refused", "not on the public internet"),
        (leads("http://[2002:7f00:1::]/"), "refused", "not on the public internet"),
        (leads("http://name:word@example.org/"), "refused", "user's name"),
        (leads("/round"), "gone", "redirects"),
        (leads("/good"), "ok", ""),
    ],
)
def test_what_a_server_may_do(server: str, page: Answer, status: str, words: str) -> None:
    """The first hop is to our own server, which is private; hops from there are looked at."""
    Handler.pages = {"/a": page, "/round": leads("/round"), "/good": gives(GOOD)}
    start = time.monotonic()
    outcome, _ = fetch(f"{server}/a", LIMITS)
    assert outcome.status == status, outcome
    assert words in outcome.error
    assert (outcome.data == GOOD) == (status == "ok")
    assert time.monotonic() - start < 15


def test_a_request_says_who_asks_and_carries_nothing(server: str) -> None:
    Handler.pages = {"/a": gives(GOOD, Set_Cookie="a=b"), "/b": leads("/a")}
    fetch(f"{server}/b", LIMITS)
    seen = Handler.headers_seen["/a"]
    assert seen["User-Agent"].startswith("spare ")
    assert seen["Host"] == server.removeprefix("http://")
    assert seen["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Referer", "Authorization"} & set(seen)


def test_a_name_that_changes_its_mind_finds_nobody(server: str) -> None:
    """The connection goes to the address that was looked at; the name is not asked again."""
    Handler.pages = {"/a": gives(GOOD)}
    answers = iter([["127.0.0.1"]])
    url = server.replace("127.0.0.1", "rebinding.example") + "/a"
    limits = replace(LIMITS, private=frozenset(["rebinding.example"]))
    outcome, _ = fetch(url, limits, lambda host, port: next(answers))
    assert outcome.status == "ok"
    assert Handler.headers_seen["/a"]["Host"].startswith("rebinding.example:")


# The store


def write_captions(folder: Path, urls: list[str]) -> Path:
    rows = [
        {"image_url": url, "caption": f"A cup is left of plate {number}.", "transcripts": [""]}
        for number, url in enumerate(urls)
    ]
    (folder / "data").mkdir(parents=True)
    path = folder / "data" / "train-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    captions("pixmo-cap", data=folder / "data", out=folder / "captions")
    return folder / "captions"


def test_a_store_may_be_moved_and_what_it_has_lost_is_fetched_again(
    server: str, tmp_path: Path
) -> None:
    Handler.pages = {"/one": gives(GOOD), "/two": gives(encoded("PNG"))}
    given = write_captions(tmp_path, [f"{server}/one", f"{server}/two"])
    fetch_images(given, out=tmp_path / "here", limits=LIMITS)
    (tmp_path / "here").rename(tmp_path / "there")
    places = [Path(one.path) for one in picture_table(tmp_path / "there").values()]
    assert all(place.is_file() for place in places)
    places[0].write_bytes(b"")
    places[1].unlink()
    found = fetch_images(given, out=tmp_path / "there", limits=LIMITS)
    assert found == {"ok": 2}
    assert {place.read_bytes() for place in places} == {GOOD, encoded("PNG")}


def test_pictures_are_kept_by_content(server: str, tmp_path: Path) -> None:
    kinds = {
        "good": GOOD,
        "copy": GOOD,
        "turned": turned(),
        "png": encoded("PNG"),
        "webp": encoded("WEBP"),
        "html": b"<!DOCTYPE html><p>gone</p>",
        "icon": encoded("GIF", (1, 1)),
        "bomb": bomb(),
        "cut.jpg": encoded(size=(400, 400))[:-2000],
        "cut.png": encoded("PNG", (400, 400))[:-200],
    }
    Handler.pages = {f"/{name}": gives(data) for name, data in kinds.items()}
    urls = [f"{server}/{name}" for name in [*kinds, "missing"]]
    found = fetch_images(write_captions(tmp_path, urls), out=tmp_path / "blobs", limits=LIMITS)
    table = picture_table(tmp_path / "blobs")
    status = {url.rsplit("/", 1)[1]: one.status for (_, url), one in table.items()}
    good = {"good", "copy", "turned", "png", "webp"}
    assert {name for name, one in status.items() if one == "ok"} == good
    assert status["missing"] == "gone"
    assert found == Counter(status.values())
    for (_, url), one in table.items():
        if one.status == "ok":
            data = (tmp_path / "blobs" / one.path).read_bytes()
            assert data == kinds[url.rsplit("/", 1)[1]]
            assert Path(one.path).name == one.sha256 == hashlib.sha256(data).hexdigest()
        else:
            assert one.error.endswith(".")
    rows = pyarrow.parquet.read_table(tmp_path / "blobs/pictures.parquet").to_pylist()
    (row,) = (row for row in rows if row["image"].endswith("/turned"))
    assert (row["orientation"], row["width"], row["height"]) == (6, 40, 60)
    # PNG and JPEG of one picture look alike.
    hashes = {url.rsplit("/", 1)[1]: one.perceptual_hash for (_, url), one in table.items()}
    assert bin(int(hashes["good"], 16) ^ int(hashes["png"], 16)).count("1") <= 4


def test_only_what_may_pass_is_asked_again(server: str, tmp_path: Path) -> None:
    Handler.pages = {"/a": gives(GOOD), "/b": gives(b"", 503), "/c": gives(b"", 410)}
    place = write_captions(tmp_path, [f"{server}/{name}" for name in "abc"])
    first = fetch_images(place, out=tmp_path / "blobs", limits=LIMITS)
    assert first == {"ok": 1, "transient": 1, "gone": 1}
    Handler.pages["/b"] = gives(encoded("PNG"))
    Handler.asked.clear()
    assert fetch_images(place, out=tmp_path / "blobs", limits=LIMITS) == {"ok": 2, "gone": 1}
    assert Handler.asked == {"/b": 1}


def test_a_picture_that_many_addresses_give_is_a_placeholder(server: str, tmp_path: Path) -> None:
    Handler.pages = {f"/{number}": gives(GOOD) for number in range(25)}
    Handler.pages["/other"] = gives(encoded("PNG"))
    place = write_captions(tmp_path, [f"{server}{path}" for path in Handler.pages])
    found = fetch_images(place, out=tmp_path / "blobs", limits=LIMITS)
    assert found == {"broken": 25, "ok": 1}


def test_private_addresses_are_refused_by_default(server: str, tmp_path: Path) -> None:
    Handler.pages = {"/a": gives(GOOD)}
    place = write_captions(tmp_path, [f"{server}/a", "http://127.0.0.1/a"])
    assert fetch_images(place, out=tmp_path / "blobs") == {"refused": 2}
    assert not Handler.asked


def test_a_killed_run_goes_on(server: str, tmp_path: Path) -> None:
    def slow(number: int) -> Answer:
        def answer(handler: Handler) -> None:
            time.sleep(0.03)
            handler.say(encoded(size=(40 + number, 40)))

        return answer

    Handler.pages = {f"/{number}": slow(number) for number in range(60)}
    place = write_captions(tmp_path, [f"{server}/{number}" for number in range(60)])
    command = [sys.executable, "-m", "spare", "images", str(place), "--allow-private", "127.0.0.1"]
    command += ["--out", str(tmp_path / "blobs"), "--connections", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=dict(os.environ))
    journal = tmp_path / "blobs" / "pictures.jsonl"
    while process.poll() is None and len(lines(journal)) < 10:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(lines(journal))
    assert 10 <= before < 60
    assert fetch_images(place, out=tmp_path / "blobs", limits=LIMITS) == {"ok": 60}
    keys = [line["key"] for line in lines(journal)]
    assert len(keys) == len(set(keys)) == 60
    # No more is asked twice than was under way.
    assert sum(Handler.asked.values()) <= 60 + 8
    assert not list((tmp_path / "blobs").rglob("*.part"))


def lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_archives_are_read_in_one_pass_and_trusted_in_nothing(tmp_path: Path) -> None:
    names = [f"train_{number:05d}" for number in range(4)]
    rows = [
        {"example_id": name, "split": "train", "image_file": f"{name}.jpg", "description": "Left."}
        for name in names
    ]
    data = tmp_path / "data"
    data.mkdir()
    (data / "docci_descriptions.jsonlines").write_text("".join(json.dumps(r) + "\n" for r in rows))
    with tarfile.open(data / "docci_images.tar.gz", "w:gz") as archive:

        def add(name: str, content: bytes, **more: Any) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in more.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))

        add("../../outside.jpg", GOOD)
        add("/etc/outside.jpg", GOOD)
        add("images/train_00000.jpg", GOOD)
        add("images/train_00001.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add("images/train_00002.jpg", b"no picture")
    captions("docci", data=data, out=tmp_path / "captions")
    found = fetch_images(tmp_path / "captions", out=tmp_path / "blobs")
    assert found == {"ok": 1, "broken": 2, "gone": 1}
    stored = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert {path.name for path in stored} >= {hashlib.sha256(GOOD).hexdigest(), "pictures.parquet"}
    assert not list(tmp_path.rglob("outside.jpg"))


def test_a_torn_archive_is_a_sentence(tmp_path: Path) -> None:
    row = {"example_id": "a", "split": "train", "image_file": "a.jpg", "description": "Left."}
    data = tmp_path / "data"
    data.mkdir()
    (data / "docci_descriptions.jsonlines").write_text(json.dumps(row) + "\n")
    (data / "docci_images.tar.gz").write_bytes(b"\x1f\x8b torn")
    captions("docci", data=data, out=tmp_path / "captions")
    with pytest.raises(SpareError, match="cannot be read to its end"):
        fetch_images(tmp_path / "captions", out=tmp_path / "blobs")


def test_a_store_is_not_made_among_captions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"example_id": "a", "split": "train", "image_file": "a.jpg", "description": "Left."}
    data = tmp_path / "data"
    data.mkdir()
    (data / "docci_descriptions.jsonlines").write_text(json.dumps(row) + "\n")
    with tarfile.open(data / "docci_images.tar.gz", "w:gz"):
        pass
    captions("docci", data=data, out=tmp_path / "captions")
    monkeypatch.chdir(tmp_path)
    for named in ("captions", "captions/docci"):
        for out in ("captions", "captions/docci", f"{named}/blobs", "data/../captions/docci"):
            with pytest.raises(SpareError, match="is among the captions"):
                fetch_images(named, out=out)
    assert not list((tmp_path / "captions").rglob("pictures.*"))
    assert main(["images", "captions/docci", "--out", "blobs"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "its server, archive or folder does not have it" in shown
    assert fetch_images("captions", out="blobs") == {"gone": 1}
