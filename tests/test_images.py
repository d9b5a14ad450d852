"""Pictures from untrusted files open as a person would see them, or say what is wrong."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import hashlib
import io
import os
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spare.errors import PictureError
from spare.images import MAX_PIXELS, ParquetCell, Picture, TableCell, digest, open_picture
from spare.tasks.files import read_parquet, read_table

# pytest puts the warning filters back before each test, and with them goes the one that hushes
# Pillow's remarks on torn metadata. That it works is shown in a process of its own below.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")

# A colour in each corner: turned or mirrored in any way, it is another picture.
CORNERS = numpy.zeros((32, 64, 3), dtype=numpy.uint8)
CORNERS[:16, :32] = (220, 30, 30)
CORNERS[:16, 32:] = (30, 200, 40)
CORNERS[16:, :32] = (30, 40, 210)
CORNERS[16:, 32:] = (230, 220, 60)
UPRIGHT = PIL.Image.fromarray(CORNERS)
OTHER = PIL.ImageOps.invert(UPRIGHT)


def encode(image: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> Any:
    image = open_picture(data)
    assert image.mode == "RGB"
    return numpy.asarray(image).astype(int)


def looks_like(data: bytes, wanted: Any, lossy: bool = False) -> bool:
    found = pixels(data)
    if lossy:  # colour bleeds over edges for two pixels; these points lie four away from them
        found, wanted = found[4::8, 4::8], wanted[4::8, 4::8]
    tolerance = 12 if lossy else 0
    return found.shape == wanted.shape and bool(abs(found - wanted).max() <= tolerance)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG by its specification, for the kinds that Pillow reads but does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [b"IHDR" + header, *extra, b"IDAT" + zlib.compress(rows), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


LOSSLESS = {
    "png": encode(UPRIGHT),
    "bmp": encode(UPRIGHT, "BMP"),
    "tiff": encode(UPRIGHT, "TIFF"),
    "tiff, deflate": encode(UPRIGHT, "TIFF", compression="tiff_deflate"),
    "webp": encode(UPRIGHT, "WEBP", lossless=True),
    "palette png": encode(UPRIGHT.quantize(8)),
    "palette bmp": encode(UPRIGHT.quantize(8), "BMP"),
    "gif": encode(UPRIGHT.quantize(8), "GIF"),
    "interlaced gif": encode(UPRIGHT.quantize(8), "GIF", interlace=1),
    "opaque rgba": encode(UPRIGHT.convert("RGBA")),
}
LOSSY = {
    "jpeg": encode(UPRIGHT, "JPEG", quality=95),
    "progressive jpeg": encode(UPRIGHT, "JPEG", quality=95, progressive=True),
    "jpeg with trailing garbage": encode(UPRIGHT, "JPEG", quality=95) + b"\0garbage" * 99,
    "phone picture (mpo)": encode(UPRIGHT, "MPO", quality=95, save_all=True, append_images=[OTHER]),
    "lossy webp": encode(UPRIGHT, "WEBP", quality=95),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_kinds_open_exactly(kind: str) -> None:
    assert looks_like(LOSSLESS[kind], CORNERS)


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_kinds_open_faithfully(kind: str) -> None:
    assert looks_like(LOSSY[kind], CORNERS, lossy=True)


@pytest.mark.parametrize("frames", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(frames: str) -> None:
    options = {"lossless": True} if frames == "WEBP" else {}
    data = encode(UPRIGHT, frames, save_all=True, append_images=[OTHER, UPRIGHT], **options)
    assert PIL.Image.open(io.BytesIO(data)).n_frames == 3
    assert looks_like(data, CORNERS)


def test_a_first_frame_with_holes_is_composited_on_white() -> None:
    first = PIL.Image.new("P", (8, 8), 1)
    first.putpalette([250, 0, 250, 0, 90, 0])
    first.paste(0, (0, 0, 4, 8))  # entry 0, a hidden magenta, is transparent
    data = encode(
        first, "GIF", save_all=True, append_images=[PIL.Image.new("P", (8, 8), 1)], transparency=0
    )
    found = pixels(data)
    assert (found[:, :4] == 255).all()
    assert (found[:, 4:] == (0, 90, 0)).all()


# EXIF orientation -----------------------------------------------------------------------------

# Exif 2.3 (4.6.4 A): which side of the upright picture the stored row 0 and column 0 are.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright.transpose(1, 0, 2)[::-1],
    7: lambda upright: upright.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda upright: upright.transpose(1, 0, 2)[:, ::-1],
}


def turned(orientation: int, kind: str) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = numpy.ascontiguousarray(STORED[orientation](CORNERS))
    options = {"lossless": True} if kind == "WEBP" else {}
    return encode(PIL.Image.fromarray(stored), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_keeps_left_and_right(orientation: int, kind: str) -> None:
    assert looks_like(turned(orientation, kind), CORNERS, lossy=kind == "JPEG")


@pytest.mark.parametrize("orientation", STORED)
def test_nobody_turns_the_result_again(orientation: int) -> None:
    """Model code often calls exif_transpose on what it is given."""
    image = open_picture(turned(orientation, "JPEG"))
    assert image.info == {}
    assert image.getexif().get(0x0112, 1) == 1
    assert PIL.ImageOps.exif_transpose(image).tobytes() == image.tobytes()


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0nonsense that is no TIFF header",
        # an orientation of 9, of -1, and one that is text
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x08\0\x01\0\0\0\xff\xff\0\0\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0x\0\0\0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_torn_exif_costs_no_picture(exif: bytes, kind: str) -> None:
    plain = open_picture(encode(UPRIGHT, kind))
    assert open_picture(encode(UPRIGHT, kind, exif=exif)).tobytes() == plain.tobytes()


# Depth, colour and transparency -----------------------------------------------------------------

RAMP = numpy.linspace(0, 65535, 32 * 64).reshape(32, 64).astype(numpy.uint16)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("TIFF", "I;16B")])
def test_16_bit_grey_is_scaled_not_clipped(kind: str, mode: str) -> None:
    image = PIL.Image.fromarray(RAMP)
    if mode == "I;16B":
        image = PIL.Image.frombytes("I;16B", image.size, RAMP.astype(">u2").tobytes())
    data = encode(image, kind)
    assert PIL.Image.open(io.BytesIO(data)).mode == mode
    grey = pixels(data)
    assert abs(grey - (RAMP / 257.0)[..., None]).max() <= 0.5
    assert grey.max() == 255
    assert grey.min() == 0


def test_a_dark_16_bit_picture_stays_dark() -> None:
    assert pixels(encode(PIL.Image.fromarray((RAMP > 0).astype(numpy.uint16)))).max() == 0


def test_16_bit_colour() -> None:
    rows = b"".join(
        b"\0" + (CORNERS[y].astype(">u2") * 257).tobytes() for y in range(CORNERS.shape[0])
    )
    assert looks_like(png(64, 32, 16, 2, rows), CORNERS)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_float_grey_of_the_usual_ranges(top: float) -> None:
    values = (RAMP / 65535.0 * top).astype(numpy.float32)
    grey = pixels(encode(PIL.Image.fromarray(values), "TIFF"))
    assert abs(grey - (RAMP / 257.0)[..., None]).max() <= 0.51


@pytest.mark.parametrize("top", [255, 65535, 2**31 - 1])
def test_32_bit_integer_grey(top: int) -> None:
    values = (RAMP / 65535.0 * top).astype(numpy.int32)
    grey = pixels(encode(PIL.Image.fromarray(values), "TIFF"))
    assert abs(grey - (RAMP / 257.0)[..., None]).max() <= 1.01


def test_float_grey_without_numbers_is_black_there() -> None:
    values = numpy.full((4, 4), 1.0, dtype=numpy.float32)
    values[0] = (numpy.nan, numpy.inf, -numpy.inf, -3e38)
    grey = pixels(encode(PIL.Image.fromarray(values), "TIFF"))
    assert (grey[0] == 0).all()
    assert (grey[1:] == 255).all()


def test_one_bit() -> None:
    left_white = numpy.zeros((32, 64), dtype=bool)
    left_white[:, :32] = True
    for kind in ("PNG", "TIFF", "BMP"):
        found = pixels(encode(PIL.Image.fromarray(left_white), kind))
        assert (found == left_white[..., None] * 255).all()


def test_adobe_cmyk_is_not_inverted() -> None:
    """Adobe writes CMYK inks inverted into JPEG; read as they lie, red would come out as cyan."""
    ink = PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow make red
    data = encode(ink, "JPEG", quality=95)
    assert b"Adobe" in data
    assert looks_like(data, numpy.full((16, 16, 3), (255, 0, 0)), lossy=True)
    tiff = encode(ink, "TIFF")
    assert looks_like(tiff, numpy.full((16, 16, 3), (255, 0, 0)), lossy=True)


def see_through(mode: str) -> bytes:
    """Left half black or hidden in full transparency, right half opaque and dark."""
    alpha = numpy.zeros((8, 8), dtype=numpy.uint8)
    alpha[:, 4:] = 255
    grey = PIL.Image.new("L", (8, 8), 40)
    if mode == "P":
        image = PIL.Image.new("P", (8, 8), 1)
        image.putpalette([250, 0, 250, 40, 40, 40])
        image.paste(0, (0, 0, 4, 8))
        return encode(image, transparency=0)
    if mode == "P bytes":
        image = PIL.Image.new("P", (8, 8), 1)
        image.putpalette([250, 0, 250, 40, 40, 40])
        image.paste(0, (0, 0, 4, 8))
        return encode(image, transparency=b"\x00\xff")
    if mode in ("L", "RGB"):  # one colour is the key
        image = PIL.Image.new(mode, (8, 8), "#282828")
        image.paste("#070707", (0, 0, 4, 8))
        return encode(image, transparency=7 if mode == "L" else (7, 7, 7))
    if mode == "1":
        image = PIL.Image.new("1", (8, 8), 1)
        image.paste(0, (0, 0, 4, 8))
        return encode(image, transparency=0)
    if mode == "I;16":
        values = numpy.full((8, 8), 40 * 257, dtype=numpy.uint16)
        values[:, :4] = 7
        return encode(PIL.Image.fromarray(values), transparency=7)
    if mode == "LA":
        grey.putalpha(PIL.Image.fromarray(alpha))
        return encode(grey)
    image = grey.convert("RGB")
    image.putalpha(PIL.Image.fromarray(alpha))
    return encode(image, "WEBP", lossless=True) if mode == "RGBA webp" else encode(image)


@pytest.mark.parametrize(
    "mode", ["P", "P bytes", "L", "RGB", "1", "I;16", "LA", "RGBA", "RGBA webp"]
)
def test_transparency_is_composited_on_white(mode: str) -> None:
    found = pixels(see_through(mode))
    assert (found[:, :4] == 255).all()
    assert (found[:, 4:] == (255 if mode == "1" else 40)).all()


def test_half_transparent_is_half_white() -> None:
    assert pixels(encode(PIL.Image.new("RGBA", (2, 2), (0, 0, 0, 128)))).max() == 127


def test_16_bit_colour_with_a_transparent_key() -> None:
    rows = b"".join(
        b"\0" + (CORNERS[y].astype(">u2") * 257).tobytes() for y in range(CORNERS.shape[0])
    )
    key = b"tRNS" + (CORNERS[0, 0].astype(">u2") * 257).tobytes()
    expected = CORNERS.copy()
    expected[:16, :32] = 255
    assert looks_like(png(64, 32, 16, 2, rows, key), expected)


def test_colour_profiles_are_ignored() -> None:
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("LAB")).tobytes()
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        plain = open_picture(encode(UPRIGHT, kind))
        profiled = open_picture(encode(UPRIGHT, kind, icc_profile=profile))
        assert profiled.tobytes() == plain.tobytes()
        assert "icc_profile" not in profiled.info


@pytest.mark.parametrize("size", [(1, 1), (400, 20), (20, 400), (1, 3000)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_extreme_shapes_open(size: tuple[int, int], kind: str) -> None:
    assert open_picture(encode(PIL.Image.new("RGB", size), kind)).size == size


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "none of"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "<!DOCTYPE html>"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "none of"),
        (b"SIMPLE  =                    T / FITS", "none of"),
        (b"8BPS\0\x01" + bytes(200), "none of"),
        (encode(UPRIGHT, "EPS"), "none of"),
        (encode(UPRIGHT, "PDF"), "none of"),
        (encode(UPRIGHT, "ICO"), "none of"),
        (encode(UPRIGHT, "PPM"), "none of"),
    ],
)
def test_other_formats_are_refused_by_their_first_bytes(data: bytes, said: str) -> None:
    with pytest.raises(PictureError, match=r"^Picture page.png .*\.$") as caught:
        open_picture(data, "page.png")
    assert said in str(caught.value)


def bomb(kind: str, width: int, height: int) -> bytes:
    """A few bytes that claim to be a huge picture."""
    if kind == "PNG":
        return png(width, height, 8, 2, b"\0")
    if kind == "GIF":
        return (
            b"GIF89a"
            + struct.pack("<HHBBB", width, height, 0, 0, 0)
            + (b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x08\x01\0\0;")
        )
    data = bytearray(encode(PIL.Image.new("RGB", (1, 1)), kind))
    if kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    elif kind == "TIFF":
        for tag, value in ((256, width), (257, height)):
            place = data.index(struct.pack("<HH", tag, 4)) + 8
            data[place : place + 4] = struct.pack("<I", value)
    return bytes(data)


@pytest.mark.parametrize(
    ("width", "height"),
    [(8000, 6251), (12000, 8000), (14000, 14000), (60000, 60000)],
    ids=["just too many", "where Pillow warns", "where Pillow refuses", "billions"],
)
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "JPEG", "TIFF"])
def test_decompression_bombs_are_refused_by_their_header(
    kind: str, width: int, height: int
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureError, match=f"{MAX_PIXELS:,}.*scale it down"):
            open_picture(bomb(kind, width, height))


def test_as_many_pixels_as_are_allowed() -> None:
    assert open_picture(encode(PIL.Image.new("1", (10_000, 5_000)))).size == (10_000, 5_000)


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_a_truncated_picture_is_refused(kind: str) -> None:
    data = (LOSSLESS | LOSSY)[kind]
    end = data.index(b"\0garbage") if b"\0garbage" in data else len(data)
    if "mpo" in kind:
        end = data.index(b"\xff\xd9", 2)  # the second picture does not matter
    for share in (0.1, 0.5, 0.8):
        with pytest.raises(PictureError, match=r"^Picture cut\.x .*\.$"):
            open_picture(data[: int(end * share)], "cut.x")


@pytest.mark.parametrize("noise", [LOSSLESS["png"], LOSSLESS["webp"], LOSSY["jpeg"]])
def test_a_truncated_file_names_itself(noise: bytes, tmp_path: Path) -> None:
    path = tmp_path / "torn.jpg"
    path.write_bytes(noise[: len(noise) // 2])
    with pytest.raises(PictureError, match=r"Picture vsr/torn\.jpg is damaged"):
        open_picture(Picture(path, "vsr/torn.jpg"))


# Adversarial bytes -------------------------------------------------------------------------------

SEEDS = [
    *LOSSLESS.values(),
    *LOSSY.values(),
    *(turned(6, kind) for kind in ("JPEG", "PNG", "WEBP")),
    *(see_through(mode) for mode in ("P", "L", "RGB", "1", "I;16", "LA", "RGBA", "RGBA webp")),
    encode(PIL.Image.new("CMYK", (16, 16)), "JPEG"),
    encode(PIL.Image.fromarray(RAMP), "TIFF"),
    encode(PIL.Image.fromarray(RAMP.astype(numpy.float32)), "TIFF"),
    encode(UPRIGHT, "PNG", save_all=True, append_images=[OTHER]),
    encode(UPRIGHT, "GIF", save_all=True, append_images=[OTHER]),
    encode(UPRIGHT, "WEBP", save_all=True, append_images=[OTHER]),
]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_damaged_files_open_as_rgb_or_raise_picture_error(data: st.DataObject) -> None:
    seed = bytearray(data.draw(st.sampled_from(SEEDS)))
    # Headers lie in front, and damage there leads to the strangest places.
    places = st.integers(0, len(seed) - 1) | st.integers(0, min(len(seed), 100) - 1)
    changes = st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)
    for place, value in data.draw(changes):
        seed[place] = value
    cut = data.draw(st.none() | st.integers(0, len(seed)))
    try:
        image = open_picture(bytes(seed[:cut]))
    except PictureError as error:
        said = str(error)
    else:
        said = f"Picture opened as {image.mode}."
    assert re.fullmatch(r"Picture opened as RGB\.|Picture picture .*\.", said, re.DOTALL)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([seed[:20] for seed in SEEDS]))
def test_noise_behind_a_good_header(noise: bytes, header: bytes) -> None:
    with contextlib.suppress(PictureError):
        assert open_picture(header + noise).mode == "RGB"


QUIET = """
import base64, random, sys
from spare.errors import PictureError
from spare.images import open_picture
dice = random.Random(0)
opened = refused = 0
for line in sys.stdin:
    for _ in range(40):
        data = bytearray(base64.b64decode(line))
        for _ in range(dice.randrange(6)):
            data[dice.randrange(min(len(data), dice.choice((60, 400))))] = dice.randrange(256)
        try:
            open_picture(bytes(data))
            opened += 1
        except PictureError:
            refused += 1
