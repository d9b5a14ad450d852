"""`spare prepare`: fetch the published files of a task, unpack them, and check the lot.

A task's sources are tried in their order until its files check out, so alternatives (a mirror, a
table with the pictures in it) are fetched only if they are needed. Everything is downloaded into
`.spare/` in the data folder and appears in its place whole; a call that was stopped anywhere is
gone on with by the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spare.disk import disk_error, write_json
from spare.errors import DataError, SpareError
from spare.harness import hub
from spare.harness.archives import is_archive, unpack
from spare.harness.validate import Report, validate
from spare.tasks import load_task
from spare.tasks.types import Source, Task

OnProgress = Callable[[str, int, int], None]
"""Receives what is being counted ("bytes of test.jsonl"), how many are done, and of how many (0:
unknown)."""

State = Literal["there", "fetch", "by hand"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A source of a task's files.

    Attributes:
        folder: where its files go.
        state: "there" if an earlier call fetched it, "fetch" if one may, "by hand" if a person has
            to (from `source.url`; archives may be put into the folder as they are).
    """

    source: Source
    folder: Path
    state: State


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` did, or would do.

    Attributes:
        wanted: the task's sources, as they stand now.
        fetched: files that were put in place; unpacked: folders made of archives.
        problems: a sentence for every source that could not be fetched or unpacked.
        report: how the files check out; None if there is no data folder.
        free: bytes free on the data folder's disk.
    """

    task: str
    licence: str
    wanted: tuple[Wanted, ...]
    fetched: tuple[Path, ...]
    unpacked: tuple[Path, ...]
    problems: tuple[str, ...]
    report: Report | None
    free: int

    @property
    def ok(self) -> bool:
        """True if the task can be evaluated."""
        return self.report is not None and self.report.ok


def plan(task: str | Task, data: str | Path, split: str = "") -> tuple[Wanted, ...]:
    """The sources of a split's files, in the order in which `prepare` tries them. No network."""
    task, data = _load(task), Path(data)
    split = task.check_split(split)
    wanted = []
    for source in task.sources:
        if source.task_splits and split not in source.task_splits:
            continue
        state: State = "by hand"
        if source.repo:
            state = "there" if _is_fetched(source, data) else "fetch"
        wanted.append(Wanted(source, data / source.folder, state))
    return tuple(wanted)


def prepare(
    task: str | Task,
    data: str | Path,
    split: str = "",
    *,
    dry_run: bool = False,
    on_progress: OnProgress = lambda what, done, total: None,
) -> Prepared:
    """Get the files of a task into the data folder, as far as that can be done without a person.

    Files that are there and check out are left alone, wherever they came from.

    Args:
        data: data folder; made if it does not exist.
        split: the split that has to check out; the default one otherwise.
        dry_run: change nothing, and use no network.

    Raises:
        SpareError: no such task or split, the disk is full, another process is at it. What the
            hub refuses and what archives hold wrong does not raise: see `Prepared.problems`.
    """
    task, data = _load(task), Path(data)
    split = task.check_split(split)

    def check() -> Report:
        return validate(
            task,
            data,
            split,
            on_picture=lambda done, total: on_progress("pictures opened", done, total),
        )

    report = check() if data.is_dir() else None
    fetched: list[Path] = []
    unpacked: list[Path] = []
    problems: list[str] = []
    if not dry_run and not (report and report.ok):
        with _locked(data):
            # What a person has put there comes first: it may be all that is needed.
            for wanted in plan(task, data, split):
                unpacked += _unpack(wanted, data, problems, on_progress)
            report = check() if unpacked or report is None else report
            for wanted in plan(task, data, split):
                if wanted.state != "fetch" or report.ok:
                    continue
                try:
                    fetched += _fetch(wanted.source, data, on_progress)
                except hub.HubError as error:
                    problems.append(str(error))
                    continue
                unpacked += _unpack(wanted, data, problems, on_progress)
                report = check()
    return Prepared(
        task.name,
        task.licence,
        plan(task, data, split),
        tuple(fetched),
        tuple(unpacked),
        tuple(problems),
        report,
        free_space(data),
    )


def free_space(data: str | Path) -> int:
    """Bytes free where the data folder is, or would be."""
    folder = Path(data).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _load(task: str | Task) -> Task:
    return load_task(task) if isinstance(task, str) else task


# Fetching


def _fetch(source: Source, data: Path, on_progress: OnProgress) -> list[Path]:
    """Download a source's files, all of them before any is put in its place."""
    folder = data / source.folder
    staging = _notes(data) / _slug(source)
    files = hub.list_files(source)
    missing = [file for file in files if not _is_there(folder / file.name, file)]
    _check_space(data, staging, missing)
    for file in missing:
        path = staging / file.name
        if not (path.is_file() and hub.is_same(path, file)):
            what = f"bytes of {file.name}"

            def on_bytes(done: int, what: str = what, total: int = file.size) -> None:
                on_progress(what, done, total)

            hub.download(source, file, path, on_bytes)
    placed = []
    try:
        for file in missing:
            path = folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            (staging / file.name).replace(path)
            placed.append(path)
    except OSError as error:
        raise disk_error(folder, error) from None
    shutil.rmtree(staging, ignore_errors=True)
    receipt = {
        "repo": source.repo,
        "revision": source.revision,
        "commit": files[0].commit,
        "patterns": list(source.patterns),
        "files": {str(Path(source.folder) / file.name): file.size for file in files},
    }
    # Last, so that its presence means that all of them are there.
    write_json(_receipt(source, data), receipt)
    return placed


def _is_there(path: Path, file: hub.HubFile) -> bool:
    """Whether the published file is in its place. A different one is never overwritten."""
    if not path.exists():
        return False
    if path.is_file() and hub.is_same(path, file):
        return True
    raise hub.HubError(
        f"{path} differs from the published file (commit {file.commit[:12]}); "
        "move it away and run the same command again."
    )


def _check_space(data: Path, staging: Path, missing: list[hub.HubFile]) -> None:
    needed = 0
    for file in missing:
        part = staging / f"{file.name}.part"
        whole = staging / file.name
        there = next((path.stat().st_size for path in (whole, part) if path.is_file()), 0)
        needed += max(0, file.size - there)
    free = free_space(data)
    if needed > free:
        raise SpareError(
            f"{needed / 1e6:,.0f} MB are to be fetched, but only {free / 1e6:,.0f} MB are free at "
            f"{data}; make room, or choose another --data."
        )


def _is_fetched(source: Source, data: Path) -> bool:
    receipt = _read_note(_receipt(source, data))
    asked = {"repo": source.repo, "revision": source.revision, "patterns": list(source.patterns)}
    return asked.items() <= receipt.items() and all(
        (data / name).is_file() and (data / name).stat().st_size == size
        for name, size in receipt["files"].items()
    )


# Unpacking


def _unpack(wanted: Wanted, data: Path, problems: list[str], on_progress: OnProgress) -> list[Path]:
    """Unpack the archives that lie in a source's folder, each once."""
    note = _notes(data) / "unpacked.json"
    folders = []
    for archive in _archives(wanted, data):
        done = _read_note(note)
        name = archive.relative_to(data).as_posix()
        state = archive.stat()
        entry = {"size": state.st_size, "changed": state.st_mtime_ns}
        before = done.get(name, {})
        if entry.items() <= before.items() and (data / before["folder"]).is_dir():
            continue

        def on_member(count: int, what: str = f"files of {archive.name} unpacked") -> None:
            on_progress(what, count, 0)

        try:
            folder = unpack(archive, on_member)
        except DataError as error:
            problems.append(str(error))
            continue
        write_json(note, {**done, name: {**entry, "folder": folder.relative_to(data).as_posix()}})
        folders.append(folder)
    return folders


def _archives(wanted: Wanted, data: Path) -> list[Path]:
    found = set(wanted.folder.iterdir()) if wanted.folder.is_dir() else set()
    if wanted.source.repo:
        files = _read_note(_receipt(wanted.source, data)).get("files", {})
        found |= {data / name for name in files}
    return sorted(path for path in found if is_archive(path) and path.is_file())


# Notes


def _notes(data: Path) -> Path:
    """Where downloads grow, and where it is written down what is complete."""
    return data / ".spare"


def _slug(source: Source) -> str:
    # One repository may serve several sources, and one source several folders.
    asked = json.dumps([source.repo, source.revision, source.patterns, source.folder])
    return f"{source.repo.replace('/', '--')}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"


def _receipt(source: Source, data: Path) -> Path:
    return _notes(data) / f"{_slug(source)}.json"


def _read_note(path: Path) -> dict[str, Any]:
    """A note, or {} if there is none: then what it would say is found out again."""
    try:
        note = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Keep a second process from fetching into the same data folder."""
    from filelock import FileLock, Timeout

    lock = FileLock(_notes(data) / "lock")
    try:
        _notes(data).mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise SpareError(
            f"Another process is preparing files in {data}; wait for it, or end it."
        ) from None
    except OSError as error:
        raise disk_error(_notes(data), error) from None
    try:
        yield
    finally:
        lock.release()
