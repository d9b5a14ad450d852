"""The pictures that captions are about, fetched into a store by content: `spare images`.

    blobs/ab/cd/<sha256>     bytes, as they came
    blobs/pictures.jsonl     what became of each, appended as it does
    blobs/pictures.parquet   the same as a table, written at the end; the stages read it

Pictures that lie below the captions' own folder stay there and are only looked at. A call asks for
what is not there yet, or may pass; what is gone is not asked for again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from spare.disk import disk_error, locked, replaced
from spare.errors import PictureError, SpareError
from spare.generation import shards
from spare.generation.addresses import Resolve, resolve
from spare.generation.captions import find_parts
from spare.generation.fetching import Limits, Outcome, fetch
from spare.generation.pictures import TABLE
from spare.harness.lines import ReplyLog
from spare.images import open_picture, perceptual_hash

JOURNAL = "pictures.jsonl"
LEAST_SIDE = 28
"""Pixels: below, a picture is an icon or a counter."""

PLACEHOLDER = 20
"""A picture that more addresses than this give is a notice that the real one is gone."""

PER_HOST = 8
RESTING = 20
"""Failures of a host in a row after which it is left alone for the rest of the call."""

COLUMNS = {
    "image_kind": "string",
    "image": "string",
    "status": "string",
    "code": "int32",
    "sha256": "string",
    "path": "string",
    "mime": "string",
    "width": "int32",
    "height": "int32",
    "orientation": "int32",
    "frames": "int32",
    "perceptual_hash": "string",
    "error": "string",
    "attempts": "int32",
    "fetched_at": "float64",
}


@dataclass(slots=True)
class Progress:
    """Where the fetching stands; `counts` is by status."""

    total: int
    before: int
    done: int
    counts: Counter[str]
    started: float

    @property
    def pace(self) -> float:
        """Pictures per second of this call."""
        seconds = time.monotonic() - self.started
        return (self.done - self.before) / seconds if seconds > 0 else 0.0


class Place(tuple[str, str, str]):
    """(kind, image, folder that it is below) of a picture."""

    __slots__ = ()

    @property
    def key(self) -> str:
        """Its name in the journal."""
        return hashlib.sha256("\0".join(self[:2]).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def fetch_images(
    captions: str | Path,
    *,
    out: str | Path,
    connections: int = 32,
    limits: Limits | None = None,
    look_up: Resolve = resolve,
    on_event: Callable[[Progress], None] = lambda event: None,
) -> Counter[str]:
    """Get every picture that captions name, and return how many became what.

    Args:
        captions: folder of `spare captions`.
        out: the store.
        connections: pictures that are fetched side by side, at most `PER_HOST` from one host.
        limits: what a picture may take, and which hosts may be private.
        look_up: finds a host's addresses.

    Raises:
        SpareError: there are no captions, the store would lie among them, or the disk is full.
    """
    out = Path(out)
    _check_apart(Path(captions), out)
    places = _places(captions)
    chosen = limits or Limits()
    with locked(out), contextlib.closing(ReplyLog(out / JOURNAL)) as journal:
        missing = [place for place in places if not _is_settled(journal, place, out)]
        # Neighbours in a list are often of one host.
        random.Random(0).shuffle(missing)
        done = len(places) - len(missing)
        progress = Progress(len(places), done, done, Counter(), time.monotonic())
        on_event(progress)
        for place, line in _all(missing, out, connections, chosen, look_up):
            journal.append({"key": place.key, "image_kind": place[0], "image": place[1], **line})
            progress.done += 1
            progress.counts[line["status"]] += 1
            on_event(progress)
        lines = (journal.line(place.key) for place in places)
        return _write_table(out, lines)


def _check_apart(captions: Path, out: Path) -> None:
    """Captions are found by their shards, and the store's table looks like one of theirs."""
    folders = {part.path.parent.resolve() for part in find_parts(captions)}
    folders |= {captions.resolve(), *(folder.parent for folder in folders)}
    if out.resolve() in folders or captions.resolve() in out.resolve().parents:
        raise SpareError(
            f"{out} is among the captions, and a store of pictures would be taken for captions; "
            "choose another --out."
        )


