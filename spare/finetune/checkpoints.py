"""States to go on from: whole, or not there; and the curve up to them.

The trainer writes a folder `checkpoint-N` file by file. When all are on the disk, a list of them
with their sizes is put beside them; a folder without it, or with a file of another size, was torn
by a kill and is taken away.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from spare.disk import replaced, write_json

WHOLE = "whole.json"
CURVE = "losses.jsonl"
"""The loss of each step, and what had been spent by then, in all calls together."""


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


def read_curve(training: Path) -> list[dict[str, Any]]:
    """The lines of all steps so far, but for one that was torn; [] if there are none."""
    path = training / CURVE
    if not path.exists():
        return []
    found = []
    for line in path.read_text("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def cut_curve(training: Path, step: int) -> list[dict[str, Any]]:
    """Take away the lines behind a step; those that stay."""
    lines = [line for line in read_curve(training) if line["step"] <= step]
    with replaced(training / CURVE) as file:  # which a kill here, or a full disk, leaves as it was
        file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
    return lines
