"""Files that are there whole or not at all, and folders that one process at a time writes."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spare.errors import SpareError


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file whole."""
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    with replaced(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[io.BufferedWriter]:
    """A file to write that takes the place of `path` at the end: readers see the old one or the
    new one, never a part. Raises SpareError if it cannot be written."""
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:  # what is read meanwhile raises sentences of its own
        raise disk_error(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def disk_error(path: Path, error: OSError) -> SpareError:
    """The sentence for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpareError(
            f"The disk is full: {path} could not be written. Nothing is lost; make room and run "
            "the same command again."
        )
    return SpareError(f"{path} could not be written: {error.strerror or error}.")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a folder for writing; raises SpareError if another process holds it.

    A folder that was made for it and stays empty is taken away again.
    """
    from filelock import FileLock, Timeout

    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpareError(f"{path} cannot be made: {error.strerror}.") from None
    lock = FileLock(path / ".lock")
    try:
        # Of a process that was killed, what it was just starting may hold the lock for a moment.
        lock.acquire(timeout=0.5)
    except Timeout:
        raise SpareError(
            f"Another process is writing {path}; wait for it, or choose another --out."
        ) from None
    except OSError as error:
        raise disk_error(path / ".lock", error) from None
    try:
        yield
    finally:
        if made and path.exists() and [file.name for file in path.iterdir()] == [".lock"]:
            with contextlib.suppress(OSError):  # some systems keep a file that is open
                (path / ".lock").unlink()
                path.rmdir()
        lock.release()