def _is_settled(journal: ReplyLog, place: Place, out: Path) -> bool:
    """Whether it is known what became of a picture, and it is still there if it ever was."""
    if place.key not in journal:
        return False
    line = journal.line(place.key)
    if line["status"] != "ok":
        return True
    try:
        return bool((out / line["path"]).stat().st_size == line["size"])
    except OSError:
        return False


def _places(captions: str | Path) -> list[Place]:
    """Distinct pictures of captions, in their order."""
    found: dict[Place, None] = {}
    for part in find_parts(captions):
        table = shards.read(part.path, ["image_kind", "image"], "spare captions")
        for kind, image in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if kind:
                found[Place((kind, image, str(part.data)))] = None
    return list(found)


def _all(
    missing: Iterable[Place], out: Path, connections: int, limits: Limits, look_up: Resolve
) -> Iterator[tuple[Place, dict[str, Any]]]:
    missing = list(missing)
    archives: dict[Path, dict[str, Place]] = {}
    for place in missing:
        if place[0] == "tar":
            archive, _, member = place[1].partition("!")
            archives.setdefault(Path(place[2]) / archive, {})[member] = place
    for path, members in archives.items():
        yield from _unpacked(path, members, out)
    hosts = Hosts()
    others = iter([place for place in missing if place[0] != "tar"])

    def get(place: Place) -> dict[str, Any]:
        if place[0] == "path":
            return _local(Path(place[2]) / place[1])
        return _fetched(place[1], out, limits, look_up, hosts)

    with ThreadPoolExecutor(connections, "fetch") as pool:
        waiting: dict[Future[dict[str, Any]], Place] = {}
        try:
            while True:
                for place in islice(others, 2 * connections - len(waiting)):
                    waiting[pool.submit(get, place)] = place
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        finally:
            for future in waiting:
                future.cancel()


class Hosts:
    """How many ask a host at once, and which hosts are left alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[str, threading.BoundedSemaphore] = {}
        self._failures: Counter[str] = Counter()

    @contextlib.contextmanager
    def slot(self, host: str) -> Iterator[bool]:
        """A turn at a host; False if it is resting."""
        with self._lock:
            slot = self._slots.setdefault(host, threading.BoundedSemaphore(PER_HOST))
        with slot:
            yield self._failures[host] < RESTING

    def note(self, host: str, outcome: Outcome) -> None:
        """Count failures in a row."""
        with self._lock:
            failed = outcome.status == "transient"
            self._failures[host] = self._failures[host] + 1 if failed else 0


def _fetched(url: str, out: Path, limits: Limits, look_up: Resolve, hosts: Hosts) -> dict[str, Any]:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    with hosts.slot(host) as awake:
        if not awake:
            return _not_there(
                Outcome("transient", error=f"{host} failed too often to be asked."), 0
            )
        outcome, attempts = fetch(url, limits, look_up)
        hosts.note(host, outcome)
    if outcome.status != "ok":
        return _not_there(outcome, attempts)
    return _stored(outcome.data, out, outcome.code, attempts)


def _stored(data: bytes, out: Path, code: int, attempts: int) -> dict[str, Any]:
    """Look at bytes that have come, and keep them if they are a picture."""
    try:
        facts = _look(data)
    except PictureError as error:
        return _not_there(Outcome("broken", code=code, error=str(error)), attempts)
    digest = facts["sha256"]
    path = out / digest[:2] / digest[2:4] / digest
    if not path.exists() or path.stat().st_size != len(data):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(path, error) from None
        # Two addresses may give the same bytes at the same time.
        part = path.with_name(f"{digest}.{threading.get_ident()}")
        with replaced(part) as file:
            file.write(data)
        part.replace(path)
    here = {"path": str(path.relative_to(out)), "code": code, "attempts": attempts}
    return facts | here | {"fetched_at": time.time()}


def _local(path: Path) -> dict[str, Any]:
    """Look at a picture that lies where its captions say."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return _not_there(Outcome("gone", error=f"{path} cannot be read ({error.strerror})."), 1)
    try:
        return _look(data) | {
            "path": str(path),
            "code": 0,
            "attempts": 1,
            "fetched_at": time.time(),
        }
    except PictureError as error:
        return _not_there(Outcome("broken", error=str(error)), 1)


