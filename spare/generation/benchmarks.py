"""The pictures that benchmarks ask about, and how a caption's picture is known as one of them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy

from spare.errors import PictureError, SpareError
from spare.generation import shards
from spare.generation.captions import Part
from spare.generation.pictures import Pictures
from spare.generation.stages import Inputs, Options
from spare.images import Picture, digest, open_picture, perceptual_hash
from spare.tasks import LISTED, load_task

COCO_NAME = re.compile(r"(?:COCO_(?:train|val)\d{4}_)?(\d{12})\.jpe?g", re.IGNORECASE)
"""How COCO's pictures are called wherever they are kept: a number is the same in every release."""

NEAREST = 4
"""Bits of 64 in which the perceptual hashes of two copies of one picture may differ."""

EXCLUDED = "excluded"
"""Stands for the benchmark of a picture that is in the user's list."""

BETWEEN = ", "
"""Stands between the names of benchmarks that ask about the same picture."""

SHA256 = re.compile(r"[0-9a-fA-F]{64}")

TELLING = range(8, 57)
"""Set bits of a hash that tells pictures apart; plain areas have nearly none, or nearly all."""


class Known:
    """Pictures that must not be trained on: those of VSR's tests by their COCO numbers, which come
    with this program, those of all benchmarks whose files are there, and those of a user's list.

    Attributes:
        checked: task -> how many of its pictures are known; for the card.
        unread: task -> how many of its pictures could not be opened.
    """

    def __init__(self, options: Options) -> None:
        self._pictures = Pictures(options.blobs)
        self._shard: tuple[Inputs, list[tuple[str, str]]] | None = None
        # Tasks share pictures, so each has all the tasks that ask about it.
        self._coco: dict[int, list[str]] = {}
        self._bytes: dict[str, list[str]] = {}
        self._hashes: dict[int, list[str]] = {}
        self.checked: Counter[str] = Counter()
        self.unread: Counter[str] = Counter()
        self._excluded = frozenset(_lines(options.exclude)) if options.exclude else frozenset()
        for task, numbers in () if options.benchmarks == "none" else _built_in():
            self.checked[task] = len(numbers)
            for number in numbers:
                self._coco.setdefault(number, []).append(task)
        if options.benchmarks not in ("", "none"):
            folder = _require_folder(options)
            for name in LISTED:
                self._read(name, folder)
        self._numbers = numpy.fromiter(self._hashes, numpy.uint64, len(self._hashes))

    def _read(self, name: str, folder: Path) -> None:
        """Learn the pictures of a task, if its files are there."""
        task = load_task(name)
        try:
            files = task.locate(folder, task.split)
        except SpareError:
            return  # it is not there; the card says which were
        samples = task.read(files, task.split, task.prompt())
        pictures = dict.fromkeys(
            part for sample in samples for part in sample.parts if isinstance(part, Picture)
        )
        self.checked[name] = len(pictures)
        for picture in pictures:
            match = COCO_NAME.search(picture.name)
            if match:
                self._coco.setdefault(int(match.group(1)), []).append(name)
            try:
                self._bytes.setdefault(digest(picture), []).append(name)
                hashed = int(perceptual_hash(open_picture(picture)), 16)
                if hashed.bit_count() in TELLING:
                    self._hashes.setdefault(hashed, []).append(name)
            except PictureError:
                self.unread[name] += 1

    def find(self, inputs: Inputs, row: int) -> tuple[str, str]:
        """The benchmarks that ask about a caption's picture, with `BETWEEN` in between, and how the
        first is known; "" twice if none does. Where the picture is in the user's list, that comes
        first: "excluded", and the line of the list."""
        if self._shard is None or self._shard[0] is not inputs:
            columns = (inputs.captions.column(name).to_pylist() for name in _COLUMNS)
            self._shard = inputs, list(zip(*columns, strict=True))
        subset, key = self._shard[1][row]
        ways: list[tuple[str, list[str]]] = []
        if key in self._excluded:
            ways.append((key, [EXCLUDED]))
        if subset == "coco" and key.isdecimal() and int(key) in self._coco:
            ways.append(("coco id", self._coco[int(key)]))
        if self._bytes or self._excluded:
            ways += self._by_looks(inputs, row)
        if not ways:
            return "", ""
        ways.sort(key=lambda way: EXCLUDED not in way[1])
        names = dict.fromkeys(name for _, tasks in ways for name in tasks)
        return BETWEEN.join(names), ways[0][0]

    def _by_looks(self, inputs: Inputs, row: int) -> Iterator[tuple[str, list[str]]]:
        """How a caption's picture itself is known, and the tasks that ask about it."""
        picture = self._pictures.of(inputs, row)
        if isinstance(picture, str):
            return
        try:
            found = digest(picture)
            if found in self._excluded:
                yield found, [EXCLUDED]
            if found in self._bytes:
                yield "sha256", self._bytes[found]
            if not len(self._numbers):
                return
            hashed = numpy.uint64(int(perceptual_hash(open_picture(picture)), 16))
        except PictureError:
            return
        apart = numpy.bitwise_count(self._numbers ^ hashed)
        for number in self._numbers[apart <= NEAREST]:
            yield "perceptual hash", self._hashes[int(number)]


_COLUMNS = ("subset", "image_key")


def digest_of(options: Options) -> str:
    """What the known pictures depend on: the names and sizes of the benchmarks' files, the user's
    list, and the list that comes with this program. Raises SpareError if they are not there."""
    _require_folder(options)
    hashed = hashlib.sha256(_text().encode())
    if options.exclude:
        hashed.update("\n".join(_lines(options.exclude)).encode())
    if options.benchmarks not in ("", "none"):
        for path in sorted(Path(options.benchmarks).rglob("*")):
            if path.is_file():
                hashed.update(f"{path} {path.stat().st_size}\n".encode())
    return hashed.hexdigest()[:32]


def _require_folder(options: Options) -> Path:
    folder = Path(options.benchmarks)
    if options.benchmarks not in ("", "none") and not folder.is_dir():
        raise SpareError(
            f"There is no folder {folder}; --benchmarks names the one with the benchmarks' files, "
            "or is none."
        )
    return folder


def _built_in() -> Iterator[tuple[str, list[int]]]:
    for line in _text().splitlines()[1:]:
        name, numbers = line.split("\t")
        yield name, [int(number) for number in numbers.split()]


def _text() -> str:
    return (resources.files("spare.generation") / "benchmark_pictures.tsv").read_text("utf-8")


def _lines(path: str) -> list[str]:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise SpareError(
            f"{path} cannot be read; it should have a key or SHA-256 per line."
        ) from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [line.lower() if SHA256.fullmatch(line) else line for line in lines]


def listed(out: Path, parts: Sequence[Part], options: Options) -> dict[str, Any]:
    """How much of the user's list of pictures was found: lines, unmatched (lines that are neither a
    caption's key nor the SHA-256 of a picture that pairs are about), first (one of these)."""
    lines = dict.fromkeys(_lines(options.exclude))
    found: set[str] = set()
    for part in parts:
        found.update(shards.read(part.path, ["image_key"]).column("image_key").to_pylist())
        found.update(Inputs(out, part).column("contamination", "by"))
    unmatched = [line for line in lines if line not in found]
    return {"lines": len(lines), "unmatched": len(unmatched), "first": "".join(unmatched[:1])}
