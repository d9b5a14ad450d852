"""Pictures from untrusted files: where they lie, what they are (digest), and opening them safely.

A `Picture` is a reference. Nothing is read until `read`, nothing is decoded until `open_picture`,
so a benchmark of a million questions costs no memory. Decoding follows one rule for every
benchmark: the upright, opaque, 8-bit RGB picture that a person would see. Threads may call all of
it at once.
"""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import importlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.errors import PictureError

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageFile

FORMATS: Mapping[str, re.Pattern[bytes]] = {
    "Jpeg": re.compile(rb"\xff\xd8\xff"),
    "Png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WebP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "Gif": re.compile(rb"GIF8[79]a"),
    "Bmp": re.compile(rb"BM"),
    "Tiff": re.compile(rb"II[*+]\0|MM\0[*+]"),
}
"""The decoders that may run, by Pillow's names, and the bytes that their files begin with. Others
(EPS, PSD, FITS, ...) are seldom needed and often attacked."""

MAX_PIXELS = 50_000_000
"""A header that claims more is refused before its pixels are unpacked (decompression bombs)."""

MAX_CELL = 2**31 - 1
"""Characters in one field of a table: a base64 picture has megabytes, the csv module allows 128
KiB."""


@dataclass(frozen=True, slots=True)
class TableCell:
    """A base64 picture in a delimited text file: the bytes of its record, and its column in that
    record."""

    offset: int
    length: int
    column: int
    delimiter: str = "\t"
    items: int = 0
    """How many pictures the cell lists, as JSON or as a Python literal; 0 if it is one picture."""
    item: int = 0
    """Index inside the list."""


@dataclass(frozen=True, slots=True)
class ParquetCell:
    """An encoded picture in a parquet file: a binary column, a struct column with a field `bytes`,
    or a column of base64."""

    row_group: int
    row: int
    column: str
    item: int = -1
    """Index inside the cell if the column is a list of pictures."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Where the encoded bytes of one picture lie.

    Attributes:
        path: the picture file, or the table that it is a cell of.
        name: how error messages and pages call it ("controlled_images/mug_on_table.jpeg", "x.tsv
            row 17").
        cell: where in a table it lies; None for a file of its own.
    """

    path: Path
    name: str
    cell: TableCell | ParquetCell | None = None

    def read(self) -> bytes:
        """The encoded bytes. Raises PictureError if they are not there."""
        try:
            if self.cell is None:
                if self.path.exists() and not self.path.is_file():  # a pipe would never end
                    raise ValueError("it is no ordinary file")
                data = self.path.read_bytes()
            elif isinstance(self.cell, TableCell):
                data = _read_table_cell(self.path, self.cell)
            else:
                data = _read_parquet_cell(self.path, self.cell)
        except FileNotFoundError:
            raise PictureError(
                f"Picture {self.name} is missing: {self.path} does not exist."
            ) from None
        except (OSError, ValueError, TypeError, LookupError, csv.Error) as error:
            raise PictureError(
                f"Picture {self.name} cannot be read from {self.path}: {_said(error)}."
            ) from None
        if not data:
            raise PictureError(f"Picture {self.name} is empty (0 bytes in {self.path}).")
        return data


def digest(picture: Picture) -> str:
    """SHA-256 of the encoded bytes, in hex: the identity of a picture, wherever it lies.

    Raises PictureError if they cannot be read.
    """
    return _digest(picture, _state(picture.path))


@functools.lru_cache(maxsize=4096)
def _digest(picture: Picture, state: tuple[int, ...]) -> str:
    # Questions about one picture come in a row, so it is read once; a replaced file is read again.
    return hashlib.sha256(picture.read()).hexdigest()


def _state(path: Path) -> tuple[int, ...]:
    """What changes when a file is replaced, even by one of the same size and time stamp; () if it
    cannot be asked, and then reading it will say why."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def open_picture(picture: Picture | bytes, name: str = "") -> PIL.Image.Image:
    """Decode to the upright, opaque, 8-bit RGB picture that a person would see.

    The first frame of an animation; EXIF orientation applied (a missed mirror swaps left and
    right); transparency composited on white; 16-bit grey scaled to 8 bits instead of clipped; CMYK
    converted; colour profiles ignored, as every model's own preprocessing does. The result has
    no metadata, so nobody turns it a second time.

    Raises PictureError for anything that is not wholly decodable, for formats outside `FORMATS`,
    and for more than `MAX_PIXELS`.
    """
    import PIL.Image

    data = picture if isinstance(picture, bytes) else picture.read()
    name = name or ("picture" if isinstance(picture, bytes) else picture.name)
    try:
        image = _decoder(data, name)
        if image.width * image.height > MAX_PIXELS:
            raise PictureError(
                f"Picture {name} has {image.width} x {image.height} pixels, more than "
                f"{MAX_PIXELS:,}; scale it down."
            )
        image.load()  # verify() passes truncated JPEGs; only decoding tells
        result = _to_rgb(_upright(image))
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise PictureError(
            f"Picture {name} claims more than {MAX_PIXELS:,} pixels; scale it down."
        ) from None
    except MemoryError:
        raise PictureError(
            f"Picture {name} does not fit into the memory that is left; scale it down."
        ) from None
    except _TORN as error:
        raise PictureError(f"Picture {name} is damaged ({_said(error)}); fetch it again.") from None
    result.info = {}
    return result


_TORN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on torn data: all of these."""