def _unpacked(
    path: Path, members: dict[str, Place], out: Path
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Pictures of an archive, in one pass. What a member is called decides nothing but which
    picture it is."""
    left = dict(members)
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                place = left.pop(member.name, None)
                if place is None:
                    continue
                file = archive.extractfile(member) if member.isreg() else None
                if file is None or member.size > Limits().size:
                    problem = Outcome(
                        "broken", error=f"{member.name} is no file, or far too large."
                    )
                    yield place, _not_there(problem, 1)
                else:
                    yield place, _stored(file.read(), out, 0, 1)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise SpareError(f"{path} cannot be read to its end ({error}); fetch it again.") from None
    for name, place in left.items():
        yield place, _not_there(Outcome("gone", error=f"{path} has no member {name}."), 1)


def _look(data: bytes) -> dict[str, Any]:
    """What a picture is. Raises PictureError unless all of it can be decoded and it is no icon."""
    import PIL.Image

    image = open_picture(data, "it")
    if min(image.size) < LEAST_SIDE:
        raise PictureError(f"It is {image.width} x {image.height} pixels, which is no photograph.")
    with PIL.Image.open(io.BytesIO(data)) as opened:  # decoded already, so its header is sound
        orientation = opened.getexif().get(0x0112, 1)
        facts = {
            "mime": PIL.Image.MIME.get(opened.format or "", ""),
            "frames": getattr(opened, "n_frames", 1),
            "orientation": orientation if isinstance(orientation, int) else 1,
        }
    return facts | {
        "status": "ok",
        "sha256": hashlib.sha256(data).hexdigest(),
        "width": image.width,
        "height": image.height,
        "perceptual_hash": perceptual_hash(image),
        "size": len(data),
    }


def _not_there(outcome: Outcome, attempts: int) -> dict[str, Any]:
    line = {"status": outcome.status, "code": outcome.code, "attempts": attempts}
    line["fetched_at"] = time.time()
    # The journal asks again for what has an error, and for nothing else.
    name = "error" if outcome.status == "transient" else "problem"
    return line | {name: outcome.error}


def _write_table(out: Path, lines: Iterable[dict[str, Any]]) -> Counter[str]:
    """Write the table that stages read; returns how many became what."""
    import pyarrow
    import pyarrow.parquet

    rows: list[dict[str, Any]] = []
    same: Counter[str] = Counter()
    for line in lines:
        row: dict[str, Any] = {name: line.get(name) for name in COLUMNS}
        row["error"] = line.get("error", line.get("problem", ""))
        for name in ("sha256", "path", "perceptual_hash", "mime"):
            row[name] = row[name] or ""
        same[row["sha256"]] += row["image_kind"] == "url" and row["status"] == "ok"
        rows.append(row)
    for row in rows:
        if same[row["sha256"]] > PLACEHOLDER:
            row["status"] = "broken"
            row["error"] = f"{same[row['sha256']]:,} addresses give this picture: a placeholder."
    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in COLUMNS.items()])
    with replaced(out / TABLE) as file:
        table = pyarrow.Table.from_pylist(rows, schema)
        pyarrow.parquet.write_table(table, file, compression="zstd", write_page_checksum=True)
    return Counter(row["status"] for row in rows)
