"""Unpacking archives of pictures from strangers: nothing lands outside the folder, nothing grows
without bound, and nothing is there by halves."""

from __future__ import annotations

import contextlib
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from spare.disk import disk_error
from spare.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

MAX_RATIO = 100
"""Times its own size that an archive may unpack to: pictures hardly shrink, bombs shrink a
thousandfold."""

HEADER = 512
"""Bytes that every member counts at least, so that a million empty files count too."""

BY_HAND = "Unpack it by hand."

JUNK = ("__MACOSX", ".DS_Store")


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that `unpack` reads."""
    return path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, on_member: Callable[[int], None] = lambda done: None) -> Path:
    """Unpack beside the archive and return the new folder.

    An archive with one folder at its top gives that folder, any other a folder with the archive's
    name. The folder appears whole, by rename; one that is there already is left alone.

    Args:
        on_member: receives how many members are unpacked.

    Raises:
        DataError: the archive is damaged, or has no business unpacking like that.
        SpareError: the disk is full, or the like.
    """
    temporary = archive.with_name(f".{archive.name}.unpacking")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        members = _zip(archive, temporary) if _is_zip(archive) else _tar(archive, temporary)
        for done, _ in enumerate(members, 1):
            on_member(done)
        return _put_in_place(archive, temporary)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        EOFError,
        zlib.error,
        NotImplementedError,  # a version of the format that zipfile does not know
        ValueError,  # names that are no text, offsets that lead nowhere
        struct.error,
    ) as error:
        raise DataError(
            f"the archive is damaged or unsafe ({error})", archive, remedy="Fetch it again."
        ) from None
    except OSError as error:
        if error.errno is None:  # gzip's own complaint
            raise DataError(
                f"the archive is damaged ({error})", archive, remedy="Fetch it again."
            ) from None
        raise disk_error(temporary, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_zip(archive: Path) -> bool:
    return archive.name.lower().endswith(".zip")


def _zip(archive: Path, folder: Path) -> Iterator[None]:
    with zipfile.ZipFile(archive) as file:
        total = 0
        for member in file.infolist():
            total += HEADER + member.file_size  # zipfile never unpacks more than is declared
            _check(archive, member.filename, total)
            if member.flag_bits & 1:
                raise DataError("the archive asks for a password", archive, remedy=BY_HAND)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError("the archive is packed in a rare way", archive, remedy=BY_HAND)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DataError(f"the archive holds a link, {member.filename!r}", archive)
            file.extract(member, folder)
            yield


def _tar(archive: Path, folder: Path) -> Iterator[None]:
    mode = "r:" if archive.name.lower().endswith(".tar") else "r:gz"
    with contextlib.closing(tarfile.open(archive, mode)) as file:  # type: ignore[call-overload]
        total = 0
        for member in file:
            total += HEADER + member.size
            _check(archive, member.name, total)
            # Refuses devices, and links and names that lead out.
            file.extract(member, folder, filter="data")
            yield


def _check(archive: Path, name: str, total: int) -> None:
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or name[1:2] == ":":
        raise DataError(f"the archive holds {name!r}, which leads out of its folder", archive)
    if total > MAX_RATIO * max(archive.stat().st_size, 2**18):
        raise DataError(
            f"the archive unpacks to more than {MAX_RATIO} times its size, which no pictures do",
            archive,
        )


def _put_in_place(archive: Path, temporary: Path) -> Path:
    for name in JUNK:
        shutil.rmtree(temporary / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            (temporary / name).unlink()
    found = list(temporary.iterdir())
    if not found:
        raise DataError("the archive is empty", archive)
    if len(found) == 1 and found[0].is_dir() and not found[0].is_symlink():
        whole, target = found[0], archive.with_name(found[0].name)
    else:
        suffix = next(one for one in SUFFIXES[::-1] if archive.name.lower().endswith(one))
        whole, target = temporary, archive.with_name(archive.name[: -len(suffix)])
    if not target.exists():
        whole.replace(target)
    return target