def _said(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def _decoder(data: bytes, name: str) -> PIL.ImageFile.ImageFile:
    """The header's decoder, by the first bytes: file extensions and Content-Types lie.

    Not PIL.Image.open: it warns of large pictures before one can refuse them, and it takes phone
    pictures (MPO) for a format of their own although they begin with a whole JPEG.
    """
    _hush_metadata_warnings()
    for plugin, magic in FORMATS.items():
        if magic.match(data):
            module = importlib.import_module(f"PIL.{plugin}ImagePlugin")
            decoder: PIL.ImageFile.ImageFile = getattr(module, f"{plugin}ImageFile")(
                io.BytesIO(data)
            )
            return decoder
    raise PictureError(
        f"Picture {name} is none of {', '.join(FORMATS)} (it begins with {data[:16]!r}); "
        "fetch it again or convert it."
    )


@functools.cache
def _hush_metadata_warnings() -> None:
    # Photographs with odd EXIF are common and their pixels are fine. Once and for good, because
    # warnings.catch_warnings is not safe in threads. Pillow's warnings about size stay.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """Turned and mirrored as EXIF (or XMP) says; as it lies if that is torn, like every viewer."""
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(0x0112)
    except _TORN:
        return image
    # PIL.ImageOps.exif_transpose does the same, but it also writes the metadata anew and fails on
    # healthy pictures if a camera left an entry there that Pillow cannot write.
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    if isinstance(orientation, int) and orientation in turns:
        return image.transpose(turns[orientation])
    return image


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    import PIL.Image

    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _scale_to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        return PIL.Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_to_8_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """Grey of 16 or 32 bits or of floats as 8 bits; PIL's own conversion clips at 255."""
    import numpy
    import PIL.Image

    values = numpy.asarray(image).astype(numpy.float32)
    values[~numpy.isfinite(values)] = 0.0
    # 16 bits span 0..65535 by definition. Wider ones may hold 0..1 (floats), 0..255, 0..65535 or
    # more: the smallest of these ranges that holds them all.
    white = 65535.0
    if not image.mode.startswith("I;16"):
        top = float(values.max())
        ranges = [1.0] * (image.mode == "F") + [255.0, 65535.0, top]
        white = next(full for full in ranges if top <= full)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        values[values == transparent] = white
    grey = values.clip(0.0, white) * (255.0 / white)
    return PIL.Image.fromarray(grey.round().astype(numpy.uint8))


def _read_table_cell(path: Path, cell: TableCell) -> bytes:
    with path.open("rb") as file:
        file.seek(cell.offset)
        record = file.read(cell.length)
    field: bytes | str
    if b'"' not in record:  # the rule; the csv module takes a millisecond for such a field
        field = record.rstrip(b"\r\n").split(cell.delimiter.encode())[cell.column]
    else:
        csv.field_size_limit(MAX_CELL)
        text = io.StringIO(record.decode("utf-8"), newline="")
        field = next(csv.reader(text, delimiter=cell.delimiter), [])[cell.column]
    if cell.items:
        listed = field if isinstance(field, str) else field.decode("ascii")
        # Base64 has neither commas nor quotes nor brackets.
        field = listed.strip("[] ").split(",")[cell.item].strip(" '\"")
    return base64.b64decode(field, validate=True)


def _read_parquet_cell(path: Path, cell: ParquetCell) -> bytes:
    column = _parquet_column(path, _state(path), cell.row_group, cell.column)
    value = column[cell.row].as_py()
    if cell.item >= 0:
        value = value[cell.item]
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, str):
        return base64.b64decode(value, validate=True)
    if not isinstance(value, bytes | None):
        raise ValueError(f"column {cell.column} holds {type(value).__name__}, not encoded pictures")
    return value or b""


@functools.lru_cache(maxsize=2)
def _parquet_column(path: Path, state: tuple[int, ...], row_group: int, column: str) -> Any:
    # A row group is the smallest thing parquet can unpack, so neighbours share one read.
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return file.read_row_group(row_group, columns=[column]).column(0)
    except pyarrow.ArrowException as error:
        raise ValueError(_said(error)) from None


def perceptual_hash(image: PIL.Image.Image) -> str:
    """64 bits that copies of a picture share however they were scaled or saved, as 16 hex digits:
    is each of 8 x 8 places brighter than the one to its right? (difference hash, Krawetz 2013)"""
    import PIL.Image

    small = image.convert("L").resize((9, 8), PIL.Image.Resampling.LANCZOS)
    grey = small.tobytes()
    bits = (grey[9 * y + x] > grey[9 * y + x + 1] for y in range(8) for x in range(8))
    return f"{sum(bit << place for place, bit in enumerate(bits)):016x}"
