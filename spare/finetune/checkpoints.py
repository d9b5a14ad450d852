"""States to go on from: whole, or not there.

The trainer writes a folder `checkpoint-N` file by file. When all are on the disk, a list of them
with their sizes is put beside them; a folder without it, or with a file of another size, was torn
by a kill and is taken away.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from spare.disk import write_json

WHOLE = "whole.json"
CURVE = "losses.jsonl"
"""The loss of each step."""


def mark_whole(folder: Path) -> None:
    """Put the list beside the files of a checkpoint, after they are on the disk."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != WHOLE:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            sizes[str(path.relative_to(folder))] = path.stat().st_size
    write_json(folder / WHOLE, sizes)


def is_whole(folder: Path) -> bool:
    """Whether all files of a checkpoint are there."""
    try:
        sizes = json.loads((folder / WHOLE).read_bytes())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def step_of(folder: Path) -> int:
    """The step that a checkpoint's folder is of."""
    return int(folder.name.rpartition("-")[2])


def last_whole(training: Path, remove: bool = False) -> Path | None:
    """The newest whole checkpoint; None if there is none.

    Args:
        remove: take away those that are torn.
    """
    whole = []
    for folder in training.glob("checkpoint-*"):
        if is_whole(folder):
            whole.append(folder)
        elif remove:
            shutil.rmtree(folder)
    return max(whole, key=step_of, default=None)
