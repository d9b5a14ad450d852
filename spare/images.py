"""Pictures from untrusted files: where they lie, what they are (digest), and opening them safely.

A `Picture` is a reference. Nothing is read until `read`, nothing is decoded until `open_picture`,
so a benchmark of a million questions costs no memory. Decoding follows one rule for every
benchmark: the upright, opaque, 8-bit RGB picture that a person would see.
"""

from __future__ import annotations

import base64
import binascii
import csv
import functools
import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.errors import PictureError

if TYPE_CHECKING:
    import PIL.Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""The decoders that may run. Others (EPS, PSD, FITS, ...) are seldom needed and often attacked."""

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


@dataclass(frozen=True, slots=True)
class ParquetCell:
    """An encoded picture in a parquet file: a binary column, or a struct column with a field
    `bytes`."""

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
                data = self.path.read_bytes()
            elif isinstance(self.cell, TableCell):
                data = _read_table_cell(self.path, self.cell)
            else:
                data = _read_parquet_cell(self.path, self.cell)
        except FileNotFoundError:
            raise PictureError(
                f"Picture {self.name} is missing: {self.path} does not exist."
            ) from None
        except (OSError, ValueError, binascii.Error) as error:
            raise PictureError(
                f"Picture {self.name} cannot be read from {self.path}: {error}."
            ) from None
        if not data:
            raise PictureError(f"Picture {self.name} is empty (0 bytes in {self.path}).")
        return data


def digest(picture: Picture) -> str:
    """SHA-256 of the encoded bytes, in hex: the identity of a picture, wherever it lies."""
    try:
        state = picture.path.stat()
    except OSError:
        picture.read()  # says which picture is missing
        raise
    return _digest(picture, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4096)
def _digest(picture: Picture, changed: int, size: int) -> str:
    # Questions about one picture come in a row, so it is read once; a replaced file is read again.
    return hashlib.sha256(picture.read()).hexdigest()


def open_picture(picture: Picture | bytes, name: str = "") -> PIL.Image.Image:
    """Decode to the upright, opaque, 8-bit RGB picture that a person would see.

    The first frame of an animation; EXIF orientation applied (a missed mirror swaps left and
    right); transparency composited on white; 16-bit grey scaled to 8 bits instead of clipped; CMYK
    converted. Raises PictureError for anything that is not wholly decodable, for formats outside
    `FORMATS`, and for more than `MAX_PIXELS`.
    """
    import PIL.Image

    data = picture if isinstance(picture, bytes) else picture.read()
    name = name or ("picture" if isinstance(picture, bytes) else picture.name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(
                    f"Picture {name} has {image.width} x {image.height} pixels, more than "
                    f"{MAX_PIXELS:,}; "
                    "scale it down."
                )
            return _to_rgb(image)
    except PictureError:
        raise
    except PIL.UnidentifiedImageError:
        raise PictureError(f"Picture {name} is not a {', '.join(FORMATS)} file.") from None
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise PictureError(f"Picture {name} claims too many pixels to be opened safely.") from None
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        ArithmeticError,
        LookupError,
        TypeError,
    ) as error:
        # Pillow's decoders raise all of these on torn data.
        raise PictureError(f"Picture {name} is damaged: {error}.") from None


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    import PIL.Image
    import PIL.ImageOps

    image.seek(0)
    image.load()  # verify() passes truncated JPEGs; only decoding tells
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _scale_to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        return PIL.Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _scale_to_8_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    import numpy
    import PIL.Image

    values = numpy.asarray(image).astype(numpy.float64)
    # A 16-bit picture spans 0..65535 by definition; "F" may hold 0..1, 0..255 or 0..65535.
    top = float(values.max(initial=0.0))
    full = 1.0 if top <= 1.0 else 255.0 if top <= 255.0 and image.mode == "F" else 65535.0
    return PIL.Image.fromarray((values * (255.0 / full)).clip(0, 255).round().astype(numpy.uint8))


def _read_table_cell(path: Path, cell: TableCell) -> bytes:
    with path.open("rb") as file:
        file.seek(cell.offset)
        record = file.read(cell.length).decode("utf-8")
    csv.field_size_limit(MAX_CELL)
    row = next(csv.reader(io.StringIO(record, newline=""), delimiter=cell.delimiter))
    return base64.b64decode(row[cell.column], validate=True)


def _read_parquet_cell(path: Path, cell: ParquetCell) -> bytes:
    value = _parquet_column(path, path.stat().st_mtime_ns, cell.row_group, cell.column)[
        cell.row
    ].as_py()
    if cell.item >= 0:
        value = value[cell.item]
    if isinstance(value, dict):
        value = value.get("bytes")
    return value or b""


@functools.lru_cache(maxsize=2)
def _parquet_column(path: Path, changed: int, row_group: int, column: str) -> Any:
    # A row group is the smallest thing parquet can unpack, so neighbours share one read.
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(path).read_row_group(row_group, columns=[column]).column(0)