assert opened > 100 and refused > 100, (opened, refused)
"""


def test_damaged_files_neither_print_nor_warn() -> None:
    """In a process of its own, where any warning is an error.

    Compressed TIFF is left out: libtiff writes a line of its own to stderr, and Pillow has no way
    to stop it.
    """
    lines = "\n".join(
        base64.b64encode(seed).decode() for seed in SEEDS if seed[:2] not in (b"II", b"MM")
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET],
        input=lines,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threads_open_what_one_thread_opens_and_leave_the_warning_filters_alone() -> None:
    open_picture(SEEDS[0])
    alone = [open_picture(seed).tobytes() for seed in SEEDS]
    filters = list(warnings.filters)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda seed: open_picture(seed).tobytes(), SEEDS * 8))
    assert together == alone * 8
    assert list(warnings.filters) == filters


# References and digests ---------------------------------------------------------------------------


def everywhere(folder: Path, data: bytes) -> dict[str, Picture]:
    """The same bytes as a file and in every kind of table cell, found by the readers of tables."""
    (folder / "picture.png").write_bytes(data)
    rows = [b"a much longer first picture" * 9, data]
    with (folder / "table.tsv").open("wb") as file:
        file.write(b"index\timage\tquestion\r\n")
        for number, row in enumerate(rows):
            cell = base64.b64encode(row)
            file.write(b'%d\t%s\t"quoted\r\nand \xc3\xa9"\r\n' % (number, cell))
    columns = {
        "binary": rows,
        "struct": [{"bytes": row, "path": "x.png"} for row in rows],
        "list": [[{"bytes": rows[0]}, {"bytes": row}] for row in rows],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "t.parquet", row_group_size=1)
    in_table = list(read_table(folder / "table.tsv", ["image"], ["image"]))[1]
    in_parquet = list(read_parquet([folder / "t.parquet"], list(columns), list(columns)))[1]
    return {
        "file": Picture(folder / "picture.png", "picture.png"),
        "tsv": in_table.picture("image"),
        "binary": in_parquet.picture("binary"),
        "struct": in_parquet.picture("struct"),
        "list": in_parquet.picture("list", item=1),
    }


def test_one_picture_has_one_digest_wherever_it_lies(tmp_path: Path) -> None:
    places = everywhere(tmp_path, LOSSLESS["png"])
    wanted = hashlib.sha256(LOSSLESS["png"]).hexdigest()
    assert {place: digest(picture) for place, picture in places.items()} == dict.fromkeys(
        places, wanted
    )
    for picture in places.values():
        assert picture.read() == LOSSLESS["png"]
        assert open_picture(picture).tobytes() == UPRIGHT.tobytes()


@settings(max_examples=40, deadline=None)
@given(data=st.binary(min_size=49, max_size=500))
def test_any_bytes_come_back_from_every_place(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for picture in everywhere(tmp_path_factory.mktemp("cells"), data).values():
        assert picture.read() == data


@pytest.mark.parametrize("place", ["file", "tsv", "binary", "struct", "list"])
def test_a_replaced_file_gets_a_new_digest(place: str, tmp_path: Path) -> None:
    first = everywhere(tmp_path, encode(UPRIGHT, "BMP"))[place]
    before = digest(first)
    state = first.path.stat()
    (tmp_path / "new").mkdir()
    second = everywhere(tmp_path / "new", encode(OTHER, "BMP"))[place]
    os.utime(second.path, ns=(state.st_atime_ns, state.st_mtime_ns))
    second.path.replace(first.path)  # the same time stamp, and for most places the same size
    replaced = Picture(first.path, first.name, second.cell)
    assert digest(replaced) == hashlib.sha256(encode(OTHER, "BMP")).hexdigest() != before


def test_a_picture_that_is_not_there(tmp_path: Path) -> None:
    for look in (digest, open_picture):
        with pytest.raises(PictureError, match=r"^Picture a/b\.jpg is missing: .*/b\.jpg does not"):
            look(Picture(tmp_path / "b.jpg", "a/b.jpg"))
        with pytest.raises(PictureError, match=r"^Picture folder cannot be read"):
            look(Picture(tmp_path, "folder"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PictureError, match="is no ordinary file"):
        open_picture(Picture(tmp_path / "pipe", "pipe"))
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(PictureError, match="is empty"):
        digest(Picture(tmp_path / "empty.jpg", "empty.jpg"))


@pytest.mark.parametrize(
    "cell",
    [
        TableCell(0, 0, 1),
        TableCell(10**9, 100, 1),
        TableCell(0, 30, 0),
        TableCell(0, 30, 99),
        TableCell(3, 1, 0),
        ParquetCell(0, 0, "binary"),
    ],
)
def test_a_cell_that_is_not_there(cell: TableCell | ParquetCell, tmp_path: Path) -> None:
    path = tmp_path / "changed.tsv"
    path.write_bytes("n\timage\n1\tno base64 here: é\n".encode())
    with pytest.raises(PictureError, match=r"^Picture changed row 1 .*changed\.tsv.*\.$"):
        Picture(path, "changed row 1", cell).read()


def test_a_parquet_cell_that_holds_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    columns = {"text": ["not bytes"], "gone": pyarrow.array([None], pyarrow.binary())}
    pyarrow.parquet.write_table(pyarrow.table({**columns, "number": [7]}), path)
    for cell, said in (
        (ParquetCell(0, 0, "text"), "Only base64 data is allowed"),
        (ParquetCell(0, 0, "number"), "holds int, not encoded pictures"),
        (ParquetCell(0, 0, "gone"), "is empty"),
        (ParquetCell(0, 7, "text"), "cannot be read"),
        (ParquetCell(5, 0, "text"), "cannot be read"),
        (ParquetCell(0, 0, "nowhere"), "cannot be read"),
    ):
        with pytest.raises(PictureError, match=said):
            Picture(path, "p row 1", cell).read()


def test_nothing_heavy_is_imported() -> None:
    heavy = ["PIL", "numpy", "pyarrow", "torch", "transformers", "datasets", "pandas"]
    code = f"import spare.images, sys; sys.exit(str([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert done.stderr.strip() == "[]"
